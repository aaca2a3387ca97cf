/**
 * How an inode is reached: by its cached O_PATH descriptor, else by its file handle.
 */
import { ERRNO } from '../abi/errno.ts';
import {
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_DIRECT,
  O_DIRECTORY,
  O_DSYNC,
  O_LARGEFILE,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
  S_IFDIR,
  S_IFREG,
} from '../sys/constants.ts';
import { close, openat, openByHandleAt } from '../sys/libc.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, DEFER, SCRATCH } from './context.ts';

/** What of a client's open flags reaches the host: the kernel's own bits stay here. */
const OPEN_FLAGS =
  O_ACCMODE |
  O_APPEND |
  O_DIRECT |
  O_DIRECTORY |
  O_DSYNC |
  O_SYNC |
  O_LARGEFILE |
  O_NOATIME |
  O_NOFOLLOW |
  O_NONBLOCK |
  O_TRUNC;

/** Spins while another thread closes the descriptor of an inode we pinned: about a microsecond. */
function waitWhileLocked(ctx: Context, slot: number): void {
  while (ctx.tables.inodes.isLocked(slot));
}

/** The cached descriptor of a pinned inode, or -1. */
export function cachedInodeFd(ctx: Context, slot: number): number {
  const { inodes } = ctx.tables;
  waitWhileLocked(ctx, slot);
  const fd = inodes.fd(slot);
  if (fd >= 0) inodes.touch(slot);
  return fd;
}

/**
 * An O_PATH descriptor of a pinned inode, good until finish().
 * @returns it, -errno (ESTALE when the file is gone), or DEFER where only a lane may open it
 */
export function inodeFd(ctx: Context, slot: number): number {
  const cached = cachedInodeFd(ctx, slot);
  if (cached >= 0) return cached;
  if (!ctx.mayBlock) return DEFER;
  const fd = openHandle(ctx, slot, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return fd;
  ctx.keepFd(fd);
  cacheInodeFd(ctx, slot, fd, true);
  return fd;
}

/** Opens an inode by its file handle. */
function openHandle(ctx: Context, slot: number, flags: number): number {
  const { inodes, mounts, fds } = ctx.tables;
  if (!inodes.hasHandle(slot)) return -ERRNO.ESTALE;
  const mountFd = mounts.fd(inodes.mount(slot));
  for (;;) {
    const fd = openByHandleAt(mountFd, inodes.handleAddress(slot), flags);
    if ((fd !== -ERRNO.EMFILE && fd !== -ERRNO.ENFILE) || !fds.evictOne()) return fd;
  }
}

/**
 * Leaves a noted descriptor to the inode if that has none and the budget allows. With `evict` another
 * inode's may go for it.
 * @returns whether the inode has a descriptor now
 */
export function cacheInodeFd(ctx: Context, slot: number, fd: number, evict: boolean): boolean {
  const { inodes, fds, journal } = ctx.tables;
  waitWhileLocked(ctx, slot);
  if (inodes.fd(slot) >= 0) return true;
  if (!(evict ? fds.reserve() : fds.reserveIfFree())) return false;
  journal.addReserved(1);
  // Another thread may be faster: then finish() gives the reservation back.
  if (inodes.installFd(slot, fd)) {
    journal.dropFd(fd);
    journal.addReserved(-1);
    inodes.touch(slot);
    fds.enter(slot);
  }
  return true;
}

/** Says once that no descriptor is left. @returns -ENFILE */
export function budgetExhausted(ctx: Context): number {
  const { budget } = ctx.tables.fds;
  ctx.report(
    'error',
    'fd-budget',
    `the descriptor budget (${budget}) is used up: raise LimitNOFILE or --fd-budget`,
  );
  return -ERRNO.ENFILE;
}

/** Writes "<fd>" into the scratch memory, as a path below /proc/self/fd. @returns its address */
export function procPath(ctx: Context, fd: number): number {
  const at = ctx.scratch + SCRATCH.PROC_PATH;
  let digits = 1;
  for (let rest = fd; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  ctx.u8[at + digits] = 0;
  let value = fd;
  for (let i = digits - 1; i >= 0; i--) {
    ctx.u8[at + i] = 0x30 + (value % 10);
    value = Math.floor(value / 10);
  }
  return ctx.base + at;
}

/** The same for a call that has no directory argument: relative where that does, else absolute. */
export function procPathFromHere(ctx: Context, fd: number): number {
  const path = procPath(ctx, fd);
  return ctx.isInProcSelfFd ? path : ctx.scratchAddress(SCRATCH.PROC_PREFIX);
}

/** Open flags as the host gets them: rules 82 to 85. */
export function hostOpenFlags(ctx: Context, flags: number): number {
  let host = flags & OPEN_FLAGS;
  if (ctx.has(NEGOTIATED.WRITEBACK) && (host & O_ACCMODE) === O_WRONLY) {
    // The kernel reads pages of files that were opened for writing only.
    host = (host & ~O_ACCMODE) | O_RDWR;
  }
  if (!ctx.config.allowDirectIo) host &= ~O_DIRECT;
  if (ctx.config.noAtime) host |= O_NOATIME;
  // Appending is done write by write (RWF_APPEND): with it on the descriptor pwrite(2) would ignore
  // the offset of page-cache writes.
  return (host & ~O_APPEND) | O_CLOEXEC;
}

/**
 * Opens a regular file or directory of a pinned inode for real; nothing else is ever opened, since a
 * FIFO would block and a device act.
 * @returns a descriptor that the caller notes, or -errno
 */
export function openInode(ctx: Context, slot: number, hostFlags: number): number {
  if (!ctx.config.noAtime) return openInodeWith(ctx, slot, hostFlags);
  const fd = openInodeWith(ctx, slot, hostFlags | O_NOATIME);
  // EPERM: for owners only, and a daemon without privileges may not be the owner.
  return fd === -ERRNO.EPERM ? openInodeWith(ctx, slot, hostFlags & ~O_NOATIME) : fd;
}

function openInodeWith(ctx: Context, slot: number, hostFlags: number): number {
  const { inodes, fds } = ctx.tables;
  const type = inodes.fileType(slot);
  if (type !== S_IFREG && type !== S_IFDIR) return -ERRNO.EBADF;
  const cached = cachedInodeFd(ctx, slot);
  if (cached < 0 && !ctx.mayBlock) return DEFER;
  for (;;) {
    const fd =
      cached >= 0
        ? openat(ctx.config.procSelfFd, procPath(ctx, cached), hostFlags & ~O_NOFOLLOW, 0)
        : openHandle(ctx, slot, hostFlags);
    if ((fd !== -ERRNO.EMFILE && fd !== -ERRNO.ENFILE) || !fds.evictOne()) return fd;
  }
}

/** Opens an inode for this request only. @returns the descriptor, closed by finish(), or -errno */
export function openInodeBriefly(ctx: Context, slot: number, hostFlags: number): number {
  const fd = openInode(ctx, slot, hostFlags);
  return fd < 0 ? fd : ctx.keepFd(fd);
}

/** Closes a descriptor that was opened and is not wanted. */
export function discardFd(fd: number): void {
  if (fd >= 0) close(fd);
}
