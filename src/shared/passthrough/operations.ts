/**
 * Which function runs which opcode, and how one request is run and answered: the same on main and in
 * a lane, whichever engine brought the request.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_ROOT_ID } from '../abi/flags.ts';
import { OP, OPCODE_LIMIT, ROW_BY_OPCODE } from '../abi/opcodes.ts';
import { BATCH_FORGET_IN, FORGET_IN, FORGET_ONE, IN_HEADER, OUT_HEADER } from '../abi/structs.ts';
import { nowUs } from '../clock.ts';
import { ENTRY_STATE } from '../memory/ring-entries.ts';
import { EFFECT, type ThreadJournal } from '../memory/thread-journal.ts';
import { countReply, countRequest } from '../request-stats.ts';
import { STAT } from '../stats-layout.ts';
import { write as writeBytes } from '../sys/libc.ts';
import { getattr, setattr, statxOperation } from './attributes.ts';
import { type Context, DEFER, HAND_OVER, OWN_UNIQUE_HI } from './context.ts';
import { copyRange, copyRange64, fallocateFile, lseekFile, read, write } from './data.ts';
import { readdir, readdirplus, undoListing } from './directories.ts';
import { syncDirectories } from './directory-sync.ts';
import { putEntryReply } from './entry-messages.ts';
import { areExtensionsSound, extensionBytes, findSecurityContext } from './extensions.ts';
import {
  create,
  flush,
  fsyncDirectory,
  fsyncFile,
  open,
  opendir,
  release,
  releasedir,
  tmpfile,
} from './files.ts';
import { access, statfs, syncFilesystem } from './filesystem-wide.ts';
import { ioctlOperation } from './ioctl.ts';
import { closeBacking } from './kernel-passthrough.ts';
import { getlk, setlk } from './locks.ts';
import {
  link,
  lookup,
  mkdir,
  mknod,
  readlink,
  rename,
  rename2,
  rmdir,
  symlink,
  unlink,
} from './names.ts';
import { invalidateAttributes } from './notify.ts';
import { getXattr, listXattr, removeXattr, setXattr } from './xattrs.ts';

/**
 * Runs the request the context is at. The body of the reply is written to the reply buffer.
 * @returns its length, -errno, DEFER or HAND_OVER
 */
export type Operation = (ctx: Context) => number;

function absent(): number {
  return -ERRNO.ENOSYS;
}

/** Operations by opcode. Opcodes of class `control` are not here: they are main's own. */
export const OPERATIONS: readonly Operation[] = makeOperations([
  [OP.LOOKUP, lookup],
  [OP.GETATTR, getattr],
  [OP.SETATTR, setattr],
  [OP.READLINK, readlink],
  [OP.SYMLINK, symlink],
  [OP.MKNOD, mknod],
  [OP.MKDIR, mkdir],
  [OP.UNLINK, unlink],
  [OP.RMDIR, rmdir],
  [OP.RENAME, rename],
  [OP.LINK, link],
  [OP.OPEN, open],
  [OP.READ, read],
  [OP.WRITE, write],
  [OP.STATFS, statfs],
  [OP.RELEASE, release],
  [OP.FSYNC, fsyncFile],
  [OP.SETXATTR, setXattr],
  [OP.GETXATTR, getXattr],
  [OP.LISTXATTR, listXattr],
  [OP.REMOVEXATTR, removeXattr],
  [OP.FLUSH, flush],
  [OP.OPENDIR, opendir],
  [OP.READDIR, readdir],
  [OP.RELEASEDIR, releasedir],
  [OP.FSYNCDIR, fsyncDirectory],
  [OP.GETLK, getlk],
  [OP.SETLK, setlk],
  [OP.SETLKW, setlk],
  [OP.ACCESS, access],
  [OP.CREATE, create],
  [OP.IOCTL, ioctlOperation],
  [OP.FALLOCATE, fallocateFile],
  [OP.READDIRPLUS, readdirplus],
  [OP.RENAME2, rename2],
  [OP.LSEEK, lseekFile],
  [OP.COPY_FILE_RANGE, copyRange],
  [OP.COPY_FILE_RANGE_64, copyRange64],
  [OP.SYNCFS, syncFilesystem],
  [OP.TMPFILE, tmpfile],
  [OP.STATX, statxOperation],
]);

function makeOperations(rows: readonly (readonly [number, Operation])[]): Operation[] {
  const operations = new Array<Operation>(OPCODE_LIMIT).fill(absent);
  for (const [opcode, operation] of rows) operations[opcode] = operation;
  return operations;
}

/** Whether the loaded request can be run: 0, or -errno. */
export function checkRequest(ctx: Context): number {
  const row = ctx.opcode < OPCODE_LIMIT ? ROW_BY_OPCODE[ctx.opcode] : undefined;
  if (row === undefined) return -ERRNO.ENOSYS;
  // Somebody else's ids are no ids to act by.
  if (ctx.isUnsafe) return -ERRNO.EIO;
  if (ctx.lengthBytes < IN_HEADER.SIZE + row.inSizeBytes) return -ERRNO.EINVAL;
  if (extensionBytes(ctx) > 0) {
    if (!areExtensionsSound(ctx, row.inSizeBytes)) return -ERRNO.EINVAL;
    if (findSecurityContext(ctx) < 0) return -ERRNO.EINVAL;
  }
  return 0;
}

