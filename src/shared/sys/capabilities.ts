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

  /** Whether a capability was there at the start. */
  has(capability: number): boolean {
    return ((this.#full[effectiveWord(capability)] ?? 0) & bit(capability)) !== 0;
  }

  /** Leaves all that was there at the start but this one; 0 or `-errno`. */
  limitWithout(capability: number): number {
    this.#reduced.set(this.#full);
    this.#reduced[effectiveWord(capability)] &= ~bit(capability);
    return capset(this.#headerAddress, this.#reducedAddress);
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
  return new EffectiveSet().has(capability);
}

/**
 * Takes one capability out of the effective set for the length of a call and puts it back. It belongs
 * to the thread that made it, and `drop` and `restore` set the whole effective set: both must run under
 * the identity (uid and capabilities) it was made under.
 */
export class CapabilitySwitch {
  /** Whether there was anything to drop; without it both calls do nothing. */
  readonly held: boolean;
  readonly #capability: number;
  readonly #set = new EffectiveSet();

  constructor(capability: number) {
    this.#capability = capability;
    this.held = this.#set.has(capability);
  }

  /** Drops the capability; 0 or `-errno`. */
  drop(): number {
    return this.held ? this.#set.limitWithout(this.#capability) : 0;
  }

  /** Puts it back; 0 or `-errno`. */
  restore(): number {
    return this.held ? this.#set.restore() : 0;
  }
}
