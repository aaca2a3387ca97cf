/**
 * Bytes of files: READ, WRITE, FALLOCATE, LSEEK, COPY_FILE_RANGE and its 64-bit form. Never by the
 * descriptor's own offset, which requests of one handle share.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_WRITE_CACHE, FUSE_WRITE_KILL_SUIDGID } from '../abi/flags.ts';
import {
  COPY_FILE_RANGE_IN,
  COPY_FILE_RANGE_OUT,
  FALLOCATE_IN,
  LSEEK_IN,
  LSEEK_OUT,
  READ_IN,
  WRITE_IN,
  WRITE_OUT,
} from '../abi/structs.ts';
import { HANDLE_PURPOSE } from '../memory/handle-table.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import { countRead, countWritten } from '../request-stats.ts';
import {
  F_GETFL,
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_UNSHARE_RANGE,
  FALLOC_FL_ZERO_RANGE,
  FS_MAGIC,
  O_APPEND,
  O_CLOEXEC,
  O_DIRECT,
  O_DSYNC,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  RWF_APPEND,
  RWF_DSYNC,
  RWF_NOWAIT,
  RWF_SYNC,
  SEEK_HOLE,
  STATX,
  STATX_BASIC_STATS,
} from '../sys/constants.ts';
import {
  copyFileRange,
  fallocate,
  fcntl,
  lseek,
  pread,
  preadv2,
  pwrite,
  pwritev2,
} from '../sys/libc.ts';
import { statxInto } from './attributes.ts';
import { IN_PLACE_BYTES, NEGOTIATED } from './config.ts';
import { type Context, DEFER, int64, SCRATCH } from './context.ts';
import { dropFileCapability } from './file-capability.ts';
import { handleFd } from './files.ts';
import { openInodeBriefly } from './inode-access.ts';
import { isInMemory } from './mounts.ts';
import { beginSetIdKill, endSetIdKill, hasSetIds, killsSetIds, takesSetIds } from './set-ids.ts';

/** The largest count op 47 can answer; whole pages, as the kernel's own MAX_RW_COUNT. */
const MAX_COPY_BYTES = 0x7ffff000;

/** Writes one struct iovec into the scratch memory. @returns its address */
function iovec(ctx: Context, address: number, sizeBytes: number): number {
  const at = (ctx.scratch + SCRATCH.IOV) >> 2;
  ctx.u32[at] = address >>> 0;
  ctx.u32[at + 1] = Math.floor(address / 0x100000000);
  ctx.u32[at + 2] = sizeBytes;
  ctx.u32[at + 3] = 0;
  return ctx.scratchAddress(SCRATCH.IOV);
}

/** Whether there is no disk to wait for with the data of the request's file. */
function isFileInMemory(ctx: Context): boolean {
  return isInMemory(ctx, ctx.mountOf(ctx.nodeLo));
}

/** A file's descriptor for READ, WRITE and the like. */
function fileFd(ctx: Context, fhOffset: number, accessMode: number): number {
  const hasNoHandle = ctx.has(NEGOTIATED.NO_OPEN);
  const waits = hasNoHandle || ctx.tables.handles.waits(ctx.argLo(fhOffset));
  if (waits && !ctx.mayBlock && !(ctx.isBold && isFileInMemory(ctx))) return DEFER;
  return handleFd(ctx, fhOffset, false, hasNoHandle, accessMode);
}

/** READ. */
export function read(ctx: Context): number {
  const size = ctx.arg32(READ_IN.size);
  if (size > ctx.config.maxWriteBytes) return -ERRNO.EINVAL;
  const fd = fileFd(ctx, READ_IN.fh, O_RDONLY);
  if (fd < 0) return fd;
  const offset = ctx.arg64(READ_IN.offset);
  const count = ctx.mayBlock
    ? readBlocking(ctx, fd, size, offset)
    : readInPlace(ctx, fd, size, offset);
  if (count > 0) countRead(ctx.tables.stats, count);
  return count;
}

function readBlocking(ctx: Context, fd: number, size: number, offset: number | bigint): number {
  const count = readAll(ctx, fd, size, offset);
  if (count !== -ERRNO.EINVAL || wantsDirect(ctx, READ_IN.flags)) return count;
  const buffered = bufferedFd(ctx, O_RDONLY);
  return buffered < 0 ? count : readAll(ctx, buffered, size, offset);
}

/**
 * Reads to the end of the file or of the request. A short count is the end of the file to the kernel,
 * which cuts its size; the host also gives one before a block that cannot be read.
 */
