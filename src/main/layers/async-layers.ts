/**
 * Layers and file systems that run on the main thread and may take their time. They have a queue of
 * their own: so many requests are with them at once, so many more wait, and then main stops reading,
 * which makes the kernel hold its callers up.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import { OP, OPCODE_LIMIT } from '../../shared/abi/opcodes.ts';
import { IN_HEADER, OUT_HEADER } from '../../shared/abi/structs.ts';
import { Errno, isErrno } from '../../shared/layers/errno.ts';
import { Methods } from '../../shared/layers/methods.ts';
import { mistakeKey, mistakeText } from '../../shared/layers/mistake.ts';
import { handles, layeredOpcodes, OPCODES_OF } from '../../shared/layers/operation-table.ts';
import { noteDelivered, Owed } from '../../shared/layers/owed.ts';
import { decodeReply, encodeAnswer } from '../../shared/layers/replies.ts';
import {
  decodeRequest,
  encodeRequest,
  endRequest,
  type WireForm,
} from '../../shared/layers/requests.ts';
import type {
  AsyncLayer,
  FsRequest,
  FsStatistics,
  OperationName,
  OwnFileSystem,
} from '../../shared/layers/types.ts';
import { InexactNumber, LayerMistake } from '../../shared/layers/wire.ts';
import { type Context, OWN_UNIQUE_HI } from '../../shared/passthrough/context.ts';
import { checkRequest } from '../../shared/passthrough/operations.ts';
import { tickMsOf } from './lane-guard.ts';
import type { SettledLayers } from './settle.ts';

/** Requests that are with the layers at once. */
export const ASYNC_RUNNING_LIMIT = 128;
/** So many more wait, or so many bytes; then main stops reading. */
export const ASYNC_WAITING_LIMIT = 1024;
export const ASYNC_WAITING_BYTES_LIMIT = 64 * 1024 * 1024;
/** Calls below that are under way for one request. */
const CALLS_BELOW_LIMIT = 1024;
const LARGEST_CALL = 0x7fffffff;

export interface AsyncSettings {
  readonly ctx: Context;
  readonly settled: SettledLayers;
  readonly maxReplyBytes: number;
  /** Brings a message with a unique id of ours to where it is answered: see settle(). */
  submit(message: Buffer): void;
  /** Loads this header, and answers with a body that is in the reply buffer, or with -errno. */
  answer(header: Buffer, receivedUs: number, result: number): void;
  /** There is room again. */
  onRoom(): void;
}

type Stage = AsyncLayer | OwnFileSystem;
type Method = (request: FsRequest, next?: unknown) => unknown;

/** A request from its arrival to its answer. */
class Visit {
  readonly message: Buffer;
  readonly receivedUs: number;
  readonly opcode: number;
  readonly owed = new Owed();
  request!: FsRequest;
  isAnswered = false;
  /** Answered because its caller was killed: what the layer answers later is no mistake. */
  isCancelled = false;
  /** For RELEASE and RELEASEDIR: whether a call below has closed the handle. */
  isReleased = false;
  /** The layer that was entered last, for the log. */
  place = 0;
  /** Calls to the file system below that are under way; the deadline counts without them. */
  below = 0;
  /** Since when layers have it for themselves, milliseconds of performance.now(). */
  sinceMs = 0;

  constructor(message: Buffer, receivedUs: number) {
    this.message = message;
    this.receivedUs = receivedUs;
    this.opcode = message.readUInt32LE(IN_HEADER.opcode);
  }

  /** Whether it is the request with this unique id. */
  isOf(uniqueLo: number, uniqueHi: number): boolean {
    const { message } = this;
    return (
      message.readInt32LE(IN_HEADER.unique) === uniqueLo &&
      message.readInt32LE(IN_HEADER.unique + 4) === uniqueHi
    );
  }
}

/** What a layer calls as `next`, made for one request. */
class Next extends Methods {
  readonly #owner: AsyncLayers;
  readonly #visit: Visit;
  readonly #place: number;

  constructor(owner: AsyncLayers, visit: Visit, place: number) {
    super();
    this.#owner = owner;
    this.#visit = visit;
    this.#place = place;
  }

  protected override call(operation: OperationName, given: FsRequest): Promise<unknown> {
    const isSame = typeof given === 'object' && given?.operation === operation;
    const request = isSame ? given : ({ ...(given as object), operation } as FsRequest);
    const answer = this.#owner.call(this.#visit, this.#place, request);
    // A layer that does not wait for it must not end the process, as a rejection nobody hears does.
    answer.catch(() => undefined);
    return answer;
  }
}

