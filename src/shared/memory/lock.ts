/**
 * A mutual exclusion lock in one Int32 cell of shared memory.
 *
 * The cell is 0 when free, else the owner's thread number (1 is main, then the lanes, then main's deputy), with
 * CONTENDED set while somebody sleeps on it. No lock but that of an open directory (held by the lane
 * that reads it) is held across a system call, so waits are short; the owner's number lets main
 * release what a dead lane held. Main itself may be the one that waits for a dead lane, before it
 * hears of the death: see longWaitChecks.
 */
const CONTENDED = 1 << 30;
const SPINS = 200;
/** Bounds every sleep, so that a lost wake-up costs a millisecond and not a thread. */
const SLEEP_MS = 1;

/** Sleeps after which a wait is long. */
const LONG_WAIT_SLEEPS = 20;

/** What this thread does when it has waited long for a lock: the owner may be dead. */
export const longWaitChecks = new Set<(owner: number) => void>();

/** Takes the lock at `cells[index]` for thread `owner`. */
export function lockCell(cells: Int32Array, index: number, owner: number): void {
  for (let spin = 0; spin < SPINS; spin++) {
    // Pairs with the exchange in unlockCell().
    if (Atomics.compareExchange(cells, index, 0, owner) === 0) return;
  }
  for (let sleeps = 1; ; ) {
    const seen = Atomics.load(cells, index);
    if (seen === 0) {
      // We may not be the only sleeper: keep CONTENDED, one wake-up too many is harmless.
      if (Atomics.compareExchange(cells, index, 0, owner | CONTENDED) === 0) return;
      continue;
    }
    const marked = seen | CONTENDED;
    if (seen === marked || Atomics.compareExchange(cells, index, seen, marked) === seen) {
      Atomics.wait(cells, index, marked, SLEEP_MS);
      if (sleeps++ % LONG_WAIT_SLEEPS !== 0) continue;
      for (const check of longWaitChecks) check(seen & ~CONTENDED);
    }
  }
}

/** Takes the lock if it is free. @returns whether it did */
export function tryLockCell(cells: Int32Array, index: number, owner: number): boolean {
  // Pairs with the exchange in unlockCell().
  return Atomics.compareExchange(cells, index, 0, owner) === 0;
}

/** Gives the lock back. */
export function unlockCell(cells: Int32Array, index: number): void {
  // Pairs with the compareExchange calls in lockCell().
  if ((Atomics.exchange(cells, index, 0) & CONTENDED) !== 0) Atomics.notify(cells, index, 1);
}

/** The thread that holds the lock, 0 if none does. */
export function lockOwner(cells: Int32Array, index: number): number {
  return Atomics.load(cells, index) & ~CONTENDED;
}
