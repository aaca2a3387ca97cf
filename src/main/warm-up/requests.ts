/** Requests as the kernel makes them, for the warm-up: one at a time, in memory of a table of its own. */
import { ENTRY_OUT, IN_HEADER, OPEN_OUT, OUT_HEADER, READ_IN } from '../../shared/abi/structs.ts';
import { nowUs } from '../../shared/clock.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { answerInPlace } from '../../shared/passthrough/in-place.ts';
import { takeForget } from '../../shared/passthrough/operations.ts';

/** 64 bits of the protocol, a nodeid or a file handle, as two words. */
export interface Words {
  readonly lo: number;
  readonly hi: number;
}

export const ROOT: Words = { lo: 1, hi: 0 };

export class Requests {
  readonly #ctx: Context;
  /** Where main would have read the request to. */
  readonly #at: number;
  #unique = 0;
  /** Requests that were answered with an error, or not at all. */
  errors = 0;

  constructor(ctx: Context) {
    this.#ctx = ctx;
    this.#at = ctx.tables.slots.messageAt(ctx.tables.slots.takeToReceive());
  }

  /** Begins a request about an inode, whose fixed part is zero so far. */
  begin(opcode: number, node: Words, fixedBytes: number): void {
    const { u32, i32 } = this.#ctx;
    const at = this.#at >> 2;
    const lengthBytes = IN_HEADER.SIZE + fixedBytes;
    u32.fill(0, at, at + (lengthBytes >> 2));
    this.#unique += 2;
    u32[at + (IN_HEADER.len >> 2)] = lengthBytes;
    u32[at + (IN_HEADER.opcode >> 2)] = opcode;
    u32[at + (IN_HEADER.unique >> 2)] = this.#unique;
    i32[at + (IN_HEADER.nodeid >> 2)] = node.lo;
    i32[at + (IN_HEADER.nodeid >> 2) + 1] = node.hi;
    u32[at + (IN_HEADER.uid >> 2)] = this.#ctx.credentials.uid;
    u32[at + (IN_HEADER.gid >> 2)] = this.#ctx.credentials.gid;
    u32[at + (IN_HEADER.pid >> 2)] = process.pid;
  }

  /** The same for a request with a file handle, which comes first. */
  beginOpened(opcode: number, node: Words, fixedBytes: number, handle: Words): void {
    this.begin(opcode, node, fixedBytes);
    this.set(READ_IN.fh, handle.lo);
    this.set(READ_IN.fh + 4, handle.hi);
  }

  /** Sets a word of the fixed part. */
  set(offset: number, value: number): void {
    this.#ctx.u32[(this.#at + IN_HEADER.SIZE + offset) >> 2] = value;
  }

  /** Adds bytes at the end. */
  append(bytes: Uint8Array): void {
    const { u8, u32 } = this.#ctx;
    const length = (this.#at + IN_HEADER.len) >> 2;
    u8.set(bytes, this.#at + u32[length]);
    u32[length] += bytes.length;
  }

  /** Has it answered as main does it. */
  send(): void {
    const ctx = this.#ctx;
    ctx.load(this.#at);
    ctx.receivedUs = nowUs();
    ctx.isBold = true;
    if (takeForget(ctx)) return;
    const isAnswered = answerInPlace(ctx);
    if (!isAnswered || ctx.i32[(ctx.reply + OUT_HEADER.error) >> 2] < 0) this.errors++;
  }

  /** The nodeid in the reply to LOOKUP, CREATE and the like. */
  node(): Words {
    return this.#words(ENTRY_OUT.nodeid);
  }

  /** The file handle in the reply to OPEN, or behind the entry in that to CREATE. */
  handle(afterBytes = 0): Words {
    return this.#words(afterBytes + OPEN_OUT.fh);
  }

  #words(offset: number): Words {
    const { i32, out } = this.#ctx;
    return { lo: i32[(out + offset) >> 2], hi: i32[((out + offset) >> 2) + 1] };
  }
}