interface Waiting {
  readonly visit: Visit;
  readonly request: FsRequest;
  readonly resolve: (answer: unknown) => void;
}

export class AsyncLayers {
  /** 1 at the place of each opcode that is answered here. */
  readonly layered: Uint8Array;
  readonly #settings: AsyncSettings;
  readonly #stages: readonly Stage[];
  readonly #running = new Set<Visit>();
  readonly #queue: Visit[] = [];
  readonly #memory: Buffer;
  /** Calls to the passthrough under way, by the low word of their unique ids. */
  readonly #calls = new Map<number, Waiting>();
  readonly #timer: NodeJS.Timeout;
  #queuedBytes = 0;
  #lastCall = 0;

  constructor(settings: AsyncSettings) {
    const { asyncLayers, own, timeoutMs } = settings.settled;
    const { u8 } = settings.ctx;
    this.#settings = settings;
    this.#stages = own === undefined ? asyncLayers : [...asyncLayers, own];
    this.#memory = Buffer.from(u8.buffer, u8.byteOffset, u8.byteLength);
    this.layered =
      own === undefined ? layeredOpcodes(asyncLayers) : new Uint8Array(OPCODE_LIMIT).fill(1);
    this.#timer = setInterval(() => this.#expire(), tickMsOf(timeoutMs));
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Whether main has to stop reading. */
  isFull(): boolean {
    return (
      this.#queue.length >= ASYNC_WAITING_LIMIT || this.#queuedBytes >= ASYNC_WAITING_BYTES_LIMIT
    );
  }

  /** Requests that are not answered yet. */
  inFlight(): number {
    return this.#queue.length + this.#running.size;
  }

  /** The kernel gives lookups back. @returns whether they are a file system's of the program */
  forget(nodeid: number, lookups: number): boolean {
    const { own } = this.#settings.settled;
    if (own === undefined) return false;
    try {
      own.forget?.(nodeid, lookups);
    } catch (error) {
      this.#report(own.name, 'forget', error);
    }
    return true;
  }

  /** Takes the loaded request. Whatever happens to it, it is answered, once. */
  take(): void {
    const { ctx } = this.#settings;
    const message = Buffer.from(ctx.u8.slice(ctx.message, ctx.message + ctx.lengthBytes));
    const visit = new Visit(message, ctx.receivedUs);
    const error = ctx.opcode === OP.STATX ? -ERRNO.ENOSYS : checkRequest(ctx);
    if (error < 0) this.#put(visit, error);
    else if (this.#running.size < ASYNC_RUNNING_LIMIT) this.#start(visit);
    else {
      this.#queue.push(visit);
      this.#queuedBytes += message.length;
    }
  }

  #start(visit: Visit): void {
    this.#running.add(visit);
    try {
      visit.request = decodeRequest(visit.message, this.#form());
    } catch (error) {
      this.#finish(visit, error instanceof InexactNumber ? Errno.EOVERFLOW : Errno.EINVAL);
      return;
    }
    visit.sinceMs = performance.now();
    this.call(visit, 0, visit.request).then(
      (answer) => this.#finish(visit, answer),
      (error: unknown) => {
        this.#report(this.#nameOf(visit.place), visit.request.operation, error);
        this.#finish(visit, Errno.EIO);
      },
    );
  }

  /** Asks the layer at this place, or what is below all of them. */
  async call(visit: Visit, place: number, request: FsRequest): Promise<unknown> {
    const stage = this.#stages[place];
    if (stage === undefined) return this.#callBelow(visit, request);
    const { operation } = request;
    if (!handles(stage, operation)) return this.call(visit, place + 1, request);
    const method = (stage[operation] ?? stage.otherwise) as Method;
    visit.place = place;
    try {
      const answer = await settled(
        method.call(stage, request, new Next(this, visit, place + 1)),
        () =>
          this.#report(
            stage.name,
            operation,
            new LayerMistake('it answered twice; the first one counts', 'twice'),
          ),
      );
      encodeAnswer(request, answer);
      return answer;
    } catch (error) {
      this.#report(stage.name, operation, error);
      return Errno.EIO;
    } finally {
      visit.place = Math.max(place - 1, 0);
    }
  }

  async #callBelow(visit: Visit, request: FsRequest): Promise<unknown> {
    if (this.#settings.settled.own !== undefined) return answerOfNobody(request);
    // It was given up: what it asks for now nobody waits for.
    if (visit.isAnswered) return Errno.EIO;
    if (visit.below >= CALLS_BELOW_LIMIT) {
      throw new LayerMistake(
        `more than ${CALLS_BELOW_LIMIT} calls below at once; await some of them`,
      );
    }
    visit.below++;
    try {
      return await this.#submit(visit, request);
    } finally {
      visit.below--;
      visit.sinceMs = performance.now();
    }
  }

  #submit(visit: Visit, request: FsRequest): Promise<unknown> {
    const isAsItCame = request === visit.request;
    // A copy: the id in it is another one.
    const message = isAsItCame
      ? Buffer.from(visit.message)
      : encodeRequest(request.operation, request as never, this.#form());
    if (message.length > this.#settings.ctx.tables.slots.largeMessageBytes()) {
      throw new LayerMistake(`the request to ${request.operation} is longer than max_write allows`);
    }
    const id = this.#nextCall();
    message.writeInt32LE(id, IN_HEADER.unique);
    message.writeInt32LE(OWN_UNIQUE_HI, IN_HEADER.unique + 4);
    return new Promise((resolve) => {
      this.#calls.set(id, { visit, request, resolve });
      this.#settings.submit(message);
    });
  }

  /** A number for a call: 0 is that of #release(), and a call may wait for a lock for long. */
  #nextCall(): number {
    do this.#lastCall = this.#lastCall === LARGEST_CALL ? 1 : this.#lastCall + 1;
    while (this.#calls.has(this.#lastCall));
    return this.#lastCall;
  }

  /** The kernel sends a release once, whatever it is answered: it is done also where no layer did it. */
  #release(message: Buffer): void {
    if (this.#settings.settled.own !== undefined) return;
    message.writeInt32LE(0, IN_HEADER.unique);
    message.writeInt32LE(OWN_UNIQUE_HI, IN_HEADER.unique + 4);
    this.#settings.submit(message);
  }

  /**
   * The reply to a message of submit(). The first one counts.
   * @returns whether the call is known: what the reply hands over is looked after here then
   */
  settle(reply: Uint8Array): boolean {
    const bytes = Buffer.from(reply.buffer, reply.byteOffset, reply.length);
    const id = bytes.readInt32LE(OUT_HEADER.unique);
    const waiting = this.#calls.get(id);
    if (waiting === undefined) return false;
    this.#calls.delete(id);
    const { visit, request, resolve } = waiting;
    const error = bytes.readInt32LE(OUT_HEADER.error);
    if (error < 0) {
      resolve(isErrno(error) ? error : Errno.EIO);
      return true;
    }
    const body = bytes.subarray(OUT_HEADER.SIZE);
    if (isReleaseOf(request, visit.request)) visit.isReleased = true;
    visit.owed.add(opcodeFor(request), body);
    // The answer to the kernel was given already: nobody will take this.
    if (visit.isAnswered) visit.owed.giveBack(this.#settings.ctx);
    try {
      resolve(decodeReply(request.operation, body, request as never));
    } catch {
      resolve(Errno.EOVERFLOW);
    }
    return true;
  }

  /** The unique ids of calls below that were made for a request of the kernel. */
  callsFor(uniqueLo: number, uniqueHi: number): number[] {
    const ids: number[] = [];
    for (const [id, { visit }] of this.#calls) if (visit.isOf(uniqueLo, uniqueHi)) ids.push(id);
    return ids;
  }

  /**
   * A request is interrupted: EINTR, if its caller is being killed and no call below is under way.
   * @param isBeingKilled asks about the thread with this number
   */
  interrupt(uniqueLo: number, uniqueHi: number, isBeingKilled: (pid: number) => boolean): void {
    const visit = [...this.#queue, ...this.#running].find((v) => v.isOf(uniqueLo, uniqueHi));
    if (visit === undefined || visit.below > 0) return;
    if (!isBeingKilled(visit.message.readUInt32LE(IN_HEADER.pid))) return;
    const queued = this.#queue.indexOf(visit);
    if (queued >= 0) {
      this.#queue.splice(queued, 1);
      this.#queuedBytes -= visit.message.length;
    }
    visit.isCancelled = true;
    this.#put(visit, Errno.EINTR);
    if (this.#running.delete(visit)) this.#next();
  }

  #finish(visit: Visit, answer: unknown): void {
    if (visit.isCancelled) return;
    if (visit.isAnswered) {
      const late = new LayerMistake('it answered after its deadline, when EIO was sent', 'late');
      this.#report(this.#nameOf(0), visit.request.operation, late);
      return;
    }
    this.#put(visit, this.#bodyOf(visit, answer));
    this.#running.delete(visit);
    this.#next();
  }

  /** Brings the body of a reply into the reply buffer. @returns its length, or -errno */
  #bodyOf(visit: Visit, answer: unknown): number {
    const { ctx, maxReplyBytes, settled: layers } = this.#settings;
    if (isErrno(answer)) return answer;
    try {
      const body = encodeAnswer(visit.request, answer);
      if (typeof body === 'number') return body;
      if (body.length > maxReplyBytes) throw new LayerMistake('the answer is too long');
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
      if (layers.own === undefined) {
        visit.owed.deliver(visit.opcode, bytes);
        noteDelivered(ctx, visit.opcode, bytes);
      }
      this.#memory.set(bytes, ctx.out);
      return bytes.length;
    } catch (error) {
      this.#report(this.#nameOf(0), visit.request.operation, error);
      return -ERRNO.EIO;
    }
  }

  #put(visit: Visit, result: number): void {
    visit.isAnswered = true;
    this.#settings.answer(visit.message, visit.receivedUs, result);
    visit.owed.giveBack(this.#settings.ctx);
    if (isRelease(visit.opcode) && !visit.isReleased) this.#release(visit.message);
    if (visit.request !== undefined) endRequest(visit.request);
  }

  #next(): void {
    const wasFull = this.isFull();
    const visit = this.#queue.shift();
    if (visit === undefined) return;
    this.#queuedBytes -= visit.message.length;
    this.#start(visit);
    if (wasFull && !this.isFull()) this.#settings.onRoom();
  }

  #expire(): void {
    const { timeoutMs } = this.#settings.settled;
    const beforeMs = performance.now() - timeoutMs;
    for (const visit of this.#running) {
      if (visit.below > 0 || visit.sinceMs > beforeMs) continue;
      const layer = this.#nameOf(visit.place);
      const error = new LayerMistake(`no answer within ${timeoutMs} ms`, 'deadline');
      this.#report(layer, visit.request.operation, error);
      this.#put(visit, -ERRNO.EIO);
      this.#running.delete(visit);
      this.#next();
    }
  }

  #form(): WireForm {
    return { setxattrInBytes: this.#settings.ctx.setxattrInBytes() };
  }

  #nameOf(place: number): string {
    return this.#stages[place]?.name ?? '';
  }

