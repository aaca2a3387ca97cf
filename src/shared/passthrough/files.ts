/**
 * Opening and closing files: OPEN, CREATE, TMPFILE, FLUSH, RELEASE, FSYNC.
 */
import { ERRNO } from '../abi/errno.ts';
import {
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PARALLEL_DIRECT_WRITES,
  FOPEN_PASSTHROUGH,
  FUSE_FSYNC_FDATASYNC,
  FUSE_OPEN_KILL_SUIDGID,
} from '../abi/flags.ts';
import {
  CREATE_IN,
  ENTRY_OUT,
  FLUSH_IN,
  FSYNC_IN,
  OPEN_IN,
  OPEN_OUT,
  RELEASE_IN,
} from '../abi/structs.ts';
import { HANDLE_PURPOSE } from '../memory/handle-table.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TMPFILE,
  O_TRUNC,
} from '../sys/constants.ts';
import { close, dup, fdatasync, fsync, openat, unlinkat } from '../sys/libc.ts';
import { type Creation, createAsCaller } from './caller.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, DEFER, SCRATCH } from './context.ts';
import { dropFileCapability } from './file-capability.ts';
import { enterInode, identify, KEEP, putEntry, undoLookup } from './identify.ts';
import {
  budgetExhausted,
  discardFd,
  hostOpenFlags,
  inodeFd,
  openInode,
  openInodeBriefly,
  procPath,
} from './inode-access.ts';
import { countOpen, enterBacking } from './kernel-passthrough.ts';
import { releaseLocksOfHandle, releaseOwner } from './locks.ts';
import { enterAndReply, openChild, parentFd } from './names.ts';
import { setSecurityLabel } from './security-label.ts';
import { beginSetIdKill, endSetIdKill, killsSetIds } from './set-ids.ts';

/**
 * What happens on such descriptors is never done in place: RWF_NOWAIT does not keep direct I/O or
 * O_SYNC from waiting for the disk, and O_APPEND is a descriptor's of an append-only file.
 */
const WAITING_FLAGS = O_DIRECT | O_DSYNC | O_SYNC | O_APPEND;

/** In the flags of an OPEN: execve(2) opens the file (include/linux/fs.h). */
const FMODE_EXEC = 0x20;

/** What was opened. */
const OPENED = { DIRECTORY: 0, FILE: 1, NEW_FILE: 2 } as const;

/**
 * What the kernel may do with the pages of a file that was opened with these flags (rule 33). Beside
 * FOPEN_PASSTHROUGH it takes no flag about caches: the pages are those of the file behind.
 */
function fileReplyFlags(ctx: Context, slot: number, hostFlags: number, backingId: number): number {
  const noFlush = needsFlush(ctx, slot, hostFlags) ? 0 : FOPEN_NOFLUSH;
  if (backingId > 0) return passthroughReplyFlags(ctx) | noFlush;
  // Pages of an append-only file would take what the file does not: without them no map is shared.
  if ((hostFlags & O_APPEND) !== 0) return FOPEN_DIRECT_IO | noFlush;
  switch (ctx.config.cache) {
    case 'never':
    case 'metadata':
      return FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | noFlush;
    case 'always':
      return FOPEN_KEEP_CACHE | noFlush;
    default:
      return noFlush;
  }
}

/** Whether a close(2) means anything to the host, or gives up locks: see flush(). */
function needsFlush(ctx: Context, slot: number, hostFlags: number): boolean {
  if (ctx.has(NEGOTIATED.POSIX_LOCKS)) return true;
  const { inodes, mounts } = ctx.tables;
  const isReader = (hostFlags & O_ACCMODE) === O_RDONLY;
  return !isReader && !mounts.hasFlag(inodes.mount(slot), MOUNT_FLAG.LOCAL);
}

/**
 * The kernel opens the file behind with the flags of this open, and fcntl(2) changes those of ours
 * alone: what was opened for appending would always append, and dd(1) could not write its last block
 * without O_DIRECT. So reads and writes of such an open come to us; FOPEN_DIRECT_IO says that.
 */
function passthroughReplyFlags(ctx: Context): number {
  // At the same place in fuse_create_in.
  const isChangeable = (ctx.arg32(OPEN_IN.flags) & (O_APPEND | O_DIRECT)) !== 0;
  const byRequest = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  return isChangeable ? FOPEN_PASSTHROUGH | byRequest : FOPEN_PASSTHROUGH;
}

