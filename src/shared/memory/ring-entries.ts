/**
 * The entries of FUSE over io_uring: buffers in which the kernel leaves requests and finds replies, and
 * the words that tell how far each has come. They are shared memory and outlive the thread that serves
 * their queue.
 *
 * An entry is a page, then the payload. The page begins with what the kernel calls the request's header;
 * the request is put together as one message that ends in the payload, where its last arguments are.
 */
import { PAGE_SIZE } from '../sys/constants.ts';
import { ringBytes } from '../sys/io-uring.ts';
import { addressOf, write } from '../sys/libc.ts';

export interface RingGeometry {
  /** Threads that serve queues; 0 where the engine is not wanted. */
  readonly threads: number;
  /** Entries of each. */
  readonly entriesPerThread: number;
  /** Room for the arguments of a request, or of a reply; whole pages. */
  readonly payloadBytes: number;
}

export const NO_RINGS: RingGeometry = { threads: 0, entriesPerThread: 0, payloadBytes: 0 };

export const ENTRY_STATE = {
  /** Not known to the kernel. */
  UNREGISTERED: 0,
  /** The kernel has it, or will with the next enter(). */
  KERNEL: 1,
  /** It holds a request nobody has begun. */
  RECEIVED: 2,
  /** The thread of its queue runs the request. */
  EXECUTING: 3,
  /** The request is in a slot, for a lane. */
  IN_SLOT: 4,
  /** It holds the reply. */
  ANSWERED: 5,
  /** The kernel moves the request's data, as a request of the same ring. */
  TRANSFERRING: 6,
} as const;

/** Of a thread. */
const WAITING = 0; // Atomic: 1 while the thread waits in the kernel, or is about to; who takes it to 0 wakes it.
const ANSWERED_COUNT = 16; // Atomic: entries that others have answered since the thread last looked.
const WANTS_ROOM = 17; // Atomic: 1 while the thread waits for one of its slots to come free.
const ORDER = 18; // Atomic: RING_ORDER; written by main.
const COUNTS_CALLERS = 20; // Atomic: 1 while somebody wants to know whose requests come; written by main, read by the thread with each request.
const HAS_RETURNED = 21; // Atomic: 1 while main has moved entries of the thread that it has not looked at; set by main, taken by the thread.
const EVENT = 22; // Two cells: what the eventfd is read to, by the kernel. Nobody reads them; they outlive the thread, as its read does.
const EVENT_FD = 19; // Written by main before the thread starts, constant.
const THREAD_STRIDE = 32;

/** In the user_data of a ring's request: it is a transfer of the entry. */
const TRANSFER = 1 << 24;

/** The user_data of an entry's transfer; the entry's command has its number alone. */
export function transferOf(entry: number): number {
  return entry | TRANSFER;
}

export function isTransfer(userData: number): boolean {
  return (userData & TRANSFER) !== 0;
}

export function entryOf(userData: number): number {
  return userData & ~TRANSFER;
}

export const RING_ORDER = { WAIT: 0, REGISTER: 1, STOP: 2 } as const;

/** Of an entry. */
const STATE = 0; // Atomic: ENTRY_STATE. Moved by its queue's thread; from IN_SLOT by who answers; by main for a thread that died; of the reserve by main, too, to and from KERNEL.
const LEAD = 1; // Bytes of the message in front of the payload, 0: it makes no sense. Who takes the completion, before RECEIVED; read after.
const HOLDER = 2; // The slot, while IN_SLOT; written by the queue's thread before that.
const QUEUE = 3; // Number of its queue; main, at the start.
const ENTRY_STRIDE = 4;

/** Requests of a ring: a command for each entry, and the read of the eventfd. */
function ringRequests(g: RingGeometry): number {
  return g.entriesPerThread + 2;
}

/** A thread's ring and the one of the thread that serves in its place when it has died, in turns. */
const GENERATIONS = 2;

/** Rings there is room for: those, and main's own behind them. */
function ringCount(g: RingGeometry): number {
  return g.threads === 0 ? 0 : g.threads * GENERATIONS + 1;
}

export class RingEntries {
  static byteLength(g: RingGeometry): number {
    return 4 * (g.threads * THREAD_STRIDE + g.threads * g.entriesPerThread * ENTRY_STRIDE + 1);
  }

  /** Bytes of the request memory for rings and entries. */
  static memoryBytes(g: RingGeometry): number {
    const entries = g.threads * g.entriesPerThread * (PAGE_SIZE + g.payloadBytes);
    return ringCount(g) * ringBytes(ringRequests(g)) + entries;
  }

  readonly geometry: RingGeometry;
  readonly #cells: Int32Array;
  readonly #cellsAddress: number;
  readonly #entriesAt: number;
  readonly #ringsAt: number;
  readonly #memoryAt: number;
  readonly #entryBytes: number;
  readonly #one = new BigUint64Array(new SharedArrayBuffer(8)).fill(1n);
  readonly #oneAddress = addressOf(this.#one);

