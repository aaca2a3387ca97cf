/**
 * Which layer each lane is in, and since when, for main, which ends a lane whose layer does not answer.
 */

// Atomic: number of the stay in a layer x 64, plus the layer's place + 1 (0 outside), or GIVEN_UP. From stay
// to stay by the lane, to GIVEN_UP by main, both by compareExchange: one of the two has the request.
const STAY = 0;
const THREAD = 1; // Atomic: worker_threads' number of the lane's thread. By the lane, at its start.
const SINCE = 2; // A double: nowUs(). By the lane before STAY; main reads it between STAY and its exchange.
const STRIDE = 4;

const PLACES = 64;
const STAYS = 1 << 24;
const GIVEN_UP = -1;

/** Layers there can be in the lanes. */
export const MOST_LAYERS = PLACES - 2;

export class LayerWatch {
  static byteLength(maxLanes: number): number {
    return 4 * STRIDE * maxLanes;
  }

  readonly #cells: Int32Array;
  readonly #doubles: Float64Array;
  /** The lane's own: what it wrote to STAY last. */
  #stay = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Int32Array(buffer);
    this.#doubles = new Float64Array(buffer);
  }

  /** A lane starts on this thread. */
  start(lane: number, threadId: number): void {
    Atomics.store(this.#cells, lane * STRIDE + THREAD, threadId);
    Atomics.store(this.#cells, lane * STRIDE + STAY, 0);
  }

  /** The lane enters a layer; does not return if main has given it up. @param place -1 to leave it */
  enter(lane: number, place: number, nowUs: number): void {
    const at = lane * STRIDE;
    const before = this.#stay;
    this.#stay = ((Math.floor(before / PLACES) + 1) % STAYS) * PLACES + place + 1;
    this.#doubles[(at + SINCE) >> 1] = nowUs;
    // Pairs with the compareExchange in giveUp().
    const found = Atomics.compareExchange(this.#cells, at + STAY, before, this.#stay);
    // The request is answered. Main ends this thread, also here.
    if (found !== before) for (;;) Atomics.wait(this.#cells, at + STAY, GIVEN_UP);
  }

  /**
   * Main gives a lane up that has been in a layer since before this time: it will do nothing more.
   * @returns the place of the layer, -1 if the lane is not given up
   */
  giveUp(lane: number, beforeUs: number): number {
    const at = lane * STRIDE;
    const stay = Atomics.load(this.#cells, at + STAY);
    if (stay === GIVEN_UP || stay % PLACES === 0) return -1;
    if (this.#doubles[(at + SINCE) >> 1] >= beforeUs) return -1;
    // Pairs with the compareExchange in enter(): no other stay has begun, so that the time is this one's.
    const found = Atomics.compareExchange(this.#cells, at + STAY, stay, GIVEN_UP);
    return found === stay ? (stay % PLACES) - 1 : -1;
  }

  threadId(lane: number): number {
    return Atomics.load(this.#cells, lane * STRIDE + THREAD);
  }
}
