/**
 * The life of the threads that serve the queues of FUSE over io_uring: long-running piscina tasks, one
 * for each CPU. When one dies, what it held is given back, and the next one takes up its entries.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { URING_COMMAND, URING_COMMIT_AND_FETCH, URING_REGISTER } from '../../shared/abi/uring.ts';
import type { CallerSums } from '../../shared/caller-table.ts';
import { nowUs } from '../../shared/clock.ts';
import type { Logger } from '../../shared/log.ts';
import { longWaitChecks } from '../../shared/memory/lock.ts';
import { ENTRY_STATE, entryOf, isTransfer, RING_ORDER } from '../../shared/memory/ring-entries.ts';
import type { SharedMemory } from '../../shared/memory/shared-memory.ts';
import { queueThread, ThreadJournal } from '../../shared/memory/thread-journal.ts';
import type { Context, LogLevel } from '../../shared/passthrough/context.ts';
import { takeEntryMessage } from '../../shared/passthrough/entry-messages.ts';
import { reply } from '../../shared/passthrough/operations.ts';
import { STAT } from '../../shared/stats-layout.ts';
import { EFD_CLOEXEC } from '../../shared/sys/constants.ts';
import {
  IORING_OP_URING_CMD,
  Ring,
  type RingPlace,
  SQE,
  setUpRing,
} from '../../shared/sys/io-uring.ts';
import { close, eventfd } from '../../shared/sys/libc.ts';
import type { QueueMessage, QueueTask } from '../../workers/queue.ts';
import type { UringPlan } from '../session/uring.ts';
import { hasToBeDone, recoverDead, releaseLocksIfDead, undoOfDead } from './recovery.ts';
import { ReserveRing } from './reserve-ring.ts';

export interface QueueEvents {
  onUnlocked(inode: number): void;
  /** A descriptor is to be closed for which a queue found no room. */
  onClose(fd: number, mount: number): void;
  /** A queue has given so many requests to lanes, one after the other. */
  onHops(count: number): void;
  onReport(level: LogLevel, key: string, text: string): void;
  /** Whose requests a queue's thread has taken. */
  onServed(served: CallerSums): void;
}

export interface QueueSettings {
  readonly plan: UringPlan;
  readonly memory: SharedMemory;
  readonly task: Pick<QueueTask, 'config' | 'fuseFd' | 'wakeFd' | 'traceFd'>;
  readonly logger: Logger;
}

const REGISTER_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 3000;
/** A thread that dies sooner than this after its start is started again after a pause. */
const SHORT_LIFE_MS = 200;
const RESTART_DELAY_MS = 500;
/** So long the next thread waits for the kernel to let go of the entries of a dead one; it does so by itself. */
const CANCEL_TIMEOUT_MS = 500;
/** So often main looks, at first, and when it takes longer: a transfer may last as long as its disk likes. */
const CANCEL_POLL_MS = 5;
const LATE_POLL_MS = 50;
/** So often the threads tell of callers that made no request since. */
const TELL_CALLERS_MS = 400;
/** In the place of the descriptor of a ring whose thread has died, until the next one has its own. */
const CLOSED = -1;
const STILL_OUT = 'the kernel still moves data of a dead thread; those requests wait for it';
/** No queue has this number: the kernel refuses it, and with it the engine. */
const NO_QUEUE = 0xffff;

function whyNoRing(error: number): string {
  const cure = error === -ERRNO.ENOMEM ? '; raise the limit of locked memory (ulimit -l)' : '';
  return `a ring cannot be made: ${errnoName(error)}${cure}`;
}

function whyRefused(errno: number): string {
  return `the kernel does not register a queue: ${errnoName(-errno)}`;
}

