/**
 * GETATTR, STATX and SETATTR.
 */
import { ERRNO } from '../abi/errno.ts';
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_CTIME,
  FATTR_FH,
  FATTR_GID,
  FATTR_KILL_SUIDGID,
  FATTR_LOCKOWNER,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_GETATTR_FH,
} from '../abi/flags.ts';
import {
  ATTR,
  ATTR_OUT,
  FUSE_STATX,
  GETATTR_IN,
  SETATTR_IN,
  STATX_IN,
  STATX_OUT,
} from '../abi/structs.ts';
import { HANDLE_PURPOSE } from '../memory/handle-table.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  CAP_FSETID,
  S_IFDIR,
  STATX,
  STATX_BASIC_STATS,
  STATX_BTIME,
  UTIME_NOW,
  UTIME_OMIT,
} from '../sys/constants.ts';
import {
  fchmod,
  fchmodat,
  fchownat,
  ftruncate,
  futimens,
  statx,
  truncate,
  utimensat,
} from '../sys/libc.ts';
import { callerHas, callerHasOpen, callerMayWrite } from './caller.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, DEFER, int64, SCRATCH } from './context.ts';
import { dropFileCapability } from './file-capability.ts';
import { FORBIDDEN_ID } from './id-map.ts';
import { inodeFd, procPath, procPathFromHere } from './inode-access.ts';
import {
  beginSetIdKill,
  callerOwns,
  endSetIdKill,
  killsSetIds,
  modeWithoutSetIds,
} from './set-ids.ts';
import { TIMEOUT, validNanoseconds, validSeconds } from './timeouts.ts';

/** The id that chown(2) takes for "leave it". */
const UNCHANGED_ID = 0xffffffff;

/** Reads attributes of a descriptor into the scratch memory at `offset`. @returns 0 or -errno */
export function statxInto(ctx: Context, fd: number, offset: number, mask: number): number {
  return statx(
    fd,
    ctx.scratchAddress(SCRATCH.EMPTY),
    AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
    mask,
    ctx.scratchAddress(offset),
  );
}

/** Writes fuse_attr from the statx buffer at `from` of the scratch memory to `to` of the reply body. */
export function putAttr(ctx: Context, to: number, from: number, slot: number): void {
  const u32 = ctx.u32;
  const o = (ctx.out + to) >> 2;
  const s = (ctx.scratch + from) >> 2;
  if (ctx.config.useHostIno) {
    ctx.putWords(
      to + ATTR.ino,
      ctx.tables.inodes.shownInoLo(slot),
      ctx.tables.inodes.shownInoHi(slot),
    );
  } else {
    copy64(u32, o + (ATTR.ino >> 2), s + (STATX.ino >> 2));
  }
  copy64(u32, o + (ATTR.size >> 2), s + (STATX.size >> 2));
  copy64(u32, o + (ATTR.blocks >> 2), s + (STATX.blocks >> 2));
  copy64(u32, o + (ATTR.atime >> 2), s + (STATX.atime >> 2));
  copy64(u32, o + (ATTR.mtime >> 2), s + (STATX.mtime >> 2));
  copy64(u32, o + (ATTR.ctime >> 2), s + (STATX.ctime >> 2));
  u32[o + (ATTR.atimensec >> 2)] = u32[s + (STATX.atime_nsec >> 2)];
  u32[o + (ATTR.mtimensec >> 2)] = u32[s + (STATX.mtime_nsec >> 2)];
  u32[o + (ATTR.ctimensec >> 2)] = u32[s + (STATX.ctime_nsec >> 2)];
  u32[o + (ATTR.mode >> 2)] = u32[s + (STATX.mode >> 2)] & 0xffff;
  u32[o + (ATTR.nlink >> 2)] = u32[s + (STATX.nlink >> 2)];
  u32[o + (ATTR.uid >> 2)] = ctx.shownUid(u32[s + (STATX.uid >> 2)]);
  u32[o + (ATTR.gid >> 2)] = ctx.shownGid(u32[s + (STATX.gid >> 2)]);
  u32[o + (ATTR.rdev >> 2)] = wireDevice(
    u32[s + (STATX.rdev_major >> 2)],
    u32[s + (STATX.rdev_minor >> 2)],
  );
  u32[o + (ATTR.blksize >> 2)] = u32[s + (STATX.blksize >> 2)];
  u32[o + (ATTR.flags >> 2)] = 0;
}