function directoryReplyFlags(ctx: Context): number {
  const { cache } = ctx.config;
  return cache === 'metadata' || cache === 'always' ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE : 0;
}

/**
 * Counts the descriptor of a handle before it is opened, so that nothing is created or truncated
 * for an open that cannot be. What enterHandle() does not take, finish() gives back.
 * @returns 0 or -errno
 */
function reserveHandle(ctx: Context): number {
  const { fds, journal } = ctx.tables;
  if (!fds.reserve()) return budgetExhausted(ctx);
  journal.addReserved(1);
  return 0;
}

/**
 * Puts an open descriptor into the handle table, for which one was reserved, and writes fuse_open_out
 * at `offset` of the reply body. The descriptor is the handle's from then on, or closed.
 * @returns 0 or -errno
 */
function enterHandle(
  ctx: Context,
  fd: number,
  slot: number,
  flags: number,
  kind: number,
  offset: number,
): number {
  const { handles, backings, journal } = ctx.tables;
  ctx.keepFd(fd);
  const isDir = kind === OPENED.DIRECTORY;
  const backing = isDir ? 0 : enterBacking(ctx, slot, fd, kind === OPENED.NEW_FILE);
  const backingId = backing > 0 ? backings.id(backing) : 0;
  if (backingId > 0 && mayMapAppendOnly(flags)) return -ERRNO.EBUSY;
  const waits = (flags & WAITING_FLAGS) !== 0;
  const purpose = purposeOf(ctx, flags, backingId);
  const index = handles.allocate(fd, slot, isDir, waits, purpose, backing);
  if (index < 0) return -ERRNO.ENFILE;
  journal.effectHandle(index);
  journal.dropBacking();
  journal.dropFd(fd);
  journal.addReserved(-1);
  ctx.putWords(offset + OPEN_OUT.fh, index, handles.epoch(index));
  const replyFlags = isDir ? directoryReplyFlags(ctx) : fileReplyFlags(ctx, slot, flags, backingId);
  const who = replyFlags & (FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO);
  if (!isDir) countOpen(ctx, who === FOPEN_PASSTHROUGH);
  ctx.put32(offset + OPEN_OUT.open_flags, replyFlags);
  ctx.put32(offset + OPEN_OUT.backing_id, backingId);
  return 0;
}

/**
 * Whether a map of this open could change an append-only file. It goes through us, unless somebody has
 * had it open since before it was one: then the kernel would map the file behind.
 */
function mayMapAppendOnly(flags: number): boolean {
  return (flags & (O_APPEND | O_ACCMODE)) === (O_APPEND | O_RDWR);
}

/** HANDLE_PURPOSE bits of an open with these flags of the host. */
function purposeOf(ctx: Context, flags: number, backingId: number): number {
  const access = flags & O_ACCMODE;
  const isExec = (ctx.arg32(OPEN_IN.flags) & FMODE_EXEC) !== 0;
  return (
    (access === O_RDONLY ? 0 : HANDLE_PURPOSE.WRITING) |
    (access === O_RDWR ? storesOf(backingId) : 0) |
    (isExec ? HANDLE_PURPOSE.EXECUTION : 0)
  );
}

/** What stores of a mapping change: the file behind, or pages of which it learns later. */
function storesOf(backingId: number): number {
  return backingId > 0 ? HANDLE_PURPOSE.MAPPED_WRITING : HANDLE_PURPOSE.UNSEEN_WRITING;
}

/** Opens, and takes what a file loses when the open truncates it. */
function openKilling(ctx: Context, slot: number, flags: number, openFlags: number): number {
  const fd = openKillingSetIds(ctx, slot, flags, openFlags);
  if (fd < 0 || (flags & O_TRUNC) === 0) return fd;
  const error = dropFileCapability(ctx, fd, slot);
  if (error < 0) discardFd(fd);
  return error < 0 ? error : fd;
}

/** Opens, and takes the set-id bits where the open truncates and the kernel asks for that. */
function openKillingSetIds(ctx: Context, slot: number, flags: number, openFlags: number): number {
  const kill = killsSetIds(ctx, (openFlags & FUSE_OPEN_KILL_SUIDGID) !== 0);
  if (!kill || (flags & O_TRUNC) === 0) return openInode(ctx, slot, flags);
  const pathFd = inodeFd(ctx, slot);
  if (pathFd < 0) return pathFd;
  ctx.isStale = beginSetIdKill(ctx, pathFd);
  const fd = openInode(ctx, slot, flags);
  endSetIdKill(ctx);
  return fd;
}

