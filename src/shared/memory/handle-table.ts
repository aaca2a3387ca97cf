/**
 * Open files and directories. fh = index + epoch x 2^32, so a stale fh is noticed; index 0 is unused.
 *
 * A descriptor is closed by whoever takes the last use away after the release: never while a thread
 * is in a system call on it.
 */
import { lockCell, lockOwner, tryLockCell, unlockCell } from './lock.ts';

const H_LOCK = 0; // Lock of the free list.
const H_FREE = 1; // Head of the free list, under the lock.
const H_NEXT = 2; // First index never used, under the lock.
const H_FILES = 3; // Atomic: open files.
const H_DIRS = 4; // Atomic: open directories.
const ENTRIES_AT = 16;

const EPOCH = 0; // Written by who frees the handle; read by anyone.
const USES = 1; // Atomic: OPEN, CLOSING, and the number of requests that use it.
const FD = 2; // Written before OPEN is set; constant until freed, as the next two.
const INODE = 3;
const IS_DIR = 4;
const NEXT = 5; // Free list link, under H_LOCK.
const DIR_LOCK = 6; // Lock over the position below: one reader of a directory at a time.
const DIR_VALID = 7; // Whether the descriptor stands at the cookie below.
const DIR_LO = 8;
const DIR_HI = 9;
const WAITS = 10; // Whether reads and writes wait for the disk; as FD.
const PURPOSE = 11; // HANDLE_PURPOSE bits; as FD.
const BACKING = 12; // Entry in BackingFiles that counts this open, 0 for none; as FD.
const STRIDE = 16;

/** What a file is open for. */
export const HANDLE_PURPOSE = {
  WRITING: 1,
  /** It is a program that runs, or is about to. */
  EXECUTION: 2,
  /** Stores of a mapping may change it. */
  MAPPED_WRITING: 4,
  /** The same, in pages that the kernel keeps for the mount: the file behind gets them later. */
  UNSEEN_WRITING: 8,
} as const;

const OPEN = 1 << 30;
const CLOSING = 1 << 29;
const EPOCH_LIMIT = 1 << 21;

export class HandleTable {
  static byteLength(capacity: number): number {
    return 4 * (ENTRIES_AT + (capacity + 1) * STRIDE);
  }

  readonly capacity: number;
  readonly #cells: Int32Array;
  readonly #owner: number;
  readonly #onFree: (fd: number, backing: number) => void;

  /** @param onFree gets descriptor and backing of a handle whose last use ended after its release */
  constructor(
    buffer: SharedArrayBuffer,
    capacity: number,
    owner: number,
    onFree: (fd: number, backing: number) => void,
  ) {
    this.capacity = capacity;
    this.#cells = new Int32Array(buffer);
    this.#owner = owner;
    this.#onFree = onFree;
  }