function readAll(ctx: Context, fd: number, size: number, offset: number | bigint): number {
  let done = 0;
  while (done < size) {
    const at = typeof offset === 'bigint' ? offset + BigInt(done) : offset + done;
    const count = pread(fd, ctx.address(ctx.out) + done, size - done, at);
    if (count === -ERRNO.EINTR) continue;
    // Direct I/O may be short; EINVAL: a file that ends between blocks.
    const isShort = done > 0 && (count === -ERRNO.EINVAL || wantsDirect(ctx, READ_IN.flags));
    if (count < 0) return isShort ? done : count;
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Whether the client's descriptor has O_DIRECT at this moment. */
function wantsDirect(ctx: Context, flagsOffset: number): boolean {
  return (ctx.arg32(flagsOffset) & O_DIRECT) !== 0;
}

/**
 * Another descriptor of the request's file, without O_DIRECT, for what the handle's refuses with
 * EINVAL although nobody asked for direct I/O: pages of the kernel's cache, which it writes by any
 * handle that is open, and a client that has taken O_DIRECT off its descriptor by fcntl(2).
 */
function bufferedFd(ctx: Context, accessMode: number): number {
  return openInodeBriefly(ctx, ctx.nodeLo, accessMode | O_CLOEXEC);
}

/** Reads what is in the page cache. A short count is not the end of the file: that is asked for. */
function readInPlace(ctx: Context, fd: number, size: number, offset: number | bigint): number {
  const { inodes, mounts } = ctx.tables;
  const place = inodes.mount(ctx.nodeLo);
  if (typeof offset === 'bigint' || !mounts.hasFlag(place, MOUNT_FLAG.LOCAL)) return DEFER;
  if (mounts.hasFlag(place, MOUNT_FLAG.NO_NOWAIT_READ)) return readInMemory(ctx, fd, size, offset);
  let done = 0;
  while (done < size) {
    const iov = iovec(ctx, ctx.address(ctx.out) + done, size - done);
    const count = preadv2(fd, iov, 1, offset + done, RWF_NOWAIT);
    if (count === 0) break;
    if (count < 0) {
      if (count !== -ERRNO.EOPNOTSUPP) return DEFER;
      mounts.setFlag(place, MOUNT_FLAG.NO_NOWAIT_READ);
      return readInMemory(ctx, fd, size, offset);
    }
    done += count;
  }
  return done;
}

/** Reads where there is no disk to wait for. */
function readInMemory(ctx: Context, fd: number, size: number, offset: number): number {
  return ctx.isBold && isFileInMemory(ctx) ? readBlocking(ctx, fd, size, offset) : DEFER;
}

/** WRITE. The payload stands behind the fixed part of the request. */
export function write(ctx: Context): number {
  const size = ctx.arg32(WRITE_IN.size);
  const payload = ctx.body + WRITE_IN.SIZE;
  if (payload + size > ctx.message + ctx.lengthBytes) return -ERRNO.EIO;
  const fd = fileFd(ctx, WRITE_IN.fh, O_RDWR);
  if (fd < 0) return fd;
  const writeFlags = ctx.arg32(WRITE_IN.write_flags);
  const isCached = (writeFlags & FUSE_WRITE_CACHE) !== 0;
  const kill = !isCached && killsSetIds(ctx, (writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0);
  // Writes of the page cache carry no flags of their own and stand at a place of their own.
  const wanted = isCached ? 0 : ctx.arg32(WRITE_IN.flags);
  const append = (wanted & O_APPEND) !== 0;
  const rwf = rwfOf(wanted);
  if (!append && appendsOnly(ctx, fd)) return -ERRNO.EPERM;
  const offset = ctx.arg64(WRITE_IN.offset);
  if (ctx.config.sealSize) {
    const sealed = checkSealedWrite(ctx, fd, offset, size, append);
    if (sealed < 0) return sealed;
  }
  const dropped = dropFileCapability(ctx, fd, ctx.nodeLo);
  if (dropped < 0) return dropped;
  let count: number;
  if (ctx.mayBlock) {
    if (kill) ctx.isStale = beginSetIdKill(ctx, fd);
    count = writeAll(ctx, fd, payload, size, offset, rwf);
    if (count === -ERRNO.EINVAL && (isCached || !wantsDirect(ctx, WRITE_IN.flags))) {
      const buffered = bufferedFd(ctx, O_RDWR);
      if (buffered >= 0) count = writeAll(ctx, buffered, payload, size, offset, rwf);
    }
    if (kill) endSetIdKill(ctx);
  } else {
    const mustWait = rwf !== 0 || (kill && hasSetIds(ctx, fd));
    count = mustWait ? DEFER : writeInPlace(ctx, fd, payload, size, offset);
  }
  if (count < 0) return count;
  return putWritten(ctx, count);
}

/** Counts what a WRITE has written, and puts its reply. @returns the length of that */
export function putWritten(ctx: Context, count: number): number {
  countWritten(ctx.tables.stats, count);
  ctx.putWords(WRITE_OUT.size, count, 0);
  return WRITE_OUT.SIZE;
}

/**
 * Whether pwrite(2) to this descriptor would ignore the offset: that of an append-only file. To write
 * elsewhere, from a mapping or after O_APPEND was taken off by fcntl(2), is EPERM on such a file.
 */
export function appendsOnly(ctx: Context, fd: number): boolean {
  if (!ctx.tables.handles.waits(ctx.argLo(WRITE_IN.fh))) return false;
  return (fcntl(fd, F_GETFL, 0) & O_APPEND) !== 0;
}

/**
 * How a WRITE with these flags is made: at the end of the file, and on the disk before it is answered.
 * O_DSYNC comes also for RWF_DSYNC and on a mount with `sync` (fuse_write_flags, fs/fuse/file.c),
 * where the handle's descriptor does not have it.
 */
function rwfOf(wireFlags: number): number {
  const append = (wireFlags & O_APPEND) !== 0 ? RWF_APPEND : 0;
  if ((wireFlags & O_SYNC) === O_SYNC) return append | RWF_SYNC;
  return (wireFlags & O_DSYNC) !== 0 ? append | RWF_DSYNC : append;
}

/** Writes to the end, or as far as it goes: an error counts only if nothing was written. */
function writeAll(
  ctx: Context,
  fd: number,
  payload: number,
  size: number,
  offset: number | bigint,
  rwf: number,
): number {
  let done = 0;
  do {
    const address = ctx.address(payload) + done;
    const at = typeof offset === 'bigint' ? offset + BigInt(done) : offset + done;
    const count =
      rwf !== 0
        ? pwritev2(fd, iovec(ctx, address, size - done), 1, at, rwf)
        : pwrite(fd, address, size - done, at);
    if (count === -ERRNO.EINTR) continue;
    if (count < 0) return done > 0 ? done : count;
    if (count === 0) break;
    done += count;
  } while (done < size);
  return done;
}

/** Writes if that needs no wait. A part that was written is written again by the lane: same bytes, same place. */
function writeInPlace(
  ctx: Context,
  fd: number,
  payload: number,
  size: number,
  offset: number | bigint,
): number {
  const { inodes, mounts } = ctx.tables;
  const place = inodes.mount(ctx.nodeLo);
  if (typeof offset === 'bigint' || !mounts.hasFlag(place, MOUNT_FLAG.LOCAL)) return DEFER;
  if (!mounts.hasFlag(place, MOUNT_FLAG.NO_NOWAIT_WRITE)) {
    const count = pwritev2(fd, iovec(ctx, ctx.address(payload), size), 1, offset, RWF_NOWAIT);
    if (count !== -ERRNO.EOPNOTSUPP) return count === size ? count : DEFER;
    mounts.setFlag(place, MOUNT_FLAG.NO_NOWAIT_WRITE);
  }
  return ctx.isBold ? writeAll(ctx, fd, payload, size, offset, 0) : DEFER;
}

/** st_size of an open file; it does not leave the numbers a double holds exactly in practice. */
export function fileSize(ctx: Context, fd: number): number | bigint {
  const error = statxInto(ctx, fd, SCRATCH.STATX, STATX_BASIC_STATS);
  if (error < 0) return error;
  const at = (ctx.scratch + SCRATCH.STATX + STATX.size) >> 2;
  return int64(ctx.u32[at], ctx.i32[at + 1]);
}

function checkSealedWrite(
  ctx: Context,
  fd: number,
  offset: number | bigint,
  size: number,
  append: boolean,
): number {
  const end = fileSize(ctx, fd);
  if (end < 0) return Number(end);
  const start = append ? end : offset;
  return BigInt(start) + BigInt(size) > BigInt(end) ? -ERRNO.EPERM : 0;
}

/** Rule 105: with sealed sizes a file keeps its size whatever is allocated or punched. */
function checkSealedFallocate(
  ctx: Context,
  fd: number,
  mode: number,
  offset: number | bigint,
  length: number | bigint,
): number {
  const end = BigInt(offset) + BigInt(length);
  if (end > 0x7fffffffffffffffn) return -ERRNO.EINVAL;
  const operation = mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_UNSHARE_RANGE);
  switch (operation) {
    case 0:
    case FALLOC_FL_PUNCH_HOLE:
    case FALLOC_FL_ZERO_RANGE: {
      const size = fileSize(ctx, fd);
      if (size < 0) return Number(size);
      return end > BigInt(size) ? -ERRNO.EPERM : 0;
    }
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
      return -ERRNO.EPERM;
    default:
      return -ERRNO.EINVAL;
  }
}

/** FALLOCATE, in all modes the host has. */
export function fallocateFile(ctx: Context): number {
  const fd = fileFd(ctx, FALLOCATE_IN.fh, O_RDWR);
  if (fd < 0) return fd;
  const mode = ctx.arg32(FALLOCATE_IN.mode);
  const offset = ctx.arg64(FALLOCATE_IN.offset);
  const length = ctx.arg64(FALLOCATE_IN.length);
  if (ctx.config.sealSize) {
    const sealed = checkSealedFallocate(ctx, fd, mode, offset, length);
    if (sealed < 0) return sealed;
  }
  const dropped = dropFileCapability(ctx, fd, ctx.nodeLo);
  if (dropped < 0) return dropped;
  const kill = takesSetIds(ctx, fd);
  if (kill) beginSetIdKill(ctx, fd);
  const error = fallocate(fd, mode, offset, length);
  if (kill) endSetIdKill(ctx);
  return error;
}

/**
 * LSEEK: SEEK_DATA and SEEK_HOLE; the other forms the kernel answers itself. With its writeback cache
 * it asks without writing back first, and data that the host has not seen would be told as a hole,
 * which cp(1) does not copy. After ENOSYS it answers by itself: all of the file is data.
 */
export function lseekFile(ctx: Context): number {
  if (ctx.has(NEGOTIATED.WRITEBACK)) return -ERRNO.ENOSYS;
  const fd = fileFd(ctx, LSEEK_IN.fh, O_RDONLY);
  if (fd < 0) return fd;
  const offset = ctx.arg64(LSEEK_IN.offset);
  const whence = ctx.arg32(LSEEK_IN.whence);
  const position = mayHideStores(ctx)
    ? seekInData(ctx, fd, offset, whence)
    : lseek(fd, offset, whence);
  if (position < 0) return Number(position);
  const wide = BigInt(position);
  ctx.putWords(LSEEK_OUT.offset, Number(wide & 0xffffffffn), Number(wide >> 32n));
  return LSEEK_OUT.SIZE;
}

/**
 * Whether there may be stores of a mapping that the host has not seen, as with the writeback cache. Where
 * an open drops the kernel's pages it writes them first, and who looks for data has just opened.
 */
function mayHideStores(ctx: Context): boolean {
  if (ctx.config.cache !== 'always') return false;
  if (ctx.has(NEGOTIATED.NO_OPEN)) return true;
  return ctx.tables.handles.isOpenFor(ctx.nodeLo, HANDLE_PURPOSE.UNSEEN_WRITING);
}

/** lseek(2) to data or a hole in a file that is all data. @returns the position or -errno */
function seekInData(
  ctx: Context,
  fd: number,
  offset: number | bigint,
  whence: number,
): number | bigint {
  const size = fileSize(ctx, fd);
  if (size < 0) return size;
  if (offset < 0 || offset >= size) return -ERRNO.ENXIO;
  return whence === SEEK_HOLE ? size : offset;
}

/** COPY_FILE_RANGE, which answers in 32 bits: more than those hold is not copied at once. */
export function copyRange(ctx: Context): number {
  const count = copy(ctx);
  if (count < 0) return count;
  ctx.putWords(WRITE_OUT.size, count, 0);
  return WRITE_OUT.SIZE;
}

/** COPY_FILE_RANGE_64. */
export function copyRange64(ctx: Context): number {
  const count = copy(ctx);
  if (count < 0) return count;
  ctx.put64(COPY_FILE_RANGE_OUT.bytes_copied, count);
  return COPY_FILE_RANGE_OUT.SIZE;
}

function copy(ctx: Context): number {
  const fdIn = fileFd(ctx, COPY_FILE_RANGE_IN.fh_in, O_RDONLY);
  if (fdIn < 0) return fdIn;
  const fdOut = copyTarget(ctx);
  if (fdOut < 0) return fdOut;
  const at = (ctx.scratch + SCRATCH.OFFSETS) >> 2;
  ctx.i32[at] = ctx.argLo(COPY_FILE_RANGE_IN.off_in);
  ctx.i32[at + 1] = ctx.argHi(COPY_FILE_RANGE_IN.off_in);
  ctx.i32[at + 2] = ctx.argLo(COPY_FILE_RANGE_IN.off_out);
  ctx.i32[at + 3] = ctx.argHi(COPY_FILE_RANGE_IN.off_out);
  const wanted = ctx.arg64(COPY_FILE_RANGE_IN.len);
  const length = wanted > MAX_COPY_BYTES || wanted < 0 ? MAX_COPY_BYTES : Number(wanted);
  if (ctx.config.sealSize) {
    const offset = ctx.arg64(COPY_FILE_RANGE_IN.off_out);
    const sealed = checkSealedWrite(ctx, fdOut, offset, length, false);
    if (sealed < 0) return sealed;
  }
  if (!ctx.mayBlock && !mayCopyInPlace(ctx, fdIn, fdOut, length)) return DEFER;
  // The source may have grown since.
  const most = ctx.mayBlock ? length : Math.min(length, IN_PLACE_BYTES);
  const dropped = dropFileCapability(ctx, fdOut, ctx.argLo(COPY_FILE_RANGE_IN.nodeid_out));
  if (dropped < 0) return dropped;
  const kill = takesSetIds(ctx, fdOut);
  if (kill) beginSetIdKill(ctx, fdOut);
  const count = copyFileRange(
    fdIn,
    ctx.scratchAddress(SCRATCH.OFFSETS),
    fdOut,
    ctx.scratchAddress(SCRATCH.OFFSETS + 8),
    most,
    ctx.arg32(COPY_FILE_RANGE_IN.flags),
  );
  if (kill) endSetIdKill(ctx);
  const isRefused = count === -ERRNO.EINVAL && (isDirect(fdIn) || isDirect(fdOut));
  return isRefused ? -ERRNO.EOPNOTSUPP : count;
}

/**
 * Whether copying from or to a descriptor is direct I/O, which is refused where it is not aligned. The
 * client's may have lost O_DIRECT by fcntl(2), of which the request does not tell: after EOPNOTSUPP the kernel
 * copies by READ and WRITE, which do.
 */
function isDirect(fd: number): boolean {
  return (fcntl(fd, F_GETFL, 0) & O_DIRECT) !== 0;
}

/**
 * Whether a copy is a small one of pages in memory. XFS and Btrfs share blocks instead, and wait until those
 * are written.
 */
function mayCopyInPlace(ctx: Context, fdIn: number, fdOut: number, length: number): boolean {
  const { inodes, mounts } = ctx.tables;
  if (!ctx.isBold || hasSetIds(ctx, fdOut)) return false;
  const offset = ctx.arg64(COPY_FILE_RANGE_IN.off_in);
  const left = Number(fileSize(ctx, fdIn)) - Number(offset);
  const size = Math.min(left, length);
  // The reply buffer has to have room for what is read to it.
  const limit = Math.min(IN_PLACE_BYTES, ctx.config.maxWriteBytes);
  if (typeof offset === 'bigint' || size > limit) return false;
  if (isFileInMemory(ctx)) return true;
  if (mounts.fsType(inodes.mount(ctx.nodeLo)) !== FS_MAGIC.EXT4) return false;
  // All of it is in the page cache when it can be read from there.
  return readInPlace(ctx, fdIn, size, offset) >= 0;
}

function copyTarget(ctx: Context): number {
  const slot = ctx.pinInode(
    ctx.argLo(COPY_FILE_RANGE_IN.nodeid_out),
    ctx.argHi(COPY_FILE_RANGE_IN.nodeid_out),
  );
  if (slot < 0) return slot;
  if (ctx.has(NEGOTIATED.NO_OPEN)) return openInodeBriefly(ctx, slot, O_RDWR | O_CLOEXEC);
  const handle = ctx.useHandle(
    ctx.argLo(COPY_FILE_RANGE_IN.fh_out),
    ctx.argHi(COPY_FILE_RANGE_IN.fh_out),
    slot,
    false,
  );
  return handle < 0 ? handle : ctx.tables.handles.fd(handle);
}
