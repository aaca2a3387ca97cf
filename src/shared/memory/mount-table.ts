/**
 * The backing mounts below the source: one for the source's own file system, one more for each file
 * system mounted inside it. A mount's place is its number in inode entries and its bulkhead in the
 * dispatcher.
 *
 * A mount is pinned, by a descriptor through which its file handles are opened, exactly while some
 * inode of it is known to the kernel.
 */
import { lockCell, lockOwner, unlockCell } from './lock.ts';
import type { ThreadJournal } from './thread-journal.ts';

const H_LOCK = 0; // Lock over all entries' identity and life.
const H_LIVE = 2; // Mounts with references; written under H_LOCK, read by anyone.
const H_LIMIT = 1; // One above the highest place ever used; written under H_LOCK, read by anyone.
const ENTRIES_AT = 16;

const REFS = 0; // Atomic: inodes of this mount; 0 means the place is free. From 0 only under H_LOCK.
const ID_LO = 1; // Unique mount id; written under H_LOCK, constant while REFS > 0, as the next four.
const ID_HI = 2;
const DEV = 3;
const FS_TYPE = 4;
const FD = 5; // For open_by_handle_at; -1 when this mount's inodes are reached by descriptor.
const FLAGS = 6; // Atomic: MOUNT_FLAG bits; set by any thread after the entry was made, LANES_ONLY cleared by the watchdog.
const ACTIVE = 7; // Atomic: lanes that work for this mount now.
const SLOTS = 8; // Atomic: request slots in use for this mount. Who receives adds, who frees the slot subtracts.
const STRIDE = 16;

export const MOUNT_CAPACITY = 256;

export const MOUNT_FLAG = {
  /** File handles of this mount open. */
  HANDLES: 1,
  /** A local file system: calls that say they do not block do not block. */
  LOCAL: 2,
  /** preadv2(RWF_NOWAIT) is not supported here. */
  NO_NOWAIT_READ: 4,
  /** pwritev2(RWF_NOWAIT) is not supported here. */
  NO_NOWAIT_WRITE: 8,
  /** The kernel does not read and write files of this mount by itself (FUSE_PASSTHROUGH). */
  NO_BACKING: 16,
  /** Main was caught waiting in a call on this mount: nothing of it runs there for now. */
  LANES_ONLY: 32,
  /** No two files that exist have one inode number. */
  OWN_NUMBERS: 64,
} as const;

export class MountTable {
  static readonly byteLength = 4 * (ENTRIES_AT + MOUNT_CAPACITY * STRIDE);

  readonly #cells: Int32Array;
  readonly #owner: number;

  constructor(buffer: SharedArrayBuffer, owner: number) {
    this.#cells = new Int32Array(buffer);
    this.#owner = owner;
  }