function copy64(u32: Uint32Array, to: number, from: number): void {
  u32[to] = u32[from];
  u32[to + 1] = u32[from + 1];
}

/** new_encode_dev of the kernel (include/linux/kdev_t.h). */
export function wireDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

function attrValidity(ctx: Context, slot: number): number {
  const isDir = ctx.tables.inodes.fileType(slot) === S_IFDIR;
  return ctx.timeouts.get(isDir ? TIMEOUT.DIR_ATTR : TIMEOUT.ATTR);
}

/**
 * A descriptor to ask for attributes: the open handle's if the request names one, else the inode's.
 * For an unlinked file on a file system that forgets its handles, the open one is the only way.
 */
function attributeFd(ctx: Context, slot: number, hasFh: boolean, fhOffset: number): number {
  if (hasFh && !ctx.has(NEGOTIATED.NO_OPEN)) {
    const isDir = ctx.tables.inodes.fileType(slot) === S_IFDIR;
    const handle = ctx.useHandle(ctx.argLo(fhOffset), ctx.argHi(fhOffset), slot, isDir);
    if (handle > 0) return ctx.tables.handles.fd(handle);
  }
  return inodeFd(ctx, slot);
}

/** In place only on local file systems: elsewhere a stat may wait for a server. */
function mustDefer(ctx: Context, slot: number): boolean {
  const { inodes, mounts } = ctx.tables;
  return !ctx.mayBlock && !mounts.hasFlag(inodes.mount(slot), MOUNT_FLAG.LOCAL);
}

/** GETATTR. */
export function getattr(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  if (mustDefer(ctx, slot)) return DEFER;
  const hasFh = (ctx.arg32(GETATTR_IN.getattr_flags) & FUSE_GETATTR_FH) !== 0;
  const fd = attributeFd(ctx, slot, hasFh, GETATTR_IN.fh);
  if (fd < 0) return fd;
  return replyAttr(ctx, slot, fd);
}

function replyAttr(ctx: Context, slot: number, fd: number): number {
  const error = statxInto(ctx, fd, SCRATCH.STATX, STATX_BASIC_STATS);
  if (error < 0) return error;
  const valid = attrValidity(ctx, slot);
  ctx.putWords(ATTR_OUT.attr_valid, validSeconds(valid), 0);
  ctx.putWords(ATTR_OUT.attr_valid_nsec, validNanoseconds(valid), 0);
  putAttr(ctx, ATTR_OUT.attr, SCRATCH.STATX, slot);
  return ATTR_OUT.SIZE;
}

/** STATX: the kernel asks this way for the time of birth. */
export function statxOperation(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  if (mustDefer(ctx, slot)) return DEFER;
  const hasFh = (ctx.arg32(STATX_IN.getattr_flags) & FUSE_GETATTR_FH) !== 0;
  const fd = attributeFd(ctx, slot, hasFh, STATX_IN.fh);
  if (fd < 0) return fd;
  const error = statxInto(ctx, fd, SCRATCH.STATX, STATX_BASIC_STATS | STATX_BTIME);
  if (error < 0) return error;
  const valid = attrValidity(ctx, slot);
  ctx.zero(0, STATX_OUT.SIZE);
  ctx.putWords(STATX_OUT.attr_valid, validSeconds(valid), 0);
  ctx.put32(STATX_OUT.attr_valid_nsec, validNanoseconds(valid));
  // struct fuse_statx is laid out as statx(2) up to the device numbers; what follows stays zero.
  const from = ctx.scratch + SCRATCH.STATX;
  const to = ctx.out + STATX_OUT.stat;
  ctx.u8.copyWithin(to, from, from + STATX.mnt_id);
  ctx.u32[to >> 2] &= STATX_BASIC_STATS | STATX_BTIME;
  ctx.put32(STATX_OUT.stat + STATX.uid, ctx.shownUid(ctx.u32[(from + STATX.uid) >> 2]));
  ctx.put32(STATX_OUT.stat + STATX.gid, ctx.shownGid(ctx.u32[(from + STATX.gid) >> 2]));
  if (ctx.config.useHostIno) {
    const { inodes } = ctx.tables;
    ctx.putWords(STATX_OUT.stat + STATX.ino, inodes.shownInoLo(slot), inodes.shownInoHi(slot));
  }
  return STATX_OUT.stat + FUSE_STATX.SIZE;
}