/**
 * Runs the loaded request by its opcode, and turns a throw into EIO.
 * @returns as an Operation
 */
export function runOperation(ctx: Context): number {
  const unsound = checkRequest(ctx);
  if (unsound < 0) return unsound;
  try {
    const result = OPERATIONS[ctx.opcode](ctx);
    if (result < 0 || !ctx.config.syncDirectories) return result;
    const error = syncDirectories(ctx);
    if (error < 0) undoEffects(ctx, ctx.tables.journal, ctx.reply);
    return error < 0 ? error : result;
  } catch (error) {
    ctx.becomeSelf();
    reportException(ctx, opcodeLabel(ctx.opcode), error);
    recoverThread(ctx, ctx.tables.thread, ctx.tables.journal);
    undoEffects(ctx, ctx.tables.journal, ctx.reply);
    ctx.restoreFsetid();
    return -ERRNO.EIO;
  }
}

function opcodeLabel(opcode: number): string {
  return ROW_BY_OPCODE[opcode]?.name ?? String(opcode);
}

/** Counts a throw, which is a defect, and logs it once for each `what`. */
function reportException(ctx: Context, what: string, error: unknown): void {
  ctx.tables.stats.add(STAT.EXCEPTIONS, 1);
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  ctx.report(
    'error',
    `exception-${what}`,
    `${what} failed with an exception, answered EIO: ${text}`,
  );
}

/** A throw on the way of a request, outside its operation: EIO, and life goes on. */
export function answerException(ctx: Context, where: string, error: unknown): void {
  reportException(ctx, where, error);
  if (ROW_BY_OPCODE[ctx.opcode]?.hasReply !== false) replyOrUndo(ctx, ctx.fuseFd, -ERRNO.EIO);
}

/** Writes fuse_out_header in front of the reply's body. @returns the length of the whole */
export function putReplyHeader(ctx: Context, result: number): number {
  const length = OUT_HEADER.SIZE + Math.max(result, 0);
  const at = ctx.reply >> 2;
  ctx.u32[at] = length;
  ctx.i32[at + 1] = Math.min(result, 0);
  ctx.i32[at + 2] = ctx.uniqueLo();
  ctx.i32[at + 3] = ctx.uniqueHi();
  return length;
}

/**
 * Answers the request with the body in the reply buffer, or with an error.
 * @param result length of the body, or -errno
 * @returns whether the kernel took it
 */
export function reply(ctx: Context, fuseFd: number, result: number): boolean {
  // Before the reply: what the caller does next must not go by the old mode.
  if (ctx.isStale && ctx.kernelReplies === undefined) invalidateAttributes(ctx, fuseFd);
  // No kernel knows of these, and neither trace nor statistics count them.
  if (ctx.layerReplies !== undefined && isOwnRequest(ctx)) {
    return ctx.layerReplies(wholeReply(ctx, result));
  }
  ctx.tracer?.reply(ctx, result);
  const row = ROW_BY_OPCODE[ctx.opcode];
  countReply(ctx.tables.stats, row, result, nowUs() - ctx.receivedUs);
  if (ctx.kernelReplies !== undefined) return ctx.kernelReplies(wholeReply(ctx, result));
  return ctx.entry < 0 ? replyToDevice(ctx, fuseFd, result) : replyInEntry(ctx, result);
}

/** The reply as a message of its own, for who takes it in the place of the kernel. */
function wholeReply(ctx: Context, result: number): Uint8Array {
  const length = putReplyHeader(ctx, result);
  return ctx.u8.slice(ctx.reply, ctx.reply + length);
}

/** The kernel waits for the reply whatever befalls the caller: it takes it, or the mount is gone. */
function replyInEntry(ctx: Context, result: number): boolean {
  const { entries } = ctx.tables;
  const state = entries.state(ctx.entry);
  putEntryReply(ctx, result);
  if (state === ENTRY_STATE.IN_SLOT) entries.answered(ctx.entry);
  else entries.setState(ctx.entry, ENTRY_STATE.ANSWERED);
  return true;
}

function replyToDevice(ctx: Context, fuseFd: number, result: number): boolean {
  const length = putReplyHeader(ctx, result);
  for (;;) {
    const written = writeBytes(fuseFd, ctx.base + ctx.reply, length);
    if (written === length) return true;
    if (written === -ERRNO.EINTR || written === -ERRNO.EAGAIN) continue;
    // ENOENT: the caller was killed and the request is gone. ENODEV: the mount is.
    ctx.tables.stats.add(STAT.DROPPED_REPLIES, 1);
    if (written !== -ERRNO.ENOENT && written !== -ERRNO.ENODEV && written !== -ERRNO.ECONNABORTED) {
      ctx.report(
        'error',
        `reply-${-written}`,
        `the kernel refused a reply to ${ROW_BY_OPCODE[ctx.opcode]?.name ?? ctx.opcode} (errno ${-written})`,
      );
    }
    return false;
  }
}

