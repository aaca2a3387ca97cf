/**
 * The descriptor budget of the process, and the cache of O_PATH descriptors over file handles.
 *
 * Everything that keeps a descriptor beyond one request counts here: cached and held inode
 * descriptors, open files and directories. When the budget is used up a cached one is evicted (CLOCK
 * over an array as long as the budget), so the tree may have any number of files.
 */
import { close } from '../sys/libc.ts';
import type { InodeTable } from './inode-table.ts';
import { lockCell, lockOwner, unlockCell } from './lock.ts';

const USED = 0; // Atomic: descriptors counted.
const HAND = 1; // Atomic: where the clock hand points.
const EVICTIONS = 2; // Atomic: descriptors evicted since the start, modulo 2^32.
const EXHAUSTED = 3; // Atomic: requests refused for want of a descriptor, modulo 2^32.
const LOCK = 4; // Lock of the stack of free places.
const FREED = 5; // Places on the stack; under LOCK.
const FRESH = 6; // Places never used yet begin here; under LOCK.
const PLACES_AT = 16;

/** Bounds one search for a descriptor to evict, when nearly all are held or in use. */
const EVICTION_STEPS = 65536;

export class FdCache {
  static byteLength(budget: number): number {
    return 4 * (PLACES_AT + 2 * budget);
  }

  readonly budget: number;
  /** PLACES_AT and on, atomic: slot of the inode whose descriptor is cached there, 0 for none. */
  readonly #cells: Int32Array;
  /** Behind the places, under LOCK: the stack of places that were given back. */
  readonly #freedAt: number;
  readonly #owner: number;
  readonly #inodes: InodeTable;
  readonly #onRemoved: () => void;

  /**
   * @param onRemoved called when an eviction turned out to free an inode: its removal has to be ended
   */
  constructor(
    buffer: SharedArrayBuffer,
    budget: number,
    owner: number,
    inodes: InodeTable,
    onRemoved: () => void,
  ) {
    this.budget = budget;
    this.#owner = owner;
    this.#freedAt = PLACES_AT + budget;
    this.#cells = new Int32Array(buffer);
    this.#inodes = inodes;
    this.#onRemoved = onRemoved;
  }

  used(): number {
    return Atomics.load(this.#cells, USED);
  }

  evictions(): number {
    return Atomics.load(this.#cells, EVICTIONS) >>> 0;
  }

  exhausted(): number {
    return Atomics.load(this.#cells, EXHAUSTED) >>> 0;
  }

  /** Counts one descriptor, evicting another if need be. @returns whether there was room */
  reserve(): boolean {
    for (;;) {
      const used = Atomics.load(this.#cells, USED);
      if (used < this.budget) {
        // Pairs with the sub in release().
        if (Atomics.compareExchange(this.#cells, USED, used, used + 1) === used) return true;
      } else if (!this.evictOne()) {
        Atomics.add(this.#cells, EXHAUSTED, 1);
        return false;
      }
    }
  }

  /** Counts one descriptor if that needs no eviction. */
  reserveIfFree(): boolean {
    return this.used() < this.budget && this.reserve();
  }

  /** Gives one counted descriptor back; the caller closes it. */
  release(): void {
    Atomics.sub(this.#cells, USED, 1);
  }

  /** Remembers that this inode's descriptor may be evicted. It is counted already. */
  enter(slot: number): void {
    const place = this.#takePlace();
    if (place < 0) return;
    this.#inodes.setCachePlace(slot, place);
    // Pairs with the load in evictOne() and the compareExchange in leave().
    Atomics.store(this.#cells, PLACES_AT + place, slot);
  }

  /** Clears a place that meant this inode. */
  leave(place: number, slot: number): void {
    if (place < 0) return;
    const at = PLACES_AT + place;
    if (Atomics.compareExchange(this.#cells, at, slot, 0) === slot) this.#givePlace(place);
  }

  /** Releases the lock of a thread that died; at worst one place is never used again. */
  recoverOwner(owner: number): void {
    if (lockOwner(this.#cells, LOCK) === owner) unlockCell(this.#cells, LOCK);
  }

  /** There are as many places as descriptors: the last resort, -1, leaves one that is not evicted. */
  #takePlace(): number {
    const cells = this.#cells;
    let place = -1;
    lockCell(cells, LOCK, this.#owner);
    if (cells[FREED] > 0) place = cells[this.#freedAt + --cells[FREED]];
    else if (cells[FRESH] < this.budget) place = cells[FRESH]++;
    unlockCell(cells, LOCK);
    return place;
  }

  #givePlace(place: number): void {
    const cells = this.#cells;
    lockCell(cells, LOCK, this.#owner);
    cells[this.#freedAt + cells[FREED]++] = place;
    unlockCell(cells, LOCK);
  }

  /** Closes one cached descriptor that nobody uses. @returns whether one was found */
  evictOne(): boolean {
    // A hint: places beyond were never used.
    const size = Math.max(1, Atomics.load(this.#cells, FRESH));
    const limit = Math.min(2 * size, EVICTION_STEPS);
    for (let steps = 0; steps < limit; steps++) {
      const place = (Atomics.add(this.#cells, HAND, 1) >>> 0) % size;
      const slot = Atomics.load(this.#cells, PLACES_AT + place);
      if (slot === 0 || this.#inodes.isHeld(slot)) continue;
      // Where all were used lately the second half of the search takes any.
      if (steps < limit / 2 && this.#inodes.clearTouched(slot)) continue;
      if (this.#evict(slot, place)) return true;
    }
    return false;
  }

  #evict(slot: number, place: number): boolean {
    const inodes = this.#inodes;
    if (!inodes.lockForEviction(slot)) return false;
    let closed = false;
    // Looked at again under the lock: the hold, and whether the place still means this inode.
    if (!inodes.isHeld(slot) && Atomics.load(this.#cells, PLACES_AT + place) === slot) {
      const fd = inodes.takeFd(slot);
      this.leave(place, slot);
      if (fd >= 0) {
        close(fd);
        this.release();
        Atomics.add(this.#cells, EVICTIONS, 1);
        closed = true;
      }
    }
    if (inodes.unlockAfterEviction(slot)) this.#onRemoved();
    return closed;
  }
}
