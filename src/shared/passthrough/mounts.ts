/**
 * The backing mounts: met when a lookup crosses into one, known by their unique id.
 */
import { ERRNO, errnoName } from '../abi/errno.ts';
import { IDENTITY } from '../memory/inode-table.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  AT_EMPTY_PATH,
  AT_STATX_DONT_SYNC,
  AT_SYMLINK_NOFOLLOW,
  FS_MAGIC,
  MAX_HANDLE_SIZE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  STATFS,
  STATX,
  STATX_BASIC_STATS,
  STATX_MNT_ID,
} from '../sys/constants.ts';
import { close, fstatfs, nameToHandleAt, openat, openByHandleAt, statx } from '../sys/libc.ts';
import { findMountById, readMountInfo } from '../sys/mountinfo.ts';
import { statxInto } from './attributes.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, SCRATCH } from './context.ts';
import { deviceOf } from './identify.ts';
import { procPath } from './inode-access.ts';

/** Whether a backing mount's data are memory, with no disk to wait for. */
export function isInMemory({ tables }: Context, mount: number): boolean {
  return tables.mounts.fsType(mount) === FS_MAGIC.TMPFS;
}

/**
 * The place of the mount a descriptor is on, with a reference to it that the caller releases.
 * Does not wait for a server that hangs, if the mount is known.
 * @returns the place or -errno
 */
export function acquireMount(ctx: Context, fd: number): number {
  const { mounts } = ctx.tables;
  const error = statx(
    fd,
    ctx.scratchAddress(SCRATCH.EMPTY),
    AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC,
    ctx.config.mountIdMask,
    ctx.scratchAddress(SCRATCH.STATX2),
  );
  if (error < 0) return error;
  const at = (ctx.scratch + SCRATCH.STATX2 + STATX.mnt_id) >> 2;
  const idLo = ctx.i32[at];
  const idHi = ctx.i32[at + 1];
  const known = mounts.acquireById(idLo, idHi);
  return known >= 0 ? known : addMount(ctx, fd, idLo, idHi);
}

/** File systems on which a call that says it does not block does not block. */
function isLocal(fsType: number): boolean {
  return (
    fsType === FS_MAGIC.EXT4 ||
    fsType === FS_MAGIC.XFS ||
    fsType === FS_MAGIC.BTRFS ||
    fsType === FS_MAGIC.TMPFS
  );
}

function flagsOfType(fsType: number): number {
  if (!isLocal(fsType)) return 0;
  // A tmpfs without inode64 begins anew after 2^32 files, whatever there is still (shmem_reserve_inode()).
  const own = fsType === FS_MAGIC.TMPFS ? 0 : MOUNT_FLAG.OWN_NUMBERS;
  const local = MOUNT_FLAG.LOCAL | own;
  // It has none, and the kernel finds that out only after it has waited for a frozen file system.
  return fsType === FS_MAGIC.EXT4 ? local | MOUNT_FLAG.NO_NOWAIT_WRITE : local;
}

/** The source's own mount is the first in the table. */
const ROOT_PLACE = 0;

/** Tools like tar take files of one st_dev and st_ino for one file. */
function warnOfInodeNumbers(ctx: Context): void {
  if (ctx.has(NEGOTIATED.SUBMOUNTS) || ctx.config.useHostIno) return;
  ctx.report(
    'warn',
    'several-file-systems',
    'there are several file systems below the source, and this kernel shows them as one device: inode numbers may coincide; --use-host-ino keeps them apart',
  );
}

function reportNewMount(ctx: Context, place: number, fsType: number, flags: number): void {
  const at = ctx.scratch + SCRATCH.STATX2;
  const major = ctx.u32[(at + STATX.dev_major) >> 2];
  const minor = ctx.u32[(at + STATX.dev_minor) >> 2];
  const how = (flags & MOUNT_FLAG.HANDLES) !== 0 ? 'file handles' : 'a descriptor for each inode';
  const where = (flags & MOUNT_FLAG.LOCAL) !== 0 ? 'local' : 'may wait for a server';
  ctx.report(
    'debug',
    'mount',
    `backing mount ${place}: type 0x${fsType.toString(16)}, device ${major}:${minor}, ${how}, ${where}`,
  );
}

