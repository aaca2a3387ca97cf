/**
 * Main's deputy: while main hangs in a call of its own it receives in main's place, so that the lanes get
 * their requests, and FORGET is heard. It answers what never waits, as main does, and leaves everything
 * else to the lanes; what only main can do is kept for main.
 */
import type { MessagePort } from 'node:worker_threads';
import { ERRNO } from '../shared/abi/errno.ts';
import { OP, ROW_BY_OPCODE } from '../shared/abi/opcodes.ts';
import { type CallerSums, CallerTable } from '../shared/caller-table.ts';
import { nowUs } from '../shared/clock.ts';
import { Receiver } from '../shared/memory/receiver.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import { deputyThread, laneThread, ThreadJournal } from '../shared/memory/thread-journal.ts';
import { NEGOTIATED, type PassthroughConfig } from '../shared/passthrough/config.ts';
import { Context, type LogLevel } from '../shared/passthrough/context.ts';
import { countCaller } from '../shared/passthrough/count-caller.ts';
import { answerInPlace, mayTryInPlace } from '../shared/passthrough/in-place.ts';
import { releaseLocksAhead } from '../shared/passthrough/locks.ts';
import { answerException, replyOrUndo, takeForget } from '../shared/passthrough/operations.ts';
import { RequestQueue } from '../shared/passthrough/request-queue.ts';
import { Tracer } from '../shared/passthrough/trace.ts';
import { POLLIN } from '../shared/sys/constants.ts';
import { CpuLatencyRequest } from '../shared/sys/cpu-latency.ts';
import { addressOf, poll, read } from '../shared/sys/libc.ts';
import { feedWatchdog, type ServiceWatchdog } from '../shared/sys/service-manager.ts';
import { ownThreadId } from '../shared/sys/thread-id.ts';

/** What main gives its deputy. */
export interface DeputyTask {
  readonly memory: SharedMemory;
  readonly config: PassthroughConfig;
  readonly fuseFd: number;
  /** An eventfd by which main wants its place back. */
  readonly returnFd: number;
  /** Of CPU_LATENCY_DEVICE, -1 for none. */
  readonly cpuLatencyFd: number;
  /** Where trace lines go, -1 for nowhere. */
  readonly traceFd: number;
  /** To be fed while it receives. */
  readonly watchdog: ServiceWatchdog | undefined;
  readonly port: MessagePort;
}

/** What the deputy tells main, over the port. */
export type DeputyMessage =
  | { readonly kind: 'started' }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly key: string; readonly text: string }
  | { readonly kind: 'unlocked'; readonly inode: number }
  /** A descriptor to close for which the mount's ring has no room. */
  | { readonly kind: 'close'; readonly fd: number; readonly mount: number }
  /** A request for main. */
  | { readonly kind: 'request'; readonly message: Uint8Array; readonly receivedUs: number }
  /** It received for so long; `served` are the requests that were not for main. */
  | {
      readonly kind: 'stoodIn';
      readonly elapsedMs: number;
      readonly requests: number;
      readonly served: CallerSums;
    };

/** A call of main's that takes longer hangs: its deputy takes over between one tick and two after it began. */
const TICK_MS = 2;
/** After so many ticks without a call it sleeps until the next one. */
const IDLE_TICKS = 50;
/** Bounds a sleep: a wake-up that went astray costs no more than this. */
const SLEEP_MS = 2000;
const POLL_MS = 500;
/** Requests kept for main at the most, and their bytes, but for the last one; then the kernel queues. */
const MOST_KEPT = 1024;
const MOST_KEPT_BYTES = 64 * 1024 * 1024;

/** struct pollfd, twice: descriptor, events, returned events. */
const POLL_WORDS = 4;

