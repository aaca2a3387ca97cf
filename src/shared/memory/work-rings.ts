/**
 * The queues between those who receive and the lanes: one ring per backing mount and producer, filled by
 * that one, emptied by any lane. Rings by mount and not by lane, because then a slow operation delays
 * nobody: whichever lane is free takes the next request, and a mount that hangs fills its own rings only.
 * Producers are whoever receives from /dev/fuse, and each thread that serves queues of io_uring.
 *
 * An item is a slot number, or the complement of a descriptor that only has to be closed.
 */
import { MOUNT_CAPACITY } from './mount-table.ts';
import type { ThreadJournal } from './thread-journal.ts';

const HEAD = 0; // Atomic: next item to take; moved by lanes.
const TAIL = 16; // Atomic: next place to fill; moved by the ring's producer only.
const ITEMS_AT = 32;

export class WorkRings {
  static byteLength(capacity: number, producers: number): number {
    return 4 * producers * MOUNT_CAPACITY * (ITEMS_AT + capacity);
  }

  /** No item: rings hold slot numbers and complements of small descriptors only. */
  static readonly EMPTY = -0x80000000;

  readonly capacity: number;
  readonly #cells: Int32Array;
  readonly #mask: number;
  readonly #producers: number;
  /** This thread's own rings, if it is a producer. */
  readonly #producer: number;

  /** @param capacity items per ring, a power of two */
  constructor(buffer: SharedArrayBuffer, capacity: number, producers: number, producer: number) {
    this.capacity = capacity;
    this.#producers = producers;
    this.#producer = producer;
    this.#mask = capacity - 1;
    this.#cells = new Int32Array(buffer);
  }

  /** Adds an item to this producer's ring. @returns false when the ring is full */
  push(mount: number, item: number): boolean {
    const at = this.#at(this.#producer, mount);
    const tail = this.#cells[at + TAIL];
    if (((tail - Atomics.load(this.#cells, at + HEAD)) | 0) >= this.capacity) return false;
    this.#cells[at + ITEMS_AT + (tail & this.#mask)] = item;
    // Pairs with the load in pop(): the item is written before.
    Atomics.store(this.#cells, at + TAIL, (tail + 1) | 0);
    return true;
  }

  /** The same for a slot a journal notes, with a cell that is set in the same go. The ring has room. */
  pushNoted(
    mount: number,
    slot: number,
    journal: ThreadJournal,
    set: Int32Array,
    setAt: number,
    value: number,
  ): void {
    const at = this.#at(this.#producer, mount);
    const { cells: notes, itemAt } = journal;
    const tail = this.#cells[at + TAIL];
    this.#cells[at + ITEMS_AT + (tail & this.#mask)] = slot;
    // No call between the three: the slot is on the ring, or it is noted and the cell as it was.
    Atomics.store(set, setAt, value);
    notes[itemAt] = 0;
    // Pairs with the load in pop().
    Atomics.store(this.#cells, at + TAIL, (tail + 1) | 0);
  }

  /**
   * Takes the oldest item of one producer's ring and notes it in the journal; any lane.
   * @param first the producer to look at first, so that none has to wait for the others
   * @returns EMPTY if there is none
   */
  pop(mount: number, journal: ThreadJournal, first = 0): number {
    for (let i = 0; i < this.#producers; i++) {
      const item = this.#popOf((first + i) % this.#producers, mount, journal);
      if (item !== WorkRings.EMPTY) return item;
    }
    return WorkRings.EMPTY;
  }

  /** Items ever taken, modulo 2^32: tells whether anything moved. */
  taken(mount: number): number {
    let taken = 0;
    for (let producer = 0; producer < this.#producers; producer++) {
      taken = (taken + Atomics.load(this.#cells, this.#at(producer, mount) + HEAD)) | 0;
    }
    return taken;
  }

  /** Items waiting. */
  depth(mount: number): number {
    let depth = 0;
    for (let producer = 0; producer < this.#producers; producer++) {
      const at = this.#at(producer, mount);
      depth += (Atomics.load(this.#cells, at + TAIL) - Atomics.load(this.#cells, at + HEAD)) | 0;
    }
    return depth;
  }

  /** Items waiting in this producer's ring. */
  ownDepth(mount: number): number {
    const at = this.#at(this.#producer, mount);
    return (this.#cells[at + TAIL] - Atomics.load(this.#cells, at + HEAD)) | 0;
  }

  #popOf(producer: number, mount: number, journal: ThreadJournal): number {
    const at = this.#at(producer, mount);
    const { cells: notes, itemAt } = journal;
    for (;;) {
      const head = Atomics.load(this.#cells, at + HEAD);
      if (Atomics.load(this.#cells, at + TAIL) === head) return WorkRings.EMPTY;
      const item = Atomics.load(this.#cells, at + ITEMS_AT + (head & this.#mask));
      // The producer does not fill this place again before HEAD has moved: the item is the right one if
      // the exchange succeeds.
      if (Atomics.compareExchange(this.#cells, at + HEAD, head, (head + 1) | 0) === head) {
        // No call since the exchange: an item that was taken is noted.
        notes[itemAt] = item < 0 ? item : item + 1;
        return item;
      }
    }
  }

  #at(producer: number, mount: number): number {
    return (producer * MOUNT_CAPACITY + mount) * (ITEMS_AT + this.capacity);
  }
}
