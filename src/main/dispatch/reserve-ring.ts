/**
 * Main's own ring, by which the kernel knows the entries of the reserve: one in each queue. Main does not
 * die before the mount does, so a queue is never without an entry that somebody hands in again: the kernel
 * gives a request that found none to nobody but who answers one of the same queue (Linux 6.18). Main runs
 * none of their requests; the reserve's thread does, and tells of its answers.
 */
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { ENTRY_STATE } from '../../shared/memory/ring-entries.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { pushCommit, pushRegister } from '../../shared/passthrough/entry-commands.ts';
import { takeEntryMessage } from '../../shared/passthrough/entry-messages.ts';
import { EFD_CLOEXEC, EFD_NONBLOCK } from '../../shared/sys/constants.ts';
import { Ring, type RingPlace, setUpRing } from '../../shared/sys/io-uring.ts';
import {
  addressOf,
  close,
  eventfd,
  type FdWatcher,
  read,
  watchReadable,
} from '../../shared/sys/libc.ts';

/** Refusals by the kernel, one after the other, before it is given no entry any more. */
const MOST_REFUSALS = 64;
/** When the kernel took less than it was given, which is for lack of memory. */
const RETRY_MS = 20;

export class ReserveRing {
  readonly #ctx: Context;
  readonly #fuseFd: number;
  /** Place of the reserve's thread. */
  readonly #thread: number;
  readonly #count: number;
  readonly #onRefusal: (errno: number) => void;
  /** What the eventfd is read to. */
  readonly #event = new BigUint64Array(new SharedArrayBuffer(8));
  readonly #eventAddress = addressOf(this.#event);
  readonly #watchers: FdWatcher[] = [];
  #place: RingPlace | undefined;
  #ring: Ring | undefined;
  #eventFd = -1;
  /** By the kernel, since the last request. */
  #refusals = 0;
  /** Until the next try to hand in what the kernel did not take. */
  #retry: NodeJS.Timeout | undefined;

  /**
   * @param thread place of the thread that runs the requests
   * @param count its entries: the first ones
   * @param onRefusal the kernel did not take an entry, or an answer
   */
  constructor(
    ctx: Context,
    fuseFd: number,
    thread: number,
    count: number,
    onRefusal: (errno: number) => void,
  ) {
    this.#ctx = ctx;
    this.#fuseFd = fuseFd;
    this.#thread = thread;
    this.#count = count;
    this.#onRefusal = onRefusal;
  }

  /** By this the reserve's thread tells that it has answered. */
  get eventFd(): number {
    return this.#eventFd;
  }

  /** Makes the ring. @returns -errno; close() is to follow either way */
  open(): number {
    const { i32, base, tables } = this.#ctx;
    const { entries } = tables;
    this.#eventFd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (this.#eventFd < 0) return this.#eventFd;
    const at = entries.ringAt(entries.geometry.threads, 0);
    const place = setUpRing(i32, base, at, entries.ringRequests);
    if (typeof place === 'number') return place;
    this.#place = place;
    this.#ring = new Ring(i32, place);
    this.#watchers.push(watchReadable(place.fd, () => this.#takeCompletions()));
    this.#watchers.push(watchReadable(this.#eventFd, () => this.#takeAnswered()));
    return 0;
  }

  /** Gives the kernel the entries. */
  register(): void {
    const ring = this.#ring as Ring;
    this.#forEachEntry((entry) => pushRegister(this.#ctx, ring, this.#fuseFd, entry));
    const error = ring.enter(0);
    if (ring.pending > 0) this.#onRefusal(error < 0 ? -error : ERRNO.EAGAIN);
    this.#takeCompletions();
  }

  /** Looks at neither the ring nor answers any more. */
  unwatch(): void {
    for (const watcher of this.#watchers.splice(0)) watcher.stop();
  }

  /** Not while the reserve's thread lives, which knows the eventfd by its number. */
  close(): void {
    this.unwatch();
    if (this.#place !== undefined) close(this.#place.fd);
    if (this.#eventFd >= 0) close(this.#eventFd);
    this.#place = undefined;
    this.#ring = undefined;
    this.#eventFd = -1;
  }

  #takeCompletions(): void {
    const ring = this.#ring;
    if (ring === undefined) return;
    const { i32, tables } = this.#ctx;
    let hasNew = false;
    for (let cqe = ring.peekCqe(); cqe >= 0; cqe = ring.peekCqe()) {
      const entry = i32[cqe] as number;
      const result = i32[cqe + 2] as number;
      ring.takeCqe();
      if (result < 0) {
        this.#refused(entry, -result);
        continue;
      }
      takeEntryMessage(this.#ctx, entry);
      tables.entries.setState(entry, ENTRY_STATE.RECEIVED);
      this.#refusals = 0;
      hasNew = true;
    }
    this.#enter(ring);
    if (hasNew) tables.entries.lookAtAll(this.#thread);
  }

  /** The answers of the reserve's thread, of lanes, and of main for a thread that died. */
  #takeAnswered(): void {
    const ring = this.#ring;
    if (ring === undefined) return;
    read(this.#eventFd, this.#eventAddress, 8);
    const { entries } = this.#ctx.tables;
    this.#forEachEntry((entry) => {
      if (entries.state(entry) !== ENTRY_STATE.ANSWERED) return;
      pushCommit(this.#ctx, ring, this.#fuseFd, entry);
    });
    this.#enter(ring);
  }

  /** Hands in what is pending; what the kernel does not take now, later. */
  #enter(ring: Ring): void {
    if (ring.pending > 0) ring.enter(0);
    if (ring.pending === 0 || this.#retry !== undefined) return;
    const again = (): void => {
      this.#retry = undefined;
      if (this.#ring === ring) this.#enter(ring);
    };
    this.#retry = setTimeout(again, RETRY_MS).unref();
  }

  #refused(entry: number, errno: number): void {
    this.#ctx.tables.entries.setState(entry, ENTRY_STATE.UNREGISTERED);
    const isOver = errno === ERRNO.ENOTCONN || errno === ERRNO.ECONNABORTED;
    if (isOver || errno === ERRNO.ENODEV) return;
    this.#onRefusal(errno);
    const text = `the kernel refused an entry of the reserve: ${errnoName(-errno)}`;
    this.#ctx.report('error', `uring-reserve-${errno}`, text);
    if (this.#ring === undefined || ++this.#refusals >= MOST_REFUSALS) return;
    pushRegister(this.#ctx, this.#ring, this.#fuseFd, entry);
  }

  #forEachEntry(visit: (entry: number) => void): void {
    const first = this.#ctx.tables.entries.firstOf(this.#thread);
    for (let entry = first; entry < first + this.#count; entry++) visit(entry);
  }
}