  /** @param memoryAt where memoryBytes() begin in the request memory, at a page */
  constructor(buffer: SharedArrayBuffer, geometry: RingGeometry, memoryAt: number) {
    this.geometry = geometry;
    this.#cells = new Int32Array(buffer);
    this.#cellsAddress = addressOf(this.#cells);
    this.#entriesAt = geometry.threads * THREAD_STRIDE;
    this.#ringsAt = memoryAt;
    this.#entryBytes = PAGE_SIZE + geometry.payloadBytes;
    this.#memoryAt = memoryAt + ringCount(geometry) * ringBytes(ringRequests(geometry));
  }

  get ringRequests(): number {
    return ringRequests(this.geometry);
  }

  /**
   * Where a thread's ring is, bytes; with the number of threads, main's own.
   * @param generation counts the threads that served in this place
   */
  ringAt(thread: number, generation: number): number {
    const place = thread * GENERATIONS + (generation % GENERATIONS);
    return this.#ringsAt + place * ringBytes(ringRequests(this.geometry));
  }

  /** The first entry of a thread. */
  firstOf(thread: number): number {
    return thread * this.geometry.entriesPerThread;
  }

  threadOf(entry: number): number {
    return Math.floor(entry / this.geometry.entriesPerThread);
  }

  // ---- where things are, offsets in the request memory ----

  headerAt(entry: number): number {
    return this.#memoryAt + entry * this.#entryBytes;
  }

  /** Two struct iovec by which the kernel is told of the entry. */
  iovecsAt(entry: number): number {
    return this.headerAt(entry) + 512;
  }

  payloadAt(entry: number): number {
    return this.headerAt(entry) + PAGE_SIZE;
  }

  /** @returns -1 where the kernel's lengths made no sense */
  messageAt(entry: number): number {
    const lead = this.#cells[this.#at(entry) + LEAD];
    return lead > 0 ? this.payloadAt(entry) - lead : -1;
  }

  // ---- an entry's life ----

