/** The way of a request from an entry of io_uring to the lanes: what RequestQueue is for /dev/fuse. */
import { ENTRY_STATE } from '../memory/ring-entries.ts';
import type { Context } from './context.ts';

export class EntryQueue {
  readonly #ctx: Context;
  /** Place among the threads that serve queues. */
  readonly #thread: number;

  constructor(ctx: Context, thread: number) {
    this.#ctx = ctx;
    this.#thread = thread;
  }

  /**
   * Puts the loaded request, which stays in its entry, on the ring of its mount. The mount's quota is not
   * asked: the slots are this thread's own, and the entry is taken either way.
   * @returns whether there was a slot
   */
  place(mount: number): boolean {
    const ctx = this.#ctx;
    const { slots, mounts, rings, journal, entries } = ctx.tables;
    const slot = slots.takeRing(this.#thread, mount, mounts, journal);
    if (slot < 0) return false;
    slots.setTimes(slot, ctx.receivedUs, ctx.receivedUs);
    entries.cells[entries.holderAt(ctx.entry)] = slot;
    slots.describeEntry(slot, ctx.entry, ctx.message, ctx.uniqueLo(), ctx.uniqueHi());
    const stateAt = entries.stateAt(ctx.entry);
    rings.pushNoted(mount, slot, journal, entries.cells, stateAt, ENTRY_STATE.IN_SLOT);
    return true;
  }
}
