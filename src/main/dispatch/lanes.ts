/**
 * The lanes' life: long-running piscina tasks, one for each worker thread. piscina owns the threads;
 * when one dies, what it held is given back and the lane is started again on a new thread.
 */
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { ERRNO } from '../../shared/abi/errno.ts';
import type { Logger } from '../../shared/log.ts';
import { longWaitChecks } from '../../shared/memory/lock.ts';
import { SLOT_STATE } from '../../shared/memory/request-slots.ts';
import type { SharedMemory } from '../../shared/memory/shared-memory.ts';
import { laneThread, ThreadJournal } from '../../shared/memory/thread-journal.ts';
import type { Context, LogLevel } from '../../shared/passthrough/context.ts';
import { reply } from '../../shared/passthrough/operations.ts';
import { STAT } from '../../shared/stats-layout.ts';
import { close } from '../../shared/sys/libc.ts';
import type { LaneMessage, LaneTask } from '../../workers/lane.ts';
import { hasToBeDone, recoverDead, releaseLocksIfDead, undoOfDead } from './recovery.ts';

export interface LaneEvents {
  /** A lane could not run a request for want of another mount's permit. */
  onHandOver(slot: number, mount: number): void;
  /** A lane unlocked a file while there are lock waits. */
  onUnlocked(inode: number): void;
  /** A lane has answered a SETLKW. */
  onLockAnswered(uniqueLo: number, uniqueHi: number, isGranted: boolean): void;
  /** A lane has answered a request that is of no connection: see Context.layerReplies and kernelReplies. */
  onReply(reply: Uint8Array, isOfLayer: boolean): void;
  onReport(level: LogLevel, key: string, text: string): void;
  /** A lane died and was started again; its slot is free. */
  onRestart(): void;
}

export interface LaneSettings {
  readonly lanes: number;
  readonly spareLanes: number;
  readonly memory: SharedMemory;
  readonly task: Omit<LaneTask, 'lane' | 'port' | 'memory'>;
  readonly logger: Logger;
  /** The worker's file; another one only to test failures. */
  readonly laneFile?: URL | undefined;
}

/** When lanes die more often than this in the window, something is wrong with all of them: wait. */
const MAX_RESTARTS_AT_ONCE = 20;
const RESTART_WINDOW_MS = 10_000;
const RESTART_DELAY_MS = 1000;
const START_TIMEOUT_MS = 20_000;

const LATE = Symbol('late');

/** A promise that resolves to LATE after a time, unless it is cancelled. */
function deadline(timeoutMs: number): { passed: Promise<typeof LATE>; cancel: () => void } {
  let timer: NodeJS.Timeout;
  const passed = new Promise<typeof LATE>((resolve) => {
    timer = setTimeout(() => resolve(LATE), timeoutMs);
  });
  return { passed, cancel: () => clearTimeout(timer) };
}

export class Lanes {
  readonly #settings: LaneSettings;
  readonly #ctx: Context;
  readonly #events: LaneEvents;
  readonly #pool: Piscina;
  readonly #journals: ThreadJournal[] = [];
  readonly #ended: Promise<void>[] = [];
  #isStopping = false;
  #restartTimesMs: number[] = [];

