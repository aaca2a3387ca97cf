/**
 * Who makes the requests: counts by the thread id in a request's header, for `sluice top`. It exists
 * only while somebody looks. Main alone writes and reads it; its deputy counts in one of its own, which is
 * added to main's when main is back. Bounded: when it is full the less
 * active half is dropped, which costs a request a sort of a few hundred numbers now and then.
 */
/** What one thread of a client asked for since it is in the table. */
export interface CallerCounts {
  /** Its number in the daemon's pid namespace; 0: the kernel itself, or one that cannot be seen. */
  readonly pid: number;
  /** Tells this stay in the table from an earlier one of the same number. */
  readonly entry: number;
  readonly requests: number;
  readonly reads: number;
  readonly writes: number;
  /** Bytes that were asked for, not those that came. */
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** What was counted in a table. */
export interface CallerSums {
  readonly callers: readonly CallerCounts[];
  readonly requests: number;
}

/** Callers kept at once. */
export const CALLER_CAPACITY = 256;
const PLACES = 2 * CALLER_CAPACITY;
const EMPTY = -1;
/** Spreads numbers that follow each other (Knuth, multiplicative hashing). */
const SPREAD = 0x9e3779b1;

/** Cells of an entry. */
const ENTRY = 0;
const REQUESTS = 1;
/** Requests since entries were last dropped: by these it is decided who stays. */
const RECENT = 2;
const READS = 3;
const READ_BYTES = 4;
const WRITES = 5;
const WRITTEN_BYTES = 6;
const CELLS = 7;

export class CallerTable {
  /** Open addressing with linear probing. The pid at each place, or EMPTY. */
  readonly #pids = new Int32Array(PLACES).fill(EMPTY);
  readonly #cells = new Float64Array(PLACES * CELLS);
  #used = 0;
  #entries = 0;
  #requests = 0;
  #dropped = 0;

  /** Counts a request that moves no data. */
  count(pid: number): void {
    this.#entryOf(pid);
  }

  /** Counts a READ of so many bytes. */
  countRead(pid: number, sizeBytes: number): void {
    const at = this.#entryOf(pid);
    this.#cells[at + READS]++;
    this.#cells[at + READ_BYTES] += sizeBytes;
  }

  /** Counts a WRITE of so many bytes. */
  countWrite(pid: number, sizeBytes: number): void {
    const at = this.#entryOf(pid);
    this.#cells[at + WRITES]++;
    this.#cells[at + WRITTEN_BYTES] += sizeBytes;
  }

  /** Adds what was counted in another table; `requests` are those of its dropped callers, too. */
  add({ callers, requests }: CallerSums): void {
    this.#requests += requests;
    for (const counts of callers) {
      const at = this.#entryOf(counts.pid);
      this.#requests -= 1;
      this.#cells[at + REQUESTS] += counts.requests - 1;
      this.#cells[at + RECENT] += counts.requests - 1;
      this.#cells[at + READS] += counts.reads;
      this.#cells[at + READ_BYTES] += counts.readBytes;
      this.#cells[at + WRITES] += counts.writes;
      this.#cells[at + WRITTEN_BYTES] += counts.writtenBytes;
    }
  }

  /** What was counted so far; the table is empty then. */
  takeAll(): CallerSums {
    const sums = { callers: this.callers(), requests: this.#requests };
    this.#pids.fill(EMPTY);
    this.#used = 0;
    this.#requests = 0;
    return sums;
  }

  /** Requests counted, those of dropped callers included. */
  requests(): number {
    return this.#requests;
  }

  /** Callers dropped so far. */
  dropped(): number {
    return this.#dropped;
  }

  /** All entries, in no order. */
  callers(): CallerCounts[] {
    const callers: CallerCounts[] = [];
    for (let place = 0; place < PLACES; place++) {
      const pid = this.#pids[place];
      if (pid === EMPTY) continue;
      const at = place * CELLS;
      callers.push({
        pid,
        entry: this.#cells[at + ENTRY],
        requests: this.#cells[at + REQUESTS],
        reads: this.#cells[at + READS],
        writes: this.#cells[at + WRITES],
        readBytes: this.#cells[at + READ_BYTES],
        writtenBytes: this.#cells[at + WRITTEN_BYTES],
      });
    }
    return callers;
  }

  /** Counts the request, and says where the rest of the entry's cells are. */
  #entryOf(pid: number): number {
    let place = this.#placeOf(pid);
    if (this.#pids[place] === EMPTY) {
      if (this.#used === CALLER_CAPACITY) {
        this.#dropLessActive();
        place = this.#placeOf(pid);
      }
      this.#enter(place, pid);
    }
    const at = place * CELLS;
    this.#requests++;
    this.#cells[at + REQUESTS]++;
    this.#cells[at + RECENT]++;
    return at;
  }

  /** Where a pid is, or where it would go. At least half of the places are empty. */
  #placeOf(pid: number): number {
    let place = (Math.imul(pid, SPREAD) >>> 0) % PLACES;
    while (this.#pids[place] !== pid && this.#pids[place] !== EMPTY) place = (place + 1) % PLACES;
    return place;
  }

  #enter(place: number, pid: number): void {
    const at = place * CELLS;
    this.#pids[place] = pid;
    this.#cells.fill(0, at, at + CELLS);
    this.#cells[at + ENTRY] = this.#entries++;
    this.#used++;
  }

  #dropLessActive(): void {
    const pids = this.#pids.slice();
    const cells = this.#cells.slice();
    const kept = placesByActivity(pids, cells).slice(0, CALLER_CAPACITY / 2);
    this.#dropped += this.#used - kept.length;
    this.#used = kept.length;
    this.#pids.fill(EMPTY);
    for (const from of kept) {
      const place = this.#placeOf(pids[from]);
      this.#pids[place] = pids[from];
      this.#cells.set(cells.subarray(from * CELLS, (from + 1) * CELLS), place * CELLS);
      this.#cells[place * CELLS + RECENT] = 0;
    }
  }
}

/** The places in use, the most active first; of equals the one that came last. */
function placesByActivity(pids: Int32Array, cells: Float64Array): number[] {
  const cell = (place: number, which: number): number => cells[place * CELLS + which];
  return [...pids.keys()]
    .filter((place) => pids[place] !== EMPTY)
    .sort((a, b) => cell(b, RECENT) - cell(a, RECENT) || cell(b, ENTRY) - cell(a, ENTRY));
}
