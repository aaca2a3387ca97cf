/**
 * What each thread holds at this moment, so that main can give it back when the thread dies, and the
 * doorbell by which a lane is woken.
 *
 * A record is written by its own thread with plain stores and read by main after the thread's death
 * (the exit event orders the two); STATE alone is used while both live. V8 ends a thread at the call
 * of a function of ours or at a loop's turn only: statements that follow one another with neither in
 * between happen together or not at all.
 */

export const THREAD_STATE = {
  /** Works, or looks for work. */
  RUNNING: 0,
  /** Sleeps on the doorbell, or is about to. */
  SLEEPING: 1,
  /** Told to end. */
  STOPPING: 2,
} as const;

/** What a request has changed that must be undone when its reply is never delivered: bits. */
export const EFFECT = {
  NONE: 0,
  /** One lookup of inode (slot, epoch). */
  LOOKUP: 1,
  /** An open handle. */
  HANDLE: 2,
  /** Lookups of the entries in the READDIRPLUS reply built so far. */
  DIRECTORY_ENTRIES: 4,
} as const;

const STATE = 0; // Atomic: THREAD_STATE. See WorkRings for the order of ring and doorbell.
const ITEM = 1; // Item taken from a ring: see ThreadJournal.itemAt.
const GROUP = 2; // Mount whose lane permit is held, plus one.
const EFFECT_KIND = 3;
const EFFECT_SLOT = 4;
const EFFECT_EPOCH = 5;
const EFFECT_HANDLE = 6;
const EFFECT_BYTES = 7;
const DIRECTORY = 8; // Handle whose directory lock is held.
const HANDLE_USES_AT = 9; // Handles in use: two cells, 0 for none.
const BACKING = 11; // Entry of BackingFiles in which an open is counted that no handle has yet.
const PINS_AT = 12; // Pinned inode slots: eight cells, 0 for none.
const PINS = 8;
const FDS_AT = 20; // Descriptors open for this request only: eight cells, fd + 1.
const FDS = 8;
const MOUNT_REF = 28; // Mount with a reference taken for an inode not entered yet, plus one.
const RESERVED = 29; // Descriptors counted in the budget but not yet owned by a table.
const THREAD_ID = 30; // The kernel's number of the thread, 0 while it is not known.
const LOCK_USE = 31; // Lock owner in use, see LockOwners; 0 for none.
const STRIDE = 32;

/** The exporter has a row of statistics, and holds nothing: as an owner of locks 0 is nobody. */
export const EXPORTER_THREAD = 0;
export const MAIN_THREAD = 1;

/** The number of a lane's thread, for locks and its record here. */
export function laneThread(lane: number): number {
  return lane + 2;
}

/** The number of the deputy's thread, where there can be so many lanes. */
export function deputyThread(maxLanes: number): number {
  return laneThread(maxLanes);
}

/** The number of a thread that serves queues of io_uring. @param index counts those threads */
export function queueThread(maxLanes: number, index: number): number {
  return deputyThread(maxLanes) + 1 + index;
}

/** Threads with a record here: also the exporter's, which stays empty. */
export function threadCount(maxLanes: number, queueThreads: number): number {
  return queueThread(maxLanes, queueThreads);
}

export class ThreadJournal {
  /** Bytes for so many threads, as threadCount() tells. */
  static byteLength(threads: number): number {
    return 4 * STRIDE * threads;
  }

