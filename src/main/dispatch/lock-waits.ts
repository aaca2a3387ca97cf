/**
 * SETLKW requests that wait for somebody else's lock. They hold no slot, no lane and no descriptor,
 * only their message in main's memory, and are tried again by a lane when a lock on their inode is
 * given up through the mount, and from time to time, since a lock may also be given up behind it.
 *
 * One request of an inode is tried at a time, first come, first served; those that have no chance
 * after what the others met are left out, so that an unlock costs a try or two and not one for each
 * who waits.
 */
import { IN_HEADER, LK_IN } from '../../shared/abi/structs.ts';
import { F_WRLCK } from '../../shared/sys/constants.ts';
import {
  LOCK_ROUNDS_PER_MOUNT,
  LOCK_TRY_LOST_MS,
  LOCK_WAITS_LIMIT,
  LOCK_WAITS_TICK_MS,
  MAX_LOCK_POLL_MS,
  MIN_LOCK_POLL_MS,
} from './policy.ts';

export interface LockWaitsEnvironment {
  /** Has a lane try the request. @returns false if there is no room for it now */
  tryAgain(wait: LockWait): boolean;
  /** Whether a SETLKW is in a slot or parked. */
  isUnderWay(uniqueLo: number, uniqueHi: number): boolean;
  /** The number of waits has changed. */
  onCount(count: number): void;
}

/** What becomes of a request that found a conflict. */
export type WaitOutcome = 'waits' | 'interrupted' | 'tooMany';

/** A request that waits. */
export class LockWait {
  readonly message: Buffer;
  readonly receivedUs: number;
  readonly mount: number;
  readonly inode: number;
  readonly uniqueLo: number;
  readonly uniqueHi: number;
  readonly #flags: number;
  readonly #owner: bigint;
  readonly #start: bigint;
  readonly #end: bigint;
  readonly #isExclusive: boolean;

  constructor(message: Buffer, receivedUs: number, mount: number) {
    const body = IN_HEADER.SIZE;
    this.message = message;
    this.receivedUs = receivedUs;
    this.mount = mount;
    this.inode = message.readInt32LE(IN_HEADER.nodeid);
    this.uniqueLo = message.readInt32LE(IN_HEADER.unique);
    this.uniqueHi = message.readInt32LE(IN_HEADER.unique + 4);
    this.#flags = message.readUInt32LE(body + LK_IN.lk_flags);
    this.#owner = message.readBigUInt64LE(body + LK_IN.owner);
    this.#start = message.readBigUInt64LE(body + LK_IN.start);
    this.#end = message.readBigUInt64LE(body + LK_IN.end);
    this.#isExclusive = message.readUInt32LE(body + LK_IN.type) === F_WRLCK;
  }