class Deputy {
  readonly #task: DeputyTask;
  readonly #receiver: Receiver;
  readonly #ctx: Context;
  readonly #queue: RequestQueue;
  readonly #lanes: ThreadJournal[];
  readonly #polled = new Int32Array(new SharedArrayBuffer(4 * POLL_WORDS));
  readonly #pollAddress = addressOf(this.#polled);
  readonly #returnValue = new BigUint64Array(new SharedArrayBuffer(8));
  readonly #returnAddress = addressOf(this.#returnValue);
  /** Of whom the requests were that it has not told main of. */
  readonly #callers = new CallerTable();
  readonly #pollMs: number;
  readonly #cpuLatency: CpuLatencyRequest | undefined;
  #fedUs = 0;
  #kept = 0;
  #keptBytes = 0;
  #requests = 0;

  constructor(task: DeputyTask) {
    const { maxLanes } = task.memory.geometry;
    this.#task = task;
    this.#pollMs = Math.min(POLL_MS, task.watchdog?.periodMs ?? POLL_MS);
    this.#receiver = new Receiver(task.memory.receiver);
    if (task.cpuLatencyFd >= 0) this.#cpuLatency = new CpuLatencyRequest(task.cpuLatencyFd);
    this.#lanes = Array.from(
      { length: maxLanes },
      (_, lane) => new ThreadJournal(task.memory.journal, laneThread(lane)),
    );
    this.#ctx = new Context({
      memory: task.memory,
      config: task.config,
      thread: deputyThread(maxLanes),
      mayBlock: false,
      isInProcSelfFd: false,
      report: (level, key, text) => this.#tell({ kind: 'log', level, key, text }),
      tracer: task.traceFd >= 0 ? new Tracer(task.traceFd, 'deputy') : undefined,
      closeHeld: (fd, mount) => this.#closeInLane(fd, mount),
      onUnlocked: (inode) => this.#tell({ kind: 'unlocked', inode }),
    });
    this.#ctx.fuseFd = task.fuseFd;
    this.#queue = new RequestQueue(
      this.#ctx,
      this.#receiver.receiveSlot(),
      () => this.#wakeOne(),
      (slot) => this.#receiver.setReceiveSlot(slot),
    );
  }

  run(): void {
    const receiver = this.#receiver;
    this.#ctx.tables.journal.setThreadId(ownThreadId());
    this.#tell({ kind: 'started' });
    let idleTicks = 0;
    while (!receiver.isStopping()) {
      if (idleTicks >= IDLE_TICKS) {
        receiver.sleepIfIdle(SLEEP_MS);
        // One look, and it sleeps again where nothing but the time has woken it.
        idleTicks = IDLE_TICKS - 1;
      }
      const calls = receiver.calls();
      receiver.pause(TICK_MS);
      if (receiver.calls() !== calls) idleTicks = 0;
      else if (receiver.currentCall() !== calls) idleTicks++;
      else if (receiver.takeOver()) this.#standIn();
    }
  }

  #tell(message: DeputyMessage): void {
    this.#task.port.postMessage(message);
  }

  #wakeOne(): void {
    for (const journal of this.#lanes) if (journal.wake()) return;
  }

  #closeInLane(fd: number, mount: number): void {
    const { rings } = this.#ctx.tables;
    if (rings.ownDepth(mount) < rings.capacity >> 1 && rings.push(mount, ~fd)) this.#wakeOne();
    else this.#tell({ kind: 'close', fd, mount });
  }

  /** Receives until main wants its place back. */
  #standIn(): void {
    const beganUs = nowUs();
    // Main cannot take it back while it hangs.
    this.#cpuLatency?.letSleep();
    this.#requests = 0;
    this.#kept = 0;
    this.#keptBytes = 0;
    let isOpen = true;
    while (!this.#isReturnAsked(isOpen && !this.#isFull())) {
      isOpen &&= this.#isFull() || this.#receiveOne();
      this.#feedWatchdog();
    }
    read(this.#task.returnFd, this.#returnAddress, 8);
    this.#receiver.giveBack();
    const elapsedMs = (nowUs() - beganUs) / 1000;
    const served = this.#callers.takeAll();
    this.#tell({ kind: 'stoodIn', elapsedMs, requests: this.#requests, served });
  }

  /** Requests are served, and a restart would not free main of its call. */
  #feedWatchdog(): void {
    const { watchdog } = this.#task;
    if (watchdog === undefined || nowUs() - this.#fedUs < 1000 * watchdog.periodMs) return;
    this.#fedUs = nowUs();
    feedWatchdog(watchdog.socket);
  }

  #isFull(): boolean {
    return this.#kept >= MOST_KEPT || this.#keptBytes >= MOST_KEPT_BYTES;
  }

  /** Waits for a request, if any are wanted, or for main. @returns whether main asks */
  #isReturnAsked(isReceiving: boolean): boolean {
    const polled = this.#polled;
    polled[0] = this.#task.returnFd;
    polled[1] = POLLIN;
    polled[2] = this.#task.fuseFd;
    polled[3] = POLLIN;
    poll(this.#pollAddress, isReceiving ? 2 : 1, this.#pollMs);
    return polled[1] >>> 16 !== 0 || this.#receiver.isStopping();
  }

  /** @returns false when the connection has ended: main will see that itself */
  #receiveOne(): boolean {
    const ctx = this.#ctx;
    const at = this.#queue.receiveAt();
    const room = ctx.tables.slots.largeMessageBytes();
    const { journal } = ctx.tables;
    const note = this.#receiver.receiveSlot() + 1;
    const count = read(this.#task.fuseFd, ctx.address(at), room);
    if (count > 0) {
      // No call since the read: a request that was read is noted, and answered by main if we die with it.
      journal.cells[journal.itemAt] = note;
      this.#take(at);
      journal.cells[journal.itemAt] = 0;
      return true;
    }
    return count === -ERRNO.EAGAIN || count === -ERRNO.EINTR || count === -ERRNO.ENOENT;
  }

  #take(at: number): void {
    const ctx = this.#ctx;
    this.#requests++;
    ctx.load(at);
    ctx.receivedUs = nowUs();
    ctx.tracer?.request(ctx);
    const keptBefore = this.#kept;
    try {
      this.#dispatch();
      if (this.#kept === keptBefore) countCaller(this.#callers, ctx);
    } catch (error) {
      answerException(ctx, 'deputy', error);
    }
  }

  #dispatch(): void {
    const ctx = this.#ctx;
    if (takeForget(ctx)) return;
    const row = ROW_BY_OPCODE[ctx.opcode];
    if (row?.class === 'control' || !ctx.has(NEGOTIATED.INITIALISED)) {
      this.#keepForMain();
    } else if (row === undefined || row.class === 'absent') {
      replyOrUndo(ctx, this.#task.fuseFd, -ERRNO.ENOSYS);
    } else {
      const mount = ctx.mountOf(ctx.nodeLo);
      // RWF_NOWAIT keeps a write from waiting for pages, and not for a file system that is frozen.
      const isTried = ctx.opcode !== OP.WRITE && mayTryInPlace(ctx, mount);
      if (isTried && answerInPlace(ctx)) return;
      if (ctx.opcode === OP.RELEASE) releaseLocksAhead(ctx);
      if (!this.#queue.placeReceived(mount)) this.#keepForMain();
    }
  }

  #keepForMain(): void {
    const ctx = this.#ctx;
    const message = ctx.u8.slice(ctx.message, ctx.message + ctx.lengthBytes);
    this.#kept++;
    this.#keptBytes += message.length;
    this.#tell({ kind: 'request', message, receivedUs: ctx.receivedUs });
  }
}

/** The piscina task: returns when the deputy was told to stop. */
export default function deputy(task: DeputyTask): void {
  try {
    new Deputy(task).run();
  } finally {
    // After a throw the thread lives on, and nobody receives: main must not wait for it.
    const thread = deputyThread(task.memory.geometry.maxLanes);
    new ThreadJournal(task.memory.journal, thread).setThreadId(0);
    task.port.close();
  }
}
