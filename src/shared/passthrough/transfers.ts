/**
 * Data that the kernel moves between a file and the buffer of an entry by itself, as a request of the
 * same ring that brought the READ or WRITE. Only what may be made twice: where the outcome is not all
 * that was asked for, a lane makes the request once more, and knows what the outcome means.
 */
import { FUSE_WRITE_CACHE, FUSE_WRITE_KILL_SUIDGID } from '../abi/flags.ts';
import { OP } from '../abi/opcodes.ts';
import { READ_IN, WRITE_IN } from '../abi/structs.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import { countRead } from '../request-stats.ts';
import { O_APPEND, O_DIRECT, O_DSYNC, O_RDONLY, O_RDWR, O_SYNC } from '../sys/constants.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, DEFER } from './context.ts';
import { appendsOnly, fileSize, putWritten } from './data.ts';
import { handleFd } from './files.ts';
import { checkRequest } from './operations.ts';
import { killsSetIds } from './set-ids.ts';

/** One transfer, as prepareTransfer() leaves it. */
export class Transfer {
  isWrite = false;
  fd = -1;
  /** Where the data are, in the request memory. */
  at = 0;
  sizeBytes = 0;
  offsetLo = 0;
  offsetHi = 0;
}

/**
 * Whether the loaded request is one that the kernel may make by itself: reads of local files, which do not
 * block the ring, and direct writes. What the request holds until finish() has to be held until the kernel
 * has the file.
 */
export function prepareTransfer(ctx: Context, transfer: Transfer): boolean {
  const isWrite = ctx.opcode === OP.WRITE;
  if (!isWrite && ctx.opcode !== OP.READ) return false;
  if (ctx.has(NEGOTIATED.NO_OPEN) || checkRequest(ctx) < 0) return false;
  const { inodes, mounts } = ctx.tables;
  // One that hangs would take the kernel's threads from the others.
  if (!mounts.hasFlag(inodes.mount(ctx.nodeLo), MOUNT_FLAG.LOCAL)) return false;
  transfer.isWrite = isWrite;
  if (!(isWrite ? describeWrite(ctx, transfer) : describeRead(ctx, transfer))) return false;
  const fhOffset = isWrite ? WRITE_IN.fh : READ_IN.fh;
  transfer.fd = handleFd(ctx, fhOffset, false, false, isWrite ? O_RDWR : O_RDONLY);
  return transfer.fd >= 0 && !(isWrite && appendsOnly(ctx, transfer.fd));
}

function describeRead(ctx: Context, transfer: Transfer): boolean {
  transfer.at = ctx.out;
  transfer.sizeBytes = ctx.arg32(READ_IN.size);
  transfer.offsetLo = ctx.argLo(READ_IN.offset);
  transfer.offsetHi = ctx.argHi(READ_IN.offset);
  return transfer.sizeBytes > 0 && transfer.sizeBytes <= ctx.config.maxWriteBytes;
}

function describeWrite(ctx: Context, transfer: Transfer): boolean {
  const writeFlags = ctx.arg32(WRITE_IN.write_flags);
  const kill = killsSetIds(ctx, (writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0);
  const isPlain = (writeFlags & FUSE_WRITE_CACHE) === 0 && !kill;
  const flags = ctx.arg32(WRITE_IN.flags) & (O_DIRECT | O_APPEND | O_DSYNC | O_SYNC);
  if (!isPlain || flags !== O_DIRECT) return false;
  if (ctx.config.sealSize || ctx.capabilityName !== undefined) return false;
  transfer.at = ctx.body + WRITE_IN.SIZE;
  transfer.sizeBytes = ctx.arg32(WRITE_IN.size);
  transfer.offsetLo = ctx.argLo(WRITE_IN.offset);
  transfer.offsetHi = ctx.argHi(WRITE_IN.offset);
  const end = transfer.at + transfer.sizeBytes;
  return transfer.sizeBytes > 0 && end <= ctx.message + ctx.lengthBytes;
}

/**
 * The outcome of the loaded request's transfer; finish() is to follow.
 * @param count bytes moved, or -errno
 * @returns as an Operation: DEFER where a lane has to make the request
 */
export function endTransfer(ctx: Context, count: number): number {
  if (ctx.opcode === OP.WRITE) {
    if (count !== ctx.arg32(WRITE_IN.size)) return DEFER;
    return putWritten(ctx, count);
  }
  if (count !== ctx.arg32(READ_IN.size) && !endsFile(ctx, count)) return DEFER;
  countRead(ctx.tables.stats, count);
  return count;
}

/** Whether so many bytes, fewer than wanted, are those up to the end of the file. */
function endsFile(ctx: Context, count: number): boolean {
  if (count < 0) return false;
  const fd = handleFd(ctx, READ_IN.fh, false, false, O_RDONLY);
  if (fd < 0) return false;
  const size = fileSize(ctx, fd);
  return size >= 0 && Number(ctx.arg64(READ_IN.offset)) + count >= Number(size);
}
