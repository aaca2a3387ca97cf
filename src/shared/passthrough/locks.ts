/**
 * Locks on the files behind, so that whoever locks them there and whoever locks them through the
 * mount see each other: GETLK, SETLK, SETLKW, and the unlocks in FLUSH and RELEASE.
 *
 * fcntl locks of an owner are taken by a descriptor of that owner's as locks of its open file
 * description; flock locks by the descriptor of the open file. Nothing here waits: SETLKW that finds
 * a conflict answers LOCK_WAIT, and main has it tried again.
 */
import { readFileSync } from 'node:fs';
import { ERRNO } from '../abi/errno.ts';
import { FUSE_LK_FLOCK, FUSE_RELEASE_FLOCK_UNLOCK } from '../abi/flags.ts';
import { OP } from '../abi/opcodes.ts';
import { LK_IN, LK_OUT, RELEASE_IN } from '../abi/structs.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  FLOCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_CLOEXEC,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../sys/constants.ts';
import { fcntlLock, flock } from '../sys/libc.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, int64, LOCK_WAIT, SCRATCH } from './context.ts';
import { budgetExhausted, openInode } from './inode-access.ts';

const OFFSET_MAX_HI = 0x7fffffff;

/** GETLK. */
export function getlk(ctx: Context): number {
  if (!ctx.has(NEGOTIATED.POSIX_LOCKS)) return -ERRNO.ENOSYS;
  const handle = lockedHandle(ctx);
  if (handle < 0) return handle;
  const { locks, handles } = ctx.tables;
  const index = useOwner(ctx, handle);
  // Without locks the owner has no description to tell its own by: the open file's has none either.
  const fd = index > 0 ? locks.fd(index) : handles.fd(handle);
  const error = putRange(ctx, ctx.arg32(LK_IN.type));
  if (error < 0) return error;
  const result = fcntlLock(fd, F_OFD_GETLK, ctx.scratchAddress(SCRATCH.FLOCK));
  return result < 0 ? noLock(result) : replyConflict(ctx);
}

/** SETLK, and SETLKW as far as it goes without waiting. */
export function setlk(ctx: Context): number {
  const isFlock = (ctx.arg32(LK_IN.lk_flags) & FUSE_LK_FLOCK) !== 0;
  if (!ctx.has(isFlock ? NEGOTIATED.FLOCK_LOCKS : NEGOTIATED.POSIX_LOCKS)) return -ERRNO.ENOSYS;
  const handle = lockedHandle(ctx);
  if (handle < 0) return handle;
  const error = isFlock ? flockHandle(ctx, handle) : lockRange(ctx, handle);
  if (error === -ERRNO.EAGAIN && ctx.opcode === OP.SETLKW) return LOCK_WAIT;
  // A lock may have been given up in part, or become a weaker one.
  if (error === 0 && ctx.arg32(LK_IN.type) !== F_WRLCK) ctx.unlocked(ctx.nodeLo);
  return error;
}

/**
 * What a RELEASE unlocks, in the order in which requests are read: whoever comes after a close(2)
 * finds the lock gone, although nobody waited for the RELEASE. Only where unlocking cannot block. For
 * who receives; it may run twice, since the deputy may then keep the request for main.
 */
export function releaseLocksAhead(ctx: Context): void {
  if (!ctx.has(NEGOTIATED.POSIX_LOCKS | NEGOTIATED.FLOCK_LOCKS)) return;
  const { inodes, mounts } = ctx.tables;
  const slot = ctx.pinNode();
  const place = slot < 0 ? -1 : inodes.mount(slot);
  const isAllowed =
    place >= 0 &&
    mounts.hasFlag(place, MOUNT_FLAG.LOCAL) &&
    !mounts.hasFlag(place, MOUNT_FLAG.LANES_ONLY);
  if (isAllowed) {
    const fhLo = ctx.argLo(RELEASE_IN.fh);
    const handle = ctx.useHandle(fhLo, ctx.argHi(RELEASE_IN.fh), slot, false);
    if (handle > 0) releaseLocksOfHandle(ctx, handle);
  }
  ctx.finish();
}

/** Releases an owner's fcntl locks on the inode: some descriptor of the owner's was closed. */
export function releaseOwner(ctx: Context, ownerLo: number, ownerHi: number): void {
  const { locks, journal } = ctx.tables;
  if (!ctx.has(NEGOTIATED.POSIX_LOCKS) || locks.count() === 0) return;
  const index = locks.use(ctx.nodeLo, ctx.nodeHi, ownerLo, ownerHi, 0, journal);
  if (index > 0) unlockAll(ctx, index);
}