/** SETATTR, in the order of rule 91. */
export function setattr(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const valid = ctx.arg32(SETATTR_IN.valid);
  if ((valid & FATTR_SIZE) !== 0 && ctx.config.sealSize) return -ERRNO.EPERM;
  if (isOwnerForbidden(ctx, valid)) return -ERRNO.EPERM;
  let handleFd = -1;
  if ((valid & FATTR_FH) !== 0 && !ctx.has(NEGOTIATED.NO_OPEN)) {
    const handle = ctx.useHandle(ctx.argLo(SETATTR_IN.fh), ctx.argHi(SETATTR_IN.fh), slot, false);
    if (handle < 0) return handle;
    handleFd = ctx.tables.handles.fd(handle);
  }
  const fd = handleFd >= 0 ? handleFd : inodeFd(ctx, slot);
  if (fd < 0) return fd;
  let error = 0;
  if ((valid & (FATTR_UID | FATTR_GID | FATTR_SIZE)) !== 0 || isPrivilegeKill(ctx, valid)) {
    error = dropFileCapability(ctx, fd, slot);
  }
  if (error === 0 && (valid & FATTR_MODE) !== 0) error = setMode(ctx, fd, handleFd >= 0);
  if (error === 0 && (valid & (FATTR_UID | FATTR_GID)) !== 0) error = setOwner(ctx, fd, valid);
  if (error === 0 && (valid & FATTR_SIZE) !== 0) error = setSize(ctx, fd, handleFd >= 0, valid);
  if (error === 0 && isPrivilegeKill(ctx, valid)) error = clearSetIds(ctx, slot, fd, handleFd >= 0);
  if (error === 0 && (valid & (FATTR_ATIME | FATTR_MTIME)) !== 0) {
    error = setTimes(ctx, fd, handleFd >= 0, valid);
  }
  if (error < 0) return error;
  return replyAttr(ctx, slot, fd);
}

function setMode(ctx: Context, fd: number, isOpen: boolean): number {
  const mode = ctx.arg32(SETATTR_IN.mode) & 0o7777;
  return changeMode(ctx, fd, isOpen, mode);
}

function changeMode(ctx: Context, fd: number, isOpen: boolean, mode: number): number {
  return isOpen ? fchmod(fd, mode) : fchmodat(ctx.config.procSelfFd, procPath(ctx, fd), mode, 0);
}

/** Asked before anything changes. */
function isOwnerForbidden(ctx: Context, valid: number): boolean {
  if ((valid & FATTR_UID) !== 0 && ctx.hostUid(ctx.arg32(SETATTR_IN.uid)) === FORBIDDEN_ID)
    return true;
  return (valid & FATTR_GID) !== 0 && ctx.hostGid(ctx.arg32(SETATTR_IN.gid)) === FORBIDDEN_ID;
}

function setOwner(ctx: Context, fd: number, valid: number): number {
  const uid = (valid & FATTR_UID) !== 0 ? ctx.hostUid(ctx.arg32(SETATTR_IN.uid)) : UNCHANGED_ID;
  const gid = (valid & FATTR_GID) !== 0 ? ctx.hostGid(ctx.arg32(SETATTR_IN.gid)) : UNCHANGED_ID;
  // Giving a file away takes the set-id bits from anybody but a group's member.
  beginSetIdKill(ctx, fd);
  const error = fchownat(
    fd,
    ctx.scratchAddress(SCRATCH.EMPTY),
    uid,
    gid,
    AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
  );
  endSetIdKill(ctx);
  return error;
}

/**
 * As the caller did it: ftruncate(2) moves mtime always, truncate(2) only with the size on some file
 * systems.
 */
