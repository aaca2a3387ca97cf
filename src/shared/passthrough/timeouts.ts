/**
 * How long the kernel may trust names and attributes: cells of shared memory, since a reload of the
 * configuration changes them while requests are served.
 */

/** The cells. Directories have their own; NEGATIVE is for names that do not exist. */
export const TIMEOUT = { ENTRY: 0, ATTR: 1, DIR_ENTRY: 2, DIR_ATTR: 3, NEGATIVE: 4 } as const;

export type TimeoutCell = (typeof TIMEOUT)[keyof typeof TIMEOUT];

const CELLS = 5;
/** The longest time that a cell holds in milliseconds: 24 days. */
const MOST_MS = 0x7fffffff;

/**
 * Each cell is one Int32 and a value by itself, so none is ever seen half written: milliseconds, or
 * below zero whole seconds, where milliseconds do not fit (rounded up).
 *
 * Written by main only, at the start and by a reload; read by every thread, per request. A request
 * that runs during a reload may take one timeout as it was and another as it is now.
 */
export class Timeouts {
  static readonly byteLength = 4 * CELLS;

  readonly #cells: Int32Array;

  /** `byteOffset` is a multiple of 4, at the start of `byteLength` bytes. */
  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#cells = new Int32Array(buffer, byteOffset, CELLS);
  }

  /** Sets one timeout, from 0 to 1e12 milliseconds; main only. */
  set(cell: TimeoutCell, ms: number): void {
    // Pairs with the load in get().
    Atomics.store(this.#cells, cell, ms <= MOST_MS ? ms : -Math.ceil(ms / 1000));
  }

  /** One timeout as its cell holds it, for the two functions below: read once for both fields. */
  get(cell: TimeoutCell): number {
    // Pairs with the store in set().
    return Atomics.load(this.#cells, cell);
  }
}

/** Whole seconds of a cell's value, as the wire wants them. */
export function validSeconds(value: number): number {
  return value < 0 ? -value : Math.floor(value / 1000);
}

/** The nanoseconds beyond those. */
export function validNanoseconds(value: number): number {
  return value < 0 ? 0 : (value % 1000) * 1_000_000;
}
