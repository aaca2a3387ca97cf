/**
 * Memory for requests on their way, and the words that tell how far each has come.
 *
 * Small slots hold requests that were copied out of the receive buffer; a large slot is a receive
 * buffer, handed over together with the large WRITE in it. Messages start 80 bytes before a page, so
 * that a WRITE's payload stands on the page (O_DIRECT needs that) and never crosses slots.
 *
 * A ring slot has no memory of its own: its message stands in an entry of FUSE over io_uring. Each thread
 * that serves queues has slots of its own, as it takes them while others receive.
 */
import { PAGE_SIZE } from '../sys/constants.ts';
import type { MountTable } from './mount-table.ts';
import type { ThreadJournal } from './thread-journal.ts';

/** Bytes from the start of a WRITE request to its payload. */
const WRITE_PAYLOAD_AT = 80;

export const SMALL_SLOT_BYTES = 2 * PAGE_SIZE;
/** The longest message a small slot takes: a WRITE of one page. */
export const SMALL_MESSAGE_BYTES = PAGE_SIZE + WRITE_PAYLOAD_AT;
/** Bytes from a page's start to a message, so that a WRITE's payload stands on the next page. */
export const MESSAGE_AT = PAGE_SIZE - WRITE_PAYLOAD_AT;

/** In the place of a mount: the request waits for a lock. */
export const TO_LOCK_WAITS = -1;

export const SLOT_STATE = {
  FREE: 0,
  QUEUED: 1,
  EXECUTING: 2,
  REPLYING: 3,
  /** Answered by main before a lane began; the lane that pops it frees it. */
  CANCELLED: 4,
  /** Given back by a lane, for main to queue for the mount in HANDED_TO. */
  HANDED: 5,
  /** Answered by main while a lane was at it; the lane undoes what it did, and frees it. */
  TIMED_OUT: 6,
} as const;

const H_SMALL_FREE = 0; // Atomic: top of the stack of free small slots, -1 when empty.
const H_LARGE_FREE = 16; // Atomic: the same for large slots.
const H_IN_USE = 32; // Atomic: slots in use.
const H_MAIN_WAITS = 33; // Atomic: 1 while main wants to hear of the next freed slot.
const SLOTS_AT = 48;

const STATE = 0; // Atomic: SLOT_STATE. FREE to QUEUED by who receives (see Receiver); from QUEUED and EXECUTING by compare-and-swap.
const NEXT = 1; // Free stack link; written by who pushes.
const GROUP = 2; // Backing mount. The rest is written by who receives before the slot is queued.
const UNIQUE_LO = 3;
const UNIQUE_HI = 4;
const HANDED_TO = 5; // Mount whose lanes should run the request; written before HANDED.
const RECEIVED_US = 6; // A double, as the next: when main received it, microseconds of nowUs().
const QUEUED_US = 8; // Since when it waits for a lane, the same.
const ENTRY = 10; // Of a ring slot: the entry; written by who takes the slot, before it is queued.
const MESSAGE = 11; // Of a ring slot: where the message is; the same.
const STRIDE = 12;

/** The heads of the stacks of free ring slots are a cache line apart. */
const HEAD_STRIDE = 16;

export interface SlotGeometry {
  readonly smallSlots: number;
  readonly largeSlots: number;
  /** Bytes of one large slot, whole pages. */
  readonly largeSlotBytes: number;
  /** Threads with ring slots, and how many each has. */
  readonly ringThreads: number;
  readonly ringSlotsPerThread: number;
}

function slotCount(g: SlotGeometry): number {
  return g.smallSlots + g.largeSlots + g.ringThreads * g.ringSlotsPerThread;
}

/** Bytes a large slot needs for WRITE requests of up to maxWriteBytes. */
export function largeSlotBytes(maxWriteBytes: number): number {
  return PAGE_SIZE + maxWriteBytes + PAGE_SIZE;
}

export class RequestSlots {
  /** Bytes of the words about slots. */
  static byteLength(g: SlotGeometry): number {
    return 4 * (SLOTS_AT + slotCount(g) * STRIDE + g.ringThreads * HEAD_STRIDE);
  }

  /** Bytes of the slots themselves. */
  static memoryBytes(g: SlotGeometry): number {
    return RequestSlots.largeSlotsAt(g) + g.largeSlots * g.largeSlotBytes;
  }