  /**
   * Finds a mount by its unique id and takes a reference to it.
   * @returns its place, or -1
   */
  acquireById(idLo: number, idHi: number): number {
    const cells = this.#cells;
    lockCell(cells, H_LOCK, this.#owner);
    const place = this.#find(idLo, idHi);
    // Pairs with the sub in release(): from 1 to 0 happens under the lock as well.
    if (place >= 0) Atomics.add(cells, this.#at(place) + REFS, 1);
    unlockCell(cells, H_LOCK);
    return place;
  }

  /**
   * Enters a mount with one reference; if another thread was faster, takes a reference to that one.
   * @returns the place, with `added` telling whose it is; -1 when there are too many mounts
   */
  add(idLo: number, idHi: number, dev: number, fsType: number, fd: number, flags: number): number {
    const cells = this.#cells;
    this.added = false;
    lockCell(cells, H_LOCK, this.#owner);
    let place = this.#find(idLo, idHi);
    if (place < 0) {
      place = this.#freePlace();
      if (place >= 0) {
        const at = this.#at(place);
        cells[at + ID_LO] = idLo;
        cells[at + ID_HI] = idHi;
        cells[at + DEV] = dev;
        cells[at + FS_TYPE] = fsType;
        cells[at + FD] = fd;
        cells[at + FLAGS] = flags;
        if (place >= cells[H_LIMIT]) Atomics.store(cells, H_LIMIT, place + 1);
        Atomics.store(cells, H_LIVE, cells[H_LIVE] + 1);
        this.added = true;
      }
    }
    if (place >= 0) Atomics.add(cells, this.#at(place) + REFS, 1);
    unlockCell(cells, H_LOCK);
    return place;
  }
  added = false;

  /** Takes one more reference where the caller knows there is one. */
  addRef(place: number): void {
    Atomics.add(this.#cells, this.#at(place) + REFS, 1);
  }

  /** Drops a reference. @returns the descriptor to close if it was the last one, else -1 */
  release(place: number): number {
    const cells = this.#cells;
    const at = this.#at(place);
    lockCell(cells, H_LOCK, this.#owner);
    const last = Atomics.sub(cells, at + REFS, 1) === 1;
    const fd = last ? cells[at + FD] : -1;
    if (last) Atomics.store(cells, H_LIVE, cells[H_LIVE] - 1);
    unlockCell(cells, H_LOCK);
    return fd;
  }

  fd(place: number): number {
    return this.#cells[this.#at(place) + FD];
  }

  fsType(place: number): number {
    return this.#cells[this.#at(place) + FS_TYPE] >>> 0;
  }

  idLo(place: number): number {
    return this.#cells[this.#at(place) + ID_LO];
  }

  idHi(place: number): number {
    return this.#cells[this.#at(place) + ID_HI];
  }

  refs(place: number): number {
    return Atomics.load(this.#cells, this.#at(place) + REFS);
  }

  hasFlag(place: number, flag: number): boolean {
    return (Atomics.load(this.#cells, this.#at(place) + FLAGS) & flag) !== 0;
  }

  setFlag(place: number, flag: number): void {
    Atomics.or(this.#cells, this.#at(place) + FLAGS, flag);
  }

  clearFlag(place: number, flag: number): void {
    Atomics.and(this.#cells, this.#at(place) + FLAGS, ~flag);
  }

  /** Mounts in the table. */
  count(): number {
    return Atomics.load(this.#cells, H_LIVE);
  }

  /** Mounts in the table that have this flag. */
  countWith(flag: number): number {
    let count = 0;
    for (let place = 0; place < this.limit(); place++) {
      if (this.refs(place) > 0 && this.hasFlag(place, flag)) count++;
    }
    return count;
  }

  /** Lets one more lane work for this mount, unless `limit` do already. Main's limit; lanes call it. */
  enterLane(place: number, limit: number): boolean {
    const at = this.#at(place) + ACTIVE;
    for (;;) {
      const active = Atomics.load(this.#cells, at);
      if (active >= limit) return false;
      // Pairs with the sub in leaveLane().
      if (Atomics.compareExchange(this.#cells, at, active, active + 1) === active) return true;
    }
  }

  /** As enterLane(), and notes the permit in the journal. */
  enterLaneNoted(place: number, limit: number, journal: ThreadJournal): boolean {
    const at = this.#at(place) + ACTIVE;
    const { cells: notes, groupAt } = journal;
    for (;;) {
      const active = Atomics.load(this.#cells, at);
      if (active >= limit) return false;
      if (Atomics.compareExchange(this.#cells, at, active, active + 1) === active) {
        // No call since the exchange: a permit that was taken is noted.
        notes[groupAt] = place + 1;
        return true;
      }
    }
  }

  /** Gives back the permit that the journal says is held, if any. */
  leaveLaneNoted(journal: ThreadJournal): void {
    const place = journal.group();
    if (place < 0) return;
    const at = this.#at(place) + ACTIVE;
    const { cells: notes, groupAt } = journal;
    Atomics.sub(this.#cells, at, 1);
    notes[groupAt] = 0;
  }

  leaveLane(place: number): void {
    Atomics.sub(this.#cells, this.#at(place) + ACTIVE, 1);
  }

  activeLanes(place: number): number {
    return Atomics.load(this.#cells, this.#at(place) + ACTIVE);
  }

  /** Empties the table; nobody else may use it. Calls back with every descriptor. */
  clear(onFd: (fd: number) => void): void {
    for (let place = 0; place < MOUNT_CAPACITY; place++) {
      const at = this.#at(place);
      if (this.#cells[at + REFS] > 0 && this.#cells[at + FD] >= 0) onFd(this.#cells[at + FD]);
      this.#cells.fill(0, at, at + STRIDE);
    }
    Atomics.store(this.#cells, H_LIVE, 0);
  }

  /** One above the highest place that was ever used. */
  limit(): number {
    return Atomics.load(this.#cells, H_LIMIT);
  }

  slotsInUse(place: number): number {
    return Atomics.load(this.#cells, this.#at(place) + SLOTS);
  }

  addSlot(place: number): void {
    // Pairs with the sub in dropSlot().
    Atomics.add(this.#cells, this.#at(place) + SLOTS, 1);
  }

  dropSlot(place: number): void {
    Atomics.sub(this.#cells, this.#at(place) + SLOTS, 1);
  }

  /** The table's cells, and the one that counts a mount's slots: for RequestSlots.free(). */
  get cells(): Int32Array {
    return this.#cells;
  }

  slotsAt(place: number): number {
    return this.#at(place) + SLOTS;
  }

  recoverOwner(owner: number): void {
    if (lockOwner(this.#cells, H_LOCK) === owner) unlockCell(this.#cells, H_LOCK);
  }

  #at(place: number): number {
    return ENTRIES_AT + place * STRIDE;
  }

  #find(idLo: number, idHi: number): number {
    const cells = this.#cells;
    for (let place = 0; place < cells[H_LIMIT]; place++) {
      const at = this.#at(place);
      if (cells[at + ID_LO] === idLo && cells[at + ID_HI] === idHi && cells[at + REFS] > 0) {
        return place;
      }
    }
    return -1;
  }

  #freePlace(): number {
    for (let place = 0; place < MOUNT_CAPACITY; place++) {
      const at = this.#at(place);
      const cells = this.#cells;
      if (cells[at + REFS] === 0 && cells[at + ACTIVE] === 0 && cells[at + SLOTS] === 0)
        return place;
    }
    return -1;
  }
}