/**
 * Whether to open with O_APPEND what does not open without: an append-only file (chattr +a). Such a
 * descriptor is good for appending alone, see appendsOnly(). Pages that the kernel writes back have
 * places of their own, so there is none with its writeback cache.
 */
function isForAppending(ctx: Context, fd: number, wanted: number): boolean {
  return fd === -ERRNO.EPERM && (wanted & O_APPEND) !== 0 && !ctx.has(NEGOTIATED.WRITEBACK);
}

/**
 * Whether a program that runs would be emptied: for O_TRUNC without write access VFS asks whether it
 * runs (get_write_access) after the OPEN, in which the file is emptied.
 */
function isBusyText(ctx: Context, slot: number, flags: number): boolean {
  if ((flags & (O_TRUNC | O_ACCMODE)) !== (O_TRUNC | O_RDONLY)) return false;
  return ctx.tables.handles.isOpenFor(slot, HANDLE_PURPOSE.EXECUTION);
}

/** OPEN. */
export function open(ctx: Context): number {
  // A permanent promise, made only where the kernel offered zero-message opens.
  if (ctx.has(NEGOTIATED.NO_OPEN)) return -ERRNO.ENOSYS;
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const wanted = ctx.arg32(OPEN_IN.flags);
  // VFS has seen to O_DIRECTORY; it is a part of O_TMPFILE, which comes for a file behind such an open.
  let flags = hostOpenFlags(ctx, wanted) & ~O_DIRECTORY;
  if ((flags & O_TRUNC) !== 0 && ctx.config.sealSize) return -ERRNO.EPERM;
  if (isBusyText(ctx, slot, flags)) return -ERRNO.ETXTBSY;
  const reserved = reserveHandle(ctx);
  if (reserved < 0) return reserved;
  const openFlags = ctx.arg32(OPEN_IN.open_flags);
  let fd = openKilling(ctx, slot, flags, openFlags);
  if (isForAppending(ctx, fd, wanted)) {
    flags |= O_APPEND;
    fd = openKilling(ctx, slot, flags, openFlags);
  }
  if (fd < 0) return fd;
  const error = enterHandle(ctx, fd, slot, flags, OPENED.FILE, 0);
  return error < 0 ? error : OPEN_OUT.SIZE;
}