  /** Whether this cannot be had while the other is. */
  conflictsWith(other: LockWait): boolean {
    return (
      this.#flags === other.#flags &&
      this.#owner !== other.#owner &&
      (this.#isExclusive || other.#isExclusive) &&
      this.#start <= other.#end &&
      other.#start <= this.#end
    );
  }

  /** Whether who has this has all that the other asks for. */
  includes(other: LockWait): boolean {
    return (
      this.#flags === other.#flags &&
      (this.#isExclusive || !other.#isExclusive) &&
      this.#start <= other.#start &&
      this.#end >= other.#end
    );
  }
}

/** One pass over the waits of an inode. */
interface Round {
  /** Place of the wait that is being tried. */
  index: number;
  trying: LockWait | undefined;
  /** When that began, or was last looked after. */
  triedMs: number;
  readonly startedMs: number;
  /** Tried whatever the others met: who holds the lock the others met is not known, it may be he. */
  readonly exempt: LockWait | undefined;
  readonly failed: LockWait[];
  readonly granted: LockWait[];
}

interface Queue {
  readonly mount: number;
  readonly waits: LockWait[];
  round: Round | undefined;
  /** An unlock came during the round. */
  isAgain: boolean;
  dueMs: number;
  pollMs: number;
  rounds: number;
}

/** Bounds the work of a round: beyond, what the others met is not remembered. */
const REMEMBERED = 16;
const INTERRUPTS_LIMIT = 256;

export class LockWaits {
  readonly #environment: LockWaitsEnvironment;
  readonly #limit: number;
  /** By inode. */
  readonly #queues = new Map<number, Queue>();
  /** Rounds under way, by mount. */
  readonly #rounds = new Map<number, number>();
  readonly #byUnique = new Map<number, LockWait>();
  /** Requests that were interrupted while a lane had them. */
  readonly #interrupted = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  #isRunSoon = false;

  constructor(environment: LockWaitsEnvironment, limit = LOCK_WAITS_LIMIT) {
    this.#environment = environment;
    this.#limit = limit;
  }

  count(): number {
    return this.#byUnique.size;
  }

  /** A lane could not have the lock. */
  add(message: Buffer, receivedUs: number, mount: number): WaitOutcome {
    const wait = new LockWait(message, receivedUs, mount);
    const unique = uniqueOf(wait.uniqueLo, wait.uniqueHi);
    const known = this.#byUnique.get(unique);
    if (this.#interrupted.delete(unique)) {
      if (known !== undefined) this.#remove(known);
      return 'interrupted';
    }
    if (known !== undefined) this.#onFailed(known);
    else if (this.count() >= this.#limit) return 'tooMany';
    else this.#enter(wait, unique);
    return 'waits';
  }

  /** A lane has answered a SETLKW, which may have been one of ours. */
  answered(uniqueLo: number, uniqueHi: number, isGranted: boolean): void {
    const unique = uniqueOf(uniqueLo, uniqueHi);
    this.#interrupted.delete(unique);
    const wait = this.#byUnique.get(unique);
    if (wait === undefined) return;
    const round = this.#queues.get(wait.inode)?.round;
    if (isGranted && round !== undefined && round.granted.length < REMEMBERED) {
      round.granted.push(wait);
    }
    this.#remove(wait);
  }

  /** A lock on this inode was given up: those who wait for it are tried, soon and not in this call. */
  unlocked(inode: number): void {
    const queue = this.#queues.get(inode);
    if (queue === undefined) return;
    queue.pollMs = MIN_LOCK_POLL_MS;
    if (queue.round !== undefined) queue.isAgain = true;
    else queue.dueMs = 0;
    this.#runSoon();
  }

  /**
   * A signal came for a SETLKW.
   * @returns the wait that ends, for its answer; undefined if a lane has it, which then tries once
   * more
   */
  interrupt(uniqueLo: number, uniqueHi: number): LockWait | undefined {
    const unique = uniqueOf(uniqueLo, uniqueHi);
    const wait = this.#byUnique.get(unique);
    if (wait !== undefined && this.#queues.get(wait.inode)?.round?.trying !== wait) {
      this.#remove(wait);
      return wait;
    }
    if (wait !== undefined || this.#environment.isUnderWay(uniqueLo, uniqueHi)) {
      if (this.#interrupted.size >= INTERRUPTS_LIMIT) this.#dropStaleInterrupts();
      this.#interrupted.add(unique);
    }
    return undefined;
  }

  /** Forgets all waits: their connection is over. */
  clear(): void {
    this.#queues.clear();
    this.#rounds.clear();
    this.#byUnique.clear();
    this.#interrupted.clear();
    this.#counted();
  }

  #enter(wait: LockWait, unique: number): void {
    this.#byUnique.set(unique, wait);
    let queue = this.#queues.get(wait.inode);
    if (queue === undefined) {
      const { mount } = wait;
      queue = {
        mount,
        waits: [],
        round: undefined,
        isAgain: false,
        dueMs: 0,
        pollMs: 0,
        rounds: 0,
      };
      this.#queues.set(wait.inode, queue);
    }
    queue.waits.push(wait);
    this.#counted();
    // The lock may have been given up before lanes could see that anybody waits: look again soon.
    queue.pollMs = MIN_LOCK_POLL_MS;
    queue.dueMs = Math.min(
      queue.dueMs || Number.POSITIVE_INFINITY,
      performance.now() + queue.pollMs,
    );
  }

  #counted(): void {
    const count = this.count();
    this.#environment.onCount(count);
    if (count === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#timer ??= setInterval(() => this.#run(), LOCK_WAITS_TICK_MS);
  }

  #runSoon(): void {
    if (this.#isRunSoon) return;
    this.#isRunSoon = true;
    setImmediate(() => {
      this.#isRunSoon = false;
      this.#run();
    });
  }

  /** Starts the rounds that are due, as many as may be. */
  #run(): void {
    const nowMs = performance.now();
    for (const queue of this.#queues.values()) {
      if (queue.round !== undefined) this.#findLost(queue.round, nowMs);
      else if (queue.dueMs <= nowMs) this.#start(queue, nowMs);
    }
  }

  #start(queue: Queue, nowMs: number): void {
    const rounds = this.#rounds.get(queue.mount) ?? 0;
    if (rounds >= LOCK_ROUNDS_PER_MOUNT) return;
    this.#rounds.set(queue.mount, rounds + 1);
    queue.isAgain = false;
    queue.round = {
      index: 0,
      trying: undefined,
      triedMs: nowMs,
      startedMs: nowMs,
      exempt: queue.waits[queue.rounds++ % queue.waits.length],
      failed: [],
      granted: [],
    };
    this.#next(queue, queue.round);
  }

  /** Tries the next wait that has a chance, or ends the round. */
  #next(queue: Queue, round: Round): void {
    round.trying = undefined;
    for (; round.index < queue.waits.length; round.index++) {
      const wait = queue.waits[round.index] as LockWait;
      if (wait !== round.exempt && isHopeless(wait, round)) continue;
      if (!this.#environment.tryAgain(wait)) break;
      round.trying = wait;
      round.triedMs = performance.now();
      return;
    }
    this.#end(queue, performance.now() - round.startedMs);
  }

  /** The more there is to try, the longer the pause: polling takes a fifth of a lane at the most. */
  #end(queue: Queue, elapsedMs: number): void {
    queue.round = undefined;
    this.#rounds.set(queue.mount, (this.#rounds.get(queue.mount) ?? 1) - 1);
    const pauseMs = Math.max(queue.pollMs, 4 * elapsedMs);
    queue.dueMs = queue.isAgain ? 0 : performance.now() + pauseMs;
    if (queue.isAgain) this.#runSoon();
    queue.pollMs = Math.min(2 * queue.pollMs, MAX_LOCK_POLL_MS);
  }