  /**
   * The cells, for those who take something and note it in one go: a thread may be ended at the call
   * of a method, but not between two statements.
   */
  readonly cells: Int32Array;
  /** Cell of the item at hand: slot + 1, or the complement of a descriptor to close; 0 for none. */
  readonly itemAt: number;
  /** Cell of the mount whose lane permit is held, plus one. */
  readonly groupAt: number;
  /** Cell of the lock owner in use. */
  readonly lockUseAt: number;
  /** Cell of the entry of backing files in which an open is counted. */
  readonly backingAt: number;
  /** Cell of the effect; slot and epoch of a lookup stand behind it. */
  readonly effectAt: number;
  readonly #cells: Int32Array;
  readonly #at: number;

  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.cells = new Int32Array(buffer);
    this.#cells = this.cells;
    this.#at = thread * STRIDE;
    this.itemAt = this.#at + ITEM;
    this.groupAt = this.#at + GROUP;
    this.lockUseAt = this.#at + LOCK_USE;
    this.backingAt = this.#at + BACKING;
    this.effectAt = this.#at + EFFECT_KIND;
  }

  /** Forgets what the last request held: called between requests, when all of it is given back. */
  clear(): void {
    this.#cells.fill(0, this.#at + ITEM, this.#at + STRIDE);
  }

  // ---- doorbell ----

  /** The lane says it is about to sleep; it looks at the rings once more before it does. */
  announceSleep(): void {
    // Pairs with the compareExchange in wake(): full barriers on both sides, so that either main
    // sees SLEEPING or the lane sees the item.
    Atomics.compareExchange(
      this.#cells,
      this.#at + STATE,
      THREAD_STATE.RUNNING,
      THREAD_STATE.SLEEPING,
    );
  }

  /** The lane found work after all, or woke up. */
  announceRunning(): void {
    Atomics.compareExchange(
      this.#cells,
      this.#at + STATE,
      THREAD_STATE.SLEEPING,
      THREAD_STATE.RUNNING,
    );
  }

  sleep(timeoutMs: number): void {
    Atomics.wait(this.#cells, this.#at + STATE, THREAD_STATE.SLEEPING, timeoutMs);
  }

  /** Wakes the lane if it sleeps. @returns whether it did */
  wake(): boolean {
    const at = this.#at + STATE;
    const woken =
      Atomics.compareExchange(this.#cells, at, THREAD_STATE.SLEEPING, THREAD_STATE.RUNNING) ===
      THREAD_STATE.SLEEPING;
    if (woken) Atomics.notify(this.#cells, at, 1);
    return woken;
  }

  tellStop(): void {
    Atomics.store(this.#cells, this.#at + STATE, THREAD_STATE.STOPPING);
    Atomics.notify(this.#cells, this.#at + STATE, 1);
  }

  isStopping(): boolean {
    return Atomics.load(this.#cells, this.#at + STATE) === THREAD_STATE.STOPPING;
  }

  /** Before a lane starts, and before it is started again. */
  resetState(): void {
    Atomics.store(this.#cells, this.#at + STATE, THREAD_STATE.RUNNING);
  }

  // ---- who it is ----

  setThreadId(id: number): void {
    Atomics.store(this.#cells, this.#at + THREAD_ID, id);
  }

  threadId(): number {
    return Atomics.load(this.#cells, this.#at + THREAD_ID);
  }

  // ---- what is held ----

  /** The slot at hand, -1 for none. */
  slot(): number {
    return Math.max(this.#cells[this.itemAt], 0) - 1;
  }

  /** The descriptor that was to be closed, -1 for none. */
  closing(): number {
    const item = this.#cells[this.itemAt];
    return item < 0 ? ~item : -1;
  }

  setGroup(group: number): void {
    this.#cells[this.#at + GROUP] = group + 1;
  }

  group(): number {
    return this.#cells[this.#at + GROUP] - 1;
  }

  effectLookup(slot: number, epoch: number): void {
    this.#cells[this.#at + EFFECT_SLOT] = slot;
    this.#cells[this.#at + EFFECT_EPOCH] = epoch;
    this.#cells[this.#at + EFFECT_KIND] |= EFFECT.LOOKUP;
  }

  effectHandle(index: number): void {
    this.#cells[this.#at + EFFECT_HANDLE] = index;
    this.#cells[this.#at + EFFECT_KIND] |= EFFECT.HANDLE;
  }

  effectDirectoryEntries(bytes: number): void {
    this.#cells[this.#at + EFFECT_BYTES] = bytes;
    // The entry looked up last is now one of those in the reply.
    this.#cells[this.#at + EFFECT_KIND] = EFFECT.DIRECTORY_ENTRIES;
  }

  effectNone(): void {
    this.#cells[this.#at + EFFECT_KIND] = EFFECT.NONE;
  }

  effect(): number {
    return this.#cells[this.#at + EFFECT_KIND];
  }

  effectSlot(): number {
    return this.#cells[this.#at + EFFECT_SLOT];
  }

  effectEpoch(): number {
    return this.#cells[this.#at + EFFECT_EPOCH];
  }

  effectHandleIndex(): number {
    return this.#cells[this.#at + EFFECT_HANDLE];
  }

  effectBytes(): number {
    return this.#cells[this.#at + EFFECT_BYTES];
  }

  setDirectory(handle: number): void {
    this.#cells[this.#at + DIRECTORY] = handle;
  }

  directory(): number {
    return this.#cells[this.#at + DIRECTORY];
  }

  setMountRef(place: number): void {
    this.#cells[this.#at + MOUNT_REF] = place + 1;
  }

  mountRef(): number {
    return this.#cells[this.#at + MOUNT_REF] - 1;
  }

  /** The entry of backing files in which an open is counted that no handle has yet, 0 for none. */
  backing(): number {
    return this.#cells[this.backingAt];
  }

  dropBacking(): void {
    this.#cells[this.backingAt] = 0;
  }

  addReserved(change: number): void {
    this.#cells[this.#at + RESERVED] += change;
  }

  reserved(): number {
    return this.#cells[this.#at + RESERVED];
  }

  /** A free cell for a pin, written by who takes that. */
  freePinAt(): number {
    const first = this.#at + PINS_AT;
    const at = this.#cells.indexOf(0, first);
    if (at >= first && at < first + PINS) return at;
    throw new Error('a request pins more than its journal has room for');
  }

  notePin(slot: number): void {
    this.#replace(PINS_AT, PINS, 0, slot);
  }

  dropPin(slot: number): void {
    this.#replace(PINS_AT, PINS, slot, 0);
  }

  noteUse(handle: number): void {
    this.#replace(HANDLE_USES_AT, 2, 0, handle);
  }

  dropUse(handle: number): void {
    this.#replace(HANDLE_USES_AT, 2, handle, 0);
  }

  noteFd(fd: number): void {
    this.#replace(FDS_AT, FDS, 0, fd + 1);
  }

  dropFd(fd: number): void {
    this.#replace(FDS_AT, FDS, fd + 1, 0);
  }

  /** Visits the pinned slots. */
  forEachPin(visit: (slot: number) => void): void {
    for (let i = this.#at + PINS_AT; i < this.#at + PINS_AT + PINS; i++) {
      if (this.#cells[i] !== 0) visit(this.#cells[i]);
    }
  }

  hasFd(fd: number): boolean {
    for (let i = this.#at + FDS_AT; i < this.#at + FDS_AT + FDS; i++) {
      if (this.#cells[i] === fd + 1) return true;
    }
    return false;
  }

  /** Takes a noted pin out of the journal, 0 when there is none: the caller unpins it. */
  takePin(): number {
    return this.#take(PINS_AT, PINS);
  }

  /** Takes a noted handle use out of the journal, 0 when there is none. */
  takeUse(): number {
    return this.#take(HANDLE_USES_AT, 2);
  }

  /** Takes a noted descriptor out of the journal, -1 when there is none. */
  takeFd(): number {
    return this.#take(FDS_AT, FDS) - 1;
  }

  #replace(from: number, count: number, old: number, value: number): void {
    for (let i = this.#at + from; i < this.#at + from + count; i++) {
      if (this.#cells[i] === old) {
        this.#cells[i] = value;
        return;
      }
    }
    // Taking out what is not there is nothing; not noting what is held would leak it.
    if (value !== 0) throw new Error('a request holds more than its journal has room for');
  }

  #take(from: number, count: number): number {
    for (let i = this.#at + from; i < this.#at + from + count; i++) {
      const value = this.#cells[i];
      if (value !== 0) {
        this.#cells[i] = 0;
        return value;
      }
    }
    return 0;
  }
}
