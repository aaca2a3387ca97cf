/**
 * The hard deadline (op_timeout): a request that only reads, and takes too long, is answered
 * ETIMEDOUT, wherever it is. The lane that is at it stays in its call; when that returns, the lane
 * finds the slot TIMED_OUT and undoes what it did. What changes something is never answered before it
 * is done: its caller would not know whether it will be.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import { OP } from '../../shared/abi/opcodes.ts';
import { IN_HEADER, OPEN_IN } from '../../shared/abi/structs.ts';
import { nowUs } from '../../shared/clock.ts';
import { SLOT_STATE } from '../../shared/memory/request-slots.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { reply } from '../../shared/passthrough/operations.ts';
import { STAT } from '../../shared/stats-layout.ts';
import { O_TRUNC } from '../../shared/sys/constants.ts';
import type { KeptRequest, ParkingLot } from './parking.ts';

const READING: ReadonlySet<number> = new Set([
  OP.LOOKUP,
  OP.GETATTR,
  OP.STATX,
  OP.READLINK,
  OP.OPEN,
  OP.READ,
  OP.STATFS,
  OP.GETXATTR,
  OP.LISTXATTR,
  OP.OPENDIR,
  OP.READDIR,
  OP.READDIRPLUS,
  OP.GETLK,
  OP.ACCESS,
  OP.LSEEK,
]);

/**
 * Whether a request may be answered before it is done.
 * @param openFlags of an OPEN; anything for other operations
 */
export function onlyReads(opcode: number, openFlags: number): boolean {
  return READING.has(opcode) && (opcode !== OP.OPEN || (openFlags & O_TRUNC) === 0);
}

export class OpDeadline {
  readonly #ctx: Context;
  readonly #fuseFd: number;
  readonly #parking: ParkingLot;
  readonly #answerKept: (request: KeptRequest, error: number) => void;

  /** @param answerKept answers a request that is in main's memory with -errno */
  constructor(
    ctx: Context,
    fuseFd: number,
    parking: ParkingLot,
    answerKept: (request: KeptRequest, error: number) => void,
  ) {
    this.#ctx = ctx;
    this.#fuseFd = fuseFd;
    this.#parking = parking;
    this.#answerKept = answerKept;
  }

  /** Answers what was received longer ago than this. Between requests: it uses main's context. */
  expire(timeoutMs: number): void {
    const beforeUs = nowUs() - 1000 * timeoutMs;
    const { slots } = this.#ctx.tables;
    if (slots.inUse() > 0) {
      slots.forEachUsed((slot, state) => {
        if (slots.receivedUs(slot) < beforeUs) this.#expireSlot(slot, state);
      });
    }
    if (this.#parking.count() > 0) this.#expireParked(beforeUs);
  }

  #expireSlot(slot: number, state: number): void {
    const ctx = this.#ctx;
    const { slots } = ctx.tables;
    // Main alone takes slots, so the message stands until we return, whoever frees the slot. The one in
    // an entry may not: but then the slot is not in the state any more that is asked for below.
    ctx.loadSlot(slot);
    if (!onlyReads(ctx.opcode, ctx.arg32(OPEN_IN.flags))) return;
    const isOurs =
      state === SLOT_STATE.QUEUED
        ? slots.cancel(slot)
        : // A lane that goes on would write into an entry of io_uring that is in use again.
          state === SLOT_STATE.EXECUTING && slots.entry(slot) < 0 && slots.timeOut(slot);
    if (!isOurs) return;
    this.#count();
    reply(ctx, this.#fuseFd, -ERRNO.ETIMEDOUT);
  }

  #expireParked(beforeUs: number): void {
    const expired = this.#parking.takeWhere(
      ({ message, receivedUs }) =>
        receivedUs < beforeUs &&
        onlyReads(
          message.readUInt32LE(IN_HEADER.opcode),
          // A name of one letter is shorter than flags.
          message.length < IN_HEADER.SIZE + OPEN_IN.SIZE
            ? 0
            : message.readUInt32LE(IN_HEADER.SIZE + OPEN_IN.flags),
        ),
    );
    for (const request of expired) {
      this.#count();
      this.#answerKept(request, -ERRNO.ETIMEDOUT);
    }
  }

  #count(): void {
    const { tables, report } = this.#ctx;
    tables.stats.add(STAT.TIMEOUTS, 1);
    report(
      'warn',
      'op-timeout',
      'op_timeout has passed: requests are answered ETIMEDOUT, as many as sluice_timeouts_total counts',
    );
  }
}