  /** Where in there the large ones begin. */
  static largeSlotsAt(g: SlotGeometry): number {
    return g.smallSlots * SMALL_SLOT_BYTES;
  }

  readonly geometry: SlotGeometry;
  /** How many there are, and the first ring slot. */
  readonly #count: number;
  readonly #firstRing: number;
  readonly #cells: Int32Array;
  readonly #doubles: Float64Array;

  constructor(buffer: SharedArrayBuffer, geometry: SlotGeometry) {
    this.geometry = geometry;
    this.#count = slotCount(geometry);
    this.#firstRing = geometry.smallSlots + geometry.largeSlots;
    this.#cells = new Int32Array(buffer);
    this.#doubles = new Float64Array(buffer, 0, buffer.byteLength >> 3);
  }

  /** Puts all slots on the free stacks. Main, once. */
  initialise(): void {
    this.#cells[H_SMALL_FREE] = -1;
    this.#cells[H_LARGE_FREE] = -1;
    for (let thread = 0; thread < this.geometry.ringThreads; thread++) {
      this.#cells[this.#ringHead(thread)] = -1;
    }
    for (let slot = this.#count - 1; slot >= 0; slot--) {
      const head = this.#headOf(slot);
      this.#cells[this.#at(slot) + NEXT] = this.#cells[head];
      this.#cells[head] = slot;
    }
  }

