/** The passthrough operations as a file system: what stands below all layers of one thread. */
import { IN_HEADER } from '../abi/structs.ts';
import type { Context } from '../passthrough/context.ts';
import { runOperation } from '../passthrough/operations.ts';
import { type Errno, isErrno } from './errno.ts';
import { Methods } from './methods.ts';
import { decodeReply } from './replies.ts';
import { encodeRequest, type WireForm } from './requests.ts';
import type { FsRequest, OperationName } from './types.ts';
import { LayerMistake } from './wire.ts';

/** Thrown through the layers: the request is begun again, on another lane or when a lock is free. */
export const BEGIN_AGAIN = Object.freeze({
  message: 'the request is begun again elsewhere: pass this on',
});

export class PassthroughBelow extends Methods {
  readonly #ctx: Context;
  readonly #memory: Buffer;
  readonly #areaAt: number;
  readonly #areaBytes: number;
  readonly #onGiven: (opcode: number, body: Buffer) => void;
  #current: FsRequest | undefined;
  /** DEFER, HAND_OVER or LOCK_WAIT once a call was answered so; else 0. */
  outcome = 0;

  /**
   * @param areaAt where in the request memory there is room for a message of areaBytes
   * @param onGiven gets the replies that count lookups or open something
   */
  constructor(
    ctx: Context,
    areaAt: number,
    areaBytes: number,
    onGiven: (opcode: number, body: Buffer) => void,
  ) {
    super();
    this.#ctx = ctx;
    this.#areaAt = areaAt;
    this.#areaBytes = areaBytes;
    this.#onGiven = onGiven;
    this.#memory = Buffer.from(ctx.u8.buffer, ctx.u8.byteOffset, ctx.u8.byteLength);
  }

  form(): WireForm {
    return { setxattrInBytes: this.#ctx.setxattrInBytes() };
  }

  /** The loaded message, as a view. */
  message(): Buffer {
    const { message, lengthBytes } = this.#ctx;
    return this.#memory.subarray(message, message + lengthBytes);
  }

  /** A request whose message is loaded: passed on as it is, it is run as it came. */
  begin(request: FsRequest | undefined): void {
    this.#current = request;
    this.outcome = 0;
  }

  protected override call(operation: OperationName, request: FsRequest): unknown {
    // A layer has caught what says so: what it does now would be done twice.
    if (this.outcome < 0) throw BEGIN_AGAIN;
    if (request === this.#current && request.operation === operation) {
      return this.#run(operation, request);
    }
    const ctx = this.#ctx;
    const bytes = encodeRequest(operation, request, this.form());
    if (bytes.length > this.#areaBytes) {
      throw new LayerMistake(`the request to ${operation} is longer than max_write allows`);
    }
    const { message, isStale } = ctx;
    // The number of the request at hand: what holds for it holds for those made for it.
    bytes.writeInt32LE(ctx.uniqueLo(), IN_HEADER.unique);
    bytes.writeInt32LE(ctx.uniqueHi(), IN_HEADER.unique + 4);
    this.#memory.set(bytes, this.#areaAt);
    ctx.load(this.#areaAt);
    const answer = this.#run(operation, { ...request, operation } as FsRequest);
    const wasStale = isStale || ctx.isStale;
    ctx.load(message);
    ctx.isStale = wasStale;
    return answer;
  }

  /** Runs the loaded message. */
  #run(operation: OperationName, request: FsRequest): unknown {
    const ctx = this.#ctx;
    const { journal } = ctx.tables;
    // Of an earlier call of this request: it is owed by now.
    journal.effectNone();
    const result = runOperation(ctx);
    ctx.finish();
    if (result >= 0) {
      const body = this.#memory.subarray(ctx.out, ctx.out + result);
      this.#onGiven(ctx.opcode, body);
      return decodeReply(operation, body, request as never);
    }
    if (isErrno(result)) return result as Errno;
    this.outcome = result;
    throw BEGIN_AGAIN;
  }
}
