/**
 * Which open files the kernel reads and writes by itself (FUSE_PASSTHROUGH), by inode: the first open
 * of an inode decides for all until the last one is released, since the kernel refuses to mix both
 * ways, and all of them name the same backing id. Entries go by nodeid and not by inode slot: a
 * release may come when the kernel has forgotten the inode and its slot is another file's.
 */
import { lockCell, lockOwner, unlockCell } from './lock.ts';
import type { ThreadJournal } from './thread-journal.ts';

const H_LOCK = 0; // Lock over everything here but the count; never held across a system call.
const H_FREE = 1; // Head of the free list.
const H_NEXT = 2; // Highest index ever used.
const H_COUNT = 3; // Entries in use; written under H_LOCK, read by anyone.
const BUCKETS_AT = 16;

const NODE_LO = 0;
const NODE_HI = 1;
const OPENS = 2; // Open files of the inode, and opens under way; 0: the entry is free.
const ID = 3; // The kernel's backing id; 0: this inode's data goes through the daemon.
const NEXT = 4; // Next of the bucket, or of the free list.
const STRIDE = 8;

function bucketsFor(capacity: number): number {
  return 1 << (32 - Math.clz32(Math.max(capacity, 16) - 1));
}

export class BackingFiles {
  static byteLength(capacity: number): number {
    return 4 * (BUCKETS_AT + bucketsFor(capacity) + (capacity + 1) * STRIDE);
  }

  readonly #capacity: number;
  readonly #buckets: number;
  readonly #cells: Int32Array;
  readonly #thread: number;

  /** @param capacity inodes that can be open at once */
  constructor(buffer: SharedArrayBuffer, capacity: number, thread: number) {
    this.#capacity = capacity;
    this.#buckets = bucketsFor(capacity);
    this.#cells = new Int32Array(buffer);
    this.#thread = thread;
  }

  /**
   * Counts one more open of an inode that is open already, and notes that; end with leave().
   * @returns its entry, 0 if the inode is not open
   */
  join(nodeLo: number, nodeHi: number, journal: ThreadJournal): number {
    const cells = this.#cells;
    const { cells: notes, backingAt } = journal;
    lockCell(cells, H_LOCK, this.#thread);
    const index = this.#find(nodeLo, nodeHi);
    const at = this.#at(index);
    if (index > 0) {
      // No call in between: the open is counted and noted, or neither.
      cells[at + OPENS]++;
      notes[backingAt] = index;
    }
    unlockCell(cells, H_LOCK);
    return index;
  }

  /**
   * Enters an inode with the way its data goes, and counts one open, as join() does. Another thread
   * may have been faster: then id(entry) is another one.
   * @param id a backing id, 0 for data that goes through the daemon
   * @returns the entry, 0 when the table is full
   */
  enter(nodeLo: number, nodeHi: number, id: number, journal: ThreadJournal): number {
    const cells = this.#cells;
    const { cells: notes, backingAt } = journal;
    const bucket = this.#bucketOf(nodeLo);
    lockCell(cells, H_LOCK, this.#thread);
    const found = this.#find(nodeLo, nodeHi);
    const free = cells[H_FREE];
    const fresh = free > 0 ? free : cells[H_NEXT] < this.#capacity ? cells[H_NEXT] + 1 : 0;
    const index = found > 0 ? found : fresh;
    const at = this.#at(index);
    // No call from here to the unlock, as in join().
    if (found === 0 && fresh > 0) {
      if (free > 0) cells[H_FREE] = cells[at + NEXT];
      else cells[H_NEXT] = fresh;
      cells[H_COUNT]++;
      cells[at + NODE_LO] = nodeLo;
      cells[at + NODE_HI] = nodeHi;
      cells[at + ID] = id;
      cells[at + OPENS] = 0;
      cells[at + NEXT] = cells[bucket];
      cells[bucket] = index;
    }
    if (index > 0) {
      cells[at + OPENS]++;
      notes[backingAt] = index;
    }
    unlockCell(cells, H_LOCK);
    return index;
  }

  /** The backing id of an entry that the caller has counted an open in; 0: there is none. */
  id(index: number): number {
    return this.#cells[this.#at(index) + ID];
  }

  /** Takes an open back. @returns the backing id to close if it was the last one, else 0 */
  leave(index: number): number {
    const cells = this.#cells;
    const at = this.#at(index);
    lockCell(cells, H_LOCK, this.#thread);
    const isLast = --cells[at + OPENS] === 0;
    const id = isLast ? cells[at + ID] : 0;
    if (isLast) this.#unlink(index);
    // Until here a thread that dies leaves the id in the entry, for recoverOwner().
    if (isLast) cells[at + ID] = 0;
    unlockCell(cells, H_LOCK);
    return id;
  }

  /** Inodes that are open. */
  count(): number {
    return this.#cells[H_COUNT];
  }

  /**
   * Releases the lock of a thread that died, and makes the chains anew: it may have been in one. Calls
   * back with an id whose last open it took back and which it did not close. One that it has registered
   * and not entered yet stays until the connection ends.
   */
  recoverOwner(owner: number, onId: (id: number) => void): void {
    const cells = this.#cells;
    if (lockOwner(cells, H_LOCK) !== owner) return;
    cells.fill(0, BUCKETS_AT, BUCKETS_AT + this.#buckets);
    cells[H_FREE] = 0;
    cells[H_COUNT] = 0;
    for (let index = 1; index <= cells[H_NEXT]; index++) {
      const at = this.#at(index);
      const isUsed = cells[at + OPENS] > 0;
      const head = isUsed ? this.#bucketOf(cells[at + NODE_LO]) : H_FREE;
      if (isUsed) cells[H_COUNT]++;
      else if (cells[at + ID] > 0) onId(cells[at + ID]);
      if (!isUsed) cells[at + ID] = 0;
      cells[at + NEXT] = cells[head];
      cells[head] = index;
    }
    unlockCell(cells, H_LOCK);
  }

  #at(index: number): number {
    return BUCKETS_AT + this.#buckets + index * STRIDE;
  }

  #bucketOf(nodeLo: number): number {
    return BUCKETS_AT + (nodeLo & (this.#buckets - 1));
  }

  /** Under the lock. */
  #find(nodeLo: number, nodeHi: number): number {
    const cells = this.#cells;
    let index = cells[this.#bucketOf(nodeLo)];
    while (index > 0) {
      const at = this.#at(index);
      if (cells[at + NODE_LO] === nodeLo && cells[at + NODE_HI] === nodeHi) return index;
      index = cells[at + NEXT];
    }
    return 0;
  }

  /** Takes an entry out of its chain, to the free list. Under the lock. */
  #unlink(index: number): void {
    const cells = this.#cells;
    const next = cells[this.#at(index) + NEXT];
    let link = this.#bucketOf(cells[this.#at(index) + NODE_LO]);
    while (cells[link] !== index) link = this.#at(cells[link]) + NEXT;
    cells[link] = next;
    cells[this.#at(index) + NEXT] = cells[H_FREE];
    cells[H_FREE] = index;
    cells[H_COUNT]--;
  }
}
