/** The layers of a lane: run in place of the operations that they have methods for. */
import { threadId } from 'node:worker_threads';
import { ERRNO } from '../shared/abi/errno.ts';
import { OP } from '../shared/abi/opcodes.ts';
import { nowUs } from '../shared/clock.ts';
import { loadLayer, type ModuleToLoad } from '../shared/layers/load.ts';
import { mistakeKey, mistakeText } from '../shared/layers/mistake.ts';
import { layeredOpcodes } from '../shared/layers/operation-table.ts';
import { noteDelivered, Owed } from '../shared/layers/owed.ts';
import { BEGIN_AGAIN, PassthroughBelow } from '../shared/layers/passthrough-below.ts';
import { encodeAnswer } from '../shared/layers/replies.ts';
import { decodeRequest, endRequest } from '../shared/layers/requests.ts';
import { stackLayers } from '../shared/layers/stack.ts';
import type { FileSystem, FsRequest, Layer } from '../shared/layers/types.ts';
import { LayerWatch } from '../shared/layers/watch.ts';
import { InexactNumber, LayerMistake } from '../shared/layers/wire.ts';
import type { Context, Report } from '../shared/passthrough/context.ts';
import { checkRequest, runOperation } from '../shared/passthrough/operations.ts';

/** What main gives each lane. */
export interface LaneLayersTask {
  readonly modules: readonly ModuleToLoad[];
  readonly watch: SharedArrayBuffer;
}

/** Loads the layers of a lane. @throws SluiceError */
export function loadLaneLayers(
  task: LaneLayersTask,
  lane: number,
  report: Report,
): Promise<Layer[]> {
  const environment = {
    thread: `lane-${lane}`,
    report: (level: 'debug' | 'warn' | 'error', message: string) =>
      report(level, `layer-${message}`, message),
  };
  return Promise.all(task.modules.map((module) => loadLayer(module, environment)));
}

export class LaneLayers {
  readonly #ctx: Context;
  readonly #layered: Uint8Array;
  readonly #below: PassthroughBelow;
  readonly #top: FileSystem;
  #owed = new Owed();

  readonly #outermost: string;
  readonly #maxReplyBytes: number;

  /** @param maxReplyBytes room for the body of a reply */
  constructor(
    ctx: Context,
    lane: number,
    layers: readonly Layer[],
    task: LaneLayersTask,
    maxReplyBytes: number,
  ) {
    const watch = new LayerWatch(task.watch);
    watch.start(lane, threadId);
    const { requests, slots } = ctx.tables;
    this.#ctx = ctx;
    this.#outermost = layers[0]?.name ?? '';
    this.#maxReplyBytes = maxReplyBytes;
    this.#layered = layeredOpcodes(layers);
    this.#below = new PassthroughBelow(
      ctx,
      requests.layerMessageAt,
      slots.largeMessageBytes(),
      (opcode, body) => this.#owed.add(opcode, body),
    );
    this.#top = stackLayers(this.#below as unknown as FileSystem, layers, {
      onEnter: (place) => watch.enter(lane, place, nowUs()),
      onMistake: (layer, operation, error) => reportMistake(ctx.report, layer, operation, error),
    });
  }

  /** Runs the loaded request, as runOperation() does. */
  run(): number {
    const ctx = this.#ctx;
    if (this.#layered[ctx.opcode] !== 1) return runOperation(ctx);
    // So the kernel asks by GETATTR, which layers see.
    if (ctx.opcode === OP.STATX) return -ERRNO.ENOSYS;
    const unsound = checkRequest(ctx);
    if (unsound < 0) return unsound;
    const request = this.#decode();
    const result = typeof request === 'number' ? request : this.#ask(request);
    if (isRelease(ctx.opcode)) this.#release();
    return result;
  }

  /**
   * The kernel sends a release once, whatever it is answered: it is done also where no layer did it.
   * One that was done is noticed by the fh.
   */
  #release(): void {
    runOperation(this.#ctx);
    this.#ctx.finish();
  }

  #decode(): FsRequest | number {
    try {
      return decodeRequest(this.#below.message(), this.#below.form());
    } catch (error) {
      return error instanceof InexactNumber ? -ERRNO.EOVERFLOW : -ERRNO.EINVAL;
    }
  }

  #ask(request: FsRequest): number {
    const ctx = this.#ctx;
    this.#owed = new Owed();
    this.#below.begin(request);
    try {
      const answer = this.#top.run(request);
      // A layer may have caught what says so: it does not count what it answers then.
      return this.#below.outcome < 0 ? this.#below.outcome : this.#put(request, answer);
    } catch (error) {
      if (error === BEGIN_AGAIN) return this.#below.outcome;
      throw error;
    } finally {
      this.#below.begin(undefined);
      endRequest(request);
      this.#owed.giveBack(ctx);
    }
  }

  /** Writes the reply. @returns its length, or -errno */
  #put(request: FsRequest, answer: unknown): number {
    const ctx = this.#ctx;
    const body = encodeAnswer(request, answer);
    ctx.tables.journal.effectNone();
    if (typeof body === 'number') return body;
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
    try {
      if (bytes.length > this.#maxReplyBytes) throw new LayerMistake('the answer is too long');
      this.#owed.deliver(ctx.opcode, bytes);
    } catch (error) {
      reportMistake(ctx.report, this.#outermost, request.operation, error);
      return -ERRNO.EIO;
    }
    ctx.u8.set(bytes, ctx.out);
    noteDelivered(ctx, ctx.opcode, bytes);
    return bytes.length;
  }
}

function isRelease(opcode: number): boolean {
  return opcode === OP.RELEASE || opcode === OP.RELEASEDIR;
}

function reportMistake(report: Report, layer: string, operation: string, error: unknown): void {
  report('error', mistakeKey(layer, operation, error), mistakeText(layer, operation, error));
}