  /** Offset in the request memory of a slot's message. */
  messageAt(slot: number): number {
    const { smallSlots, largeSlotBytes } = this.geometry;
    if (slot < smallSlots) return slot * SMALL_SLOT_BYTES + MESSAGE_AT;
    if (slot >= this.#firstRing) return this.#cells[this.#at(slot) + MESSAGE];
    const first = RequestSlots.largeSlotsAt(this.geometry);
    return first + (slot - smallSlots) * largeSlotBytes + MESSAGE_AT;
  }

  /** Longest message a large slot receives. */
  largeMessageBytes(): number {
    return this.geometry.largeSlotBytes - MESSAGE_AT;
  }

  /** The entry in which a slot's message stands, -1 for one that has its own memory. */
  entry(slot: number): number {
    return slot < this.#firstRing ? -1 : this.#cells[this.#at(slot) + ENTRY];
  }

  /** The thread whose ring slot this is, -1 for another one. */
  ringThread(slot: number): number {
    if (slot < this.#firstRing) return -1;
    return Math.floor((slot - this.#firstRing) / this.geometry.ringSlotsPerThread);
  }

  /**
   * Takes a free ring slot of a thread, for a mount whose quota it counts in, and notes it in the journal.
   * That thread only: with one popper the stack has no ABA.
   * @returns -1 if there is none
   */
  takeRing(thread: number, mount: number, mounts: MountTable, journal: ThreadJournal): number {
    const cells = this.#cells;
    const head = this.#ringHead(thread);
    const { cells: notes, itemAt } = journal;
    const quota = mounts.cells;
    const quotaAt = mounts.slotsAt(mount);
    for (;;) {
      const top = Atomics.load(cells, head);
      if (top < 0) return -1;
      const at = SLOTS_AT + top * STRIDE;
      const next = cells[at + NEXT];
      if (Atomics.compareExchange(cells, head, top, next) !== top) continue;
      // No call since the exchange: what free() takes back is counted, and noted.
      Atomics.add(quota, quotaAt, 1);
      Atomics.add(cells, H_IN_USE, 1);
      cells[at + GROUP] = mount;
      notes[itemAt] = top + 1;
      return top;
    }
  }

  /** Describes the request of an entry in the ring slot that was taken for it. */
  describeEntry(slot: number, entry: number, messageAt: number, lo: number, hi: number): void {
    const at = this.#at(slot);
    this.#cells[at + ENTRY] = entry;
    this.#cells[at + MESSAGE] = messageAt;
    this.describe(slot, this.#cells[at + GROUP], lo, hi);
  }

  /**
   * Takes a free small slot, -1 if there is none. For who receives (see Receiver) only: with one popper
   * the stack has no ABA.
   */
  takeSmall(): number {
    return this.#pop(H_SMALL_FREE);
  }

  /** Takes a free large slot, -1 if there is none; as takeSmall(). */
  takeLarge(): number {
    return this.#pop(H_LARGE_FREE);
  }

  /** The same to receive into: it is not in use before countReceived(). */
  takeToReceive(): number {
    const slot = this.#pop(H_LARGE_FREE);
    if (slot >= 0) Atomics.sub(this.#cells, H_IN_USE, 1);
    return slot;
  }

  /** A slot that was taken to receive into holds a request. */
  countReceived(): void {
    Atomics.add(this.#cells, H_IN_USE, 1);
  }

  /** Gives back the slot a journal notes, and its share of its mount's quota; any thread. */
  free(slot: number, mounts: MountTable, journal: ThreadJournal): void {
    const at = this.#at(slot);
    const head = this.#headOf(slot);
    const { cells: notes, itemAt } = journal;
    const quota = mounts.cells;
    const quotaAt = mounts.slotsAt(this.group(slot));
    Atomics.store(this.#cells, at + STATE, SLOT_STATE.FREE);
    for (;;) {
      const top = Atomics.load(this.#cells, head);
      this.#cells[at + NEXT] = top;
      // Pairs with the compareExchange in #pop().
      if (Atomics.compareExchange(this.#cells, head, top, slot) !== top) continue;
      // No call since the exchange: the slot is noted, or it is free and counted so.
      Atomics.sub(quota, quotaAt, 1);
      Atomics.sub(this.#cells, H_IN_USE, 1);
      notes[itemAt] = 0;
      return;
    }
  }

  /** Describes the request in a slot that is about to be queued. For who receives. */
  describe(slot: number, group: number, uniqueLo: number, uniqueHi: number): void {
    const at = this.#at(slot);
    this.#cells[at + GROUP] = group;
    this.#cells[at + UNIQUE_LO] = uniqueLo;
    this.#cells[at + UNIQUE_HI] = uniqueHi;
    // Pairs with the compareExchange in start() and cancel().
    Atomics.store(this.#cells, at + STATE, SLOT_STATE.QUEUED);
  }

  /** A lane begins: false if the request was cancelled, and then the slot is the lane's to free. */
  start(slot: number): boolean {
    return this.#move(slot, SLOT_STATE.QUEUED, SLOT_STATE.EXECUTING);
  }

  /**
   * Gives back a request in state `from`, for the lanes of another mount or TO_LOCK_WAITS; main is told
   * after.
   * @returns false if main has answered it meanwhile: the slot stays with the caller
   */
  handOver(slot: number, from: number, mount: number, journal: ThreadJournal): boolean {
    const cells = this.#cells;
    const at = this.#at(slot);
    const { cells: notes, itemAt } = journal;
    cells[at + HANDED_TO] = mount;
    // Pairs with the compareExchange in requeue() and timeOut(). The note goes in the same go: main
    // may act from here.
    if (Atomics.compareExchange(cells, at + STATE, from, SLOT_STATE.HANDED) !== from) return false;
    notes[itemAt] = 0;
    return true;
  }

  /** The mount a handed slot is for. */
  handedTo(slot: number): number {
    return this.#cells[this.#at(slot) + HANDED_TO];
  }

  /** Main takes a handed slot, once. @returns false if it is not handed over (any more) */
  requeue(slot: number): boolean {
    return this.#move(slot, SLOT_STATE.HANDED, SLOT_STATE.QUEUED);
  }

  /** The slot of this request, whoever has it, or -1. */
  find(uniqueLo: number, uniqueHi: number): number {
    for (let slot = 0; slot < this.#count; slot++) {
      const at = this.#at(slot);
      if (
        this.#cells[at + UNIQUE_LO] === uniqueLo &&
        this.#cells[at + UNIQUE_HI] === uniqueHi &&
        this.state(slot) !== SLOT_STATE.FREE
      ) {
        return slot;
      }
    }
    return -1;
  }

  setGroup(slot: number, group: number): void {
    this.#cells[this.#at(slot) + GROUP] = group;
  }

  /** Visits the slots that were handed over. */
  forEachHanded(visit: (slot: number) => void): void {
    this.forEachUsed((slot, state) => {
      if (state === SLOT_STATE.HANDED) visit(slot);
    });
  }

  /** Slots that are in one of these states. */
  countIn(...states: readonly number[]): number {
    let count = 0;
    this.forEachUsed((_, state) => {
      if (states.includes(state)) count++;
    });
    return count;
  }

  /** Visits the slots that hold a request, with the state each is in at this moment. */
  forEachUsed(visit: (slot: number, state: number) => void): void {
    for (let slot = 0; slot < this.#count; slot++) {
      const state = this.state(slot);
      if (state !== SLOT_STATE.FREE) visit(slot, state);
    }
  }

  /**
   * The lane is about to answer: from here on the reply may be with the kernel.
   * @returns false if main has answered
   */
  replying(slot: number): boolean {
    return this.#move(slot, SLOT_STATE.EXECUTING, SLOT_STATE.REPLYING);
  }

  /** Main takes the answer out of the hands of the lane that runs it. @returns false if it is too late */
  timeOut(slot: number): boolean {
    // Pairs with the compareExchange in replying() and handOver(): one of the two threads answers.
    return this.#move(slot, SLOT_STATE.EXECUTING, SLOT_STATE.TIMED_OUT);
  }

  /** Takes a request back that no lane has begun. The lane that pops it frees the slot. */
  cancel(slot: number): boolean {
    return this.#move(slot, SLOT_STATE.QUEUED, SLOT_STATE.CANCELLED);
  }

  state(slot: number): number {
    return Atomics.load(this.#cells, this.#at(slot) + STATE);
  }

  group(slot: number): number {
    return this.#cells[this.#at(slot) + GROUP];
  }

  /** The request's number in the kernel. */
  uniqueLo(slot: number): number {
    return this.#cells[this.#at(slot) + UNIQUE_LO];
  }

  uniqueHi(slot: number): number {
    return this.#cells[this.#at(slot) + UNIQUE_HI];
  }

  /** Notes when the request came, and since when it waits for a lane. For who receives, before it is queued. */
  setTimes(slot: number, receivedUs: number, queuedUs: number): void {
    const at = this.#at(slot);
    this.#doubles[(at + RECEIVED_US) >> 1] = receivedUs;
    this.#doubles[(at + QUEUED_US) >> 1] = queuedUs;
  }

  receivedUs(slot: number): number {
    return this.#doubles[(this.#at(slot) + RECEIVED_US) >> 1];
  }

  queuedUs(slot: number): number {
    return this.#doubles[(this.#at(slot) + QUEUED_US) >> 1];
  }

  /** Main asks for a wake-up when a slot is freed. */
  askForWake(): void {
    Atomics.store(this.#cells, H_MAIN_WAITS, 1);
  }

  /** After free(): whether this thread is the one to wake main. */
  takeWake(): boolean {
    return (
      Atomics.load(this.#cells, H_MAIN_WAITS) === 1 &&
      // Pairs with the store in askForWake().
      Atomics.compareExchange(this.#cells, H_MAIN_WAITS, 1, 0) === 1
    );
  }

  /** Slots that hold a request. */
  inUse(): number {
    return Atomics.load(this.#cells, H_IN_USE);
  }

  /** The queued slot of this request, or -1. */
  findQueued(uniqueLo: number, uniqueHi: number): number {
    const slot = this.find(uniqueLo, uniqueHi);
    return slot >= 0 && this.state(slot) === SLOT_STATE.QUEUED ? slot : -1;
  }

  #at(slot: number): number {
    return SLOTS_AT + slot * STRIDE;
  }

  #move(slot: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.#cells, this.#at(slot) + STATE, from, to) === from;
  }

  #headOf(slot: number): number {
    if (slot >= this.#firstRing) return this.#ringHead(this.ringThread(slot));
    return slot < this.geometry.smallSlots ? H_SMALL_FREE : H_LARGE_FREE;
  }

  #ringHead(thread: number): number {
    return SLOTS_AT + this.#count * STRIDE + thread * HEAD_STRIDE;
  }

  #pop(head: number): number {
    for (;;) {
      const top = Atomics.load(this.#cells, head);
      if (top < 0) return -1;
      const next = this.#cells[this.#at(top) + NEXT];
      if (Atomics.compareExchange(this.#cells, head, top, next) !== top) continue;
      Atomics.add(this.#cells, H_IN_USE, 1);
      return top;
    }
  }
}
