/**
 * Where a behaviour plays: an empty directory (the current one), root and three users, and the log
 * of everything they did. Plain directory and mount must give the same log.
 */
import { errnoName } from '../../src/shared/abi/errno.ts';
import { Actor } from './actor.ts';
import { ALICE, BOB, CAROL, ROOT } from './user.ts';

/** Longer than any clock tick that file systems take their times from. */
const TICK_MS = 12;

/** An expectation that does not hold: the behaviour is not what its name says. */
export class Unmet extends Error {}

/** A behaviour that cannot be tried here: the reason. */
export class NotHere extends Error {}

/** What a call gave. */
export class Reply {
  readonly value: number;
  readonly #call: string;

  constructor(call: string, value: number) {
    this.#call = call;
    this.value = value;
  }

  /** The value, or the name of the errno. */
  get result(): number | string {
    return this.value < 0 ? errnoName(this.value) : this.value;
  }

  /** The result has to be one of these. */
  is(...expected: (number | string)[]): this {
    if (expected.includes(this.result)) return this;
    throw new Unmet(`${this.#call} gave ${this.result}, not ${expected.join(' or ')}`);
  }

  /** The call has to succeed: its value. */
  ok(): number {
    if (this.value >= 0) return this.value;
    throw new Unmet(`${this.#call} gave ${this.result}`);
  }
}

export type TimeName = 'atime' | 'mtime' | 'ctime';

/** What files the behaviours make: all that mknod(2) and its sisters can. */
export const FILE_TYPES = ['regular', 'dir', 'fifo', 'block', 'char', 'socket', 'symlink'] as const;
export type FileType = (typeof FILE_TYPES)[number];

const MAKER_MODE: Readonly<Record<Exclude<FileType, 'dir' | 'symlink' | 'regular'>, number>> = {
  fifo: 0o010000,
  socket: 0o140000,
  char: 0o020000,
  block: 0o060000,
};

export class Stage {
  readonly log: string[] = [];
  readonly root = new Actor(this, ROOT);
  readonly alice = new Actor(this, ALICE);
  readonly bob = new Actor(this, BOB);
  readonly carol = new Actor(this, CAROL);
  readonly #afterwards: (() => void)[] = [];

  /** Logs a fact that both sides must have in common. */
  note(what: string, value: unknown): void {
    this.log.push(`${what}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  }

  /** Logs a fact and demands what it has to be. */
  equal(what: string, actual: unknown, expected: unknown): void {
    this.note(what, actual);
    const [is, must] = [JSON.stringify(actual), JSON.stringify(expected)];
    if (is !== must) throw new Unmet(`${what} is ${is}, not ${must}`);
  }

  /** Ends the behaviour: it cannot be tried here. */
  skip(reason: string): never {
    throw new NotHere(reason);
  }

  /** Waits until file systems take another time for now. */
  tick(ms = TICK_MS): void {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  }

  /** Does something when the behaviour is over, whatever came of it; last in, first out. */
  later(action: () => void): void {
    this.#afterwards.push(action);
  }

  finish(): void {
    for (let step = this.#afterwards.pop(); step !== undefined; step = this.#afterwards.pop()) {
      step();
    }
  }

  /** An object of any type with an owner and a mode (a symlink has its own mode and points nowhere). */
  make(
    type: FileType,
    path: string,
    mode = 0o644,
    owner: { uid: number; gid: number } = ROOT,
  ): void {
    if (type === 'dir') this.root.mkdir(path, mode).ok();
    else if (type === 'symlink') this.root.symlink('nowhere', path).ok();
    else if (type === 'regular') this.root.create(path, mode).ok();
    else this.root.mknod(path, MAKER_MODE[type] | mode, type.startsWith('c') ? 0x103 : 0).ok();
    if (owner.uid === 0 && owner.gid === 0) return;
    this.root.lchown(path, owner.uid, owner.gid).ok();
    // A change of owner clears set-id bits.
    if ((mode & 0o6000) !== 0) this.root.chmod(path, mode).ok();
  }

  /**
   * Which of mtime and ctime an action moves has to be exactly `expected` (words).
   *
   * @param at - the object before and after, if the action gives it another name
   */
  touches(at: string | readonly [string, string], expected: string, action: () => void): void {
    const [before, after] = typeof at === 'string' ? [at, at] : at;
    const old = this.root.times(before);
    this.tick();
    action();
    const now = this.root.times(after);
    const moved = (['mtime', 'ctime'] as const).filter((name) => now[name] !== old[name]);
    this.equal(`times of ${after} that moved`, moved.join(' '), expected);
  }
}
