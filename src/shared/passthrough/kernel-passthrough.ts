/**
 * Files whose data the kernel reads and writes without us (FUSE_PASSTHROUGH, Linux 6.9; fs/fuse/
 * backing.c, passthrough.c and iomode.c). Open, release, fsync, truncation and attributes still come.
 */
import { ERRNO, errnoName } from '../abi/errno.ts';
import { FUSE_DEV_IOC_BACKING_CLOSE, FUSE_DEV_IOC_BACKING_OPEN } from '../abi/flags.ts';
import { BACKING_MAP } from '../abi/structs.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import { STAT } from '../stats-layout.ts';
import { STATX, STATX_ATTR_APPEND, STATX_BASIC_STATS } from '../sys/constants.ts';
import { ioctl } from '../sys/libc.ts';
import { statxInto } from './attributes.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, SCRATCH } from './context.ts';
import { inodeFd } from './inode-access.ts';
import { mountOf } from './mounts.ts';

/**
 * Counts an open of a regular file, and decides at the first one which way its data goes. Noted in
 * the journal, until the handle has it. An append-only file goes through us: the kernel would let a
 * mapping change what is in it (fuse_passthrough_mmap does not ask the file behind).
 * @param slot a pinned inode
 * @param fd the file, opened
 * @param isNew whether it has just been made: then it is not append-only
 * @returns its entry in the table of backing files; 0 where the kernel passes nothing through
 */
export function enterBacking(ctx: Context, slot: number, fd: number, isNew: boolean): number {
  if (!ctx.has(NEGOTIATED.PASSTHROUGH)) return 0;
  const { backings, inodes, journal } = ctx.tables;
  const epoch = inodes.epoch(slot);
  let index = backings.join(slot, epoch, journal);
  if (index === 0) {
    const id = isNew || !isAppendOnly(ctx, fd) ? openBacking(ctx, slot, fd) : 0;
    index = backings.enter(slot, epoch, id, journal);
    if (id > 0 && (index === 0 || backings.id(index) !== id)) closeBacking(ctx, id);
  }
  return index;
}

/** What cannot be told is taken for it. */
function isAppendOnly(ctx: Context, fd: number): boolean {
  if (statxInto(ctx, fd, SCRATCH.STATX2, STATX_BASIC_STATS) < 0) return true;
  const attributes = ctx.u32[(ctx.scratch + SCRATCH.STATX2 + STATX.attributes) >> 2];
  return (attributes & STATX_ATTR_APPEND) !== 0;
}

/** Counts an open by who moves its data: the kernel, or we. */
export function countOpen(ctx: Context, isKernels: boolean): void {
  if (!ctx.has(NEGOTIATED.PASSTHROUGH)) return;
  ctx.tables.stats.add(isKernels ? STAT.BACKING_OPENS : STAT.BACKING_FALLBACKS, 1);
}

/** Takes back an open that enterBacking() counted; the last one gives the backing id back. */
export function leaveBacking(ctx: Context, index: number): void {
  const id = ctx.tables.backings.leave(index);
  if (id > 0) closeBacking(ctx, id);
}

/**
 * Registers a file with the kernel: by its O_PATH descriptor, so that no open file of ours lives on
 * in the kernel, which would keep the file from being executed. Before 6.12 only an open one will do.
 * @returns the backing id, 0 where the data has to go through the daemon
 */
function openBacking(ctx: Context, slot: number, fd: number): number {
  const { inodes, mounts } = ctx.tables;
  const place = inodes.mount(slot);
  if (mounts.hasFlag(place, MOUNT_FLAG.NO_BACKING)) return 0;
  // Else an eviction could close the descriptor, and its number be another file's.
  const pinned = ctx.pinInode(slot, inodes.epoch(slot));
  const pathFd = pinned < 0 ? pinned : inodeFd(ctx, slot);
  let id = pathFd < 0 ? pathFd : register(ctx, pathFd);
  // Also where an eviction has taken the descriptor and only a lane may open another one.
  if (id === -ERRNO.EBADF || id === -ERRNO.EOPNOTSUPP || pathFd < 0) id = register(ctx, fd);
  if (id > 0) return id;
  // After any other error the next file may be better off.
  if (id === -ERRNO.EPERM || id === -ERRNO.EOPNOTSUPP || id === -ERRNO.ELOOP) {
    mounts.setFlag(place, MOUNT_FLAG.NO_BACKING);
    reportNoBacking(ctx, fd, id);
  }
  return 0;
}

/** Says once per mount that its data goes through us, and why. */
function reportNoBacking(ctx: Context, fd: number, error: number): void {
  const { mountId, mountPoint } = mountOf(ctx, fd);
  const reason =
    error === -ERRNO.ELOOP ? 'ELOOP: it is stacked, or of a kind that cannot be' : errnoName(error);
  ctx.report(
    'warn',
    `backing-${mountId}`,
    `the kernel does not read and write the files below ${mountPoint ?? `mount ${mountId}`} by itself (${reason}); that goes through the daemon`,
  );
}

function register(ctx: Context, fd: number): number {
  const map = SCRATCH.BACKING_MAP;
  const at = (ctx.scratch + map) >> 2;
  ctx.u32.fill(0, at, at + BACKING_MAP.SIZE / 4);
  ctx.i32[at + (BACKING_MAP.fd >> 2)] = fd;
  return ioctl(ctx.fuseFd, FUSE_DEV_IOC_BACKING_OPEN, ctx.scratchAddress(map));
}

/** Open files keep what they use: the kernel counts references of its own. */
export function closeBacking(ctx: Context, id: number): void {
  ctx.u32[(ctx.scratch + SCRATCH.BACKING_MAP) >> 2] = id;
  ioctl(ctx.fuseFd, FUSE_DEV_IOC_BACKING_CLOSE, ctx.scratchAddress(SCRATCH.BACKING_MAP));
}