function addMount(ctx: Context, fd: number, idLo: number, idHi: number): number {
  const { mounts } = ctx.tables;
  const error = fstatfs(fd, ctx.scratchAddress(SCRATCH.STATFS));
  if (error < 0) return error;
  const fsType = ctx.u32[(ctx.scratch + SCRATCH.STATFS + STATFS.type) >> 2];
  const stat = statxInto(ctx, fd, SCRATCH.STATX2, STATX_BASIC_STATS);
  if (stat < 0) return stat;
  const mountFd = ctx.config.inodeFileHandles === 'never' ? -1 : openMountFd(ctx, fd);
  if (mountFd < 0 && ctx.config.inodeFileHandles === 'mandatory') return -ERRNO.EOPNOTSUPP;
  const flags = (mountFd >= 0 ? MOUNT_FLAG.HANDLES : 0) | flagsOfType(fsType);
  const place = mounts.add(idLo, idHi, deviceOf(ctx, SCRATCH.STATX2), fsType, mountFd, flags);
  if (!mounts.added && mountFd >= 0) close(mountFd);
  if (place >= 0) {
    if (mounts.added) {
      reportNewMount(ctx, place, fsType, flags);
      if (place !== ROOT_PLACE) warnOfInodeNumbers(ctx);
    }
    return place;
  }
  ctx.report(
    'error',
    'mount-table-full',
    'more than 256 file systems below the source: the rest cannot be entered',
  );
  return -ERRNO.ENFILE;
}

/**
 * A descriptor through which file handles of this mount open: of the object the mount was met by, so
 * that neither its path nor what lies over it matters. -1 if handles do not work here; tried, not
 * assumed.
 */
function openMountFd(ctx: Context, fd: number): number {
  const type = ctx.u32[(ctx.scratch + SCRATCH.STATX2 + STATX.mode) >> 2] & S_IFMT;
  if (type !== S_IFDIR && type !== S_IFREG) return -1;
  const flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (type === S_IFDIR ? O_DIRECTORY : 0);
  const mountFd = openat(ctx.config.procSelfFd, procPath(ctx, fd), flags, 0);
  if (mountFd < 0) return -1;
  const error = tryHandle(ctx, fd, mountFd);
  if (error === 0) return mountFd;
  close(mountFd);
  reportNoHandles(ctx, fd, error);
  return -1;
}

/** For messages: the mount a descriptor is on, by its number in mountinfo, and where it is. */
export function mountOf(
  ctx: Context,
  fd: number,
): { readonly mountId: number; readonly mountPoint: string | undefined } {
  // mountinfo knows the short id, not the unique one.
  statxInto(ctx, fd, SCRATCH.STATX2, STATX_MNT_ID);
  const mountId = ctx.i32[(ctx.scratch + SCRATCH.STATX2 + STATX.mnt_id) >> 2];
  return { mountId, mountPoint: findMountById(readMountInfo(), mountId)?.mountPoint };
}

/** Says once per mount why its inodes each keep a descriptor. */
function reportNoHandles(ctx: Context, fd: number, errno: number): void {
  const { mountId, mountPoint } = mountOf(ctx, fd);
  const failure = ctx.mountErrors.report({
    errno,
    description: `no file handle that can be opened (${errnoName(errno)}): each inode keeps a descriptor`,
    mountId,
    mountRoot: mountPoint,
  });
  if (!failure.silent) ctx.report('warn', `handles-${mountId}`, failure.toString());
}

/** Makes a file handle of `fd` and opens it. @returns 0 or -errno */
function tryHandle(ctx: Context, fd: number, mountFd: number): number {
  const handle = SCRATCH.IDENTITY + 4 * IDENTITY.HANDLE_BYTES;
  ctx.i32[(ctx.scratch + handle) >> 2] = Math.min(
    MAX_HANDLE_SIZE,
    ctx.tables.inodes.handleRoomBytes,
  );
  const made = nameToHandleAt(
    fd,
    ctx.scratchAddress(SCRATCH.EMPTY),
    ctx.scratchAddress(handle),
    ctx.scratchAddress(SCRATCH.MOUNT_ID),
    AT_EMPTY_PATH,
  );
  if (made < 0) return made;
  const opened = openByHandleAt(mountFd, ctx.scratchAddress(handle), O_PATH | O_CLOEXEC);
  if (opened < 0) return opened;
  close(opened);
  return 0;
}