  constructor(settings: LaneSettings, ctx: Context, events: LaneEvents) {
    this.#settings = settings;
    this.#ctx = ctx;
    this.#events = events;
    const file = settings.laneFile ?? new URL('../../workers/lane.js', import.meta.url);
    longWaitChecks.add(this.#breakLocks);
    this.#pool = new Piscina({
      filename: fileURLToPath(file),
      minThreads: settings.lanes,
      maxThreads: settings.lanes + settings.spareLanes,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      concurrentTasksPerWorker: 1,
      stricterFIFO: true,
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 },
    });
    // A thread's failure reaches us through its task; an unheard 'error' event would end the process.
    this.#pool.on('error', (error: unknown) => {
      if (!this.#isStopping)
        this.#events.onReport('error', 'lane-pool', `lane pool: ${String(error)}`);
    });
  }

  /** Starts the regular lanes; resolves when all of them serve. */
  async start(): Promise<void> {
    const started: Promise<void>[] = [];
    for (let lane = 0; lane < this.#settings.lanes; lane++) started.push(this.#startLane(lane));
    // The timer keeps the process alive: threads that cannot start do not.
    const timer = deadline(START_TIMEOUT_MS);
    const isLate = await Promise.race([Promise.all(started), timer.passed]).finally(timer.cancel);
    if (isLate === LATE) throw new Error('the lanes did not start in time');
  }

  /** Lanes that were ever started. */
  count(): number {
    return this.#journals.length;
  }

  /** The pool's threads, for tests that end one. */
  threads(): readonly { terminate(): unknown }[] {
    return this.#pool.threads;
  }

  /** The slot a lane works at, -1 for none. */
  slotOf(lane: number): number {
    return this.#journals[lane]?.slot() ?? -1;
  }

  /** Ends a lane's thread, whatever JavaScript it is in; it is started again. */
  terminate(threadId: number): void {
    const thread = this.#pool.threads.find((worker) => worker.threadId === threadId);
    thread?.terminate().catch(() => undefined);
  }

  /** Wakes one sleeping lane. The first that sleeps: a lane that has just run is warm. */
  wakeOne(): boolean {
    for (const journal of this.#journals) if (journal.wake()) return true;
    return false;
  }

  /** Starts a lane on top, if there may be more. */
  addSpare(): void {
    const limit = this.#settings.lanes + this.#settings.spareLanes;
    if (this.#isStopping || this.#journals.length >= limit) return;
    const lane = this.#journals.length;
    this.#startLane(lane).catch(() => undefined);
    this.#settings.logger.warn({ lanes: lane + 1 }, 'all lanes are held up: one more was started');
  }

  /**
   * Ends the lanes. One that hangs in a system call is left behind after the time given: nothing can
   * end it before the call returns.
   * @returns whether all of them ended
   */
  async stop(timeoutMs: number): Promise<boolean> {
    this.#isStopping = true;
    for (const journal of this.#journals) journal.tellStop();
    const timer = deadline(timeoutMs);
    const ended = await Promise.race([Promise.allSettled(this.#ended), timer.passed]);
    const isLate = ended === LATE;
    if (isLate) this.#settings.logger.warn('lanes hang in system calls of the backing file system');
    const destroyed = this.#pool.destroy().catch(() => undefined);
    await Promise.race([destroyed, timer.passed]);
    timer.cancel();
    // What checks belongs to the whole process, and would keep the memory of this mount.
    longWaitChecks.delete(this.#breakLocks);
    return !isLate;
  }

  #startLane(lane: number): Promise<void> {
    const { memory, task } = this.#settings;
    const journal = new ThreadJournal(memory.journal, laneThread(lane));
    journal.clear();
    journal.resetState();
    this.#journals[lane] = journal;
    this.#ctx.tables.stats.set(STAT.LANES_STARTED, this.count());
    const { port1, port2 } = new MessageChannel();
    const started = new Promise<void>((resolve, reject) => {
      const onStarted = (): void => {
        this.#settings.logger.debug({ lane, threadId: journal.threadId() }, 'a lane serves');
        resolve();
      };
      port1.on('message', (message: LaneMessage) => this.#onMessage(message, onStarted));
      const run = this.#pool.run({ ...task, memory, lane, port: port2 }, { transferList: [port2] });
      this.#ended[lane] = run.then(
        () => port1.close(),
        (error: unknown) => {
          reject(error instanceof Error ? error : new Error(String(error)));
          this.#onDeath(lane, journal, port1, error);
        },
      );
    });
    started.catch(() => undefined);
    port1.unref();
    return started;
  }

  #onMessage(message: LaneMessage, onStarted: () => void): void {
    switch (message.kind) {
      case 'started':
        onStarted();
        break;
      case 'log':
        this.#events.onReport(message.level, message.key, message.text);
        break;
      case 'handOver':
        this.#handOver(message.slot);
        break;
      case 'reply':
        this.#events.onReply(message.reply, message.isOfLayer);
        break;
      case 'unlocked':
        this.#events.onUnlocked(message.inode);
        break;
      case 'lockAnswered':
        this.#events.onLockAnswered(message.uniqueLo, message.uniqueHi, message.isGranted);
        break;
    }
  }

  #onDeath(lane: number, journal: ThreadJournal, port: MessagePort, error: unknown): void {
    port.close();
    if (this.#isStopping) return;
    this.#ctx.tables.stats.add(STAT.LANE_RESTARTS, 1);
    const reason = error instanceof Error ? error.message : String(error);
    this.#settings.logger.error({ lane, reason }, 'a lane died; it is started again');
    this.#recover(lane, journal);
    if (this.#mayRestartAtOnce()) this.#restart(lane);
    else {
      const delayMs = RESTART_DELAY_MS;
      this.#settings.logger.warn({ lane, delayMs }, 'lanes die again and again; this one waits');
      setTimeout(() => this.#restart(lane), delayMs).unref();
    }
    this.#events.onRestart();
  }

  #restart(lane: number): void {
    if (!this.#isStopping) this.#startLane(lane).catch(() => undefined);
  }

  #mayRestartAtOnce(): boolean {
    const nowMs = performance.now();
    this.#restartTimesMs = this.#restartTimesMs.filter(
      (timeMs) => nowMs - timeMs < RESTART_WINDOW_MS,
    );
    this.#restartTimesMs.push(nowMs);
    return this.#restartTimesMs.length <= MAX_RESTARTS_AT_ONCE;
  }

  /** Gives back what the dead thread held, and answers the request it was at. */
  #recover(lane: number, journal: ThreadJournal): void {
    const thread = laneThread(lane);
    const ctx = this.#ctx;
    const { slots, mounts, entries } = ctx.tables;
    recoverDead(ctx, thread, journal);
    const slot = journal.slot();
    if (slot >= 0) {
      const state = slots.state(slot);
      ctx.loadSlot(slot);
      if (state === SLOT_STATE.QUEUED || (state === SLOT_STATE.EXECUTING && hasToBeDone(ctx))) {
        this.#handBack(slot, state, journal);
      } else {
        if (state === SLOT_STATE.EXECUTING || state === SLOT_STATE.REPLYING) {
          this.#answerFor(slot, thread, journal);
        } else if (state === SLOT_STATE.TIMED_OUT) {
          undoOfDead(ctx, this.#settings.memory, thread, journal);
        }
        slots.free(slot, mounts, journal);
      }
    }
    const fd = journal.closing();
    if (fd >= 0) close(fd);
    mounts.leaveLaneNoted(journal);
    this.#ctx.tables.stats.setOf(thread, STAT.BUSY_SINCE_MS, 0);
    journal.setThreadId(0);
    // It may have died before it could tell; the message of one that lives finds nothing left to do.
    slots.forEachHanded((handed) => this.#handOver(handed));
    // A slot that was freed, by us or before it died, may be one that a thread of a queue waits for.
    for (let queue = 0; queue < entries.geometry.threads; queue++) entries.tellRoom(queue);
  }

  /** A request that was taken and has to be done yet goes to another lane. */
  #handBack(slot: number, state: number, journal: ThreadJournal): void {
    const { slots } = this.#ctx.tables;
    slots.handOver(slot, state, slots.group(slot), journal);
  }

  #handOver(slot: number): void {
    this.#events.onHandOver(slot, this.#ctx.tables.slots.handedTo(slot));
  }

  /** Releases the locks of lanes that are dead, and whose end is not heard of yet. */
  releaseLocksOfDead(): void {
    for (const lane of this.#journals.keys()) this.#breakLocks(laneThread(lane));
  }

  /** Main has waited long for a lock of this thread's: see longWaitChecks. */
  readonly #breakLocks = (thread: number): void => {
    const journal = this.#journals.find((_, lane) => laneThread(lane) === thread);
    if (journal !== undefined) releaseLocksIfDead(this.#ctx, thread, journal);
  };

  /**
   * EIO for a request whose lane died. While the lane was replying nobody here knows whether its
   * reply went out: the kernel does, and takes ours only if it did not get that one.
   */
  #answerFor(slot: number, thread: number, journal: ThreadJournal): void {
    const ctx = this.#ctx;
    const wasReplying = ctx.tables.slots.state(slot) === SLOT_STATE.REPLYING;
    ctx.loadSlot(slot);
    // In an entry of io_uring a second reply would be that of the next request.
    if (ctx.entry >= 0 && !ctx.tables.entries.isHeldBy(ctx.entry, slot)) return;
    const taken = reply(ctx, this.#settings.task.fuseFd, -ERRNO.EIO);
    if (!wasReplying || taken) undoOfDead(ctx, this.#settings.memory, thread, journal);
  }
}
