/**
 * The life of the file system as a whole: import of the root, and starting over.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_ROOT_ID } from '../abi/flags.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import { O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, PATH_MAX } from '../sys/constants.ts';
import { CString, close, open, readlinkat } from '../sys/libc.ts';
import type { Context } from './context.ts';
import { chooseShownIno, identify, identifyHandle } from './identify.ts';
import { inodeFd, procPath } from './inode-access.ts';
import { acquireMount } from './mounts.ts';

/**
 * Makes the directory at `path` the root: nodeid 1. The path is resolved (no symlink at its end).
 * @returns 0 or -errno
 */
export function importRoot(ctx: Context, path: string): number {
  const name = new CString(path);
  const fd = open(name.address, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fd;
  const place = acquireMount(ctx, fd);
  if (place < 0) {
    close(fd);
    return place;
  }
  const { inodes, fds, mounts } = ctx.tables;
  const lacksHandles =
    ctx.config.inodeFileHandles === 'mandatory' && !mounts.hasFlag(place, MOUNT_FLAG.HANDLES);
  const error = lacksHandles ? -ERRNO.EOPNOTSUPP : identifyRoot(ctx, fd, place);
  if (error < 0) {
    ctx.releaseMount(place);
    close(fd);
    return error;
  }
  const id = ctx.identity;
  inodes.setRoot(id);
  // The root keeps its descriptor, whatever the budget: everything starts there.
  fds.reserve();
  inodes.installFd(FUSE_ROOT_ID, fd);
  inodes.addHold(FUSE_ROOT_ID);
  if (ctx.config.useHostIno) chooseShownIno(ctx, FUSE_ROOT_ID);
  return 0;
}

function identifyRoot(ctx: Context, fd: number, place: number): number {
  const error = identify(ctx, fd, place);
  return error < 0 ? error : identifyHandle(ctx, fd);
}

/** Forgets every handle, inode and mount. Nobody else may be at work. */
export function destroyAll(ctx: Context): void {
  const { inodes, handles, mounts, fds, locks } = ctx.tables;
  locks.clear((fd) => {
    close(fd);
    fds.release();
  });
  handles.clear();
  inodes.forEachLive((slot) => {
    const fd = inodes.takeFd(slot);
    if (fd < 0) return;
    fds.leave(inodes.cachePlace(slot), slot);
    close(fd);
    fds.release();
  });
  inodes.clear();
  mounts.clear((fd) => close(fd));
  ctx.clearNegotiated();
}

/**
 * The host's path of an inode, as /proc/self/fd tells it; " (deleted)" may stand behind it.
 * @returns bytes, or -errno
 */
export function readlinkatProcFile(ctx: Context, nodeLo: number, nodeHi: number): Buffer | number {
  const slot = ctx.pinInode(nodeLo, nodeHi);
  const fd = slot < 0 ? slot : inodeFd(ctx, slot);
  if (fd < 0) {
    ctx.finish();
    return fd;
  }
  const length = readlinkat(
    ctx.config.procSelfFd,
    procPath(ctx, fd),
    ctx.address(ctx.out),
    PATH_MAX,
  );
  ctx.finish();
  if (length < 0) return length;
  return Buffer.from(ctx.u8.slice(ctx.out, ctx.out + length));
}
