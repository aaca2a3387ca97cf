/**
 * Counters, a row of cells for every thread: each is written by its own thread only and read by
 * whoever sums them, so none needs an atomic (an aligned double is read whole). Rows belong to the
 * lane's place, not to its thread: a lane that is started again goes on counting.
 */

/** Cells of a thread, besides those by operation. */
export const STAT = {
  BYTES_READ: 0,
  BYTES_WRITTEN: 1,
  /** Replies the kernel did not want any more. */
  DROPPED_REPLIES: 2,
  FORGETS: 3,
  INTERRUPTS: 4,
  /** Requests handed to a lane after main had tried. */
  DEFERRED: 5,
  /** Exceptions in an operation: each is a bug. */
  EXCEPTIONS: 6,
  LANE_RESTARTS: 7,
  /** Requests main had to keep because a backing mount's ring was full. */
  PARKED: 8,
  /** Opens of files that the kernel reads and writes by itself, and of those it does not. */
  BACKING_OPENS: 9,
  BACKING_FALLBACKS: 10,
} as const;

const FIXED_CELLS = 16;
/** Cells by operation: requests answered, and answered with an error. */
const PER_OPERATION = 2;

function strideOf(operations: number): number {
  // Whole cache lines, so that threads do not share one.
  return (FIXED_CELLS + PER_OPERATION * operations + 7) & ~7;
}

export class StatsBlock {
  static byteLength(threads: number, operations: number): number {
    return 8 * threads * strideOf(operations);
  }

  readonly #cells: Float64Array;
  readonly #stride: number;
  readonly #at: number;
  readonly #threads: number;

  constructor(buffer: SharedArrayBuffer, thread: number, threads: number, operations: number) {
    this.#cells = new Float64Array(buffer);
    this.#stride = strideOf(operations);
    this.#at = thread * this.#stride;
    this.#threads = threads;
  }

  /** Adds to a fixed cell of this thread. */
  add(stat: number, amount: number): void {
    this.#cells[this.#at + stat] += amount;
  }

  /** Counts an answered request; error is the negative errno or 0. */
  countReply(operation: number, error: number): void {
    const at = this.#at + FIXED_CELLS + PER_OPERATION * operation;
    this.#cells[at]++;
    if (error < 0) this.#cells[at + 1]++;
  }

  /** A fixed cell summed over all threads. */
  sum(stat: number): number {
    return this.#sumCell(stat);
  }

  /** Requests of this operation answered, over all threads. */
  replies(operation: number): number {
    return this.#sumCell(FIXED_CELLS + PER_OPERATION * operation);
  }

  /** Of those, the ones answered with an error. */
  errors(operation: number): number {
    return this.#sumCell(FIXED_CELLS + PER_OPERATION * operation + 1);
  }

  /** Requests answered by one thread, over all operations. */
  repliesOfThread(thread: number, operations: number): number {
    const at = thread * this.#stride + FIXED_CELLS;
    let total = 0;
    for (let i = 0; i < operations; i++) total += this.#cells[at + PER_OPERATION * i];
    return total;
  }

  #sumCell(cell: number): number {
    let total = 0;
    for (let t = 0; t < this.#threads; t++) total += this.#cells[t * this.#stride + cell];
    return total;
  }
}
