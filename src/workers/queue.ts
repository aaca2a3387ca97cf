/**
 * A thread that serves queues of FUSE over io_uring: it sits on the CPU of its queue, takes the requests
 * that were made there, answers what does not block, leaves the rest to the lanes, and takes all replies
 * to the kernel. Runs until the connection ends or it is told to stop.
 */
import type { MessagePort } from 'node:worker_threads';
import { ERRNO, errnoName } from '../shared/abi/errno.ts';
import { OP, ROW_BY_OPCODE } from '../shared/abi/opcodes.ts';
import { type CallerSums, CallerTable } from '../shared/caller-table.ts';
import { nowUs } from '../shared/clock.ts';
import {
  ENTRY_STATE,
  entryOf,
  isTransfer,
  RING_ORDER,
  transferOf,
} from '../shared/memory/ring-entries.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import { laneThread, queueThread, ThreadJournal } from '../shared/memory/thread-journal.ts';
import { NEGOTIATED, type PassthroughConfig } from '../shared/passthrough/config.ts';
import { Context, type LogLevel } from '../shared/passthrough/context.ts';
import { countCaller } from '../shared/passthrough/count-caller.ts';
import { pushCommit, pushRegister } from '../shared/passthrough/entry-commands.ts';
import { putEntryHeader, takeEntryMessage } from '../shared/passthrough/entry-messages.ts';
import { EntryQueue } from '../shared/passthrough/entry-queue.ts';
import { answerInPlace, mayTryInPlace } from '../shared/passthrough/in-place.ts';
import { InPlacePolicy } from '../shared/passthrough/in-place-policy.ts';
import { answerException, isDeferred, replyOrUndo } from '../shared/passthrough/operations.ts';
import { Tracer } from '../shared/passthrough/trace.ts';
import { endTransfer, prepareTransfer, Transfer } from '../shared/passthrough/transfers.ts';
import { beginWork, endWork } from '../shared/request-stats.ts';
import { STAT } from '../shared/stats-layout.ts';
import {
  IORING_OP_NOP,
  IORING_OP_READ,
  IORING_OP_WRITE,
  putAddress,
  Ring,
  type RingPlace,
  SQE,
} from '../shared/sys/io-uring.ts';
import { addressOf, schedSetaffinity, write } from '../shared/sys/libc.ts';
import { ownThreadId } from '../shared/sys/thread-id.ts';
import { becomeServer, dropOwnGroups } from './server-thread.ts';

/** What main gives such a thread at its start. */
export interface QueueTask {
  /** Its place among those threads. */
  readonly index: number;
  /** The CPU it is to sit on; below 0: any. */
  readonly cpu: number;
  /** How many of its entries are used: the first ones. */
  readonly entries: number;
  readonly ring: RingPlace;
  /** Whether it serves in the place of one that died: the engine is on. */
  readonly isNext: boolean;
  readonly memory: SharedMemory;
  readonly config: PassthroughConfig;
  readonly fuseFd: number;
  /** An eventfd by which others wake this thread. */
  readonly eventFd: number;
  /** An eventfd that wakes main. */
  readonly wakeFd: number;
  /** Of the reserve, whose entries are on main's ring: an eventfd that tells main of answers; else -1. */
  readonly reserveFd: number;
  /** Where trace lines go, -1 for nowhere. */
  readonly traceFd: number;
  readonly port: MessagePort;
}

/** What it tells main, over the port. */
export type QueueMessage =
  | { readonly kind: 'log'; readonly level: LogLevel; readonly key: string; readonly text: string }
  | { readonly kind: 'unlocked'; readonly inode: number }
  /** Whose requests came, while somebody wants to know. */
  | { readonly kind: 'served'; readonly served: CallerSums }
  /** A descriptor to close for which the ring had no room. */
  | { readonly kind: 'close'; readonly fd: number; readonly mount: number }
  /** So many requests went to lanes within a few milliseconds. */
  | { readonly kind: 'hops'; readonly count: number }
  /** The kernel has its entries. */
  | { readonly kind: 'registered' }
  /** The kernel refused an entry, and with it the engine. */
  | { readonly kind: 'refused'; readonly errno: number };

