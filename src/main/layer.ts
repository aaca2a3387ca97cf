/**
 * The passthrough file system for programs that bring the requests themselves: from another
 * transport, or from a test.
 */
import { ERRNO } from '../shared/abi/errno.ts';
import { ROW_BY_OPCODE } from '../shared/abi/opcodes.ts';
import { IN_HEADER } from '../shared/abi/structs.ts';
import { type OptionValues, resolveOptions } from '../shared/options.ts';
import { LOCK_WAIT } from '../shared/passthrough/context.ts';
import { putReplyHeader, runOperation, takeForget } from '../shared/passthrough/operations.ts';
import { RLIMIT_NOFILE } from '../shared/sys/constants.ts';
import { close } from '../shared/sys/libc.ts';
import { softLimit } from '../shared/sys/rlimit.ts';
import { PassthroughFs } from './passthrough-fs.ts';
import { checkSource } from './session/preflight.ts';

/** What a layer takes of the options: all but those of the mount around it. */
export type LayerOptions = OptionValues;

/** Inodes a layer has room for unless told otherwise: memory is committed as it is used. */
const LAYER_MAX_INODES = 1 << 20;
const LAYER_REQUEST_SLOTS = 16;

/**
 * One source served to whoever calls handle(), on the calling thread; calls may block on the source's
 * file system. Requests and replies are FUSE messages; FUSE_INIT and FUSE_DESTROY are no requests
 * here but fs.init() and fs.destroy(). A lock that would have to be waited for answers EAGAIN. This
 * process's umask cuts the modes of what requests create.
 */
export class PassthroughLayer {
  readonly fs: PassthroughFs;
  readonly #slot: number;

  constructor(rootDir: string, options: LayerOptions, onReport: (message: string) => void) {
    const resolved = resolveOptions({
      maxInodes: LAYER_MAX_INODES,
      requestSlots: LAYER_REQUEST_SLOTS,
      ...options,
      // It has no exporter, so nothing is set aside for one.
      metrics: false,
      source: rootDir,
      mountpoint: '/',
    });
    for (const warning of resolved.warnings) onReport(warning);
    this.fs = new PassthroughFs({
      options: resolved.options,
      source: checkSource(resolved.options.source).path,
      fdLimit: softLimit(RLIMIT_NOFILE),
      mayBlock: true,
      report: (level, _key, message) => {
        if (level !== 'debug') onReport(message);
      },
      closeHeld: (fd) => {
        close(fd);
      },
      onUnlocked: () => undefined,
    });
    this.#slot = this.fs.ctx.tables.slots.takeLarge();
  }

  /**
   * Runs one request.
   * @param request a whole message: header, fixed part, names or payload
   * @returns the reply message; undefined for requests that have none, and for what is no request:
   * shorter than a header, or longer than the largest WRITE
   */
  handle(request: Uint8Array): Uint8Array | undefined {
    const { ctx } = this.fs;
    const at = ctx.tables.slots.messageAt(this.#slot);
    const length = request.length;
    if (length < IN_HEADER.SIZE || length > ctx.tables.slots.largeMessageBytes()) return undefined;
    ctx.u8.set(request, at);
    ctx.load(at);
    // What the length in the header says beyond the message is of an earlier one.
    const isWhole = ctx.lengthBytes === length;
    const row = ROW_BY_OPCODE[ctx.opcode];
    if (row?.hasReply === false) {
      if (isWhole && length >= IN_HEADER.SIZE + row.inSizeBytes) takeForget(ctx);
      return undefined;
    }
    const outcome = isWhole ? runOperation(ctx) : -ERRNO.EINVAL;
    const result = outcome === LOCK_WAIT ? -ERRNO.EAGAIN : outcome;
    ctx.finish();
    ctx.tables.journal.effectNone();
    putReplyHeader(ctx, result);
    return ctx.u8.slice(ctx.reply, ctx.out + Math.max(result, 0));
  }

  /** Where a whole message may be put, for whoever runs operations on `fs` without handle(). */
  messageArea(): { readonly at: number; readonly bytes: number } {
    const { slots } = this.fs.ctx.tables;
    return { at: slots.messageAt(this.#slot), bytes: slots.largeMessageBytes() };
  }
}

/**
 * A layer over a directory with extended attributes, import and file handles on: what one takes as
 * the lower part of something bigger.
 * @throws SluiceError when the directory cannot be served
 */
export function newPassthroughLayer(rootDir: string): PassthroughLayer {
  const layer = new PassthroughLayer(
    rootDir,
    { xattr: true, doImport: true, inodeFileHandles: 'prefer' },
    () => undefined,
  );
  layer.fs.importRoot();
  return layer;
}