  #report(layer: string, operation: string, error: unknown): void {
    const text = mistakeText(layer, operation, error);
    this.#settings.ctx.report('error', mistakeKey(layer, operation, error), text);
  }
}

/** What a file system of the program's has no method for. df(1) and its like should not fail for that. */
function answerOfNobody({ operation }: FsRequest): unknown {
  return operation === 'statfs' ? UNKNOWN_STATISTICS : Errno.ENOSYS;
}

const UNKNOWN_STATISTICS: FsStatistics = {
  blocks: 0,
  freeBlocks: 0,
  availableBlocks: 0,
  files: 0n,
  freeFiles: 0n,
  blockSizeBytes: 4096,
  fragmentSizeBytes: 4096,
  nameMaxBytes: 255,
};

/** The opcode by which a request of a layer went: as far as it matters for what it has counted. */
function opcodeFor(request: FsRequest): number {
  if (request.operation === 'readdir') return request.withEntries ? OP.READDIRPLUS : OP.READDIR;
  return OPCODES_OF[request.operation][0] as number;
}

function isRelease(opcode: number): boolean {
  return opcode === OP.RELEASE || opcode === OP.RELEASEDIR;
}

/** Whether a call below closes what the kernel wants closed. */
function isReleaseOf(call: FsRequest, request: FsRequest): boolean {
  if (call.operation !== 'release' && call.operation !== 'releasedir') return false;
  return call.operation === request.operation && call.fh === request.fh;
}

/** Awaits what a layer answered. @param onSecond is told of each answer after the first */
function settled(answer: unknown, onSecond: () => void): unknown {
  if (typeof answer !== 'object' || answer === null || !('then' in answer)) return answer;
  if (answer instanceof Promise) return answer;
  const { then } = answer;
  if (typeof then !== 'function') return answer;
  let count = 0;
  const once = (settle: (value: unknown) => void) => (value: unknown) => {
    if (count++ === 0) settle(value);
    else onSecond();
  };
  return new Promise((resolve, reject) => {
    then.call(answer, once(resolve), once(reject));
  });
}