/**
 * Releases what is locked by a handle that is about to be closed: its flock lock, and the locks of
 * the open file itself as an owner, for which no FLUSH came. May run twice.
 */
export function releaseLocksOfHandle(ctx: Context, handle: number): void {
  const { locks, handles, journal } = ctx.tables;
  if ((ctx.arg32(RELEASE_IN.release_flags) & FUSE_RELEASE_FLOCK_UNLOCK) !== 0) {
    flock(handles.fd(handle), LOCK_UN);
    ctx.unlocked(ctx.nodeLo);
  }
  while (locks.count() > 0) {
    const index = locks.useOfHandle(ctx.nodeLo, ctx.nodeHi, handle, journal);
    if (index === 0) return;
    unlockAll(ctx, index);
  }
}

/** Unlocks before the end of the entry is known to be ours: another thread may be using it. */
function unlockAll(ctx: Context, index: number): void {
  const { locks } = ctx.tables;
  const at = (ctx.scratch + SCRATCH.FLOCK) >> 2;
  ctx.u32.fill(0, at, at + (FLOCK.SIZE >> 2));
  ctx.u32[at] = F_UNLCK;
  fcntlLock(locks.fd(index), F_OFD_SETLK, ctx.scratchAddress(SCRATCH.FLOCK));
  locks.retire(index);
  ctx.endLockUse();
  ctx.unlocked(ctx.nodeLo);
}

/** The handle of a lock request, in use until finish(). */
function lockedHandle(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  return ctx.useHandle(ctx.argLo(LK_IN.fh), ctx.argHi(LK_IN.fh), slot, false);
}

function flockHandle(ctx: Context, handle: number): number {
  const operation = flockOperation(ctx.arg32(LK_IN.type));
  return operation < 0 ? operation : flock(ctx.tables.handles.fd(handle), operation | LOCK_NB);
}

function flockOperation(type: number): number {
  switch (type) {
    case F_RDLCK:
      return LOCK_SH;
    case F_WRLCK:
      return LOCK_EX;
    case F_UNLCK:
      return LOCK_UN;
    default:
      return -ERRNO.EINVAL;
  }
}

function useOwner(ctx: Context, handle: number): number {
  const { locks, journal } = ctx.tables;
  const ownerLo = ctx.argLo(LK_IN.owner);
  return locks.use(ctx.nodeLo, ctx.nodeHi, ownerLo, ctx.argHi(LK_IN.owner), handle, journal);
}

function lockRange(ctx: Context, handle: number): number {
  const { locks } = ctx.tables;
  const type = ctx.arg32(LK_IN.type);
  const invalid = putRange(ctx, type);
  if (invalid < 0) return invalid;
  const present = useOwner(ctx, handle);
  if (present === 0 && type === F_UNLCK) return 0;
  const index = present > 0 ? present : addOwner(ctx, handle, type);
  if (index < 0) return index;
  const error = fcntlLock(locks.fd(index), F_OFD_SETLK, ctx.scratchAddress(SCRATCH.FLOCK));
  // Who waits holds no descriptor.
  if (error < 0 && present === 0) locks.retire(index);
  // The kernel names nobody in an unlock.
  if (error === 0 && type !== F_UNLCK) locks.setPid(index, ctx.arg32(LK_IN.pid));
  return noLock(error);
}

/** Opens the descriptor of an owner that has none on this inode. @returns its index, or -errno */
function addOwner(ctx: Context, handle: number, type: number): number {
  const { locks, fds, journal } = ctx.tables;
  if (!fds.reserve()) {
    budgetExhausted(ctx);
    return -ERRNO.ENOLCK;
  }
  journal.addReserved(1);
  const fd = openForLocks(ctx, type);
  if (fd < 0) return fd;
  ctx.keepFd(fd);
  const ownerLo = ctx.argLo(LK_IN.owner);
  const ownerHi = ctx.argHi(LK_IN.owner);
  const index = locks.add(ctx.nodeLo, ctx.nodeHi, ownerLo, ownerHi, handle, fd, journal);
  if (index === 0) return -ERRNO.ENOLCK;
  if (locks.fd(index) === fd) {
    journal.dropFd(fd);
    journal.addReserved(-1);
  }
  return index;
}

