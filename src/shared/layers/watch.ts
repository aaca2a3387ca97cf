/**
 * Which layer each lane is in, and since when, for main, which ends a lane whose layer does not answer.
 */

const LAYER = 0; // Atomic: place of the layer + 1, 0 for none. Written by the lane, after SINCE.
const ENTRIES = 1; // Atomic: how often it was entered, to tell one stay from the next. By the lane.
const THREAD = 2; // Atomic: worker_threads' number of the lane's thread. By the lane, at its start.
const SINCE = 4; // A double: nowUs(). Written by the lane before LAYER, read by main after it.
const STRIDE = 6;

export class LayerWatch {
  static byteLength(maxLanes: number): number {
    return 4 * STRIDE * maxLanes;
  }

  readonly #cells: Int32Array;
  readonly #doubles: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Int32Array(buffer);
    this.#doubles = new Float64Array(buffer);
  }

  /** A lane starts on this thread. */
  start(lane: number, threadId: number): void {
    Atomics.store(this.#cells, lane * STRIDE + THREAD, threadId);
    Atomics.store(this.#cells, lane * STRIDE + LAYER, 0);
  }

  /** The lane enters a layer. @param place -1 to leave it */
  enter(lane: number, place: number, nowUs: number): void {
    const at = lane * STRIDE;
    this.#doubles[(at + SINCE) >> 1] = nowUs;
    // Pair with the loads in place() and entries().
    Atomics.add(this.#cells, at + ENTRIES, 1);
    Atomics.store(this.#cells, at + LAYER, place + 1);
  }

  /** The layer the lane is in, -1 for none. */
  place(lane: number): number {
    return Atomics.load(this.#cells, lane * STRIDE + LAYER) - 1;
  }

  entries(lane: number): number {
    return Atomics.load(this.#cells, lane * STRIDE + ENTRIES);
  }

  sinceUs(lane: number): number {
    return this.#doubles[(lane * STRIDE + SINCE) >> 1];
  }

  threadId(lane: number): number {
    return Atomics.load(this.#cells, lane * STRIDE + THREAD);
  }
}
