/**
 * Capabilities of the calling thread (capget(2), version 3: two records of effective, permitted and
 * inheritable, 32 bits each). The raw system call reaches no other thread of the process.
 */
import { LINUX_CAPABILITY_VERSION_3 } from './constants.ts';
import { addressOf, capget, capset } from './libc.ts';

const RECORD_WORDS = 3;

function header(): Uint32Array {
  const words = new Uint32Array(new SharedArrayBuffer(8));
  words[0] = LINUX_CAPABILITY_VERSION_3;
  return words;
}

function emptyRecords(): Uint32Array {
  return new Uint32Array(new SharedArrayBuffer(2 * RECORD_WORDS * 4));
}

function effectiveWord(capability: number): number {
  return (capability >>> 5) * RECORD_WORDS;
}

function bit(capability: number): number {
  return 1 << (capability & 31);
}

/**
 * Takes a capability from the calling thread, and from the threads it starts from now on, for good.
 * @returns 0 or `-errno`; 0 also where it was not there
 */
export function dropCapability(capability: number): number {
  const records = emptyRecords();
  const got = capget(addressOf(header()), addressOf(records));
  if (got < 0) return got;
  const word = effectiveWord(capability);
  for (let set = 0; set < RECORD_WORDS; set++) records[word + set] &= ~bit(capability);
  return capset(addressOf(header()), addressOf(records));
}

/**
 * The effective set of one thread: what it was when this was made, and what it is to be for the
 * length of a call. A change is one system call without an allocation. Only the thread that made it
 * may use it.
 */
export class EffectiveSet {
  readonly #header = header();
  readonly #full = emptyRecords();
  readonly #reduced = emptyRecords();
  readonly #headerAddress = addressOf(this.#header);
  readonly #fullAddress = addressOf(this.#full);
  readonly #reducedAddress = addressOf(this.#reduced);

  constructor() {
    capget(this.#headerAddress, this.#fullAddress);
    this.#reduced.set(this.#full);
  }

  /** Leaves of the lower 32 capabilities these, as far as they are permitted, and no other; 0 or `-errno`. */
  limitTo(lowCapabilities: number): number {
    this.#reduced[0] = (this.#full[1] ?? 0) & lowCapabilities;
    this.#reduced[RECORD_WORDS] = 0;
    return capset(this.#headerAddress, this.#reducedAddress);
  }

  /** Puts back what there was at the start; 0 or `-errno`. */
  restore(): number {
    return capset(this.#headerAddress, this.#fullAddress);
  }
}

/** Whether the calling thread has a capability (a CAP_ number) in its effective set. */
export function hasCapability(capability: number): boolean {
  const records = emptyRecords();
  const got = capget(addressOf(header()), addressOf(records));
  return got === 0 && ((records[effectiveWord(capability)] ?? 0) & bit(capability)) !== 0;
}

/**
 * Takes one capability out of the effective set for the length of a call and puts it back.
 *
 * Belongs to the thread that made it. Both sets are prepared once from that thread's state, so that a
 * switch is one system call without an allocation. `drop` and `restore` set the whole effective set:
 * both must run under the identity (uid and capabilities) the instance was made under.
 */
export class CapabilitySwitch {
  /** Whether there was anything to drop; without it both calls do nothing. */
  readonly held: boolean;
  readonly #header = header();
  readonly #full = emptyRecords();
  readonly #reduced = emptyRecords();
  readonly #headerAddress = addressOf(this.#header);
  readonly #fullAddress = addressOf(this.#full);
  readonly #reducedAddress = addressOf(this.#reduced);

  constructor(capability: number) {
    const got = capget(this.#headerAddress, this.#fullAddress);
    const word = effectiveWord(capability);
    this.held = got === 0 && ((this.#full[word] ?? 0) & bit(capability)) !== 0;
    this.#reduced.set(this.#full);
    this.#reduced[word] = (this.#full[word] ?? 0) & ~bit(capability);
  }

  /** Drops the capability; 0 or `-errno`. */
  drop(): number {
    return this.held ? capset(this.#headerAddress, this.#reducedAddress) : 0;
  }

  /** Puts it back; 0 or `-errno`. */
  restore(): number {
    return this.held ? capset(this.#headerAddress, this.#fullAddress) : 0;
  }
}