/** For reading and writing where that goes: one description has all locks of an owner. */
function openForLocks(ctx: Context, type: number): number {
  const fd = openInode(ctx, ctx.nodeLo, O_RDWR | O_CLOEXEC);
  if (fd >= 0) return fd;
  const mode = type === F_WRLCK ? O_WRONLY : O_RDONLY;
  const second = openInode(ctx, ctx.nodeLo, mode | O_CLOEXEC);
  return second === -ERRNO.ESTALE || second >= 0 ? second : -ERRNO.ENOLCK;
}

/** EBADF and EACCES would be the caller's fault, and are ours: the kernel has checked the caller's file. */
function noLock(error: number): number {
  return error === -ERRNO.EBADF ? -ERRNO.ENOLCK : error;
}

/** Writes the request's range as a struct flock. @returns 0 or -EINVAL */
function putRange(ctx: Context, type: number): number {
  const startLo = ctx.argLo(LK_IN.start) >>> 0;
  const startHi = ctx.argHi(LK_IN.start);
  const endLo = ctx.argLo(LK_IN.end) >>> 0;
  const endHi = ctx.argHi(LK_IN.end);
  if (type > F_UNLCK || startHi < 0 || endHi < startHi) return -ERRNO.EINVAL;
  if (endHi === startHi && endLo < startLo) return -ERRNO.EINVAL;
  const at = (ctx.scratch + SCRATCH.FLOCK) >> 2;
  ctx.u32.fill(0, at, at + (FLOCK.SIZE >> 2));
  // Whence, in the other half of the word, is SEEK_SET.
  ctx.u32[at] = type;
  ctx.u32[at + (FLOCK.start >> 2)] = startLo;
  ctx.i32[at + (FLOCK.start >> 2) + 1] = startHi;
  // To the largest offset is to the end of the file, wherever that will be: length 0.
  if (endHi === OFFSET_MAX_HI && endLo === 0xffffffff) return 0;
  const low = endLo - startLo + 1;
  ctx.u32[at + (FLOCK.len >> 2)] = low;
  ctx.i32[at + (FLOCK.len >> 2) + 1] = endHi - startHi + Math.floor(low / 0x100000000);
  return 0;
}

/** Answers GETLK from the struct flock that fcntl(2) has left. */
function replyConflict(ctx: Context): number {
  const at = (ctx.scratch + SCRATCH.FLOCK) >> 2;
  const type = ctx.u32[at] & 0xffff;
  ctx.zero(0, LK_OUT.SIZE);
  ctx.put32(LK_OUT.type, type);
  if (type === F_UNLCK) return LK_OUT.SIZE;
  const startLo = ctx.u32[at + (FLOCK.start >> 2)];
  const startHi = ctx.i32[at + (FLOCK.start >> 2) + 1];
  const lenLo = ctx.u32[at + (FLOCK.len >> 2)];
  const lenHi = ctx.i32[at + (FLOCK.len >> 2) + 1];
  ctx.putWords(LK_OUT.start, startLo, startHi);
  if (lenLo === 0 && lenHi === 0) ctx.putWords(LK_OUT.end, -1, OFFSET_MAX_HI);
  else {
    const low = startLo + lenLo - 1;
    ctx.putWords(LK_OUT.end, low, startHi + lenHi + Math.floor(low / 0x100000000));
  }
  ctx.put32(LK_OUT.pid, conflictPid(ctx, type, ctx.i32[at + (FLOCK.pid >> 2)]));
  return LK_OUT.SIZE;
}

/**
 * The process that holds the lock a GETLK met. The kernel knows none for a lock of an open file
 * description; of ours it shows beside each descriptor which locks are taken by it.
 * @param pid what fcntl(2) said
 * @returns 0, no process, for such a lock of another program
 */
function conflictPid(ctx: Context, type: number, pid: number): number {
  if (pid > 0) return pid;
  const at = ctx.out >> 2;
  const start = int64(ctx.u32[at], ctx.i32[at + 1]);
  const end = int64(ctx.u32[at + 2], ctx.i32[at + 3]);
  const word = type === F_RDLCK ? 'READ' : 'WRITE';
  const line = new RegExp(
    `^lock:.*\\b${word}\\b.* ${start} ${end === 0x7fffffffffffffffn ? 'EOF' : end}$`,
    'm',
  );
  for (const owner of ctx.tables.locks.ownersOf(ctx.nodeLo, ctx.nodeHi)) {
    if (line.test(descriptorInfo(owner.fd))) return owner.pid;
  }
  return 0;
}

function descriptorInfo(fd: number): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
  } catch {
    // Closed meanwhile, with its locks.
    return '';
  }
}