  /** Who moves the state writes all else of the entry before, and reads it after. */
  state(entry: number): number {
    // Pairs with the stores in setState() and answered(), and with that of WorkRings.pushNoted().
    return Atomics.load(this.#cells, this.#at(entry) + STATE);
  }

  setState(entry: number, state: number): void {
    // Pairs with the load in state().
    Atomics.store(this.#cells, this.#at(entry) + STATE, state);
  }

  setLead(entry: number, leadBytes: number): void {
    this.#cells[this.#at(entry) + LEAD] = leadBytes;
  }

  /** Cells of an entry's state and holder, for who puts its request on a ring: see EntryQueue. */
  get cells(): Int32Array {
    return this.#cells;
  }

  stateAt(entry: number): number {
    return this.#at(entry) + STATE;
  }

  holderAt(entry: number): number {
    return this.#at(entry) + HOLDER;
  }

  /** Whether the reply to the request of this slot is still to be written. */
  isHeldBy(entry: number, slot: number): boolean {
    return this.state(entry) === ENTRY_STATE.IN_SLOT && this.#cells[this.holderAt(entry)] === slot;
  }

  /** The reply of a request in a slot is written: its queue's thread takes it to the kernel. */
  answered(entry: number): void {
    const at = this.threadOf(entry) * THREAD_STRIDE;
    // Pairs with the load in state() and, the count, with takeAnswered(): the reply is written before.
    Atomics.store(this.#cells, this.#at(entry) + STATE, ENTRY_STATE.ANSWERED);
    Atomics.add(this.#cells, at + ANSWERED_COUNT, 1);
    this.wake(this.threadOf(entry));
  }

  queue(entry: number): number {
    return this.#cells[this.#at(entry) + QUEUE];
  }

  setQueue(entry: number, queue: number): void {
    this.#cells[this.#at(entry) + QUEUE] = queue;
  }

  // ---- a queue's thread and those who wake it ----

  /** The thread is about to wait; it looks once more before it does. */
  announceWait(thread: number): void {
    // Pairs with the compareExchange in wake(): either the thread sees what is new, or it is woken.
    Atomics.store(this.#cells, thread * THREAD_STRIDE + WAITING, 1);
  }

  announceRunning(thread: number): void {
    // Pairs with the compareExchange in wake(): one that came before has written the eventfd, and the
    // next wait ends at once.
    Atomics.store(this.#cells, thread * THREAD_STRIDE + WAITING, 0);
  }

  wake(thread: number): void {
    const at = thread * THREAD_STRIDE;
    // Pairs with the store in announceWait(): what the thread is to see is written before.
    if (Atomics.compareExchange(this.#cells, at + WAITING, 1, 0) === 1) {
      write(this.#cells[at + EVENT_FD], this.#oneAddress, 8);
    }
  }

  /** Somebody died who may have answered an entry, or freed a slot, and told nobody. */
  lookAgain(thread: number): void {
    const at = thread * THREAD_STRIDE;
    // Pairs with takeAnswered() and wantsRoom(). Counted too often is no harm: the thread looks at all its
    // entries.
    Atomics.add(this.#cells, at + ANSWERED_COUNT, this.geometry.entriesPerThread);
    Atomics.store(this.#cells, at + WANTS_ROOM, 0);
    write(this.#cells[at + EVENT_FD], this.#oneAddress, 8);
  }

  hasAnswered(thread: number): boolean {
    // Pairs with the add in answered(): after announceWait() we see it, or who answered sees that we wait.
    return Atomics.load(this.#cells, thread * THREAD_STRIDE + ANSWERED_COUNT) > 0;
  }

  /** How many entries others have answered since the last call. */
  takeAnswered(thread: number): number {
    // Pairs with the add in answered(): what was counted is ANSWERED.
    return Atomics.exchange(this.#cells, thread * THREAD_STRIDE + ANSWERED_COUNT, 0);
  }

  /** The thread found no free slot. */
  askForRoom(thread: number): void {
    // Pairs with the compareExchange in tellRoom().
    Atomics.store(this.#cells, thread * THREAD_STRIDE + WANTS_ROOM, 1);
  }

  /** Whether it was told of none since it asked. */
  wantsRoom(thread: number): boolean {
    // Pairs with the compareExchange in tellRoom(): after announceWait() either we see that we were told,
    // or who tells sees that we wait.
    return Atomics.load(this.#cells, thread * THREAD_STRIDE + WANTS_ROOM) === 1;
  }

  /** A slot of the thread was freed. */
  tellRoom(thread: number): void {
    // Pairs with the store in askForRoom(), which comes before the look for a slot, and with wantsRoom().
    const at = thread * THREAD_STRIDE + WANTS_ROOM;
    if (Atomics.compareExchange(this.#cells, at, 1, 0) === 1) this.wake(thread);
  }

  setEventFd(thread: number, fd: number): void {
    this.#cells[thread * THREAD_STRIDE + EVENT_FD] = fd;
  }

  /** Whether the thread is to count by callers. Main. */
  setCountsCallers(thread: number, isWanted: boolean): void {
    // Pairs with the load in countsCallers().
    Atomics.store(this.#cells, thread * THREAD_STRIDE + COUNTS_CALLERS, isWanted ? 1 : 0);
  }

  countsCallers(thread: number): boolean {
    // Pairs with the store in setCountsCallers(), before which nothing is written.
    return Atomics.load(this.#cells, thread * THREAD_STRIDE + COUNTS_CALLERS) === 1;
  }

  /** Main has moved entries of the thread to RECEIVED or UNREGISTERED: it is to take them up. Main. */
  lookAtAll(thread: number): void {
    // Pairs with the load in mustLook(), after announceWait(): it sees this, or we see that it waits.
    // The states are written before.
    Atomics.store(this.#cells, thread * THREAD_STRIDE + HAS_RETURNED, 1);
    this.wake(thread);
  }

  mustLook(thread: number): boolean {
    // Pairs with the store in lookAtAll(): after announceWait() we see it, or who tells sees that we wait.
    return Atomics.load(this.#cells, thread * THREAD_STRIDE + HAS_RETURNED) === 1;
  }

  /** The thread looks at all its entries from now on. */
  takeLook(thread: number): void {
    // Before the look, and pairs with the store in lookAtAll(): what main moves during it is told again.
    Atomics.store(this.#cells, thread * THREAD_STRIDE + HAS_RETURNED, 0);
  }

  /** Address of 8 bytes that the thread's eventfd is read to. */
  eventAddress(thread: number): number {
    return this.#cellsAddress + 4 * (thread * THREAD_STRIDE + EVENT);
  }

  /** Tells the thread what to do. Main. */
  order(thread: number, order: number): void {
    const at = thread * THREAD_STRIDE;
    // Pairs with the loads in waitForOrder() and isStopping().
    Atomics.store(this.#cells, at + ORDER, order);
    Atomics.notify(this.#cells, at + ORDER, 1);
    this.wake(thread);
  }

  /** Waits for main's word. @returns RING_ORDER.REGISTER or STOP */
  waitForOrder(thread: number): number {
    const at = thread * THREAD_STRIDE + ORDER;
    // Pairs with the store in order().
    while (Atomics.load(this.#cells, at) === RING_ORDER.WAIT) {
      Atomics.wait(this.#cells, at, RING_ORDER.WAIT, 1000);
    }
    return Atomics.load(this.#cells, at);
  }

  isStopping(thread: number): boolean {
    // Pairs with the store in order(): after announceWait() we see it, or order() sees that we wait.
    return Atomics.load(this.#cells, thread * THREAD_STRIDE + ORDER) === RING_ORDER.STOP;
  }

  #at(entry: number): number {
    return this.#entriesAt + entry * ENTRY_STRIDE;
  }
}
