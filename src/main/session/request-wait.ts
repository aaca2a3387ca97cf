/**
 * How main waits for the next request before it goes back to its event loop: it sleeps in poll(2), or
 * where requests come that fast and it does not keep their maker from running, it looks again and again.
 * To be woken on another CPU takes longer than most operations.
 */
import { availableParallelism } from 'node:os';
import { nowUs } from '../../shared/clock.ts';
import { addressOf, poll } from '../../shared/sys/libc.ts';

/** A sleep ends after this. */
const SLEEP_MS = 1;
/** Looking again and again ends after this, microseconds. */
const SPIN_US = 100;
/** What came within this was there before. */
const QUEUED_US = 2;
/** So many requests in a row have to come within SPIN_US before main looks for the next one. */
const FIRST_TRIAL = 16;
/** It doubles with each look in vain, as where the client needs our CPU, up to this. */
const LAST_TRIAL = 8192;

const POLLIN = 1;
/** struct pollfd: the descriptor, and a word of events asked for (low half) and met (high half). */
const POLLFD_WORDS = 2;

export class RequestWait {
  readonly #fds = new Int32Array(new SharedArrayBuffer(4 * 2 * POLLFD_WORDS));
  readonly #address = addressOf(this.#fds);
  readonly #canSpin = availableParallelism() > 1;
  /** Requests that came soon, one after the other. */
  #soon = 0;
  #trial = FIRST_TRIAL;
  /** Whether the last request had to be waited for: so may the next one. */
  isWorthwhile = false;

  /** @param wakeFd ends a wait, too */
  constructor(fuseFd: number, wakeFd: number) {
    this.#fds[0] = fuseFd;
    this.#fds[POLLFD_WORDS] = wakeFd;
  }

  /**
   * Waits for a request.
   * @param untilUs when to stop looking, microseconds of nowUs(); a sleep may go on for SLEEP_MS
   * @returns whether there may be one; else the event loop is to have its turn
   */
  forNext(untilUs: number): boolean {
    const startUs = nowUs();
    if (startUs >= untilUs) return false;
    const isThere = this.#await(startUs);
    this.isWorthwhile = isThere && nowUs() - startUs > QUEUED_US;
    return isThere;
  }

  #await(startUs: number): boolean {
    if (this.#canSpin && this.#soon >= this.#trial) {
      if (this.#spin(startUs + SPIN_US)) return true;
      this.#soon = 0;
      this.#trial = Math.min(2 * this.#trial, LAST_TRIAL);
    }
    if (!this.#look(SLEEP_MS)) return false;
    this.#soon = nowUs() - startUs < SPIN_US ? this.#soon + 1 : 0;
    return true;
  }

  #spin(untilUs: number): boolean {
    while (nowUs() < untilUs) {
      if (!this.#look(0)) continue;
      this.#trial = FIRST_TRIAL;
      return true;
    }
    return false;
  }

  /** @returns whether the device is readable, or has ended */
  #look(timeoutMs: number): boolean {
    this.#fds[1] = POLLIN;
    this.#fds[POLLFD_WORDS + 1] = POLLIN;
    return poll(this.#address, 2, timeoutMs) > 0 && this.#fds[1] >>> 16 !== 0;
  }
}
