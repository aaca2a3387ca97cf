/**
 * A lane: a piscina worker that takes requests from the rings, runs what may block, and answers the
 * kernel itself. It runs until it is told to stop.
 */
import type { MessagePort } from 'node:worker_threads';
import { ERRNO } from '../shared/abi/errno.ts';
import { OP, ROW_BY_OPCODE } from '../shared/abi/opcodes.ts';
import { nowUs } from '../shared/clock.ts';
import { SLOT_STATE, TO_LOCK_WAITS } from '../shared/memory/request-slots.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import { laneThread } from '../shared/memory/thread-journal.ts';
import { WorkRings } from '../shared/memory/work-rings.ts';
import { laneLimit } from '../shared/passthrough/bulkhead.ts';
import type { PassthroughConfig } from '../shared/passthrough/config.ts';
import {
  Context,
  HAND_OVER,
  LOCK_WAIT,
  type LogLevel,
  type ReplyTaker,
  type Report,
} from '../shared/passthrough/context.ts';
import {
  isDeferred,
  replyOrUndo,
  runOperation,
  undoEffects,
} from '../shared/passthrough/operations.ts';
import { Tracer } from '../shared/passthrough/trace.ts';
import { beginWork, countQueueWait, endWork } from '../shared/request-stats.ts';
import { addressOf, close, write } from '../shared/sys/libc.ts';
import { ownThreadId } from '../shared/sys/thread-id.ts';
import { LaneLayers, type LaneLayersTask, loadLaneLayers } from './lane-layers.ts';
import { becomeServer, dropOwnGroups } from './server-thread.ts';

/** What main gives a lane at its start. */
export interface LaneTask {
  readonly lane: number;
  readonly memory: SharedMemory;
  readonly config: PassthroughConfig;
  /** -1: replies go to main. */
  readonly fuseFd: number;
  /** An eventfd that wakes main. */
  readonly wakeFd: number;
  /** Where trace lines go, -1 for nowhere. */
  readonly traceFd: number;
  readonly port: MessagePort;
  /** Undefined without layers. */
  readonly layers?: LaneLayersTask | undefined;
  /** Whether asynchronous layers on main make requests of their own. */
  readonly answersLayers?: boolean | undefined;
}

/** What a lane tells main, over the port. */
export type LaneMessage =
  | { readonly kind: 'started' }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly key: string; readonly text: string }
  | { readonly kind: 'handOver'; readonly slot: number }
  /** A reply that is for no connection: see Context.layerReplies and kernelReplies. */
  | { readonly kind: 'reply'; readonly reply: Uint8Array; readonly isOfLayer: boolean }
  /** A lock on this inode was given up. */
  | { readonly kind: 'unlocked'; readonly inode: number }
  /** A SETLKW was answered while others wait. */
  | {
      readonly kind: 'lockAnswered';
      readonly uniqueLo: number;
      readonly uniqueHi: number;
      readonly isGranted: boolean;
    };

/** Bounds a sleep: a wake-up that went astray costs no more than this. */
const SLEEP_MS = 2000;

class Lane {
  readonly #task: LaneTask;
  readonly #ctx: Context;
  readonly #wakeValue = new BigUint64Array(new SharedArrayBuffer(8)).fill(1n);
  readonly #wakeAddress = addressOf(this.#wakeValue);
  /** What runs the loaded request: chosen once, so that layers cost nothing where there are none. */
  readonly #run: (ctx: Context) => number;
  #lastMount = 0;
  /** The producer whose requests come first, each in its turn. */
  #producer = 0;

