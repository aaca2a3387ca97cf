/**
 * Who receives requests: main, or for the length of a call in which main hangs its deputy. Whoever
 * does is the only one who takes slots and fills rings.
 */
const HOLDER = 0; // Atomic: HOLDER values; see each method for who moves it from where.
const CALLS = 16; // Calls main has begun; written by main alone before HOLDER, read by the deputy: one that stands still hangs.
const AWAKE = 17; // Atomic: 1 while the deputy looks at CALLS by itself, 0 while it sleeps on this cell. Both write it.
const STOP = 18; // Atomic: 1 when the deputy is to end; written by main.
const RECEIVE_SLOT = 19; // Large slot the deputy receives into: written by the deputy while it receives, by main while there is none.
const CELLS = 32;

const MAIN = 0;
/** Main is in a call that may take its time. */
const MAIN_IN_CALL = 1;
const DEPUTY = 2;

export class Receiver {
  static readonly byteLength = 4 * CELLS;

  readonly #cells: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new Int32Array(buffer);
  }

  // ---- main ----

  /** Main begins a call that may take its time; end with endCall(). */
  beginCall(): void {
    this.#cells[CALLS]++;
    // Pairs with the compareExchange in takeOver(), and with the load in sleepIfIdle(): either the deputy
    // sees the call, or we see that it sleeps.
    Atomics.store(this.#cells, HOLDER, MAIN_IN_CALL);
    if (Atomics.load(this.#cells, AWAKE) === 1) return;
    Atomics.store(this.#cells, AWAKE, 1);
    Atomics.notify(this.#cells, AWAKE, 1);
  }

  /** The call has ended. @returns false if the deputy has taken over: main then waits with waitForReturn() */
  endCall(): boolean {
    return Atomics.compareExchange(this.#cells, HOLDER, MAIN_IN_CALL, MAIN) === MAIN_IN_CALL;
  }

  /** Waits until the deputy has given back what it took. @returns whether it has */
  waitForReturn(timeoutMs: number): boolean {
    // Pairs with the store in giveBack().
    Atomics.wait(this.#cells, HOLDER, DEPUTY, timeoutMs);
    return Atomics.load(this.#cells, HOLDER) === MAIN;
  }

  /** Takes over from a deputy that died. */
  takeFromDead(): void {
    Atomics.store(this.#cells, HOLDER, MAIN);
  }

  tellStop(): void {
    Atomics.store(this.#cells, STOP, 1);
    Atomics.store(this.#cells, AWAKE, 1);
    Atomics.notify(this.#cells, AWAKE, 1);
    Atomics.notify(this.#cells, STOP, 1);
  }

  /** Before a deputy is started, and before it is started again. @param receiveSlot a large slot for it */
  reset(receiveSlot: number): void {
    this.#cells[RECEIVE_SLOT] = receiveSlot;
    Atomics.store(this.#cells, STOP, 0);
  }

  /** Whether the deputy receives, as seen by a third thread: true a moment ago. */
  isDeputyReceiving(): boolean {
    return Atomics.load(this.#cells, HOLDER) === DEPUTY;
  }

  /** The large slot the deputy receives into; for itself, and for main when it has ended. */
  receiveSlot(): number {
    return this.#cells[RECEIVE_SLOT];
  }

  // ---- the deputy ----

  /** Receives into another slot from now on. While it receives. */
  setReceiveSlot(slot: number): void {
    this.#cells[RECEIVE_SLOT] = slot;
  }

  isStopping(): boolean {
    return Atomics.load(this.#cells, STOP) === 1;
  }

  /** The call main is in, -1 if it is in none. */
  currentCall(): number {
    const isInCall = Atomics.load(this.#cells, HOLDER) === MAIN_IN_CALL;
    return isInCall ? this.calls() : -1;
  }

  /** Calls main has begun, modulo 2^32. */
  calls(): number {
    // Pairs with the store of HOLDER in beginCall(), which CALLS is written before.
    return Atomics.load(this.#cells, CALLS);
  }

  /** Lets some time pass, unless told to stop. */
  pause(timeoutMs: number): void {
    Atomics.wait(this.#cells, STOP, 0, timeoutMs);
  }

  /** Sleeps until main begins a call, if it is in none. */
  sleepIfIdle(timeoutMs: number): void {
    Atomics.store(this.#cells, AWAKE, 0);
    // Pairs with the store in beginCall(): main is in no call, or one that began since has set AWAKE.
    if (Atomics.load(this.#cells, HOLDER) === MAIN && !this.isStopping())
      Atomics.wait(this.#cells, AWAKE, 0, timeoutMs);
    Atomics.store(this.#cells, AWAKE, 1);
  }

  /** Receives from now on, if main is in a call still. @returns whether it does */
  takeOver(): boolean {
    // Pairs with the compareExchange in endCall().
    return Atomics.compareExchange(this.#cells, HOLDER, MAIN_IN_CALL, DEPUTY) === MAIN_IN_CALL;
  }

  /** Receives no more. */
  giveBack(): void {
    // Pairs with the wait in waitForReturn().
    Atomics.store(this.#cells, HOLDER, MAIN);
    Atomics.notify(this.#cells, HOLDER, 1);
  }
}