  #onFailed(wait: LockWait): void {
    const queue = this.#queues.get(wait.inode);
    const round = queue?.round;
    if (queue === undefined || round?.trying !== wait) return;
    if (round.failed.length < REMEMBERED) round.failed.push(wait);
    round.index++;
    this.#next(queue, round);
  }

  #remove(wait: LockWait): void {
    this.#byUnique.delete(uniqueOf(wait.uniqueLo, wait.uniqueHi));
    const queue = this.#queues.get(wait.inode);
    if (queue !== undefined) this.#removeFrom(queue, wait);
    this.#counted();
  }

  #removeFrom(queue: Queue, wait: LockWait): void {
    const { round } = queue;
    const place = queue.waits.indexOf(wait);
    queue.waits.splice(place, 1);
    if (round !== undefined && round.trying === wait) this.#next(queue, round);
    else if (round !== undefined && place < round.index) round.index--;
    if (queue.waits.length === 0 && queue.round === undefined) this.#queues.delete(wait.inode);
  }

  /** A lane that died has answered for its request, or nobody has: it is not tried any more. */
  #findLost(round: Round, nowMs: number): void {
    const { trying } = round;
    if (trying === undefined || nowMs - round.triedMs < LOCK_TRY_LOST_MS) return;
    round.triedMs = nowMs;
    if (!this.#environment.isUnderWay(trying.uniqueLo, trying.uniqueHi)) this.#remove(trying);
  }

  #dropStaleInterrupts(): void {
    for (const unique of this.#interrupted) {
      const isUnderWay = this.#environment.isUnderWay(unique | 0, Math.floor(unique / 2 ** 32));
      if (!isUnderWay) this.#interrupted.delete(unique);
    }
  }
}

/** Whether a wait meets what others of this round have got, or what they met. */
function isHopeless(wait: LockWait, round: Round): boolean {
  return (
    round.granted.some((other) => wait.conflictsWith(other)) ||
    round.failed.some((other) => wait.includes(other))
  );
}

/** The kernel counts requests: this is exact for some 10^15 of them. */
function uniqueOf(lo: number, hi: number): number {
  return (lo >>> 0) + hi * 2 ** 32;
}