/** In the place of an entry's number: the read of the eventfd, and what was taken back. */
const EVENT = -2;
const NOTHING = -3;
/** Replies that wait for those behind them at the most, before they go to the kernel. */
const COMMIT_BATCH = 8;
/** Main is told of requests for lanes so often, if there are some. */
const TELL_HOPS_US = 2000;
/** When no lane was free main is told, not more often than this. */
const TELL_MAIN_US = 50_000;
/** Main is told of callers not more often than this. */
const TELL_CALLERS_US = 200_000;
/** Entries the kernel refuses one after the other, before one is left out. */
const MOST_REFUSALS = 64;
const CPU_MASK_BYTES = 1024;

class Queue {
  readonly #task: QueueTask;
  readonly #ctx: Context;
  readonly #ring: Ring;
  readonly #first: number;
  readonly #end: number;
  readonly #queue: EntryQueue;
  readonly #policy: InPlacePolicy;
  readonly #lanes: ThreadJournal[];
  readonly #one = new BigUint64Array(new SharedArrayBuffer(8)).fill(1n);
  readonly #oneAddress = addressOf(this.#one);
  readonly #transfer = new Transfer();
  /** By entry, from our first one on: when its request came, while it is TRANSFERRING. */
  readonly #receivedUs: Float64Array;
  #isEventArmed = false;
  /** The kernel has had our entries: one it refuses is not the end. */
  #isEngaged: boolean;
  /** Of entries by the kernel, since the last request. */
  #refusals = 0;
  #hasEnded = false;
  /** Above 0 while entries are RECEIVED: for lack of a slot, or as a dead thread or main left them. */
  #waiting = 0;
  #toldMainUs = 0;
  /** Requests for lanes since main was told of some, and when that was. */
  #hops = 0;
  #toldHopsUs = 0;
  /** Of whom the requests were that main was not told of. */
  readonly #callers = new CallerTable();
  #toldCallersUs = 0;