/** OPENDIR. */
export function opendir(ctx: Context): number {
  if (ctx.has(NEGOTIATED.NO_OPENDIR)) return -ERRNO.ENOSYS;
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const reserved = reserveHandle(ctx);
  if (reserved < 0) return reserved;
  const fd = openInode(ctx, slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fd;
  const error = enterHandle(ctx, fd, slot, O_RDONLY, OPENED.DIRECTORY, 0);
  return error < 0 ? error : OPEN_OUT.SIZE;
}

/**
 * CREATE. O_EXCL is always added, so that an existing file is never taken for a new one; the new file
 * is looked up by its descriptor, so that no rename can bind the handle to another one.
 */
export function create(ctx: Context): number {
  const at = ctx.body + CREATE_IN.SIZE;
  const dirFd = parentFd(ctx, at);
  if (dirFd < 0) return dirFd;
  const parent = ctx.nodeLo;
  const wanted = ctx.arg32(CREATE_IN.flags);
  const flags = hostOpenFlags(ctx, wanted);
  ctx.takeUmask(ctx.arg32(CREATE_IN.umask));
  const name = ctx.address(at);
  const reserved = reserveHandle(ctx);
  if (reserved < 0) return reserved;
  const fd = createRetrying(ctx, openNew, dirFd, name);
  if (fd === -ERRNO.EEXIST && (wanted & O_EXCL) === 0)
    return createExisting(ctx, parent, dirFd, name, flags);
  if (fd < 0) return fd;
  const error = setSecurityLabel(ctx, fd);
  if (error < 0) {
    discardFd(fd);
    unlinkat(dirFd, name, 0);
    return error;
  }
  return replyCreated(ctx, parent, fd, flags, KEEP.ALWAYS);
}

function createRetrying(ctx: Context, creation: Creation, dirFd: number, name: number): number {
  const fd = createAsCaller(ctx, creation, dirFd, name);
  if ((fd === -ERRNO.EMFILE || fd === -ERRNO.ENFILE) && ctx.tables.fds.evictOne()) {
    return createAsCaller(ctx, creation, dirFd, name);
  }
  return fd;
}

function openNew(ctx: Context, dirFd: number, name: number): number {
  const flags = hostOpenFlags(ctx, ctx.arg32(CREATE_IN.flags)) & ~O_TRUNC;
  const mode = ctx.arg32(CREATE_IN.mode) & 0o7777;
  return openat(dirFd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
}

function openTemporary(ctx: Context, dirFd: number, name: number): number {
  const wanted = ctx.arg32(CREATE_IN.flags);
  const flags = hostOpenFlags(ctx, wanted) & ~O_TRUNC;
  const mode = ctx.arg32(CREATE_IN.mode) & 0o7777;
  return openat(dirFd, name, flags | O_TMPFILE | (wanted & O_EXCL), mode);
}

/**
 * Somebody made the file first: open that one, for the daemon's own user. Nobody has checked whether
 * another may: after ESTALE VFS looks the name up again, checks the file and sends an OPEN.
 */
function createExisting(
  ctx: Context,
  parent: number,
  dirFd: number,
  name: number,
  flags: number,
): number {
  // With ids translated the daemon's own user is not who the file's owner is compared with.
  const isTranslated = ctx.config.uidMap !== undefined || ctx.config.gidMap !== undefined;
  if (isTranslated || ctx.clientUid() !== ctx.credentials.uid) return -ERRNO.ESTALE;
  if ((flags & O_TRUNC) !== 0 && ctx.config.sealSize) return -ERRNO.EPERM;
  // To empty a file may take any time.
  if ((flags & O_TRUNC) !== 0 && !ctx.mayBlock) return DEFER;
  const pathFd = openChild(ctx, dirFd, name);
  if (pathFd < 0) return pathFd;
  ctx.keepFd(pathFd);
  const entry = enterAndReply(ctx, pathFd, ctx.tables.inodes.mount(parent), parent);
  if (entry < 0) return entry;
  const slot = ctx.i32[(ctx.out + ENTRY_OUT.nodeid) >> 2];
  // An eviction must not close the descriptor while the file is opened through it.
  ctx.pinInode(slot, ctx.tables.inodes.epoch(slot));
  const fd = openKilling(ctx, slot, flags, ctx.arg32(CREATE_IN.open_flags));
  return replyOpened(ctx, slot, fd, flags, OPENED.FILE);
}

/** Answers with entry and handle of a file that this request made. */
function replyCreated(
  ctx: Context,
  parent: number,
  fd: number,
  flags: number,
  keep: number,
): number {
  ctx.keepFd(fd);
  const error = identify(ctx, fd, ctx.tables.inodes.mount(parent));
  if (error < 0) return error;
  const slot = enterNewInode(ctx, fd, keep);
  if (slot < 0) return slot;
  putEntry(ctx, 0, slot, parent);
  ctx.tables.journal.dropFd(fd);
  return replyOpened(ctx, slot, fd, flags, OPENED.NEW_FILE);
}

/** Enters the inode of an open descriptor, with an O_PATH descriptor of its own. */
function enterNewInode(ctx: Context, fd: number, keep: number): number {
  const { procSelfFd } = ctx.config;
  const pathFd = openat(procSelfFd, procPath(ctx, fd), O_PATH | O_CLOEXEC, 0);
  if (pathFd < 0) return pathFd;
  ctx.keepFd(pathFd);
  return enterInode(ctx, pathFd, keep);
}

/** Adds the handle to an entry reply; takes the lookup back if there can be none. */
function replyOpened(ctx: Context, slot: number, fd: number, flags: number, kind: number): number {
  const epoch = ctx.tables.inodes.epoch(slot);
  if (fd >= 0 && ctx.has(NEGOTIATED.NO_OPEN)) {
    // The file exists; opens need no message, so none is answered.
    discardFd(fd);
    ctx.zero(ENTRY_OUT.SIZE, OPEN_OUT.SIZE);
    return ENTRY_OUT.SIZE + OPEN_OUT.SIZE;
  }
  const error = fd < 0 ? fd : enterHandle(ctx, fd, slot, flags, kind, ENTRY_OUT.SIZE);
  if (error < 0) {
    undoLookup(ctx, slot, epoch);
    return error;
  }
  return ENTRY_OUT.SIZE + OPEN_OUT.SIZE;
}

/**
 * TMPFILE: a file without a name. It has its descriptor until FORGET, since no handle opens what has
 * no link; LINK may still give it a name. The name in the request is a placeholder.
 */
export function tmpfile(ctx: Context): number {
  const parent = ctx.pinNode();
  if (parent < 0) return parent;
  const dirFd = inodeFd(ctx, parent);
  if (dirFd < 0) return dirFd;
  ctx.takeUmask(ctx.arg32(CREATE_IN.umask));
  const reserved = reserveHandle(ctx);
  if (reserved < 0) return reserved;
  const fd = createRetrying(ctx, openTemporary, dirFd, ctx.scratchAddress(SCRATCH.DOT));
  if (fd < 0) return fd;
  const error = setSecurityLabel(ctx, fd);
  if (error < 0) {
    discardFd(fd);
    return error;
  }
  const flags = hostOpenFlags(ctx, ctx.arg32(CREATE_IN.flags));
  return replyCreated(ctx, parent, fd, flags, KEEP.HELD);
}

/**
 * FLUSH: the owner's locks go, and the host sees a close(2) of its own, which is where NFS and
 * quotas report errors. Local file systems do nothing there, and are told nothing. Running out of
 * descriptors must not fail a close(2).
 */
export function flush(ctx: Context): number {
  if (ctx.has(NEGOTIATED.NO_OPEN)) return -ERRNO.ENOSYS;
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const { handles, inodes, mounts } = ctx.tables;
  const isLocal = mounts.hasFlag(inodes.mount(slot), MOUNT_FLAG.LOCAL);
  if (!isLocal && !ctx.mayBlock) return DEFER;
  releaseOwner(ctx, ctx.argLo(FLUSH_IN.lock_owner), ctx.argHi(FLUSH_IN.lock_owner));
  if (isLocal) return 0;
  const handle = ctx.useHandle(ctx.argLo(FLUSH_IN.fh), ctx.argHi(FLUSH_IN.fh), slot, false);
  if (handle < 0) return handle;
  const copy = dup(handles.fd(handle));
  return copy < 0 ? 0 : close(copy);
}

/** RELEASE. */
export function release(ctx: Context): number {
  return ctx.has(NEGOTIATED.NO_OPEN) ? -ERRNO.ENOSYS : releaseHandle(ctx, false);
}

/** RELEASEDIR. */
export function releasedir(ctx: Context): number {
  return ctx.has(NEGOTIATED.NO_OPENDIR) ? -ERRNO.ENOSYS : releaseHandle(ctx, true);
}

/** By the handle alone: the kernel may have forgotten the inode already. */
function releaseHandle(ctx: Context, isDir: boolean): number {
  const handle = ctx.useHandle(
    ctx.argLo(RELEASE_IN.fh),
    ctx.argHi(RELEASE_IN.fh),
    ctx.nodeLo,
    isDir,
  );
  if (handle < 0) return handle;
  const { handles } = ctx.tables;
  if (!isDir) releaseLocksOfHandle(ctx, handle);
  // Stores of a mapping move times of which the kernel does not learn.
  if (handles.isFor(handle, HANDLE_PURPOSE.MAPPED_WRITING)) ctx.isStale = true;
  handles.release(handle);
  return 0;
}

/** FSYNC. */
export function fsyncFile(ctx: Context): number {
  return sync(ctx, false, ctx.has(NEGOTIATED.NO_OPEN));
}

/** FSYNCDIR. */
export function fsyncDirectory(ctx: Context): number {
  return sync(ctx, true, ctx.has(NEGOTIATED.NO_OPENDIR));
}

function sync(ctx: Context, isDir: boolean, hasNoHandle: boolean): number {
  const fd = handleFd(ctx, FSYNC_IN.fh, isDir, hasNoHandle, O_RDONLY);
  if (fd < 0) return fd;
  return (ctx.arg32(FSYNC_IN.fsync_flags) & FUSE_FSYNC_FDATASYNC) !== 0 ? fdatasync(fd) : fsync(fd);
}

/**
 * The descriptor a request works on: the handle's, or where the kernel opens without a message one
 * opened for this request.
 * @returns it, or -errno
 */
export function handleFd(
  ctx: Context,
  fhOffset: number,
  isDir: boolean,
  hasNoHandle: boolean,
  accessMode: number,
): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  if (hasNoHandle) {
    return openInodeBriefly(ctx, slot, accessMode | O_CLOEXEC | (isDir ? O_DIRECTORY : 0));
  }
  const handle = ctx.useHandle(ctx.argLo(fhOffset), ctx.argHi(fhOffset), slot, isDir);
  return handle < 0 ? handle : ctx.tables.handles.fd(handle);
}
