/**
 * The way of a request from where it was read to the lanes, for whoever receives: see Receiver.
 */
import { SMALL_MESSAGE_BYTES } from '../memory/request-slots.ts';
import type { Context } from './context.ts';

/** Slots one backing mount may fill; what comes on top has to wait elsewhere. */
function slotQuota(smallSlots: number): number {
  return Math.max(4, Math.floor(smallSlots / 2));
}

export class RequestQueue {
  readonly #ctx: Context;
  readonly #wakeOne: () => void;
  readonly #onReceiveSlot: (slot: number) => void;
  readonly #quota: number;
  /** The large slot requests are read into. */
  #receiveSlot: number;

  /**
   * @param receiveSlot a large slot, taken to receive into
   * @param wakeOne wakes a lane that sleeps
   * @param onReceiveSlot notes that requests are read into another slot from now on
   */
  constructor(
    ctx: Context,
    receiveSlot: number,
    wakeOne: () => void,
    onReceiveSlot: (slot: number) => void = () => undefined,
  ) {
    this.#ctx = ctx;
    this.#receiveSlot = receiveSlot;
    this.#wakeOne = wakeOne;
    this.#onReceiveSlot = onReceiveSlot;
    this.#quota = slotQuota(ctx.tables.slots.geometry.smallSlots);
  }

  /** Offset in the request memory where the next request is read to. */
  receiveAt(): number {
    return this.#ctx.tables.slots.messageAt(this.#receiveSlot);
  }

  /** Whether a mount may fill one more slot. */
  hasRoom(mount: number): boolean {
    return this.#ctx.tables.mounts.slotsInUse(mount) < this.#quota;
  }

  /**
   * Gives the request just read, and loaded, a slot: its own buffer if it is large.
   * @returns whether there was one
   */
  placeReceived(mount: number): boolean {
    const ctx = this.#ctx;
    const { slots } = ctx.tables;
    if (!this.hasRoom(mount)) return false;
    if (ctx.lengthBytes > SMALL_MESSAGE_BYTES) {
      const fresh = slots.takeToReceive();
      if (fresh < 0) return false;
      slots.countReceived();
      const slot = this.#receiveSlot;
      this.#receiveSlot = fresh;
      this.#onReceiveSlot(fresh);
      this.#queue(slot, mount, ctx.receivedUs, ctx.receivedUs);
      return true;
    }
    const slot = slots.takeSmall();
    if (slot < 0) return false;
    ctx.u8.copyWithin(slots.messageAt(slot), ctx.message, ctx.message + ctx.lengthBytes);
    this.#queue(slot, mount, ctx.receivedUs, ctx.receivedUs);
    return true;
  }

  /** Gives a request from outside the request memory a slot, and loads it. @returns whether there was one */
  placeKept(mount: number, message: Uint8Array, receivedUs: number, queuedUs: number): boolean {
    const ctx = this.#ctx;
    const { slots } = ctx.tables;
    if (!this.hasRoom(mount)) return false;
    const isLarge = message.length > SMALL_MESSAGE_BYTES;
    const slot = isLarge ? slots.takeLarge() : slots.takeSmall();
    if (slot < 0) return false;
    ctx.u8.set(message, slots.messageAt(slot));
    ctx.load(slots.messageAt(slot));
    this.#queue(slot, mount, receivedUs, queuedUs);
    return true;
  }

  /** Puts a slot that is described on its mount's ring. */
  push(slot: number, mount: number): void {
    // Half a ring has room for every slot there is.
    this.#ctx.tables.rings.push(mount, slot);
    this.#wakeOne();
  }

  #queue(slot: number, mount: number, receivedUs: number, queuedUs: number): void {
    const ctx = this.#ctx;
    const { slots, mounts } = ctx.tables;
    mounts.addSlot(mount);
    slots.setTimes(slot, receivedUs, queuedUs);
    slots.describe(slot, mount, ctx.uniqueLo(), ctx.uniqueHi());
    this.push(slot, mount);
  }
}
