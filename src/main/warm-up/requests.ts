/** Requests as the kernel makes them, for the warm-up: one at a time. */
import { ENTRY_OUT, IN_HEADER, OPEN_OUT, OUT_HEADER, READ_IN } from '../../shared/abi/structs.ts';
import { PAGE_SIZE } from '../../shared/sys/constants.ts';
import { addressOf } from '../../shared/sys/libc.ts';
import type { Stage } from './stage.ts';

/** 64 bits of the protocol, a nodeid or a file handle, as two words. */
export interface Words {
  readonly lo: number;
  readonly hi: number;
}

export const ROOT: Words = { lo: 1, hi: 0 };

/** The longest is a WRITE of a page. */
const MESSAGE_BYTES = 2 * PAGE_SIZE;

export class Requests {
  readonly #stage: Stage;
  readonly #u8 = new Uint8Array(new SharedArrayBuffer(MESSAGE_BYTES));
  readonly #u32 = new Uint32Array(this.#u8.buffer);
  readonly #address = addressOf(this.#u8);
  #unique = 0;
  /** Requests that were answered with an error. */
  errors = 0;
  /** Whether one was not answered: it waits for a lane. */
  isStuck = false;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  get uid(): number {
    return this.#stage.ctx.credentials.uid;
  }

  get gid(): number {
    return this.#stage.ctx.credentials.gid;
  }

  /** Begins a request about an inode, whose fixed part is zero so far. */
  begin(opcode: number, node: Words, fixedBytes: number): void {
    const u32 = this.#u32;
    const lengthBytes = IN_HEADER.SIZE + fixedBytes;
    u32.fill(0, 0, lengthBytes >> 2);
    this.#unique += 2;
    u32[IN_HEADER.len >> 2] = lengthBytes;
    u32[IN_HEADER.opcode >> 2] = opcode;
    u32[IN_HEADER.unique >> 2] = this.#unique;
    u32[IN_HEADER.nodeid >> 2] = node.lo;
    u32[(IN_HEADER.nodeid >> 2) + 1] = node.hi;
    u32[IN_HEADER.uid >> 2] = this.uid;
    u32[IN_HEADER.gid >> 2] = this.gid;
    u32[IN_HEADER.pid >> 2] = process.pid;
  }

  /** The same for a request with a file handle, which comes first. */
  beginOpened(opcode: number, node: Words, fixedBytes: number, handle: Words): void {
    this.begin(opcode, node, fixedBytes);
    this.set(READ_IN.fh, handle.lo);
    this.set(READ_IN.fh + 4, handle.hi);
  }

  /** Sets a word of the fixed part. */
  set(offset: number, value: number): void {
    this.#u32[(IN_HEADER.SIZE + offset) >> 2] = value;
  }

  /** Adds bytes at the end. */
  append(bytes: Uint8Array): void {
    this.#u8.set(bytes, this.#length());
    this.#u32[IN_HEADER.len >> 2] = this.#length() + bytes.length;
  }

  #length(): number {
    return this.#u32[IN_HEADER.len >> 2] as number;
  }

  /** Has it answered. */
  send(): void {
    const { ctx } = this.#stage;
    this.sendWithoutReply();
    if (!this.isStuck && ctx.i32[(ctx.reply + OUT_HEADER.error) >> 2] < 0) this.errors++;
  }

  /** The same for FORGET. */
  sendWithoutReply(): void {
    if (this.isStuck) return;
    this.isStuck = !this.#stage.take(this.#address, this.#length());
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
    const { i32, out } = this.#stage.ctx;
    return { lo: i32[(out + offset) >> 2], hi: i32[((out + offset) >> 2) + 1] };
  }
}
