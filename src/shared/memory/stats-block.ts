/**
 * Counters, a row of cells for every thread: each is written by its own thread only and read by
 * whoever sums them, so none needs an atomic (an aligned double is read whole). Rows belong to the
 * lane's place, not to its thread: a lane that is started again goes on counting. After a lane's
 * death main writes its row, until the next thread has it.
 */

/** The cells of histograms, one behind the other. */
export interface HistogramPlace {
  /** First cell of the first histogram. */
  readonly at: number;
  /** Cells of one: a bucket for each bound, one for what is above, and the sum. */
  readonly stride: number;
  /** Upper bounds, in the unit of what is counted. */
  readonly bounds: Float64Array;
}

/** Rows are whole cache lines, so that threads do not share one. */
const LINE_CELLS = 8;

function strideOf(cells: number): number {
  return Math.ceil(cells / LINE_CELLS) * LINE_CELLS;
}

export class StatsBlock {
  static byteLength(threads: number, cells: number): number {
    return 8 * threads * strideOf(cells);
  }

  /** All rows, for a table that counts together with what it does. */
  readonly cells: Float64Array;
  /** Where this thread's row begins in them. */
  readonly at: number;
  readonly #stride: number;
  readonly #threads: number;

  /** @param cells cells of a row */
  constructor(buffer: SharedArrayBuffer, thread: number, threads: number, cells: number) {
    this.cells = new Float64Array(buffer);
    this.#stride = strideOf(cells);
    this.at = thread * this.#stride;
    this.#threads = threads;
  }

  /** Adds to a cell of this thread. */
  add(stat: number, amount: number): void {
    this.cells[this.at + stat] += amount;
  }

  /** Sets a cell of this thread. */
  set(stat: number, value: number): void {
    this.cells[this.at + stat] = value;
  }

  /** Counts a value in one of this thread's histograms. */
  observe(histogram: HistogramPlace, index: number, value: number): void {
    const { bounds } = histogram;
    const first = this.at + histogram.at + index * histogram.stride;
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]) bucket++;
    this.cells[first + bucket]++;
    this.cells[first + bounds.length + 1] += value;
  }

  /** A cell of one thread. */
  of(thread: number, stat: number): number {
    return this.cells[thread * this.#stride + stat];
  }

  /** Sets a cell of a thread that is dead. Main only. */
  setOf(thread: number, stat: number, value: number): void {
    this.cells[thread * this.#stride + stat] = value;
  }

  /** A cell summed over the threads from `first` to the one before `end`. */
  sum(stat: number, first = 0, end = this.#threads): number {
    let total = 0;
    for (let t = first; t < end; t++) total += this.cells[t * this.#stride + stat];
    return total;
  }
}