  constructor(task: QueueTask) {
    const { memory, config, index } = task;
    const { maxLanes } = memory.geometry;
    this.#task = task;
    this.#isEngaged = task.isNext;
    this.#lanes = Array.from(
      { length: maxLanes },
      (_, lane) => new ThreadJournal(memory.journal, laneThread(lane)),
    );
    this.#ctx = new Context({
      memory,
      config,
      thread: queueThread(maxLanes, index),
      mayBlock: false,
      isInProcSelfFd: true,
      report: (level, key, text) => this.#tell({ kind: 'log', level, key, text }),
      tracer: task.traceFd >= 0 ? new Tracer(task.traceFd, `queue-${index}`) : undefined,
      closeHeld: (fd, mount) => this.#closeInLane(fd, mount),
      onUnlocked: (inode) => this.#tell({ kind: 'unlocked', inode }),
    });
    this.#ctx.fuseFd = task.fuseFd;
    this.#ring = new Ring(this.#ctx.i32, task.ring);
    this.#first = this.#ctx.tables.entries.firstOf(index);
    this.#end = this.#first + task.entries;
    this.#receivedUs = new Float64Array(task.entries);
    this.#queue = new EntryQueue(this.#ctx, index);
    this.#policy = new InPlacePolicy(this.#ctx, {
      hasDeputy: false,
      keepsAway: true,
      isAlone: () => this.#ring.peekCqe() < 0,
    });
  }

  run(): void {
    const { journal, entries } = this.#ctx.tables;
    journal.setThreadId(ownThreadId());
    dropOwnGroups(this.#ctx);
    this.#sitOnCpu();
    const { index } = this.#task;
    if (entries.waitForOrder(index) === RING_ORDER.STOP) return;
    this.#begin();
    while (!this.#hasEnded && !entries.isStopping(index)) {
      this.#takeCompletions();
      this.#takeAnswered();
      if (entries.mustLook(index)) this.#takeUp();
      if (this.#waiting > 0) this.#placeWaiting();
      if (this.#callers.requests() > 0) this.#tellCallers();
      this.#wait();
    }
  }

  #tell(message: QueueMessage): void {
    this.#task.port.postMessage(message);
  }

  /** It stays where the kernel puts it if it may not sit there, or the CPU is offline. */
  #sitOnCpu(): void {
    const { cpu, index } = this.#task;
    if (cpu < 0) return;
    const mask = new Uint8Array(new SharedArrayBuffer(CPU_MASK_BYTES));
    mask[cpu >> 3] = 1 << (cpu & 7);
    const error = schedSetaffinity(addressOf(mask), CPU_MASK_BYTES);
    if (error >= 0) return;
    const text = `the thread of queue ${index} cannot sit on CPU ${cpu}: ${errnoName(error)}`;
    this.#ctx.report('debug', 'affinity', text);
  }

  /** Gives the kernel what it does not have yet. */
  #begin(): void {
    this.#takeUp();
    this.#ring.enter(0);
    this.#takeCompletions();
    if (this.#hasEnded) return;
    this.#isEngaged = true;
    this.#tell({ kind: 'registered' });
  }

  /** Takes up entries where they stand: new ones, those of a thread that died, and what main took back. */
  #takeUp(): void {
    const { entries } = this.#ctx.tables;
    entries.takeLook(this.#task.index);
    for (let entry = this.#first; entry < this.#end; entry++) {
      switch (entries.state(entry)) {
        case ENTRY_STATE.UNREGISTERED:
          if (this.#task.reserveFd < 0) this.#register(entry);
          break;
        case ENTRY_STATE.ANSWERED:
          this.#commit(entry);
          break;
        case ENTRY_STATE.RECEIVED:
          this.#waiting++;
          break;
        default:
          break;
      }
    }
  }

  // ---- the ring ----
  // As with KERNEL (entry-commands.ts), an entry is TRANSFERRING only while a request of the ring has it.

  #register(entry: number): void {
    pushRegister(this.#ctx, this.#ring, this.#task.fuseFd, entry);
  }

  #commit(entry: number): void {
    const { fuseFd, reserveFd } = this.#task;
    if (reserveFd >= 0) {
      write(reserveFd, this.#oneAddress, 8);
      return;
    }
    pushCommit(this.#ctx, this.#ring, fuseFd, entry);
    if (this.#ring.pending >= COMMIT_BATCH) this.#enter(0);
  }

  #armEvent(): void {
    const { i32, tables } = this.#ctx;
    const sqe = this.#ring.nextSqe();
    i32[sqe] = IORING_OP_READ;
    i32[sqe + (SQE.fd >> 2)] = this.#task.eventFd;
    putAddress(i32, sqe + (SQE.addr >> 2), tables.entries.eventAddress(this.#task.index));
    i32[sqe + (SQE.len >> 2)] = 8;
    i32[sqe + (SQE.user_data >> 2)] = EVENT;
    this.#ring.push();
    this.#isEventArmed = true;
  }

  #enter(minComplete: number): void {
    const error = this.#ring.enter(minComplete);
    if (error >= 0 || error === -ERRNO.EINTR || error === -ERRNO.EAGAIN) return;
    if (error === -ERRNO.EBUSY) return;
    throw new Error(`io_uring_enter: ${errnoName(error)}`);
  }

  /** Hands in what is pending; waits if nothing else is to do. */
  #wait(): void {
    const { entries } = this.#ctx.tables;
    const { index } = this.#task;
    if (this.#hasEnded) return;
    if (!this.#isEventArmed) this.#armEvent();
    entries.announceWait(index);
    // Who answers, frees a slot, or stops us, looks whether we wait after that: one of us sees the other.
    const hasRoom = this.#waiting > 0 && !entries.wantsRoom(index);
    const isAsked = entries.mustLook(index) || entries.isStopping(index);
    const isBusy = hasRoom || isAsked || entries.hasAnswered(index);
    this.#enter(isBusy ? 0 : 1);
    entries.announceRunning(index);
  }

  #takeCompletions(): void {
    const { i32 } = this.#ctx;
    const ring = this.#ring;
    for (let cqe = ring.peekCqe(); cqe >= 0; cqe = ring.peekCqe()) {
      const result = i32[cqe + 2];
      const entry = i32[cqe];
      if (entry < 0) {
        ring.takeCqe();
        if (entry === EVENT) this.#isEventArmed = false;
      } else if (isTransfer(entry)) {
        this.#transferred(entryOf(entry), result);
      } else if (result >= 0) {
        // The state before the completion is taken: whoever serves after our death finds one or the other.
        const message = this.#receive(entry);
        ring.takeCqe();
        if (message >= 0 && this.#ctx.tables.entries.countsCallers(this.#task.index)) {
          this.#count(entry, message);
        }
        this.#serve(entry, message);
      } else {
        this.#ctx.tables.entries.setState(entry, ENTRY_STATE.UNREGISTERED);
        ring.takeCqe();
        this.#failed(entry, -result);
      }
    }
  }

  /** @returns where the request's message is, -1 if there is none that makes sense */
  #receive(entry: number): number {
    const message = takeEntryMessage(this.#ctx, entry);
    this.#refusals = 0;
    this.#ctx.tables.entries.setState(entry, ENTRY_STATE.RECEIVED);
    return message;
  }

  /** Counts a request with its caller; `sluice top` is looking. */
  #count(entry: number, message: number): void {
    this.#ctx.loadEntry(entry, message);
    countCaller(this.#callers, this.#ctx);
  }

  #tellCallers(): void {
    const now = nowUs();
    if (now - this.#toldCallersUs < TELL_CALLERS_US) return;
    this.#toldCallersUs = now;
    this.#tell({ kind: 'served', served: this.#callers.takeAll() });
  }

  /** A command did not bring a request. */
  #failed(entry: number, errno: number): void {
    const isOver = errno === ERRNO.ENOTCONN || errno === ERRNO.ECONNABORTED;
    if (isOver || errno === ERRNO.ENODEV) {
      this.#hasEnded = true;
    } else if (this.#isEngaged) {
      // Another request may come to an entry the kernel knows; it does not know this one.
      const text = `the kernel refused a reply by io_uring: ${errnoName(-errno)}`;
      this.#ctx.report('error', `uring-commit-${errno}`, text);
      // One that is refused again and again would keep us busy with nothing else.
      if (++this.#refusals < MOST_REFUSALS) this.#register(entry);
    } else {
      this.#tell({ kind: 'refused', errno });
      this.#hasEnded = true;
    }
  }

  // ---- requests ----

  #serve(entry: number, message: number): void {
    const ctx = this.#ctx;
    if (message < 0) {
      putEntryHeader(ctx, entry, -ERRNO.EIO, 0);
      // Of the reserve main hands in what is.
      ctx.tables.entries.setState(entry, ENTRY_STATE.ANSWERED);
      this.#commit(entry);
      return;
    }
    ctx.loadEntry(entry, message);
    ctx.receivedUs = nowUs();
    this.#work(entry, true, 0);
  }

  /** Begins with the loaded request, or ends it after its transfer of so many bytes. */
  #work(entry: number, isNew: boolean, transferred: number): void {
    const ctx = this.#ctx;
    const { entries, stats } = ctx.tables;
    const startUs = isNew ? ctx.receivedUs : nowUs();
    entries.setState(entry, ENTRY_STATE.EXECUTING);
    beginWork(stats, startUs, ctx.opcode, ctx.nodeLo, ctx.nodeHi);
    try {
      if (isNew) this.#dispatch(entry);
      else this.#endTransfer(entry, transferred);
    } catch (error) {
      if (entries.state(entry) !== ENTRY_STATE.EXECUTING) throw error;
      answerException(ctx, 'queue', error);
    }
    endWork(stats, nowUs() - startUs);
    if (entries.state(entry) === ENTRY_STATE.ANSWERED) this.#commit(entry);
    if (ctx.isUnsafe) this.#endThread();
  }

  /** As somebody else it may not go on; the next thread takes up the entries. */
  #endThread(): void {
    this.#ring.enter(0);
    this.#ctx.report('error', 'privileges', 'a queue could not take its own ids back and ends');
    process.exit(1);
  }

  #dispatch(entry: number): void {
    const ctx = this.#ctx;
    const row = ROW_BY_OPCODE[ctx.opcode];
    const { fuseFd } = this.#task;
    ctx.tracer?.request(ctx);
    // FORGET and INTERRUPT come from /dev/fuse, to main; after DESTROY nothing comes any more.
    if (row?.class === 'control') {
      replyOrUndo(ctx, fuseFd, ctx.opcode === OP.DESTROY ? 0 : -ERRNO.ENOSYS);
    } else if (!ctx.has(NEGOTIATED.INITIALISED)) replyOrUndo(ctx, fuseFd, -ERRNO.EIO);
    else if (row === undefined || row.class === 'absent') replyOrUndo(ctx, fuseFd, -ERRNO.ENOSYS);
    else {
      const mount = ctx.mountOf(ctx.nodeLo);
      const isAnswered = this.#policy.mayBeBold(mount)
        ? this.#answerBoldly(mount)
        : // RWF_NOWAIT keeps a write from waiting for pages, and not for a file system that is frozen.
          ctx.opcode !== OP.WRITE && mayTryInPlace(ctx, mount) && answerInPlace(ctx);
      if (!isAnswered && !this.#toRing(entry)) this.#toLane(entry, mount);
    }
  }

  /** Answers with calls that a local disk could delay, as long as it has been quick. */
  #answerBoldly(mount: number): boolean {
    const ctx = this.#ctx;
    ctx.isBold = true;
    this.#policy.begins(mount);
    try {
      return answerInPlace(ctx);
    } finally {
      ctx.isBold = false;
      this.#policy.ended(mount, nowUs() - ctx.receivedUs);
    }
  }

  // ---- data the kernel moves ----

  /** Has the kernel make a READ or WRITE by itself. @returns whether it does */
  #toRing(entry: number): boolean {
    const ctx = this.#ctx;
    const isPossible = prepareTransfer(ctx, this.#transfer) && this.#submit(entry);
    // By now the kernel has the file, whatever becomes of the descriptor.
    ctx.finish();
    return isPossible;
  }

  /** @returns whether the kernel has taken the transfer */
  #submit(entry: number): boolean {
    const { i32, tables, receivedUs, base } = this.#ctx;
    const { isWrite, fd, at, sizeBytes, offsetLo, offsetHi } = this.#transfer;
    const sqe = this.#ring.nextSqe();
    i32[sqe] = isWrite ? IORING_OP_WRITE : IORING_OP_READ;
    i32[sqe + (SQE.fd >> 2)] = fd;
    i32[sqe + (SQE.off >> 2)] = offsetLo;
    i32[sqe + (SQE.off >> 2) + 1] = offsetHi;
    putAddress(i32, sqe + (SQE.addr >> 2), base + at);
    i32[sqe + (SQE.len >> 2)] = sizeBytes;
    i32[sqe + (SQE.user_data >> 2)] = transferOf(entry);
    this.#receivedUs[entry - this.#first] = receivedUs;
    this.#ring.push();
    tables.entries.setState(entry, ENTRY_STATE.TRANSFERRING);
    this.#enter(0);
    if (this.#ring.pending === 0) {
      tables.stats.add(STAT.RING_TRANSFERS, 1);
      return true;
    }
    // It would be taken later, when the descriptor may be another file.
    tables.entries.setState(entry, ENTRY_STATE.EXECUTING);
    i32[sqe] = IORING_OP_NOP;
    i32[sqe + (SQE.user_data >> 2)] = NOTHING;
    return false;
  }

  #transferred(entry: number, count: number): void {
    const ctx = this.#ctx;
    const { entries } = ctx.tables;
    // As with a new request. What was moved may be moved again.
    entries.setState(entry, ENTRY_STATE.RECEIVED);
    this.#ring.takeCqe();
    ctx.loadEntry(entry, entries.messageAt(entry));
    ctx.receivedUs = this.#receivedUs[entry - this.#first];
    this.#work(entry, false, count);
  }

  #endTransfer(entry: number, count: number): void {
    const ctx = this.#ctx;
    const result = endTransfer(ctx, count);
    ctx.finish();
    if (isDeferred(result)) this.#toLane(entry, ctx.mountOf(ctx.nodeLo));
    else replyOrUndo(ctx, this.#task.fuseFd, result);
  }

  // ---- lanes ----

  #toLane(entry: number, mount: number): void {
    if (this.#queue.place(mount)) {
      this.#wakeLane();
      this.#countHop();
      return;
    }
    this.#ctx.tables.entries.setState(entry, ENTRY_STATE.RECEIVED);
    this.#waiting++;
  }

  /** A lane is woken for each, and we by the lane: main may keep CPUs awake. */
  #countHop(): void {
    const { receivedUs } = this.#ctx;
    this.#hops++;
    if (receivedUs - this.#toldHopsUs < TELL_HOPS_US) return;
    if (this.#hops > 1) this.#tell({ kind: 'hops', count: this.#hops });
    this.#hops = 0;
    this.#toldHopsUs = receivedUs;
  }

  #wakeLane(): void {
    for (const journal of this.#lanes) if (journal.wake()) return;
    // All are at work, or held up: main looks after that.
    const now = nowUs();
    if (now - this.#toldMainUs < TELL_MAIN_US) return;
    this.#toldMainUs = now;
    write(this.#task.wakeFd, this.#oneAddress, 8);
  }

  #closeInLane(fd: number, mount: number): void {
    const { rings } = this.#ctx.tables;
    if (rings.ownDepth(mount) < rings.capacity >> 1 && rings.push(mount, ~fd)) this.#wakeLane();
    else this.#tell({ kind: 'close', fd, mount });
  }

  /** Replies that lanes, or main, have written. */
  #takeAnswered(): void {
    const { entries } = this.#ctx.tables;
    let count = entries.takeAnswered(this.#task.index);
    for (let entry = this.#first; count > 0 && entry < this.#end; entry++) {
      if (entries.state(entry) !== ENTRY_STATE.ANSWERED) continue;
      this.#commit(entry);
      count--;
    }
  }

  /** Requests that found no slot, or that a dead thread had not begun. */
  #placeWaiting(): void {
    const { entries } = this.#ctx.tables;
    // First the question, then the look: a slot freed in between wakes us again.
    entries.askForRoom(this.#task.index);
    this.#waiting = 0;
    for (let entry = this.#first; entry < this.#end; entry++) {
      if (entries.state(entry) === ENTRY_STATE.RECEIVED)
        this.#serve(entry, entries.messageAt(entry));
    }
  }
}

/** The piscina task: returns when the connection has ended or the thread was told to stop. */
export default function queue(task: QueueTask): void {
  becomeServer(task.config.procSelfFd);
  new Queue(task).run();
  task.port.close();
}