/** Whether an asynchronous layer made it. */
function isOwnRequest(ctx: Context): boolean {
  return (ctx.uniqueHi() & OWN_UNIQUE_HI) !== 0;
}

/** Answers, and takes back what the operation counted when the kernel will not hear of it. */
export function replyOrUndo(ctx: Context, fuseFd: number, result: number): void {
  if (reply(ctx, fuseFd, result)) ctx.tables.journal.effectNone();
  else undoEffects(ctx, ctx.tables.journal, ctx.reply);
}

/**
 * Undoes what a journal says its request has changed.
 * @param replyAt where in the request memory that thread's reply buffer is
 */
export function undoEffects(ctx: Context, journal: ThreadJournal, replyAt: number): void {
  const effect = journal.effect();
  if (effect === EFFECT.NONE) return;
  const slot = journal.effectSlot();
  const epoch = journal.effectEpoch();
  const handle = journal.effectHandleIndex();
  const bytes = journal.effectBytes();
  journal.effectNone();
  if ((effect & EFFECT.HANDLE) !== 0) ctx.dropHandle(handle);
  if ((effect & EFFECT.LOOKUP) !== 0) ctx.forget(slot, epoch, 1);
  if ((effect & EFFECT.DIRECTORY_ENTRIES) !== 0) undoListing(ctx, replyAt + OUT_HEADER.SIZE, bytes);
}

/** Releases the locks of a thread, that died or threw, and mends what it was changing under them. */
export function recoverLocks(ctx: Context, thread: number, journal: ThreadJournal): void {
  const { inodes, handles, backings, mounts, fds, locks } = ctx.tables;
  inodes.recoverOwner(thread);
  backings.recoverOwner(thread, (id) => closeBacking(ctx, id));
  locks.recoverOwner(thread);
  mounts.recoverOwner(thread);
  fds.recoverOwner(thread);
  handles.recoverOwner(thread, journal.directory());
}

/**
 * Gives back what a thread held in the middle of a request: locks first, then all else. For a thread
 * that died, and for one that threw.
 */
export function recoverThread(ctx: Context, thread: number, journal: ThreadJournal): void {
  recoverLocks(ctx, thread, journal);
  journal.setDirectory(0);
  ctx.giveBack(journal);
  if (journal.mountRef() >= 0) ctx.releaseMount(journal.mountRef());
  journal.setMountRef(-1);
}

/** Takes lookups of nodeids that are not the passthrough's. */
export interface ForeignForget {
  /** @returns whether they were its own */
  forget(nodeid: number, lookups: number): boolean;
}

/**
 * FORGET and BATCH_FORGET, which have no reply.
 * @param foreign is asked first
 * @returns whether the request was one of them
 */
export function takeForget(ctx: Context, foreign?: ForeignForget): boolean {
  if (ctx.opcode !== OP.FORGET && ctx.opcode !== OP.BATCH_FORGET) return false;
  countRequest(ctx.tables.stats, ROW_BY_OPCODE[ctx.opcode]);
  if (ctx.opcode === OP.FORGET) forget(ctx, foreign);
  else batchForget(ctx, foreign);
  return true;
}

function forget(ctx: Context, foreign: ForeignForget | undefined): void {
  forgetOne(
    ctx,
    foreign,
    ctx.nodeLo,
    ctx.nodeHi,
    ctx.argLo(FORGET_IN.nlookup),
    ctx.argHi(FORGET_IN.nlookup),
  );
}

function batchForget(ctx: Context, foreign: ForeignForget | undefined): void {
  const room = ctx.lengthBytes - IN_HEADER.SIZE - BATCH_FORGET_IN.SIZE;
  const count = Math.min(ctx.arg32(BATCH_FORGET_IN.count), Math.floor(room / FORGET_ONE.SIZE));
  for (let i = 0; i < count; i++) {
    const at = BATCH_FORGET_IN.SIZE + i * FORGET_ONE.SIZE;
    forgetOne(
      ctx,
      foreign,
      ctx.argLo(at + FORGET_ONE.nodeid),
      ctx.argHi(at + FORGET_ONE.nodeid),
      ctx.argLo(at + FORGET_ONE.nlookup),
      ctx.argHi(at + FORGET_ONE.nlookup),
    );
  }
}

/** Counts above 2^31 never come about; they saturate. */
function forgetOne(
  ctx: Context,
  foreign: ForeignForget | undefined,
  nodeLo: number,
  nodeHi: number,
  countLo: number,
  countHi: number,
): void {
  if (nodeLo === FUSE_ROOT_ID && nodeHi === 0) return;
  const count = countHi !== 0 || countLo < 0 ? 0x7fffffff : countLo;
  if (foreign?.forget(nodeHi * 0x100000000 + (nodeLo >>> 0), count) === true) return;
  ctx.forget(nodeLo, nodeHi, count);
}

/** Whether an answer means that a lane has to run the request. */
export function isDeferred(result: number): boolean {
  return result === DEFER || result === HAND_OVER;
}
