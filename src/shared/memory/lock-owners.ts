/**
 * Who may hold fcntl locks through the mount: for each owner the descriptor by which its locks on one
 * inode are taken on the host. The locks belong to that open file description, so owners are told
 * apart there as processes are. An owner is the kernel's: a process's table of open files, or one
 * open file where the client itself takes locks of open file descriptions.
 */
import { lockCell, lockOwner, unlockCell } from './lock.ts';
import type { ThreadJournal } from './thread-journal.ts';

const H_LOCK = 0; // Lock over everything here but the next two; never held across a system call.
const H_COUNT = 1; // Atomic: owners; written under H_LOCK, read by anyone.
const H_WAITS = 2; // Atomic: lock waits in main's hands; written by main, read by lanes.
const H_FREE = 3; // Head of the free list.
const H_NEXT = 4; // Highest index ever used.
const BUCKETS_AT = 16;

const NODE_LO = 0;
const NODE_HI = 1;
const OWNER_LO = 2;
const OWNER_HI = 3;
const FD = 4; // Constant while the entry lives.
const PID = 5; // The process that took a lock last.
const HANDLE = 6; // The open file by which it came last; 0 when the last user is to end the entry.
const USES = 7; // Requests at work with it.
const NEXT = 8; // Next of the bucket, or of the free list.
const STRIDE = 12;

/** Owners there can be at most: each costs a descriptor. */
const OWNER_LIMIT = 65536;
const BUCKETS = 4096;

export interface LockOwner {
  readonly fd: number;
  readonly pid: number;
}

export class LockOwners {
  static byteLength(fdBudget: number): number {
    return 4 * (BUCKETS_AT + BUCKETS + (capacityOf(fdBudget) + 1) * STRIDE);
  }

  readonly #capacity: number;
  readonly #cells: Int32Array;
  readonly #thread: number;

  constructor(buffer: SharedArrayBuffer, fdBudget: number, thread: number) {
    this.#capacity = capacityOf(fdBudget);
    this.#cells = new Int32Array(buffer);
    this.#thread = thread;
  }