  /** @param makeLayers makes the layers of this lane, if there are any */
  constructor(task: LaneTask, makeLayers: ((ctx: Context) => LaneLayers) | undefined) {
    this.#task = task;
    this.#ctx = new Context({
      memory: task.memory,
      config: task.config,
      thread: laneThread(task.lane),
      mayBlock: true,
      isInProcSelfFd: true,
      report: (level, key, text) => this.#tell({ kind: 'log', level, key, text }),
      tracer: task.traceFd >= 0 ? new Tracer(task.traceFd, `lane-${task.lane}`) : undefined,
      closeHeld: (fd) => {
        close(fd);
      },
      onUnlocked: (inode) => this.#tell({ kind: 'unlocked', inode }),
    });
    if (task.answersLayers === true) this.#ctx.layerReplies = this.#replyTeller(true);
    const layers = makeLayers?.(this.#ctx);
    this.#run = layers === undefined ? runOperation : () => layers.run();
  }

  run(): void {
    this.#ctx.fuseFd = this.#task.fuseFd;
    if (this.#task.fuseFd < 0) this.#ctx.kernelReplies = this.#replyTeller(false);
    const { journal } = this.#ctx.tables;
    journal.setThreadId(ownThreadId());
    dropOwnGroups(this.#ctx);
    this.#tell({ kind: 'started' });
    for (;;) {
      if (this.#serveOne()) continue;
      journal.announceSleep();
      // Main looks for sleepers after it pushed: one of us sees the other.
      if (this.#hasWork()) {
        journal.announceRunning();
        continue;
      }
      if (journal.isStopping()) return;
      journal.sleep(SLEEP_MS);
      journal.announceRunning();
    }
  }

  #tell(message: LaneMessage): void {
    this.#task.port.postMessage(message);
  }

  /** Main knows whether somebody waits. */
  #replyTeller(isOfLayer: boolean): ReplyTaker {
    return (reply) => {
      this.#tell({ kind: 'reply', reply, isOfLayer });
      return true;
    };
  }

  #hasWork(): boolean {
    const { rings, mounts } = this.#ctx.tables;
    const limit = laneLimit(mounts, this.#task.config.lanes);
    for (let mount = 0; mount < mounts.limit(); mount++) {
      if (rings.depth(mount) > 0 && mounts.activeLanes(mount) < limit) return true;
    }
    return false;
  }

  /** Takes one item from the first ring that has any and lets us in. @returns whether there was one */
  #serveOne(): boolean {
    const { rings, mounts, journal } = this.#ctx.tables;
    const count = mounts.limit();
    const limit = laneLimit(mounts, this.#task.config.lanes);
    for (let i = 0; i < count; i++) {
      const mount = (this.#lastMount + i) % count;
      if (rings.depth(mount) <= 0 || !mounts.enterLaneNoted(mount, limit, journal)) continue;
      const item = rings.pop(mount, journal, this.#producer++ & 0xffff);
      if (item !== WorkRings.EMPTY) this.#serve(item);
      // The permit may have been traded for another mount's meanwhile.
      mounts.leaveLaneNoted(journal);
      this.#lastMount = mount;
      if (item !== WorkRings.EMPTY) return true;
    }
    return false;
  }

  #serve(item: number): void {
    const { journal, slots } = this.#ctx.tables;
    if (item < 0) {
      // Before the call: whoever comes after us must not close the number a second time.
      journal.cells[journal.itemAt] = 0;
      this.#close(~item);
      return;
    }
    if (slots.start(item) && !this.#work(item)) return;
    this.#freeSlot(item);
    if (this.#ctx.isUnsafe) this.#endThread();
  }

  /** Closing may end a file, and takes as long as its file system likes. */
  #close(fd: number): void {
    const { stats } = this.#ctx.tables;
    const beganUs = nowUs();
    beginWork(stats, beganUs, 0, 0, 0);
    close(fd);
    endWork(stats, nowUs() - beganUs);
  }

  /** A throw would end the task only, and the next one would run on this thread, as somebody else. */
  #endThread(): void {
    this.#ctx.report('error', 'privileges', 'a lane could not take its own ids back and ends');
    process.exit(1);
  }

  /** @returns false when the slot went back to main */
  #work(slot: number): boolean {
    const ctx = this.#ctx;
    const { slots, stats } = ctx.tables;
    ctx.loadSlot(slot);
    const beganUs = nowUs();
    countQueueWait(stats, ROW_BY_OPCODE[ctx.opcode], beganUs - slots.queuedUs(slot));
    beginWork(stats, beganUs, ctx.opcode, ctx.nodeLo, ctx.nodeHi);
    const isAnswered = this.#answer(slot);
    endWork(stats, nowUs() - beganUs);
    return isAnswered;
  }

  /** @returns false when the slot went back to main */
  #answer(slot: number): boolean {
    const ctx = this.#ctx;
    const { slots } = ctx.tables;
    const result = this.#run(ctx);
    // Before the reply: with it the kernel may drop its last reference to what we hold.
    ctx.finish();
    if (result === HAND_OVER || result === LOCK_WAIT) {
      const to = result === HAND_OVER ? ctx.handOverTo : TO_LOCK_WAITS;
      const { journal } = ctx.tables;
      if (!slots.handOver(slot, SLOT_STATE.EXECUTING, to, journal)) return true;
      this.#tell({ kind: 'handOver', slot });
      return false;
    }
    if (!slots.replying(slot)) {
      // Too late, main has answered.
      undoEffects(ctx, ctx.tables.journal, ctx.reply);
      return true;
    }
    replyOrUndo(ctx, this.#task.fuseFd, isDeferred(result) ? -ERRNO.EIO : result);
    if (ctx.opcode === OP.SETLKW) this.#tellLockAnswered(result === 0);
    return true;
  }

  #tellLockAnswered(isGranted: boolean): void {
    const ctx = this.#ctx;
    if (ctx.tables.locks.waits() === 0) return;
    const uniqueLo = ctx.uniqueLo();
    this.#tell({ kind: 'lockAnswered', uniqueLo, uniqueHi: ctx.uniqueHi(), isGranted });
  }

  #freeSlot(slot: number): void {
    const { slots, mounts, journal, entries } = this.#ctx.tables;
    const ringThread = slots.ringThread(slot);
    slots.free(slot, mounts, journal);
    if (ringThread >= 0) entries.tellRoom(ringThread);
    if (slots.takeWake()) write(this.#task.wakeFd, this.#wakeAddress, 8);
  }
}

/** The piscina task: ends when the lane was told to stop. */
export default async function lane(task: LaneTask): Promise<void> {
  becomeServer(task.config.procSelfFd);
  const { layers } = task;
  if (layers === undefined) new Lane(task, undefined).run();
  else {
    const report: Report = (level, key, text) =>
      task.port.postMessage({ kind: 'log', level, key, text } satisfies LaneMessage);
    const loaded = await loadLaneLayers(layers, task.lane, report);
    const { maxReplyBytes } = task.memory.geometry;
    new Lane(task, (ctx) => new LaneLayers(ctx, task.lane, loaded, layers, maxReplyBytes)).run();
  }
  task.port.close();
}