function setSize(ctx: Context, fd: number, isOpen: boolean, valid: number): number {
  const size = ctx.arg64(SETATTR_IN.size);
  const kill = killsSetIds(ctx, (valid & FATTR_KILL_SUIDGID) !== 0);
  if (kill) beginSetIdKill(ctx, fd);
  const error = isOpen ? ftruncate(fd, size) : truncate(procPathFromHere(ctx, fd), size);
  if (kill) endSetIdKill(ctx);
  return error;
}

/** A SETATTR that sets nothing: with HANDLE_KILLPRIV_V2 that is how ATTR_KILL_SUID arrives. */
function isPrivilegeKill(ctx: Context, valid: number): boolean {
  return (
    ctx.has(NEGOTIATED.KILLPRIV_V2) && (valid & ~(FATTR_FH | FATTR_LOCKOWNER | FATTR_CTIME)) === 0
  );
}

/**
 * There are two causes for a SETATTR that sets nothing.
 *
 * A write or fallocate is about to happen that takes the set-id bits, unless the caller has
 * CAP_FSETID: then it was for file capabilities alone (ATTR_KILL_PRIV), which the kernel has removed
 * itself. Somebody has the file open for writing, and the caller may write to it, or has it open
 * himself: a descriptor may be inherited, and outlives the right. The write itself would not take the
 * bits: the kernel makes it with our credentials.
 *
 * Or chown(2) was called with neither a user nor a group, which takes the bits whoever asks, and
 * which is for the owner. FUSE does not check that: fuse_setattr() takes back the ATTR_MODE that
 * notify_change() made of it.
 */
function clearSetIds(ctx: Context, slot: number, fd: number, isOpen: boolean): number {
  const mode = modeWithoutSetIds(ctx, fd);
  if (mode < 0) return 0;
  // What follows looks into /proc.
  if (!ctx.mayBlock) return DEFER;
  const isOwner = callerOwns(ctx);
  if (ctx.has(NEGOTIATED.NO_OPEN) || ctx.tables.handles.isOpenFor(slot, HANDLE_PURPOSE.WRITING)) {
    if (callerHas(ctx, CAP_FSETID)) return 0;
    if (!isOwner && !callerMayWrite(ctx, fd) && !callerHasOpen(ctx, shownIno(ctx, slot))) return 0;
  } else if (!isOwner) {
    return -ERRNO.EPERM;
  }
  return changeMode(ctx, fd, isOpen, mode);
}

/** The inode number that clients see. */
function shownIno(ctx: Context, slot: number): number | bigint {
  const { inodes } = ctx.tables;
  return ctx.config.useHostIno
    ? int64(inodes.shownInoLo(slot), inodes.shownInoHi(slot))
    : int64(inodes.inoLo(slot), inodes.inoHi(slot));
}

function setTimes(ctx: Context, fd: number, isOpen: boolean, valid: number): number {
  putTime(ctx, 0, valid, FATTR_ATIME, FATTR_ATIME_NOW, SETATTR_IN.atime, SETATTR_IN.atimensec);
  putTime(ctx, 16, valid, FATTR_MTIME, FATTR_MTIME_NOW, SETATTR_IN.mtime, SETATTR_IN.mtimensec);
  const times = ctx.scratchAddress(SCRATCH.TIMES);
  if (isOpen) return futimens(fd, times);
  return utimensat(ctx.config.procSelfFd, procPath(ctx, fd), times, 0);
}

/** Writes a struct timespec: a time, UTIME_NOW or UTIME_OMIT. */
function putTime(
  ctx: Context,
  offset: number,
  valid: number,
  isSet: number,
  isNow: number,
  secondsAt: number,
  nanosecondsAt: number,
): void {
  const at = (ctx.scratch + SCRATCH.TIMES + offset) >> 2;
  ctx.i32[at] = ctx.argLo(secondsAt);
  ctx.i32[at + 1] = ctx.argHi(secondsAt);
  ctx.i32[at + 3] = 0;
  if ((valid & isSet) === 0) ctx.u32[at + 2] = UTIME_OMIT;
  else ctx.u32[at + 2] = (valid & isNow) !== 0 ? UTIME_NOW : ctx.arg32(nanosecondsAt);
}
