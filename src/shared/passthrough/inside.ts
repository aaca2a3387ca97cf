/**
 * Whether a directory still lies below the source, which `..` must not leave.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_ROOT_ID } from '../abi/flags.ts';
import { O_CLOEXEC, O_DIRECTORY, O_PATH, STATX, STATX_BASIC_STATS } from '../sys/constants.ts';
import { openat } from '../sys/libc.ts';
import { statxInto } from './attributes.ts';
import { type Context, DEFER, SCRATCH } from './context.ts';
import { deviceOf } from './identify.ts';
import { inodeFd } from './inode-access.ts';

/** Whether `..` of this directory would leave the source. */
export function isRootOfTree(ctx: Context, slot: number): boolean {
  if (slot === FUSE_ROOT_ID) return true;
  const { inodes } = ctx.tables;
  return (
    inodes.inoLo(slot) === inodes.inoLo(FUSE_ROOT_ID) &&
    inodes.inoHi(slot) === inodes.inoHi(FUSE_ROOT_ID) &&
    inodes.dev(slot) === inodes.dev(FUSE_ROOT_ID)
  );
}

/**
 * That a directory lies below the source: the host may have moved it out since it was looked up, and
 * then its `..` is nobody's business.
 * @param up address of `..`
 * @returns 0, -ESTALE if it lies outside, or another -errno
 */
export function checkInside(ctx: Context, slot: number, up: number): number {
  if (!ctx.mayBlock) return DEFER;
  const { inodes } = ctx.tables;
  const root = fileId(
    inodes.inoLo(FUSE_ROOT_ID),
    inodes.inoHi(FUSE_ROOT_ID),
    inodes.dev(FUSE_ROOT_ID),
  );
  let fd = inodeFd(ctx, slot);
  let isOwn = false;
  let below = '';
  while (fd >= 0) {
    const error = statxInto(ctx, fd, SCRATCH.STATX, STATX_BASIC_STATS);
    const at = (ctx.scratch + SCRATCH.STATX + STATX.ino) >> 2;
    const here = fileId(ctx.i32[at], ctx.i32[at + 1], deviceOf(ctx, SCRATCH.STATX));
    const isEnd = error < 0 || here === root || here === below;
    const parent = isEnd ? -1 : openat(fd, up, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (isOwn) ctx.dropFd(fd);
    if (error < 0) return error;
    // The top of all is its own parent.
    if (isEnd) return here === root ? 0 : -ERRNO.ESTALE;
    if (parent >= 0) ctx.keepFd(parent);
    isOwn = true;
    below = here;
    fd = parent;
  }
  return fd;
}

function fileId(inoLo: number, inoHi: number, dev: number): string {
  return `${inoLo}:${inoHi}:${dev}`;
}