  count(): number {
    return Atomics.load(this.#cells, H_COUNT);
  }

  /** Lock waits in main's hands: unlocks are told to main while there are any. */
  waits(): number {
    return Atomics.load(this.#cells, H_WAITS);
  }

  setWaits(count: number): void {
    Atomics.store(this.#cells, H_WAITS, count);
  }

  /**
   * Starts to use an owner's entry, and notes that; end with unuse().
   * @param handle the open file by which the owner came, 0 to leave that as it is
   * @returns its index, 0 if the owner has none
   */
  use(
    nodeLo: number,
    nodeHi: number,
    ownerLo: number,
    ownerHi: number,
    handle: number,
    journal: ThreadJournal,
  ): number {
    const cells = this.#cells;
    const { cells: notes, lockUseAt } = journal;
    lockCell(cells, H_LOCK, this.#thread);
    const index = this.#find(nodeLo, nodeHi, ownerLo, ownerHi);
    const at = this.#at(index);
    if (index > 0) {
      // No call in between: the use is counted and noted, or neither.
      if (handle !== 0) cells[at + HANDLE] = handle;
      cells[at + USES]++;
      notes[lockUseAt] = index;
    }
    unlockCell(cells, H_LOCK);
    return index;
  }

  /**
   * Enters an owner with its descriptor and uses it, as use() does. Another thread of that owner
   * may have been faster: then fd(index) is another one.
   * @returns the index, 0 when there are too many
   */
  add(
    nodeLo: number,
    nodeHi: number,
    ownerLo: number,
    ownerHi: number,
    handle: number,
    fd: number,
    journal: ThreadJournal,
  ): number {
    const cells = this.#cells;
    const { cells: notes, lockUseAt } = journal;
    const bucket = bucketOf(nodeLo, nodeHi);
    lockCell(cells, H_LOCK, this.#thread);
    const found = this.#find(nodeLo, nodeHi, ownerLo, ownerHi);
    const free = cells[H_FREE];
    const fresh = free > 0 ? free : cells[H_NEXT] < this.#capacity ? cells[H_NEXT] + 1 : 0;
    const index = found > 0 ? found : fresh;
    const at = this.#at(index);
    // No call from here to the unlock, as in use().
    if (found === 0 && fresh > 0) {
      if (free > 0) cells[H_FREE] = cells[at + NEXT];
      else cells[H_NEXT] = fresh;
      cells[at + NODE_LO] = nodeLo;
      cells[at + NODE_HI] = nodeHi;
      cells[at + OWNER_LO] = ownerLo;
      cells[at + OWNER_HI] = ownerHi;
      cells[at + FD] = fd;
      cells[at + PID] = 0;
      cells[at + USES] = 0;
      cells[at + NEXT] = cells[bucket];
      cells[bucket] = fresh;
      cells[H_COUNT]++;
    }
    if (index > 0) {
      cells[at + HANDLE] = handle;
      cells[at + USES]++;
      notes[lockUseAt] = index;
    }
    unlockCell(cells, H_LOCK);
    return index;
  }

  /**
   * Starts to use an entry that came by this handle, which is about to be closed.
   * @returns its index, 0 if there is none (any more)
   */
  useOfHandle(nodeLo: number, nodeHi: number, handle: number, journal: ThreadJournal): number {
    const cells = this.#cells;
    const { cells: notes, lockUseAt } = journal;
    lockCell(cells, H_LOCK, this.#thread);
    let index = cells[bucketOf(nodeLo, nodeHi)];
    while (index > 0 && !this.#isOfHandle(index, nodeLo, nodeHi, handle)) {
      index = cells[this.#at(index) + NEXT];
    }
    const at = this.#at(index);
    if (index > 0) {
      cells[at + HANDLE] = 0;
      cells[at + USES]++;
      notes[lockUseAt] = index;
    }
    unlockCell(cells, H_LOCK);
    return index;
  }

  /** Has unuse() end the entry, unless somebody else uses it: a thread of that owner takes a lock. */
  retire(index: number): void {
    const cells = this.#cells;
    lockCell(cells, H_LOCK, this.#thread);
    const at = this.#at(index);
    if (cells[at + USES] === 1) cells[at + HANDLE] = 0;
    unlockCell(cells, H_LOCK);
  }

  /** Ends the noted use, if there is one. @returns a descriptor to close, or -1 */
  unuse(journal: ThreadJournal): number {
    const cells = this.#cells;
    const { cells: notes, lockUseAt } = journal;
    const index = notes[lockUseAt];
    if (index === 0) return -1;
    lockCell(cells, H_LOCK, this.#thread);
    const at = this.#at(index);
    const isLast = cells[at + USES] === 1 && cells[at + HANDLE] === 0;
    const link = isLast ? this.#linkTo(index) : 0;
    // No call from here to the unlock: a thread that is ended has done all of it or nothing.
    if (isLast) {
      cells[link] = cells[at + NEXT];
      cells[at + NEXT] = cells[H_FREE];
      cells[H_FREE] = index;
      cells[H_COUNT]--;
    }
    cells[at + USES]--;
    notes[lockUseAt] = 0;
    const fd = isLast ? cells[at + FD] : -1;
    unlockCell(cells, H_LOCK);
    return fd;
  }

  fd(index: number): number {
    return this.#cells[this.#at(index) + FD];
  }

  setPid(index: number, pid: number): void {
    this.#cells[this.#at(index) + PID] = pid;
  }

  /** The owners of an inode. Allocates: for the answer to a conflict only. */
  ownersOf(nodeLo: number, nodeHi: number): LockOwner[] {
    const cells = this.#cells;
    const owners: LockOwner[] = [];
    lockCell(cells, H_LOCK, this.#thread);
    for (let i = cells[bucketOf(nodeLo, nodeHi)]; i > 0; i = cells[this.#at(i) + NEXT]) {
      const at = this.#at(i);
      if (cells[at + NODE_LO] !== nodeLo || cells[at + NODE_HI] !== nodeHi) continue;
      owners.push({ fd: cells[at + FD], pid: cells[at + PID] });
    }
    unlockCell(cells, H_LOCK);
    return owners;
  }

  /** Forgets every owner. Nobody else may be at work. */
  clear(close: (fd: number) => void): void {
    const cells = this.#cells;
    for (let bucket = BUCKETS_AT; bucket < BUCKETS_AT + BUCKETS; bucket++) {
      for (let i = cells[bucket]; i > 0; i = cells[this.#at(i) + NEXT]) close(this.fd(i));
    }
    cells.fill(0, H_COUNT, BUCKETS_AT + BUCKETS);
  }

  /** Releases the lock of a thread that died. */
  recoverOwner(thread: number): void {
    if (lockOwner(this.#cells, H_LOCK) === thread) unlockCell(this.#cells, H_LOCK);
  }

  #at(index: number): number {
    return BUCKETS_AT + BUCKETS + index * STRIDE;
  }

  #find(nodeLo: number, nodeHi: number, ownerLo: number, ownerHi: number): number {
    const cells = this.#cells;
    let index = cells[bucketOf(nodeLo, nodeHi)];
    for (; index > 0; index = cells[this.#at(index) + NEXT]) {
      const at = this.#at(index);
      if (
        cells[at + NODE_LO] === nodeLo &&
        cells[at + NODE_HI] === nodeHi &&
        cells[at + OWNER_LO] === ownerLo &&
        cells[at + OWNER_HI] === ownerHi
      ) {
        break;
      }
    }
    return index;
  }

  #isOfHandle(index: number, nodeLo: number, nodeHi: number, handle: number): boolean {
    const at = this.#at(index);
    const cells = this.#cells;
    return (
      cells[at + HANDLE] === handle &&
      cells[at + NODE_LO] === nodeLo &&
      cells[at + NODE_HI] === nodeHi
    );
  }

  /** The cell that points at an entry. */
  #linkTo(index: number): number {
    const cells = this.#cells;
    const at = this.#at(index);
    let link = bucketOf(cells[at + NODE_LO], cells[at + NODE_HI]);
    while (cells[link] !== index) link = this.#at(cells[link]) + NEXT;
    return link;
  }
}

function capacityOf(fdBudget: number): number {
  return Math.min(fdBudget, OWNER_LIMIT);
}

function bucketOf(nodeLo: number, nodeHi: number): number {
  return BUCKETS_AT + ((Math.imul(nodeLo ^ Math.imul(nodeHi, 31), 0x9e3779b1) >>> 20) % BUCKETS);
}
