/**
 * Loaded into the daemon by `--import`, on main and in every lane: makes lanes die.
 *
 * FAULT_TERMINATE=COUNT:EVERY_MS  main ends its lanes, one after the other, so often
 * FAULT_QUEUES=COUNT:EVERY_MS:ATONCE  the same of the threads that serve queues of io_uring, ATONCE
 *                                 (default 1) at a time
 * FAULT_RESTORE=EVERY             a lane cannot take its own ids back, each EVERYth time it has another's
 * FAULT_LANE=POINT:HOW:EVERY      a lane ends itself at each EVERYth pass of a point, by `throw` or `heap`
 * FAULT_DEPUTY=HOW:EVERY          main's deputy, with the EVERYth request it has read that has a reply:
 *                                 one without is lost, and with a FORGET its lookups
 */
import { BroadcastChannel, isMainThread, threadId } from 'node:worker_threads';
import { Lanes } from '../../src/main/dispatch/lanes.ts';
import { Queues } from '../../src/main/dispatch/queues.ts';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { ROW_BY_OPCODE } from '../../src/shared/abi/opcodes.ts';
import { Receiver } from '../../src/shared/memory/receiver.ts';
import { RequestSlots } from '../../src/shared/memory/request-slots.ts';
import { ThreadJournal } from '../../src/shared/memory/thread-journal.ts';
import { Context } from '../../src/shared/passthrough/context.ts';
import { Credentials } from '../../src/shared/sys/credentials.ts';

/** Where a lane can be made to die. */
export type FaultPoint = 'idle' | 'popped' | 'executing' | 'replying' | 'replied' | 'freeing';
export type FaultKind = 'throw' | 'heap';

/** Over it a lane tells that it serves. Before that it loads native code, whose end ends the process. */
const SERVING = 'sluice-saboteur';

interface Thread {
  readonly threadId: number;
  terminate(): unknown;
}

/** A pool whose threads are ended, and how one is got out of a system call. */
interface Victims {
  threads(): readonly { terminate(): unknown }[];
  wakeAll?(): void;
}

/** @returns begins to end the threads of a pool, one after the other */
function executioner(spec: string): (victims: Victims) => void {
  const [count, everyMs, atOnce = 1] = spec.split(':').map(Number) as [number, number, number?];
  const serving = new Set<number>();
  const channel = new BroadcastChannel(SERVING);
  channel.onmessage = (event) => serving.add((event as { data: number }).data);
  (channel as unknown as { unref(): void }).unref();
  return (victims) => {
    let done = 0;
    const endOne = (): void => {
      const threads = victims.threads() as readonly Thread[];
      const alive = threads.filter((thread) => serving.has(thread.threadId));
      const victim = alive[done % Math.max(alive.length, 1)];
      if (victim === undefined) return;
      serving.delete(victim.threadId);
      victim.terminate();
      victims.wakeAll?.();
      if (++done < count) return;
      clearInterval(timer);
      process.stdout.write('saboteur: done\n');
    };
    const timer = setInterval(() => {
      for (let i = 0; i < atOnce && done < count; i++) endOne();
    }, everyMs);
  };
}

function terminateLanes(spec: string): void {
  const begin = executioner(spec);
  const start = Lanes.prototype.start;
  Lanes.prototype.start = async function (this: Lanes): Promise<void> {
    await start.call(this);
    begin(this);
  };
}

function terminateQueues(spec: string): void {
  const begin = executioner(spec);
  const register = Queues.prototype.register;
  Queues.prototype.register = async function (this: Queues): Promise<string | undefined> {
    const refusal = await register.call(this);
    begin(this);
    return refusal;
  };
}

function tellThatItServes(): void {
  const { setThreadId } = ThreadJournal.prototype;
  ThreadJournal.prototype.setThreadId = function (id): void {
    setThreadId.call(this, id);
    const channel = new BroadcastChannel(SERVING);
    channel.postMessage(threadId);
    channel.close();
  };
}

