/**
 * The authoritative inode table: every host file the kernel knows, in one SharedArrayBuffer.
 *
 * A nodeid is (slot, epoch): the slot in the low 32 bits, the epoch in the high ones, so it stays
 * below 2^53 and is not given out again before the slot went through all its epochs; then the
 * generation moves on. Slot 1 epoch 0 is the root.
 *
 * Identity is inode number, device and mount, and where there is one the host's file handle, which
 * tells a file from one that had its number before. 64 stripes, each a linear hash table with its
 * own lock: a stripe grows by one bucket at a time, so nobody ever waits for a rehash.
 *
 * The lookup count is the kernel's: 0 is terminal. A lookup adds by compare-and-swap from n > 0 only,
 * else it inserts under the stripe lock; a forget subtracts, and who reaches 0 removes under the same
 * lock.
 */
import { lockCell, lockOwner, unlockCell } from './lock.ts';
import { EFFECT, type ThreadJournal } from './thread-journal.ts';

/** Words of the identity a lookup is made by: a struct file_handle stands at HANDLE_BYTES. */
export const IDENTITY = {
  MOUNT: 0,
  DEV: 1,
  INO_LO: 2,
  INO_HI: 3,
  TYPE: 4,
  HANDLE_BYTES: 5,
  HANDLE_TYPE: 6,
  HANDLE: 7,
} as const;

/** Words of an entry. */
const EPOCH = 0; // Written under the stripe lock when the slot is freed; read by anyone.
const LOOKUPS = 1; // Atomic; see the head of this file.
const PINS = 2; // Atomic: users in the low bits, LOCKED and ZOMBIE above.
const FD = 3; // Atomic: an O_PATH descriptor or -1. Installed from -1; taken away under LOCKED or by the freer.
const HOLDS = 4; // Atomic: how many reasons there are not to evict the descriptor.
const NEXT = 5; // Link of the chain or of the free list, under the stripe lock.
const HASH = 6; // Written before the entry is linked, constant while it lives (as are all below).
const MOUNT = 7;
const INO_LO = 8;
const INO_HI = 9;
const DEV = 10;
const FLAGS = 11; // S_IFMT bits; REFERENCED, an unordered hint for eviction; FREE, under the stripe lock.
const CACHE_PLACE = 12; // Place in the descriptor cache; written by who installs the descriptor.
const GENERATION = 13; // Moves on when EPOCH wraps, under the stripe lock.
const SHOWN_INO_LO = 14; // Inode number shown under use_host_ino.
const SHOWN_INO_HI = 15;
const HANDLE_BYTES = 16; // struct file_handle: bytes, type, data.
const HANDLE_TYPE = 17;
const HANDLE = 18;

/** Behind the cell of a journal's effect. */
const NOTE_SLOT = 1;
const NOTE_EPOCH = 2;

const PIN_LOCKED = 1 << 30;
const PIN_ZOMBIE = 1 << 29;
const REFERENCED = 1 << 20;
const FREE = 1 << 21;
const EPOCH_LIMIT = 1 << 21;

const STRIPES = 64;
const STRIPE_SHIFT = 6;
const STRIPE_WORDS = 16; // A cache line each.
const S_LOCK = 0; // Lock cell.
const S_BUCKETS = 1; // Buckets in use, under the lock.
const S_ENTRIES = 2; // Entries in the stripe; written under the lock, read by count().
const S_FREE = 3; // Head of the free list, under the lock.
const FIRST_BUCKETS = 16;
/** Buckets stand in runs of a cache line, 1 << RUN_SHIFT = STRIPE_WORDS of them: see #bucketCell(). */
const RUN_SHIFT = 4;
/** A stripe splits buckets until it has so many for each entry, or all it can have. */
const BUCKETS_PER_ENTRY = 2;

const HEADER_WORDS = 16;
const H_NEXT_SLOT = 0; // Atomic: first slot never used.
const STRIPES_AT = HEADER_WORDS;
const BUCKETS_AT = STRIPES_AT + STRIPES * STRIPE_WORDS;

export const ROOT_SLOT = 1;

export interface InodeTableGeometry {
  /** Inodes that fit. */
  readonly capacity: number;
  /** Room for file handle bytes in each entry, a multiple of 4. */
  readonly handleRoomBytes: number;
}

