/**
 * The kernel's side of the protocol, played in this process: requests are written as the kernel writes
 * them and go to the dispatcher; replies come back here, from main or from a lane.
 */
import { ERRNO } from '../../../shared/abi/errno.ts';
import { IN_HEADER, OUT_HEADER } from '../../../shared/abi/structs.ts';

/** A nodeid or file handle of sluice: below 2^53, see memory/inode-table.ts and handle-table.ts. */
export type Word = number;

export interface Reply {
  /** 0, or -errno. */
  readonly error: number;
  readonly body: Buffer;
}

/** Who takes requests: the dispatcher. */
export interface RequestTaker {
  take(message: Uint8Array): void;
  /** Whether requests should be kept back for now. */
  isFull(): boolean;
}

const WORD = 0x1_0000_0000;
const NOTHING = Buffer.alloc(0);

export function readWord(bytes: Buffer, at: number): Word {
  return bytes.readUInt32LE(at + 4) * WORD + bytes.readUInt32LE(at);
}

export function writeWord(bytes: Buffer, value: Word, at: number): void {
  bytes.writeUInt32LE(value % WORD, at);
  bytes.writeUInt32LE(Math.floor(value / WORD), at + 4);
}

export class RequestChannel {
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;
  readonly #pending = new Map<Word, (reply: Reply) => void>();
  /** Requests the dispatcher has no room for. There are no more than libfuse has threads waiting. */
  #kept: Buffer[] = [];
  #taker: RequestTaker | undefined;
  #unique = 0;
  #isClosed = false;

  /** From now on requests are taken. */
  open(taker: RequestTaker): void {
    this.#taker = taker;
    this.resume();
  }

  /** Whether requests are kept back. */
  get isPaused(): boolean {
    return this.#kept.length > 0;
  }

  /** The dispatcher may have room again. */
  resume(): void {
    const taker = this.#taker;
    while (taker !== undefined && this.#kept.length > 0 && !taker.isFull()) {
      taker.take(this.#kept.shift() as Buffer);
    }
  }

  /** Runs a request. @returns when it is answered; it never rejects */
  call(opcode: number, node: Word, ...parts: readonly Uint8Array[]): Promise<Reply> {
    if (this.#isClosed) return Promise.resolve({ error: -ERRNO.ENOTCONN, body: NOTHING });
    const message = this.#message(opcode, node, parts);
    return new Promise((resolve) => {
      this.#pending.set(this.#unique, resolve);
      this.#send(message);
    });
  }

  /** Runs a request that has no reply. */
  tell(opcode: number, node: Word, ...parts: readonly Uint8Array[]): void {
    if (!this.#isClosed) this.#send(this.#message(opcode, node, parts));
  }

  /**
   * Takes a reply message, header and all, which is the channel's from then on.
   * @returns false if nobody waits for it: it was answered before
   */
  deliver(message: Uint8Array): boolean {
    const bytes = Buffer.from(message.buffer, message.byteOffset, message.length);
    const unique = readWord(bytes, OUT_HEADER.unique);
    const resolve = this.#pending.get(unique);
    if (resolve === undefined) return false;
    this.#pending.delete(unique);
    resolve({ error: bytes.readInt32LE(OUT_HEADER.error), body: bytes.subarray(OUT_HEADER.SIZE) });
    return true;
  }

  /** Answers what is not answered yet, and all that comes: the mount is gone. */
  close(): void {
    this.#isClosed = true;
    this.#kept = [];
    for (const resolve of this.#pending.values())
      resolve({ error: -ERRNO.ENOTCONN, body: NOTHING });
    this.#pending.clear();
  }

  #send(message: Buffer): void {
    const taker = this.#taker;
    if (taker === undefined || this.isPaused || taker.isFull()) this.#kept.push(message);
    else taker.take(message);
  }

  /** The caller is this process's own user: others are not let in, see allowOtherOf(). */
  #message(opcode: number, node: Word, parts: readonly Uint8Array[]): Buffer {
    const header = Buffer.alloc(IN_HEADER.SIZE);
    const message = Buffer.concat([header, ...parts]);
    this.#unique += 1;
    message.writeUInt32LE(message.length, IN_HEADER.len);
    message.writeUInt32LE(opcode, IN_HEADER.opcode);
    writeWord(message, this.#unique, IN_HEADER.unique);
    writeWord(message, node, IN_HEADER.nodeid);
    message.writeUInt32LE(this.#uid, IN_HEADER.uid);
    message.writeUInt32LE(this.#gid, IN_HEADER.gid);
    return message;
  }
}