/** Fills the heap until the thread's limit ends it. */
function fillHeap(): never {
  const kept: unknown[] = [];
  for (;;) kept.push(new Array(10_000).fill({}));
}

function sabotageLane(point: FaultPoint, kind: FaultKind, every: number): void {
  let passes = 0;
  const pass = (): void => {
    if (++passes % every !== 0) return;
    if (kind === 'heap') fillHeap();
    throw new Error(`sabotage: ${point}`);
  };
  const { start, replying, free } = RequestSlots.prototype;
  switch (point) {
    case 'idle': {
      const { sleep } = ThreadJournal.prototype;
      ThreadJournal.prototype.sleep = function (timeoutMs): void {
        sleep.call(this, timeoutMs);
        pass();
      };
      break;
    }
    case 'popped':
      RequestSlots.prototype.start = function (slot): boolean {
        pass();
        return start.call(this, slot);
      };
      break;
    case 'executing':
      RequestSlots.prototype.start = function (slot): boolean {
        const isStarted = start.call(this, slot);
        pass();
        return isStarted;
      };
      break;
    case 'replying':
      RequestSlots.prototype.replying = function (slot): boolean {
        // The operation's effects are noted, the reply is not written.
        const isOurs = replying.call(this, slot);
        pass();
        return isOurs;
      };
      break;
    case 'replied': {
      const { effectNone } = ThreadJournal.prototype;
      ThreadJournal.prototype.effectNone = function (): void {
        // The reply is with the kernel, and nobody has noted that yet.
        pass();
        effectNone.call(this);
      };
      break;
    }
    case 'freeing':
      RequestSlots.prototype.free = function (slot, mounts, journal): void {
        pass();
        free.call(this, slot, mounts, journal);
      };
      break;
  }
}

function sabotageDeputy(kind: FaultKind, every: number): void {
  let isDeputy = false;
  let requests = 0;
  const { takeOver } = Receiver.prototype;
  Receiver.prototype.takeOver = function (): boolean {
    isDeputy = true;
    return takeOver.call(this);
  };
  const { load } = Context.prototype;
  Context.prototype.load = function (message): void {
    load.call(this, message);
    const hasReply = ROW_BY_OPCODE[this.opcode]?.hasReply !== false;
    if (!isDeputy || !hasReply || ++requests % every !== 0) return;
    if (kind === 'heap') fillHeap();
    throw new Error('sabotage: deputy');
  };
}

/** What a security module could do: the thread keeps the caller's ids. */
function refuseRestore(every: number): void {
  let switches = 0;
  const { restore } = Credentials.prototype;
  Credentials.prototype.restore = function (): number {
    // geteuid(2) tells the calling thread's.
    const isSwitched = process.geteuid?.() !== this.uid;
    if (isSwitched && ++switches % every === 0) return -ERRNO.EPERM;
    return restore.call(this);
  };
}

const terminate = process.env['FAULT_TERMINATE'];
const inLane = process.env['FAULT_LANE'];
const inDeputy = process.env['FAULT_DEPUTY'];
const refusedRestore = process.env['FAULT_RESTORE'];
const queues = process.env['FAULT_QUEUES'];
if (isMainThread && terminate !== undefined) terminateLanes(terminate);
if (isMainThread && queues !== undefined) terminateQueues(queues);
if (!isMainThread && (terminate ?? queues) !== undefined) tellThatItServes();
if (!isMainThread && refusedRestore !== undefined) refuseRestore(Number(refusedRestore));
if (!isMainThread && inLane !== undefined) {
  const [point, kind, every] = inLane.split(':') as [FaultPoint, FaultKind, string];
  sabotageLane(point, kind, Number(every));
}
if (!isMainThread && inDeputy !== undefined) {
  const [kind, every] = inDeputy.split(':') as [FaultKind, string];
  sabotageDeputy(kind, Number(every));
}