function bucketsPerStripe(capacity: number): number {
  return Math.max(FIRST_BUCKETS, 1 << (32 - Math.clz32(Math.ceil(capacity / STRIPES) - 1)));
}

export class InodeTable {
  /** Bytes of shared memory for a table of this geometry. */
  static byteLength(geometry: InodeTableGeometry): number {
    const buckets = STRIPES * bucketsPerStripe(geometry.capacity);
    return 4 * (BUCKETS_AT + buckets + (geometry.capacity + 1) * InodeTable.strideWords(geometry));
  }

  static strideWords(geometry: InodeTableGeometry): number {
    return HANDLE + geometry.handleRoomBytes / 4;
  }

  readonly capacity: number;
  readonly handleRoomBytes: number;
  /** Of the last removal: what the caller has to give back. */
  removedFd = -1;
  removedHeld = false;
  removedMount = 0;
  removedSlot = 0;
  removedPlace = -1;
  /** Whether the last lookup made a new entry. */
  inserted = false;

  readonly #cells: Int32Array;
  readonly #entriesAt: number;
  readonly #stride: number;
  readonly #maxBuckets: number;
  readonly #owner: number;
  readonly #baseAddress: number;
  /** Where lookups are noted: a journal's cells, from that of the effect on. */
  #notes: Int32Array = new Int32Array(NOTE_EPOCH + 1);
  #noteAt = 0;
  /** Where this thread counts lookups taken less those given back: written by it alone. */
  #lookups: Float64Array = new Float64Array(1);
  #lookupsAt = 0;

  /**
   * @param buffer at least byteLength(geometry) bytes, zero when the table is new
   * @param owner this thread's number, for its locks
   * @param baseAddress address of the buffer's first byte
   */
  constructor(
    buffer: SharedArrayBuffer,
    geometry: InodeTableGeometry,
    owner: number,
    baseAddress: number,
  ) {
    this.capacity = geometry.capacity;
    this.handleRoomBytes = geometry.handleRoomBytes;
    this.#cells = new Int32Array(buffer);
    this.#stride = InodeTable.strideWords(geometry);
    this.#maxBuckets = bucketsPerStripe(geometry.capacity);
    this.#entriesAt = BUCKETS_AT + STRIPES * this.#maxBuckets;
    this.#owner = owner;
    this.#baseAddress = baseAddress;
  }

  /** Has lookups noted in this thread's journal as they are counted. */
  noteLookupsIn(journal: ThreadJournal): void {
    this.#notes = journal.cells;
    this.#noteAt = journal.effectAt;
  }

  /**
   * Has this thread count the lookups it takes and gives back in a cell of its own; over all threads
   * the cells sum up to what countLookups() finds.
   */
  countLookupsIn(cells: Float64Array, at: number): void {
    this.#lookups = cells;
    this.#lookupsAt = at;
  }

