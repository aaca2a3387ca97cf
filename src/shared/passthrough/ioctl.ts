/**
 * IOCTL: the inode flags of lsattr(1) and chattr(1), and project ids. VFS takes these commands apart
 * itself and checks that the caller owns the file, and that only CAP_LINUX_IMMUTABLE changes the
 * immutable and append-only flags (fs/file_attr.c); then FUSE opens the inode for reading, sends
 * one IOCTL and releases it. Everything else is ENOTTY, also FS_IOC32_SETFLAGS: that number comes
 * to a server unchecked from any caller, and for 32-bit programs Linux itself makes FS_IOC_SETFLAGS
 * of it.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_IOCTL_DIR } from '../abi/flags.ts';
import { IOCTL_IN, IOCTL_OUT } from '../abi/structs.ts';
import {
  CAP_FOWNER,
  CAP_LINUX_IMMUTABLE,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FSXATTR_BYTES,
  O_RDONLY,
} from '../sys/constants.ts';
import { ioctl } from '../sys/libc.ts';
import { callerHas } from './caller.ts';
import { NEGOTIATED } from './config.ts';
import type { Context } from './context.ts';
import { handleFd } from './files.ts';

/** The commands of the flags are declared with a long, and transfer an int. */
const FLAGS_BYTES = 4;

/** IOCTL. */
export function ioctlOperation(ctx: Context): number {
  if (!ctx.has(NEGOTIATED.CHECKED_IOCTLS)) return -ERRNO.ENOTTY;
  switch (ctx.arg32(IOCTL_IN.cmd)) {
    case FS_IOC_GETFLAGS:
      return fetch(ctx, FS_IOC_GETFLAGS, FLAGS_BYTES);
    case FS_IOC_FSGETXATTR:
      return fetch(ctx, FS_IOC_FSGETXATTR, FSXATTR_BYTES);
    case FS_IOC_SETFLAGS:
      return store(ctx, FS_IOC_SETFLAGS, FLAGS_BYTES);
    case FS_IOC_FSSETXATTR:
      return store(ctx, FS_IOC_FSSETXATTR, FSXATTR_BYTES);
    default:
      return -ERRNO.ENOTTY;
  }
}

/** The kernel takes as many bytes as it asked for, not more and not less. */
function fetch(ctx: Context, command: number, bytes: number): number {
  if (ctx.arg32(IOCTL_IN.out_size) !== bytes) return -ERRNO.EINVAL;
  const fd = ioctlFd(ctx);
  if (fd < 0) return fd;
  const error = ioctl(fd, command, ctx.address(ctx.out + IOCTL_OUT.SIZE));
  if (error < 0) return error;
  ctx.zero(0, IOCTL_OUT.SIZE);
  return IOCTL_OUT.SIZE + bytes;
}

function store(ctx: Context, command: number, bytes: number): number {
  const from = ctx.body + IOCTL_IN.SIZE;
  if (ctx.arg32(IOCTL_IN.in_size) !== bytes) return -ERRNO.EINVAL;
  if (from + bytes > ctx.message + ctx.lengthBytes) return -ERRNO.EINVAL;
  const fd = ioctlFd(ctx);
  if (fd < 0) return fd;
  // The host asks for capabilities as well: xfs takes set-id bits when a project changes. VFS has
  // checked that the file is the caller's.
  const isOrdinary = ctx.clientUid() !== 0;
  if (isOrdinary) {
    const immutable = callerHas(ctx, CAP_LINUX_IMMUTABLE) ? 1 << CAP_LINUX_IMMUTABLE : 0;
    ctx.credentials.limitCapabilities((1 << CAP_FOWNER) | immutable);
  }
  const error = ioctl(fd, command, ctx.address(from));
  if (isOrdinary) ctx.becomeSelf();
  if (error < 0) return error;
  ctx.zero(0, IOCTL_OUT.SIZE);
  return IOCTL_OUT.SIZE;
}

function ioctlFd(ctx: Context): number {
  const isDir = (ctx.arg32(IOCTL_IN.flags) & FUSE_IOCTL_DIR) !== 0;
  const hasNoHandle = ctx.has(isDir ? NEGOTIATED.NO_OPENDIR : NEGOTIATED.NO_OPEN);
  return handleFd(ctx, IOCTL_IN.fh, isDir, hasNoHandle, O_RDONLY);
}