  /**
   * Enters an open descriptor.
   * @param waits whether its reads or writes wait for the disk whatever is cached
   * @param purpose HANDLE_PURPOSE bits
   * @param backing its entry in the table of backing files, 0 for none
   * @returns the index, or -1 when the table is full
   */
  allocate(
    fd: number,
    inode: number,
    isDir: boolean,
    waits = false,
    purpose = 0,
    backing = 0,
  ): number {
    const cells = this.#cells;
    lockCell(cells, H_LOCK, this.#owner);
    let index = cells[H_FREE];
    if (index > 0) cells[H_FREE] = cells[this.#at(index) + NEXT];
    else if (cells[H_NEXT] < this.capacity) index = ++cells[H_NEXT];
    unlockCell(cells, H_LOCK);
    if (index <= 0) return -1;
    const at = this.#at(index);
    cells[at + FD] = fd;
    cells[at + INODE] = inode;
    cells[at + IS_DIR] = isDir ? 1 : 0;
    cells[at + WAITS] = waits ? 1 : 0;
    cells[at + PURPOSE] = purpose;
    cells[at + BACKING] = backing;
    cells[at + DIR_VALID] = 1;
    cells[at + DIR_LO] = 0;
    cells[at + DIR_HI] = 0;
    // Pairs with the add in use(): what is above is written before. An add, since a use() with a
    // stale fh may be counting itself in and out at this moment.
    Atomics.add(cells, at + USES, OPEN);
    Atomics.add(cells, isDir ? H_DIRS : H_FILES, 1);
    return index;
  }

  /**
   * Starts using a handle of this inode; end with unuse().
   * @returns the index, or -1 if the fh is not open, not of this inode or not of this kind
   */
  use(fhLo: number, fhHi: number, inode: number, isDir: boolean): number {
    if (fhLo <= 0 || fhLo > this.capacity) return -1;
    const at = this.#at(fhLo);
    const uses = Atomics.add(this.#cells, at + USES, 1);
    if (
      (uses & (OPEN | CLOSING)) === OPEN &&
      this.#cells[at + EPOCH] === fhHi &&
      this.#cells[at + INODE] === inode &&
      this.#cells[at + IS_DIR] === (isDir ? 1 : 0)
    ) {
      return fhLo;
    }
    this.unuse(fhLo);
    return -1;
  }

  /** Ends a use; the last one after the release frees the handle. */
  unuse(index: number): void {
    const at = this.#at(index);
    // Pairs with the or in release(): the last of all sees CLOSING and no uses.
    const left = Atomics.sub(this.#cells, at + USES, 1) - 1;
    if (left === (OPEN | CLOSING)) this.#free(index);
  }

  /**
   * Releases a handle that is in use by the caller: nobody can start a new use; the last unuse()
   * frees it.
   */
  release(index: number): void {
    Atomics.or(this.#cells, this.#at(index) + USES, CLOSING);
  }

  fd(index: number): number {
    return this.#cells[this.#at(index) + FD];
  }

  backing(index: number): number {
    return this.#cells[this.#at(index) + BACKING];
  }

  inode(index: number): number {
    return this.#cells[this.#at(index) + INODE];
  }

  epoch(index: number): number {
    return this.#cells[this.#at(index) + EPOCH];
  }

  isDir(index: number): boolean {
    return this.#cells[this.#at(index) + IS_DIR] === 1;
  }

  /** Whether this fh was opened with `waits`; false for one that cannot be. */
  waits(fhLo: number): boolean {
    return fhLo > 0 && fhLo <= this.capacity && this.#cells[this.#at(fhLo) + WAITS] === 1;
  }

  /** Whether a handle was opened for all of this. */
  isFor(index: number, purpose: number): boolean {
    return (this.#cells[this.#at(index) + PURPOSE] & purpose) === purpose;
  }

  /** Whether anybody has this inode open for this. It looks at every handle: not for the hot path. */
  isOpenFor(inode: number, purpose: number): boolean {
    const cells = this.#cells;
    for (let index = 1; index <= cells[H_NEXT]; index++) {
      const at = this.#at(index);
      const isOpen = (Atomics.load(cells, at + USES) & OPEN) !== 0;
      if (isOpen && cells[at + INODE] === inode && (cells[at + PURPOSE] & purpose) !== 0)
        return true;
    }
    return false;
  }

  lockDirectory(index: number): void {
    lockCell(this.#cells, this.#at(index) + DIR_LOCK, this.#owner);
  }

  /** The same for a thread that must not wait for a reader. @returns whether it has the lock */
  tryLockDirectory(index: number): boolean {
    return tryLockCell(this.#cells, this.#at(index) + DIR_LOCK, this.#owner);
  }

  unlockDirectory(index: number): void {
    unlockCell(this.#cells, this.#at(index) + DIR_LOCK);
  }

  /** Whether the directory's descriptor stands at this cookie. Under the directory lock. */
  isDirectoryAt(index: number, lo: number, hi: number): boolean {
    const at = this.#at(index);
    const cells = this.#cells;
    return cells[at + DIR_VALID] === 1 && cells[at + DIR_LO] === lo && cells[at + DIR_HI] === hi;
  }

  setDirectoryAt(index: number, lo: number, hi: number): void {
    const at = this.#at(index);
    this.#cells[at + DIR_LO] = lo;
    this.#cells[at + DIR_HI] = hi;
    this.#cells[at + DIR_VALID] = 1;
  }

  setDirectoryAstray(index: number): void {
    this.#cells[this.#at(index) + DIR_VALID] = 0;
  }

  openFiles(): number {
    return Atomics.load(this.#cells, H_FILES);
  }

  openDirectories(): number {
    return Atomics.load(this.#cells, H_DIRS);
  }

  /** Frees every handle; nobody else may use the table. */
  clear(): void {
    for (let index = 1; index <= this.#cells[H_NEXT]; index++) {
      const at = this.#at(index);
      if ((this.#cells[at + USES] & OPEN) === 0) continue;
      Atomics.store(this.#cells, at + USES, OPEN | CLOSING);
      this.#free(index);
    }
  }

  /** Gives back what a dead thread held: the list lock, and a directory it was reading. */
  recoverOwner(owner: number, directory: number): void {
    if (lockOwner(this.#cells, H_LOCK) === owner) unlockCell(this.#cells, H_LOCK);
    if (directory <= 0) return;
    const at = this.#at(directory);
    if (lockOwner(this.#cells, at + DIR_LOCK) !== owner) return;
    this.setDirectoryAstray(directory);
    unlockCell(this.#cells, at + DIR_LOCK);
  }

  #at(index: number): number {
    return ENTRIES_AT + index * STRIDE;
  }

  #free(index: number): void {
    const cells = this.#cells;
    const at = this.#at(index);
    // Exactly one thread gets here for a handle; a late use() only adds to the count and takes it
    // off.
    if (Atomics.compareExchange(cells, at + USES, OPEN | CLOSING, 0) !== (OPEN | CLOSING)) return;
    const fd = cells[at + FD];
    const backing = cells[at + BACKING];
    Atomics.sub(cells, cells[at + IS_DIR] === 1 ? H_DIRS : H_FILES, 1);
    const next = cells[at + EPOCH] + 1;
    cells[at + EPOCH] = next === EPOCH_LIMIT ? 0 : next;
    lockCell(cells, H_LOCK, this.#owner);
    cells[at + NEXT] = cells[H_FREE];
    cells[H_FREE] = index;
    unlockCell(cells, H_LOCK);
    this.#onFree(fd, backing);
  }
}