  /** Makes the table empty. Nobody else may use it meanwhile. */
  clear(): void {
    const used = Atomics.load(this.#cells, H_NEXT_SLOT);
    this.#lookups[this.#lookupsAt] -= this.countLookups();
    for (let slot = 1; slot < used; slot++) {
      const at = this.#at(slot);
      // Also one that was forgotten and not freed yet: its nodeid was given out.
      const lived = (this.#cells[at + FLAGS] & FREE) === 0;
      this.#cells[at + LOOKUPS] = 0;
      this.#cells[at + PINS] = 0;
      this.#cells[at + FD] = -1;
      this.#cells[at + HOLDS] = 0;
      if (slot === ROOT_SLOT) continue;
      this.#cells[at + FLAGS] = FREE;
      if (lived) this.#nextEpoch(at);
    }
    Atomics.store(this.#cells, H_NEXT_SLOT, Math.max(used, ROOT_SLOT + 1));
    this.#rebuildAll();
  }

  /**
   * Puts the root in slot 1, with a lookup count of 2 that no forget reaches.
   */
  setRoot(identity: Int32Array): void {
    if (Atomics.load(this.#cells, H_NEXT_SLOT) <= ROOT_SLOT) {
      Atomics.store(this.#cells, H_NEXT_SLOT, ROOT_SLOT + 1);
    }
    const hash = this.#hash(identity);
    const stripe = this.#stripeOf(hash);
    lockCell(this.#cells, stripe + S_LOCK, this.#owner);
    this.#fill(ROOT_SLOT, hash, identity);
    this.#cells[this.#at(ROOT_SLOT) + LOOKUPS] = 2;
    this.#link(stripe, ROOT_SLOT, hash);
    unlockCell(this.#cells, stripe + S_LOCK);
  }

  /** The slot a nodeid names, or -1 when the kernel cannot know it (any more). */
  resolve(nodeLo: number, nodeHi: number): number {
    if (nodeLo <= 0 || nodeLo > this.capacity) return -1;
    const at = this.#at(nodeLo);
    // Pairs with the stores in #nextEpoch() and #lookupLocked().
    if (Atomics.load(this.#cells, at + EPOCH) !== nodeHi) return -1;
    return Atomics.load(this.#cells, at + LOOKUPS) > 0 ? nodeLo : -1;
  }

  /**
   * Finds the entry of this identity, or makes one, and counts one lookup in it, which it notes in
   * the thread's journal. Sets `inserted`.
   * @returns the slot, or -1 when the table is full
   */
  lookup(identity: Int32Array): number {
    this.inserted = false;
    const hash = this.#hash(identity);
    const stripe = this.#stripeOf(hash);
    lockCell(this.#cells, stripe + S_LOCK, this.#owner);
    const slot = this.#lookupLocked(stripe, hash, identity);
    unlockCell(this.#cells, stripe + S_LOCK);
    return slot;
  }

  /**
   * As lookup(), for an entry that has a descriptor open while the caller has one of the identity's file:
   * then the number is no other file's, and the identity needs no handle. For file systems whose
   * numbers are of one file each.
   * @returns the slot, or -1 when there is no such entry
   */
  lookupOpen(identity: Int32Array): number {
    this.inserted = false;
    const hash = this.#hash(identity);
    const stripe = this.#stripeOf(hash);
    lockCell(this.#cells, stripe + S_LOCK, this.#owner);
    const found = this.#findLocked(stripe, hash, identity, true);
    const slot = found > 0 && this.#takeLookup(found) ? found : -1;
    unlockCell(this.#cells, stripe + S_LOCK);
    return slot;
  }

  /**
   * Finds a live entry of this identity, adds a hold to it and pins it, without counting a lookup.
   * @returns the slot, or -1
   */
  holdAndPin(identity: Int32Array): number {
    const hash = this.#hash(identity);
    const stripe = this.#stripeOf(hash);
    lockCell(this.#cells, stripe + S_LOCK, this.#owner);
    const slot = this.#findLocked(stripe, hash, identity, false);
    // Under the lock, so that no forget frees the slot in between.
    if (slot > 0) {
      this.addHold(slot);
      this.pin(slot);
    }
    unlockCell(this.#cells, stripe + S_LOCK);
    return slot;
  }

  /**
   * Gives back `count` lookups. When the last one goes the entry is removed, and the caller ends the
   * removal by the `removed` fields: closes the descriptor (through a lane when it was held, since
   * that may be the end of an unlinked file), clears its cache place, drops a reference of the mount.
   * @returns whether the entry was removed now; false also for unknown nodeids and the root
   */
  forget(slot: number, epoch: number, count: number): boolean {
    this.removedFd = -1;
    if (slot <= ROOT_SLOT || slot > this.capacity) return false;
    const at = this.#at(slot);
    if (Atomics.load(this.#cells, at + EPOCH) !== epoch) return false;
    for (;;) {
      const seen = Atomics.load(this.#cells, at + LOOKUPS);
      if (seen <= 0) return false;
      // Saturating: a count below zero makes no sense, whatever the kernel sends.
      const left = seen > count ? seen - count : 0;
      // Pairs with the compareExchange in #takeLookup().
      if (Atomics.compareExchange(this.#cells, at + LOOKUPS, seen, left) !== seen) continue;
      this.#lookups[this.#lookupsAt] -= seen - left;
      return left === 0 && this.#remove(slot);
    }
  }

  /**
   * Keeps the entry's descriptor from being closed until unpin(). The caller resolves the nodeid
   * again afterwards, and waits out a LOCKED entry (`isLocked`).
   */
  pin(slot: number): void {
    // Pairs with the compareExchange in lockForEviction().
    Atomics.add(this.#cells, this.#at(slot) + PINS, 1);
  }

  /** The same, noted in a free cell of a journal: both happen, or neither. */
  pinNoted(slot: number, notes: Int32Array, noteAt: number): void {
    const cells = this.#cells;
    const at = this.#at(slot) + PINS;
    Atomics.add(cells, at, 1);
    notes[noteAt] = slot;
  }

  /**
   * Takes a pin back.
   * @returns whether this freed an entry that was forgotten meanwhile: then as after forget()
   */
  unpin(slot: number): boolean {
    const at = this.#at(slot);
    const left = Atomics.sub(this.#cells, at + PINS, 1) - 1;
    return left === PIN_ZOMBIE && this.#finishZombie(slot);
  }

  isLocked(slot: number): boolean {
    return (Atomics.load(this.#cells, this.#at(slot) + PINS) & PIN_LOCKED) !== 0;
  }

  /** Takes an entry that nobody pins for eviction; end with unlockAfterEviction(). */
  lockForEviction(slot: number): boolean {
    // Pairs with the add in pin().
    return Atomics.compareExchange(this.#cells, this.#at(slot) + PINS, 0, PIN_LOCKED) === 0;
  }

  /** Ends an eviction. @returns as unpin() */
  unlockAfterEviction(slot: number): boolean {
    const at = this.#at(slot);
    const left = Atomics.sub(this.#cells, at + PINS, PIN_LOCKED) - PIN_LOCKED;
    return left === PIN_ZOMBIE && this.#finishZombie(slot);
  }

  fd(slot: number): number {
    return Atomics.load(this.#cells, this.#at(slot) + FD);
  }

  /** Installs a descriptor where there is none. @returns whether it was taken */
  installFd(slot: number, fd: number): boolean {
    // Pairs with the exchange in takeFd().
    return Atomics.compareExchange(this.#cells, this.#at(slot) + FD, -1, fd) === -1;
  }

  /** Takes the descriptor away: only with the entry LOCKED or on the way out. */
  takeFd(slot: number): number {
    return Atomics.exchange(this.#cells, this.#at(slot) + FD, -1);
  }

  addHold(slot: number): void {
    Atomics.add(this.#cells, this.#at(slot) + HOLDS, 1);
  }

  dropHold(slot: number): void {
    Atomics.sub(this.#cells, this.#at(slot) + HOLDS, 1);
  }

  isHeld(slot: number): boolean {
    return Atomics.load(this.#cells, this.#at(slot) + HOLDS) > 0;
  }

  lookups(slot: number): number {
    return Atomics.load(this.#cells, this.#at(slot) + LOOKUPS);
  }

  epoch(slot: number): number {
    return this.#cells[this.#at(slot) + EPOCH];
  }

  generation(slot: number): number {
    return this.#cells[this.#at(slot) + GENERATION];
  }

  mount(slot: number): number {
    return this.#cells[this.#at(slot) + MOUNT];
  }

  dev(slot: number): number {
    return this.#cells[this.#at(slot) + DEV];
  }

  inoLo(slot: number): number {
    return this.#cells[this.#at(slot) + INO_LO];
  }

  inoHi(slot: number): number {
    return this.#cells[this.#at(slot) + INO_HI];
  }

  /** The S_IFMT bits the file had when it was first looked up; they do not change in its life. */
  fileType(slot: number): number {
    return this.#cells[this.#at(slot) + FLAGS] & 0o170000;
  }

  hasHandle(slot: number): boolean {
    return this.#cells[this.#at(slot) + HANDLE_BYTES] > 0;
  }

  /** Address of the entry's struct file_handle. */
  handleAddress(slot: number): number {
    return this.#baseAddress + 4 * (this.#at(slot) + HANDLE_BYTES);
  }

  cachePlace(slot: number): number {
    return this.#cells[this.#at(slot) + CACHE_PLACE];
  }

  setCachePlace(slot: number, place: number): void {
    this.#cells[this.#at(slot) + CACHE_PLACE] = place;
  }

  touch(slot: number): void {
    const at = this.#at(slot) + FLAGS;
    const flags = this.#cells[at];
    if ((flags & REFERENCED) === 0) Atomics.or(this.#cells, at, REFERENCED);
  }

  /** Clears the mark of recent use. @returns whether it was set */
  clearTouched(slot: number): boolean {
    const at = this.#at(slot) + FLAGS;
    return (Atomics.and(this.#cells, at, ~REFERENCED) & REFERENCED) !== 0;
  }

  shownInoLo(slot: number): number {
    return this.#cells[this.#at(slot) + SHOWN_INO_LO];
  }

  shownInoHi(slot: number): number {
    return this.#cells[this.#at(slot) + SHOWN_INO_HI];
  }

  setShownIno(slot: number, lo: number, hi: number): void {
    this.#cells[this.#at(slot) + SHOWN_INO_LO] = lo;
    this.#cells[this.#at(slot) + SHOWN_INO_HI] = hi;
  }

  /** Shared memory an inode takes: its entry and its share of the index. */
  bytesPerInode(): number {
    return 4 * (this.#stride + (STRIPES * this.#maxBuckets) / this.capacity);
  }

  /** Live entries. */
  count(): number {
    let total = 0;
    for (let s = 0; s < STRIPES; s++) {
      total += Atomics.load(this.#cells, STRIPES_AT + s * STRIPE_WORDS + S_ENTRIES);
    }
    return total;
  }

  /** Lookups the kernel owes, over all entries: walks the table. */
  countLookups(): number {
    const used = Math.min(Atomics.load(this.#cells, H_NEXT_SLOT), this.capacity + 1);
    let total = 0;
    for (let slot = ROOT_SLOT + 1; slot < used; slot++) total += this.lookups(slot);
    return total;
  }

  /** Calls back for every live entry. */
  forEachLive(visit: (slot: number) => void): void {
    const used = Math.min(Atomics.load(this.#cells, H_NEXT_SLOT), this.capacity + 1);
    for (let slot = ROOT_SLOT; slot < used; slot++) if (this.lookups(slot) > 0) visit(slot);
  }

  /** Releases the locks of a thread that died, rebuilding the stripes it was changing. */
  recoverOwner(owner: number): void {
    for (let s = 0; s < STRIPES; s++) {
      const stripe = STRIPES_AT + s * STRIPE_WORDS;
      if (lockOwner(this.#cells, stripe + S_LOCK) !== owner) continue;
      this.#rebuild(s);
      unlockCell(this.#cells, stripe + S_LOCK);
    }
  }

  #at(slot: number): number {
    return this.#entriesAt + slot * this.#stride;
  }

  #stripeOf(hash: number): number {
    return STRIPES_AT + (hash & (STRIPES - 1)) * STRIPE_WORDS;
  }

  /** Of what every identity has: a file system may refuse the handle of a file it gave one for before. */
  #hash(identity: Int32Array): number {
    let h = Math.imul(identity[IDENTITY.MOUNT] + 0x9e3779b9, 0x85ebca6b);
    h = mix(h, identity[IDENTITY.DEV]);
    h = mix(h, identity[IDENTITY.INO_LO]);
    h = mix(h, identity[IDENTITY.INO_HI]);
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    return h ^ (h >>> 16);
  }

  /**
   * Whether an entry is of this file. Two handles tell. An entry without one has a descriptor, so
   * that its number cannot have gone to another file; where only the entry has a handle the number
   * has to do.
   */
  #matches(at: number, hash: number, identity: Int32Array): boolean {
    const cells = this.#cells;
    if (
      cells[at + HASH] !== hash ||
      cells[at + INO_LO] !== identity[IDENTITY.INO_LO] ||
      cells[at + INO_HI] !== identity[IDENTITY.INO_HI] ||
      cells[at + MOUNT] !== identity[IDENTITY.MOUNT] ||
      cells[at + DEV] !== identity[IDENTITY.DEV]
    ) {
      return false;
    }
    const handleBytes = identity[IDENTITY.HANDLE_BYTES];
    if (handleBytes === 0 || cells[at + HANDLE_BYTES] === 0) return true;
    if (cells[at + HANDLE_BYTES] !== handleBytes) return false;
    if (cells[at + HANDLE_TYPE] !== identity[IDENTITY.HANDLE_TYPE]) return false;
    const words = (handleBytes + 3) >> 2;
    for (let i = 0; i < words; i++) {
      if (cells[at + HANDLE + i] !== identity[IDENTITY.HANDLE + i]) return false;
    }
    return true;
  }

  /** Index of the cell that heads the chain of this hash. */
  #bucket(stripe: number, hash: number): number {
    const buckets = this.#cells[stripe + S_BUCKETS] || FIRST_BUCKETS;
    return this.#bucketCell(stripe, bucketOf(hash, buckets));
  }

  /**
   * Index of the cell of a bucket. The stripes take turns, so that the buckets in use are the front
   * of the array whatever its size: a small table touches one huge page of it, not one for each stripe.
   */
  #bucketCell(stripe: number, bucket: number): number {
    const turn = (bucket >> RUN_SHIFT) * STRIPES * STRIPE_WORDS;
    return BUCKETS_AT + turn + (stripe - STRIPES_AT) + (bucket & (STRIPE_WORDS - 1));
  }

  /** Adds one lookup unless the count is 0, which is terminal. */
  #takeLookup(slot: number): boolean {
    const at = this.#at(slot);
    const cells = this.#cells;
    const notes = this.#notes;
    const noteAt = this.#noteAt;
    const counts = this.#lookups;
    const countAt = this.#lookupsAt;
    for (;;) {
      const seen = Atomics.load(cells, at + LOOKUPS);
      if (seen <= 0) return false;
      // Pairs with the compareExchange in forget().
      if (Atomics.compareExchange(cells, at + LOOKUPS, seen, seen + 1) !== seen) continue;
      // No call in between: the lookup is counted and noted, or neither.
      notes[noteAt + NOTE_SLOT] = slot;
      notes[noteAt + NOTE_EPOCH] = cells[at + EPOCH];
      notes[noteAt] |= EFFECT.LOOKUP;
      counts[countAt]++;
      return true;
    }
  }

  /** @param isOpen whether only an entry with a descriptor will do */
  #findLocked(stripe: number, hash: number, identity: Int32Array, isOpen: boolean): number {
    const cells = this.#cells;
    let slot = cells[this.#bucket(stripe, hash)];
    while (slot > 0) {
      const at = this.#at(slot);
      if (
        this.#matches(at, hash, identity) &&
        Atomics.load(cells, at + LOOKUPS) > 0 &&
        (!isOpen || Atomics.load(cells, at + FD) >= 0)
      ) {
        return slot;
      }
      slot = cells[at + NEXT];
    }
    return -1;
  }

  #lookupLocked(stripe: number, hash: number, identity: Int32Array): number {
    const found = this.#findLocked(stripe, hash, identity, false);
    if (found > 0 && this.#takeLookup(found)) return found;
    const slot = this.#allocate(stripe);
    if (slot < 0) return -1;
    this.#fill(slot, hash, identity);
    const at = this.#at(slot);
    const cells = this.#cells;
    const notes = this.#notes;
    const noteAt = this.#noteAt;
    const counts = this.#lookups;
    const countAt = this.#lookupsAt;
    // Pairs with the load in resolve(): everything else of the entry is written before.
    Atomics.store(cells, at + LOOKUPS, 1);
    // No call in between, as in #takeLookup().
    notes[noteAt + NOTE_SLOT] = slot;
    notes[noteAt + NOTE_EPOCH] = cells[at + EPOCH];
    notes[noteAt] |= EFFECT.LOOKUP;
    counts[countAt]++;
    this.#link(stripe, slot, hash);
    this.inserted = true;
    return slot;
  }

  #fill(slot: number, hash: number, identity: Int32Array): void {
    const cells = this.#cells;
    const at = this.#at(slot);
    cells[at + FD] = -1;
    // What no handle opens keeps its descriptor for life.
    cells[at + HOLDS] = identity[IDENTITY.HANDLE_BYTES] > 0 ? 0 : 1;
    cells[at + HASH] = hash;
    cells[at + MOUNT] = identity[IDENTITY.MOUNT];
    cells[at + INO_LO] = identity[IDENTITY.INO_LO];
    cells[at + INO_HI] = identity[IDENTITY.INO_HI];
    cells[at + DEV] = identity[IDENTITY.DEV];
    cells[at + FLAGS] = identity[IDENTITY.TYPE];
    cells[at + CACHE_PLACE] = -1;
    const handleBytes = identity[IDENTITY.HANDLE_BYTES];
    cells[at + HANDLE_BYTES] = handleBytes;
    cells[at + HANDLE_TYPE] = identity[IDENTITY.HANDLE_TYPE];
    const words = (handleBytes + 3) >> 2;
    for (let i = 0; i < words; i++) cells[at + HANDLE + i] = identity[IDENTITY.HANDLE + i];
  }

  #link(stripe: number, slot: number, hash: number): void {
    const cells = this.#cells;
    if (cells[stripe + S_BUCKETS] === 0) cells[stripe + S_BUCKETS] = FIRST_BUCKETS;
    const head = this.#bucket(stripe, hash);
    cells[this.#at(slot) + NEXT] = cells[head];
    cells[head] = slot;
    const entries = cells[stripe + S_ENTRIES] + 1;
    Atomics.store(cells, stripe + S_ENTRIES, entries);
    const wanted = Math.min(BUCKETS_PER_ENTRY * entries, this.#maxBuckets);
    // At most as many steps as one entry adds, so that no insert waits for a large one.
    const enough = Math.min(wanted, cells[stripe + S_BUCKETS] + BUCKETS_PER_ENTRY);
    for (let b = cells[stripe + S_BUCKETS]; b < enough; b++) this.#split(stripe, b);
  }

  /** Grows the stripe by one bucket: the entries that belong there leave the bucket it comes from. */
  #split(stripe: number, buckets: number): void {
    const cells = this.#cells;
    const half = 1 << (31 - Math.clz32(buckets));
    const from = this.#bucketCell(stripe, buckets - half);
    const to = this.#bucketCell(stripe, buckets);
    let stay = 0;
    let move = 0;
    let slot = cells[from];
    while (slot > 0) {
      const at = this.#at(slot);
      const next = cells[at + NEXT];
      if (bucketOf(cells[at + HASH], buckets + 1) === buckets) {
        cells[at + NEXT] = move;
        move = slot;
      } else {
        cells[at + NEXT] = stay;
        stay = slot;
      }
      slot = next;
    }
    cells[to] = move;
    cells[from] = stay;
    cells[stripe + S_BUCKETS] = buckets + 1;
  }

  /** Unlinks an entry whose count reached 0, and frees it unless somebody still pins it. */
  #remove(slot: number): boolean {
    const at = this.#at(slot);
    const stripe = this.#stripeOf(this.#cells[at + HASH]);
    lockCell(this.#cells, stripe + S_LOCK, this.#owner);
    this.#unlink(stripe, slot);
    unlockCell(this.#cells, stripe + S_LOCK);
    // Pairs with the sub in unpin(): whoever comes last frees.
    const pins = Atomics.or(this.#cells, at + PINS, PIN_ZOMBIE);
    return pins === 0 && this.#finishZombie(slot);
  }

  #unlink(stripe: number, slot: number): void {
    const cells = this.#cells;
    const head = this.#bucket(stripe, cells[this.#at(slot) + HASH]);
    if (cells[head] === slot) {
      cells[head] = cells[this.#at(slot) + NEXT];
    } else {
      let before = cells[head];
      while (before > 0 && cells[this.#at(before) + NEXT] !== slot) {
        before = cells[this.#at(before) + NEXT];
      }
      if (before <= 0) return;
      cells[this.#at(before) + NEXT] = cells[this.#at(slot) + NEXT];
    }
    Atomics.store(cells, stripe + S_ENTRIES, cells[stripe + S_ENTRIES] - 1);
  }

  /** Frees a forgotten entry that nobody pins; of several that see it so, one does. */
  #finishZombie(slot: number): boolean {
    const at = this.#at(slot);
    if (Atomics.compareExchange(this.#cells, at + PINS, PIN_ZOMBIE, PIN_LOCKED) !== PIN_ZOMBIE) {
      return false;
    }
    this.removedFd = this.takeFd(slot);
    this.removedHeld = this.isHeld(slot);
    this.removedMount = this.#cells[at + MOUNT];
    this.removedSlot = slot;
    this.removedPlace = this.#cells[at + CACHE_PLACE];
    const stripe = this.#stripeOf(this.#cells[at + HASH]);
    lockCell(this.#cells, stripe + S_LOCK, this.#owner);
    this.#nextEpoch(at);
    // Not a store: somebody with a stale nodeid may be pinning and unpinning at this moment.
    Atomics.sub(this.#cells, at + PINS, PIN_LOCKED);
    this.#pushFree(stripe, slot);
    unlockCell(this.#cells, stripe + S_LOCK);
    return true;
  }

  #nextEpoch(at: number): void {
    const next = this.#cells[at + EPOCH] + 1;
    if (next === EPOCH_LIMIT) this.#cells[at + GENERATION]++;
    // Pairs with the load in resolve().
    Atomics.store(this.#cells, at + EPOCH, next === EPOCH_LIMIT ? 0 : next);
  }

  /** A slot for the stripe whose lock is held: from its free list, the fresh ones, or a neighbour. */
  #allocate(stripe: number): number {
    const cells = this.#cells;
    const free = cells[stripe + S_FREE];
    if (free > 0) {
      this.#popFree(stripe, free);
      return free;
    }
    if (Atomics.load(cells, H_NEXT_SLOT) <= this.capacity) {
      // Pairs with itself in the other threads: each gets another slot.
      const fresh = Atomics.add(cells, H_NEXT_SLOT, 1);
      if (fresh <= this.capacity) return fresh;
    }
    return this.#stealFree(stripe);
  }

  #popFree(stripe: number, slot: number): void {
    this.#cells[this.#at(slot) + FLAGS] = 0;
    this.#cells[stripe + S_FREE] = this.#cells[this.#at(slot) + NEXT];
  }

  #pushFree(stripe: number, slot: number): void {
    this.#cells[this.#at(slot) + FLAGS] = FREE;
    this.#cells[this.#at(slot) + NEXT] = this.#cells[stripe + S_FREE];
    this.#cells[stripe + S_FREE] = slot;
  }

  /** Takes a free slot of another stripe, never waiting for its lock: two of us could wait crosswise. */
  #stealFree(own: number): number {
    const cells = this.#cells;
    for (let s = 0; s < STRIPES; s++) {
      const stripe = STRIPES_AT + s * STRIPE_WORDS;
      if (stripe === own || cells[stripe + S_FREE] <= 0) continue;
      if (Atomics.compareExchange(cells, stripe + S_LOCK, 0, this.#owner) !== 0) continue;
      const free = cells[stripe + S_FREE];
      if (free > 0) this.#popFree(stripe, free);
      unlockCell(cells, stripe + S_LOCK);
      if (free > 0) return free;
    }
    return -1;
  }

  /**
   * Rebuilds one stripe's chains and free list from the entries; its lock is held for the dead. An
   * entry that is neither live nor FREE is being removed by a thread that will come for the lock.
   */
  #rebuild(stripeNumber: number): void {
    const cells = this.#cells;
    const stripe = STRIPES_AT + stripeNumber * STRIPE_WORDS;
    const buckets = cells[stripe + S_BUCKETS];
    for (let b = 0; b < buckets; b++) cells[this.#bucketCell(stripe, b)] = 0;
    cells[stripe + S_ENTRIES] = 0;
    cells[stripe + S_FREE] = 0;
    const used = Math.min(Atomics.load(cells, H_NEXT_SLOT), this.capacity + 1);
    for (let slot = ROOT_SLOT; slot < used; slot++) {
      const at = this.#at(slot);
      if ((cells[at + HASH] & (STRIPES - 1)) !== stripeNumber) continue;
      if (Atomics.load(cells, at + LOOKUPS) > 0) {
        this.#link(stripe, slot, cells[at + HASH]);
      } else if ((cells[at + FLAGS] & FREE) !== 0) {
        this.#pushFree(stripe, slot);
      }
    }
  }

  #rebuildAll(): void {
    for (let s = 0; s < STRIPES; s++) this.#rebuild(s);
  }
}

function bucketOf(hash: number, buckets: number): number {
  const h = hash >>> STRIPE_SHIFT;
  const span = buckets > 1 ? 1 << (32 - Math.clz32(buckets - 1)) : 1;
  const bucket = h & (span - 1);
  return bucket < buckets ? bucket : bucket & ((span >> 1) - 1);
}

function mix(h: number, word: number): number {
  const k = Math.imul(word, 0xcc9e2d51);
  const rotated = (k << 15) | (k >>> 17);
  const x = h ^ Math.imul(rotated, 0x1b873593);
  return (Math.imul((x << 13) | (x >>> 19), 5) + 0xe6546b64) | 0;
}
