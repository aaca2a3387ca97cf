/**
 * The queues between who receives (see Receiver) and the lanes: one ring per backing mount, emptied by
 * any lane. A ring per mount and not per lane, because then a slow operation delays nobody: whichever
 * lane is free takes the next request, and a mount that hangs fills its own ring only.
 *
 * An item is a slot number, or the complement of a descriptor that only has to be closed.
 */
import { MOUNT_CAPACITY } from './mount-table.ts';
import type { ThreadJournal } from './thread-journal.ts';

const HEAD = 0; // Atomic: next item to take; moved by lanes.
const TAIL = 16; // Atomic: next place to fill; moved by who receives.
const ITEMS_AT = 32;

export class WorkRings {
  static byteLength(capacity: number): number {
    return 4 * MOUNT_CAPACITY * (ITEMS_AT + capacity);
  }

  /** No item: rings hold slot numbers and complements of small descriptors only. */
  static readonly EMPTY = -0x80000000;

  readonly capacity: number;
  readonly #cells: Int32Array;
  readonly #mask: number;

  /** @param capacity items per ring, a power of two */
  constructor(buffer: SharedArrayBuffer, capacity: number) {
    this.capacity = capacity;
    this.#mask = capacity - 1;
    this.#cells = new Int32Array(buffer);
  }

  /** Adds an item; for who receives. @returns false when the ring is full */
  push(ring: number, item: number): boolean {
    const at = this.#at(ring);
    const tail = this.#cells[at + TAIL];
    if (((tail - Atomics.load(this.#cells, at + HEAD)) | 0) >= this.capacity) return false;
    this.#cells[at + ITEMS_AT + (tail & this.#mask)] = item;
    // Pairs with the load in pop(): the item is written before.
    Atomics.store(this.#cells, at + TAIL, (tail + 1) | 0);
    return true;
  }

  /**
   * Takes the oldest item and notes it in the journal; any lane.
   * @returns EMPTY if there is none
   */
  pop(ring: number, journal: ThreadJournal): number {
    const at = this.#at(ring);
    const { cells: notes, itemAt } = journal;
    for (;;) {
      const head = Atomics.load(this.#cells, at + HEAD);
      if (Atomics.load(this.#cells, at + TAIL) === head) return WorkRings.EMPTY;
      const item = Atomics.load(this.#cells, at + ITEMS_AT + (head & this.#mask));
      // Nobody fills this place again before HEAD has moved: the item is the right one if the
      // exchange succeeds.
      if (Atomics.compareExchange(this.#cells, at + HEAD, head, (head + 1) | 0) === head) {
        // No call since the exchange: an item that was taken is noted.
        notes[itemAt] = item < 0 ? item : item + 1;
        return item;
      }
    }
  }

  /** Items ever taken, modulo 2^32: tells whether anything moved. */
  taken(ring: number): number {
    return Atomics.load(this.#cells, this.#at(ring) + HEAD);
  }

  /** Items waiting. */
  depth(ring: number): number {
    const at = this.#at(ring);
    return (Atomics.load(this.#cells, at + TAIL) - Atomics.load(this.#cells, at + HEAD)) | 0;
  }

  #at(ring: number): number {
    return ring * (ITEMS_AT + this.capacity);
  }
}