export class Queues {
  readonly #settings: QueueSettings;
  readonly #ctx: Context;
  readonly #events: QueueEvents;
  readonly #pool: Piscina;
  readonly #rings: RingPlace[] = [];
  readonly #eventFds: number[] = [];
  readonly #ended: Promise<void>[] = [];
  readonly #generations: number[] = [];
  /** Threads whose entries the kernel has. */
  readonly #registered = new Set<number>();
  #onRegistered: ((refusal: string | undefined) => void) | undefined;
  readonly #reserve: ReserveRing;
  /** By the place of a ring in memory: until the kernel is done with the one of a dead thread there. */
  readonly #drains = new Map<number, Promise<void>>();
  #isStopping = false;
  #stopping: Promise<boolean> | undefined;
  #callersTimer: NodeJS.Timeout | undefined;

  constructor(settings: QueueSettings, ctx: Context, events: QueueEvents) {
    this.#settings = settings;
    this.#ctx = ctx;
    this.#events = events;
    const count = settings.plan.threads.length;
    longWaitChecks.add(this.#breakLocks);
    const entries = settings.plan.threads.at(-1)?.queues.length ?? 0;
    this.#reserve = new ReserveRing(ctx, settings.task.fuseFd, count - 1, entries, (errno) =>
      this.#settle(whyRefused(errno)),
    );
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('../../workers/queue.js', import.meta.url)),
      minThreads: count,
      maxThreads: count,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      concurrentTasksPerWorker: 1,
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 },
    });
    // A thread's failure reaches us through its task.
    this.#pool.on('error', () => undefined);
  }

  /**
   * Makes the rings and starts the threads, which wait. Before FUSE_INIT is answered: once the kernel has
   * heard that we want the engine it holds all requests back until the queues are registered.
   * @returns why it cannot be
   */
  prepare(): string | undefined {
    const { threads } = this.#settings.plan;
    const error = this.#reserve.open();
    if (error < 0) return whyNoRing(error);
    for (const index of threads.keys()) {
      const fd = eventfd(0, EFD_CLOEXEC);
      if (fd < 0) return `an eventfd cannot be made: ${errnoName(fd)}`;
      this.#eventFds.push(fd);
      this.#ctx.tables.entries.setEventFd(index, fd);
      const error = this.#makeRing(index, 0);
      if (error < 0) return whyNoRing(error);
    }
    for (const index of threads.keys()) this.#start(index);
    return undefined;
  }

  /** After FUSE_INIT: gives the kernel all entries. @returns why it did not take them */
  async register(): Promise<string | undefined> {
    const outcome = new Promise<string | undefined>((resolve) => {
      this.#onRegistered = resolve;
    });
    // First the reserve: the kernel takes the entries last that it got first.
    this.#reserve.register();
    // One more entry could make the kernel believe that it has the engine.
    if (this.#onRegistered !== undefined) this.#orderAll(RING_ORDER.REGISTER);
    const timer = setTimeout(
      () => this.#settle('the threads of the queues did not start in time'),
      REGISTER_TIMEOUT_MS,
    );
    const refusal = await outcome;
    clearTimeout(timer);
    if (refusal !== undefined) this.#refuse();
    return refusal;
  }

  /** The pool's threads, for tests that end one. */
  threads(): readonly { terminate(): unknown }[] {
    return this.#pool.threads;
  }

  /** Wakes all threads, so that one that was told to end does. */
  wakeAll(): void {
    for (const index of this.#rings.keys()) this.#ctx.tables.entries.wake(index);
  }

  /** @returns false if a thread has not ended: it is in a call, and uses tables and descriptors still */
  stop(): Promise<boolean> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<boolean> {
    this.#isStopping = true;
    this.#settle('the mount has ended');
    clearInterval(this.#callersTimer);
    this.#reserve.unwatch();
    this.#orderAll(RING_ORDER.STOP);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), STOP_TIMEOUT_MS);
    });
    const ended = Promise.allSettled(this.#ended).then(() => true);
    const allEnded = await Promise.race([ended, late]);
    await Promise.race([this.#pool.destroy().catch(() => undefined), late]);
    clearTimeout(timer);
    longWaitChecks.delete(this.#breakLocks);
    // One that goes on would use the numbers, which may be somebody else's by then.
    if (!allEnded) return false;
    this.#reserve.close();
    for (const { fd } of this.#rings) if (fd !== CLOSED) close(fd);
    for (const fd of this.#eventFds) close(fd);
    return true;
  }

  #orderAll(order: number): void {
    for (const index of this.#rings.keys()) this.#ctx.tables.entries.order(index, order);
  }

  #settle(refusal: string | undefined): void {
    this.#onRegistered?.(refusal);
    this.#onRegistered = undefined;
  }

  /** @returns -errno */
  #makeRing(index: number, generation: number): number {
    const { tables, i32, base } = this.#ctx;
    const { entries } = tables;
    const at = entries.ringAt(index, generation);
    const place = setUpRing(i32, base, at, entries.ringRequests);
    if (typeof place === 'number') return place;
    this.#rings[index] = place;
    this.#generations[index] = generation;
    if (generation > 0) return 0;
    const { queues } = this.#settings.plan.threads[index] as { queues: readonly number[] };
    queues.forEach((queue, i) => {
      entries.setQueue(entries.firstOf(index) + i, queue);
    });
    return 0;
  }

  #start(index: number): void {
    const { memory, plan, task } = this.#settings;
    const { cpu, queues } = plan.threads[index] as UringPlan['threads'][number];
    this.#journal(index).clear();
    const beganMs = performance.now();
    const { port1, port2 } = new MessageChannel();
    port1.on('message', (message: QueueMessage) => this.#onMessage(index, message));
    port1.unref();
    const run = this.#pool.run(
      {
        ...task,
        memory,
        index,
        cpu,
        entries: queues.length,
        ring: this.#rings[index],
        isNext: (this.#generations[index] as number) > 0,
        eventFd: this.#eventFds[index],
        reserveFd: this.#isReserve(index) ? this.#reserve.eventFd : CLOSED,
        port: port2,
      },
      { transferList: [port2] },
    );
    this.#ended[index] = run.then(
      () => port1.close(),
      (error: unknown) => {
        port1.close();
        this.#onDeath(index, error, performance.now() - beganMs);
      },
    );
  }

  #isReserve(index: number): boolean {
    return index === this.#settings.plan.threads.length - 1;
  }

  #journal(index: number): ThreadJournal {
    const { memory } = this.#settings;
    return new ThreadJournal(memory.journal, queueThread(memory.geometry.maxLanes, index));
  }

  #onMessage(index: number, message: QueueMessage): void {
    switch (message.kind) {
      case 'registered':
        this.#registered.add(index);
        if (this.#registered.size === this.#rings.length) this.#settle(undefined);
        break;
      case 'refused':
        this.#settle(whyRefused(message.errno));
        break;
      case 'log':
        this.#events.onReport(message.level, message.key, message.text);
        break;
      case 'close':
        this.#events.onClose(message.fd, message.mount);
        break;
      case 'hops':
        this.#events.onHops(message.count);
        break;
      case 'unlocked':
        this.#events.onUnlocked(message.inode);
        break;
      case 'served':
        this.#events.onServed(message.served);
        break;
    }
  }

  /** Whether the threads are to count by callers, and tell. */
  countCallers(isWanted: boolean): void {
    for (const index of this.#rings.keys()) {
      this.#ctx.tables.entries.setCountsCallers(index, isWanted);
    }
    // A thread that waits for requests tells nothing.
    clearInterval(this.#callersTimer);
    if (isWanted) this.#callersTimer = setInterval(() => this.wakeAll(), TELL_CALLERS_MS).unref();
  }

  // ---- a thread that died ----

  #onDeath(index: number, error: unknown, livedMs: number): void {
    if (this.#isStopping) return;
    const reason = error instanceof Error ? error.message : String(error);
    if (!this.#registered.has(index)) {
      this.#settle(`a queue's thread does not start: ${reason}`);
      return;
    }
    this.#ctx.tables.stats.add(STAT.QUEUE_RESTARTS, 1);
    this.#settings.logger.error(
      { queue: index, reason },
      'the thread of a queue died; it is started again',
    );
    const place = this.#rings[index] as RingPlace;
    const ring = new Ring(this.#ctx.i32, place);
    // Before what it was at is answered: a transfer not handed in is no request that was begun.
    this.#takeUnsubmitted(ring);
    this.#recover(index);
    // The kernel cancels the waiting entries of a ring that is closed, and not those of a dead thread.
    close(place.fd);
    this.#rings[index] = { ...place, fd: CLOSED };
    void this.#takeUp(index, ring, livedMs < SHORT_LIFE_MS ? RESTART_DELAY_MS : 0);
  }

  /**
   * Starts a new thread when the kernel has let go of all entries. What it keeps for longer, transfers, is
   * taken back when it is done, for the thread that serves by then.
   */
  async #takeUp(index: number, ring: Ring, delayMs: number): Promise<void> {
    const beganMs = performance.now();
    const place = this.#ringPlace(index, this.#generations[index] as number);
    const drain = this.#drain(index, ring);
    this.#drains.set(place, drain);
    await Promise.race([drain, sleep(CANCEL_TIMEOUT_MS)]);
    if (ring.outstanding === 0) this.#drains.delete(place);
    else this.#settings.logger.warn({ queue: index, requests: ring.outstanding }, STILL_OUT);
    setTimeout(() => void this.#restart(index), Math.max(0, delayMs + beganMs - performance.now()));
  }

  /** Takes back what the kernel lets go of, until that is all. */
  async #drain(index: number, ring: Ring): Promise<void> {
    const beganMs = performance.now();
    while (!this.#isStopping) {
      const { outstanding } = ring;
      // Whoever serves by now has not begun with these.
      if (this.#takeCompletions(ring)) this.#ctx.tables.entries.lookAtAll(index);
      if (outstanding === 0) return;
      const isLate = performance.now() - beganMs > CANCEL_TIMEOUT_MS;
      await sleep(isLate ? LATE_POLL_MS : CANCEL_POLL_MS);
    }
  }

  /** Two rings of one thread lie in the same memory if this is the same. */
  #ringPlace(index: number, generation: number): number {
    return this.#ctx.tables.entries.ringAt(index, generation);
  }

  async #restart(index: number): Promise<void> {
    const generation = (this.#generations[index] as number) + 1;
    // The kernel writes to the memory of a ring until it is done with it.
    await this.#drains.get(this.#ringPlace(index, generation));
    if (this.#isStopping) return;
    const error = this.#makeRing(index, generation);
    if (error >= 0) {
      this.#start(index);
      return;
    }
    const text = whyNoRing(error);
    this.#events.onReport('error', 'queue-ring', `${text}; it is tried again`);
    setTimeout(() => void this.#restart(index), RESTART_DELAY_MS);
  }

  /** Gives back what the dead thread held, and answers the request it was at. */
  #recover(index: number): void {
    const ctx = this.#ctx;
    const { slots, mounts, stats, entries } = ctx.tables;
    const journal = this.#journal(index);
    const thread = queueThread(ctx.tables.maxLanes, index);
    recoverDead(ctx, thread, journal);
    // Taken, and not on a ring yet.
    if (journal.slot() >= 0) slots.free(journal.slot(), mounts, journal);
    stats.setOf(thread, STAT.BUSY_SINCE_MS, 0);
    journal.setThreadId(0);
    this.#forEachEntry(index, (entry) => {
      if (entries.state(entry) === ENTRY_STATE.EXECUTING) this.#answerFor(entry, thread, journal);
    });
  }

  #answerFor(entry: number, thread: number, journal: ThreadJournal): void {
    const ctx = this.#ctx;
    const { entries } = ctx.tables;
    ctx.loadEntry(entry, entries.messageAt(entry));
    ctx.receivedUs = nowUs();
    if (hasToBeDone(ctx)) {
      entries.setState(entry, ENTRY_STATE.RECEIVED);
      return;
    }
    undoOfDead(ctx, this.#settings.memory, thread, journal);
    reply(ctx, this.#settings.task.fuseFd, -ERRNO.EIO);
  }

  /** What a dead thread had filled in, and not handed in. */
  #takeUnsubmitted(ring: Ring): void {
    const { i32 } = this.#ctx;
    const { entries } = this.#ctx.tables;
    ring.forEachUnsubmitted((sqe) => {
      const userData = i32[sqe + (SQE.user_data >> 2)] as number;
      if (userData < 0) return;
      if (isTransfer(userData)) {
        entries.setState(entryOf(userData), ENTRY_STATE.RECEIVED);
        return;
      }
      const isReply = i32[sqe + (SQE.cmd_op >> 2)] === URING_COMMIT_AND_FETCH;
      entries.setState(userData, isReply ? ENTRY_STATE.ANSWERED : ENTRY_STATE.UNREGISTERED);
    });
  }

  /** What the kernel says of the entries of a ring whose thread is dead. @returns whether there was any */
  #takeCompletions(ring: Ring): boolean {
    const ctx = this.#ctx;
    const { i32 } = ctx;
    const { entries } = ctx.tables;
    let hasAny = false;
    for (let cqe = ring.peekCqe(); cqe >= 0; cqe = ring.peekCqe()) {
      const userData = i32[cqe] as number;
      const result = i32[cqe + 2] as number;
      ring.takeCqe();
      if (userData < 0) continue;
      hasAny = true;
      if (isTransfer(userData)) {
        // However it ended: it is made once more.
        entries.setState(entryOf(userData), ENTRY_STATE.RECEIVED);
        continue;
      }
      if (result >= 0) takeEntryMessage(ctx, userData);
      // ECANCELED: a request was on its way to the thread; the kernel has answered it so.
      entries.setState(userData, result >= 0 ? ENTRY_STATE.RECEIVED : ENTRY_STATE.UNREGISTERED);
    }
    return hasAny;
  }

  #forEachEntry(index: number, visit: (entry: number) => void): void {
    const first = this.#ctx.tables.entries.firstOf(index);
    const count = this.#settings.plan.threads[index]?.queues.length ?? 0;
    for (let entry = first; entry < first + count; entry++) visit(entry);
  }

  readonly #breakLocks = (thread: number): void => {
    const index = thread - queueThread(this.#settings.memory.geometry.maxLanes, 0);
    if (index < 0 || index >= this.#rings.length) return;
    releaseLocksIfDead(this.#ctx, thread, this.#journal(index));
  };

  // ---- doing without ----

  /** Has the kernel refuse an entry: else it would wait for the others for ever. */
  #refuse(): void {
    const { tables, i32, base } = this.#ctx;
    const { entries } = tables;
    const place = setUpRing(i32, base, entries.ringAt(0, 1), entries.ringRequests);
    if (typeof place === 'number') {
      this.#events.onReport('error', 'uring-refuse', `the engine stays on: ${errnoName(place)}`);
      return;
    }
    const ring = new Ring(i32, place);
    const sqe = ring.nextSqe();
    i32[sqe] = IORING_OP_URING_CMD;
    i32[sqe + (SQE.fd >> 2)] = this.#settings.task.fuseFd;
    i32[sqe + (SQE.cmd_op >> 2)] = URING_REGISTER;
    i32[sqe + ((SQE.cmd + URING_COMMAND.qid) >> 2)] = NO_QUEUE;
    ring.push();
    ring.enter(1);
    close(place.fd);
  }
}
