/**
 * Operations on names: LOOKUP, MKNOD, MKDIR, SYMLINK, READLINK, LINK, UNLINK, RMDIR, RENAME, RENAME2.
 */
import { ERRNO } from '../abi/errno.ts';
import { OP } from '../abi/opcodes.ts';
import { ENTRY_OUT, LINK_IN, MKDIR_IN, MKNOD_IN, RENAME_IN, RENAME2_IN } from '../abi/structs.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  NAME_MAX,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_PATH,
  PATH_MAX,
  RESOLVE_CACHED,
  RESOLVE_NO_XDEV,
  STATX_BASIC_STATS,
} from '../sys/constants.ts';
import {
  linkat,
  mkdirat,
  mknodat,
  openat,
  openat2,
  readlinkat,
  renameat2,
  symlinkat,
  unlinkat,
} from '../sys/libc.ts';
import { statxInto } from './attributes.ts';
import { laneLimit } from './bulkhead.ts';
import { createAsCaller } from './caller.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, DEFER, HAND_OVER, SCRATCH } from './context.ts';
import {
  enterInode,
  identify,
  identifyHandle,
  isDirectory,
  KEEP,
  linksOf,
  putEntry,
  putNegativeEntry,
} from './identify.ts';
import { budgetExhausted, cachedInodeFd, cacheInodeFd, inodeFd, procPath } from './inode-access.ts';
import { checkInside, isRootOfTree } from './inside.ts';
import { acquireMount } from './mounts.ts';
import { setSecurityLabel } from './security-label.ts';
import { TIMEOUT } from './timeouts.ts';

/** renameat2(2); the others never remove a name. */
const RENAME_WHITEOUT = 4;

const DOT = 0x2e;
const SLASH = 0x2f;

function isDotOrDotDot(ctx: Context, at: number, length: number): boolean {
  const u8 = ctx.u8;
  if (length === 1) return u8[at] === DOT;
  return length === 2 && u8[at] === DOT && u8[at + 1] === DOT;
}

function hasSlash(ctx: Context, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (ctx.u8[i] === SLASH) return true;
  return false;
}

/**
 * Checks a name that is to be made, removed or renamed (rule 77).
 * @returns 0 or -errno
 */
function checkName(ctx: Context, at: number): number {
  const length = ctx.nameLength(at);
  if (length <= 0) return -ERRNO.EINVAL;
  if (length > NAME_MAX) return -ERRNO.ENAMETOOLONG;
  // Without import a layer above has validated the name and negotiated the flags.
  if (!ctx.config.doImport) return 0;
  if (isDotOrDotDot(ctx, at, length) || hasSlash(ctx, at, length)) return -ERRNO.EINVAL;
  return 0;
}

/**
 * The directory the request is sent to, for an operation on the name at this offset: pinned, and the
 * name checked. Its slot is ctx.nodeLo.
 * @returns its descriptor, or -errno
 */
export function parentFd(ctx: Context, at: number): number {
  const parent = ctx.pinNode();
  if (parent < 0) return parent;
  const bad = checkName(ctx, at);
  return bad < 0 ? bad : inodeFd(ctx, parent);
}

/** openat2(2) of a single name as O_PATH, with these resolve flags. */
function openName(ctx: Context, dirFd: number, name: number, resolve: number): number {
  const how = (ctx.scratch + SCRATCH.OPEN_HOW) >> 2;
  ctx.u32[how] = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  ctx.u32[how + 1] = 0;
  ctx.u32[how + 2] = 0;
  ctx.u32[how + 3] = 0;
  ctx.u32[how + 4] = resolve;
  ctx.u32[how + 5] = 0;
  return openat2(dirFd, name, ctx.scratchAddress(SCRATCH.OPEN_HOW));
}

/** Opens a name on the parent's own mount, without waiting for anything but the disk. */
export function openChild(ctx: Context, dirFd: number, name: number): number {
  const fd = openName(ctx, dirFd, name, RESOLVE_NO_XDEV);
  if ((fd === -ERRNO.EMFILE || fd === -ERRNO.ENFILE) && ctx.tables.fds.evictOne()) {
    return openName(ctx, dirFd, name, RESOLVE_NO_XDEV);
  }
  return fd;
}

/** LOOKUP. */
export function lookup(ctx: Context): number {
  const parent = ctx.pinNode();
  if (parent < 0) return parent;
  const at = ctx.body;
  const length = ctx.nameLength(at);
  if (length <= 0) return -ERRNO.EINVAL;
  if (length > NAME_MAX) return -ERRNO.ENAMETOOLONG;
  if (hasSlash(ctx, at, length)) return -ERRNO.EINVAL;
  let name = ctx.address(at);
  if (isDotOrDotDot(ctx, at, length)) {
    if (ctx.has(NEGOTIATED.NO_EXPORT)) return -ERRNO.EINVAL;
    if (length === 2 && isRootOfTree(ctx, parent)) name = ctx.scratchAddress(SCRATCH.DOT);
    else if (length === 2) {
      const outside = checkInside(ctx, parent, name);
      if (outside < 0) return outside;
    }
  }
  return ctx.mayBlock ? lookupBlocking(ctx, parent, name) : lookupInPlace(ctx, parent, name);
}

/** Asks the dentry cache only, unless it may be bold: what cannot be told so a lane finds out. */
function lookupInPlace(ctx: Context, parent: number, name: number): number {
  const { inodes, mounts } = ctx.tables;
  const place = inodes.mount(parent);
  if (!mounts.hasFlag(place, MOUNT_FLAG.LOCAL)) return DEFER;
  const dirFd = cachedInodeFd(ctx, parent);
  if (dirFd < 0) return DEFER;
  const fd = openName(ctx, dirFd, name, RESOLVE_NO_XDEV | (ctx.isBold ? 0 : RESOLVE_CACHED));
  if (fd >= 0) {
    ctx.keepFd(fd);
    return enterAndReply(ctx, fd, place, parent);
  }
  return fd === -ERRNO.ENOENT ? missing(ctx) : DEFER;
}

function lookupBlocking(ctx: Context, parent: number, name: number): number {
  const dirFd = inodeFd(ctx, parent);
  if (dirFd < 0) return dirFd;
  const fd = openChild(ctx, dirFd, name);
  if (fd === -ERRNO.EXDEV) return lookupAcrossMounts(ctx, dirFd, parent, name);
  if (fd === -ERRNO.ENOENT) return missing(ctx);
  if (fd < 0) return fd;
  ctx.keepFd(fd);
  return enterAndReply(ctx, fd, ctx.tables.inodes.mount(parent), parent);
}

function missing(ctx: Context): number {
  return ctx.timeouts.get(TIMEOUT.NEGATIVE) === 0 ? -ERRNO.ENOENT : putNegativeEntry(ctx);
}

/**
 * The name is a mount point. Whether its server answers is another mount's affair: go on only with a
 * lane permit of that mount.
 */
function lookupAcrossMounts(ctx: Context, dirFd: number, parent: number, name: number): number {
  const { journal } = ctx.tables;
  const fd = openat(dirFd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return fd === -ERRNO.ENOENT ? missing(ctx) : fd;
  ctx.keepFd(fd);
  const place = acquireMount(ctx, fd);
  if (place < 0) return place;
  journal.setMountRef(place);
  const result = changeBulkhead(ctx, place) ? enterAndReply(ctx, fd, place, parent) : HAND_OVER;
  journal.setMountRef(-1);
  ctx.releaseMount(place);
  return result;
}

/** Trades the lane permit of this request's mount for one of another. */
function changeBulkhead(ctx: Context, place: number): boolean {
  const { journal, mounts } = ctx.tables;
  const current = journal.group();
  if (current === place || current < 0) return true;
  if (!mounts.enterLane(place, laneLimit(mounts, ctx.config.lanes))) {
    ctx.handOverTo = place;
    return false;
  }
  journal.setGroup(place);
  mounts.leaveLane(current);
  return true;
}

/** Counts a lookup of the noted descriptor's file and answers with its entry. */
export function enterAndReply(ctx: Context, fd: number, place: number, parent: number): number {
  const error = identify(ctx, fd, place);
  if (error < 0) return error;
  const slot = enterInode(ctx, fd, KEEP.ALWAYS);
  if (slot < 0) return slot;
  putEntry(ctx, 0, slot, parent);
  return ENTRY_OUT.SIZE;
}

/** Answers for a name that was just made in the parent. */
function replyMade(ctx: Context, dirFd: number, name: number): number {
  const parent = ctx.nodeLo;
  const fd = openChild(ctx, dirFd, name);
  if (fd < 0) return fd;
  ctx.keepFd(fd);
  const error = setSecurityLabel(ctx, fd);
  if (error < 0) {
    unlinkat(dirFd, name, ctx.opcode === OP.MKDIR ? AT_REMOVEDIR : 0);
    return error;
  }
  return enterAndReply(ctx, fd, ctx.tables.inodes.mount(parent), parent);
}

/** MKNOD. */
export function mknod(ctx: Context): number {
  const at = ctx.body + MKNOD_IN.SIZE;
  const dirFd = parentFd(ctx, at);
  if (dirFd < 0) return dirFd;
  const name = ctx.address(at);
  ctx.takeUmask(ctx.arg32(MKNOD_IN.umask));
  const error = createAsCaller(ctx, makeNode, dirFd, name);
  return error < 0 ? error : replyMade(ctx, dirFd, name);
}

function makeNode(ctx: Context, dirFd: number, name: number): number {
  // Wire and libc agree on the low 32 bits of a device number.
  return mknodat(dirFd, name, ctx.arg32(MKNOD_IN.mode), ctx.arg32(MKNOD_IN.rdev));
}

/** MKDIR. */
export function mkdir(ctx: Context): number {
  const at = ctx.body + MKDIR_IN.SIZE;
  const dirFd = parentFd(ctx, at);
  if (dirFd < 0) return dirFd;
  const name = ctx.address(at);
  ctx.takeUmask(ctx.arg32(MKDIR_IN.umask));
  const error = createAsCaller(ctx, makeDirectory, dirFd, name);
  return error < 0 ? error : replyMade(ctx, dirFd, name);
}

function makeDirectory(ctx: Context, dirFd: number, name: number): number {
  return mkdirat(dirFd, name, ctx.arg32(MKDIR_IN.mode));
}

/** SYMLINK: the new name, then the target. */
export function symlink(ctx: Context): number {
  const at = ctx.body;
  const dirFd = parentFd(ctx, at);
  if (dirFd < 0) return dirFd;
  if (ctx.nameLength(symlinkTarget(ctx)) < 0) return -ERRNO.EINVAL;
  const error = createAsCaller(ctx, makeSymlink, dirFd, ctx.address(at));
  return error < 0 ? error : replyMade(ctx, dirFd, ctx.address(at));
}

function symlinkTarget(ctx: Context): number {
  return ctx.body + ctx.nameLength(ctx.body) + 1;
}

function makeSymlink(ctx: Context, dirFd: number, name: number): number {
  return symlinkat(ctx.address(symlinkTarget(ctx)), dirFd, name);
}

/** READLINK. */
export function readlink(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const fd = inodeFd(ctx, slot);
  if (fd < 0) return fd;
  return readlinkat(fd, ctx.scratchAddress(SCRATCH.EMPTY), ctx.address(ctx.out), PATH_MAX);
}

/** LINK: through /proc, for which no capability is needed and which also names a temporary file. */
export function link(ctx: Context): number {
  const at = ctx.body + LINK_IN.SIZE;
  const dirFd = parentFd(ctx, at);
  if (dirFd < 0) return dirFd;
  const slot = ctx.pinInode(ctx.argLo(LINK_IN.oldnodeid), ctx.argHi(LINK_IN.oldnodeid));
  if (slot < 0) return slot;
  const fd = inodeFd(ctx, slot);
  if (fd < 0) return fd;
  const name = ctx.address(at);
  const error = linkat(ctx.config.procSelfFd, procPath(ctx, fd), dirFd, name, AT_SYMLINK_FOLLOW);
  if (error < 0) return error;
  return enterAndReply(ctx, fd, ctx.tables.inodes.mount(slot), ctx.nodeLo);
}

/** UNLINK. */
export function unlink(ctx: Context): number {
  return remove(ctx, 0);
}

/** RMDIR. */
export function rmdir(ctx: Context): number {
  return remove(ctx, AT_REMOVEDIR);
}

function remove(ctx: Context, flags: number): number {
  const at = ctx.body;
  const dirFd = parentFd(ctx, at);
  if (dirFd < 0) return dirFd;
  const name = ctx.address(at);
  const victim = holdVictim(ctx, ctx.nodeLo, dirFd, name);
  if (victim < 0) return victim;
  const mayStay = victim > 0 && mayKeepName(ctx);
  const error = unlinkat(dirFd, name, flags);
  if (victim > 0) releaseVictim(ctx, victim, error < 0, mayStay);
  return error;
}

/** RENAME. */
export function rename(ctx: Context): number {
  return renameNames(ctx, RENAME_IN.SIZE, 0);
}

/** RENAME2: NOREPLACE, EXCHANGE and WHITEOUT as the host has them. */
export function rename2(ctx: Context): number {
  return renameNames(ctx, RENAME2_IN.SIZE, ctx.arg32(RENAME2_IN.flags));
}

function renameNames(ctx: Context, fixedBytes: number, flags: number): number {
  const oldAt = ctx.body + fixedBytes;
  const oldParent = ctx.pinNode();
  if (oldParent < 0) return oldParent;
  const newParent = ctx.pinInode(ctx.argLo(RENAME_IN.newdir), ctx.argHi(RENAME_IN.newdir));
  if (newParent < 0) return newParent;
  const badOld = checkName(ctx, oldAt);
  if (badOld < 0) return badOld;
  const newAt = oldAt + ctx.nameLength(oldAt) + 1;
  const badNew = checkName(ctx, newAt);
  if (badNew < 0) return badNew;
  const oldFd = inodeFd(ctx, oldParent);
  if (oldFd < 0) return oldFd;
  const newFd = inodeFd(ctx, newParent);
  if (newFd < 0) return newFd;
  const newName = ctx.address(newAt);
  const victim = (flags & ~RENAME_WHITEOUT) === 0 ? holdVictim(ctx, newParent, newFd, newName) : 0;
  if (victim < 0) return victim;
  // In a directory that ignores case the victim may be the file itself.
  const mayStay = victim > 0 && !isDirectory(ctx);
  ctx.fromDirFd = oldFd;
  const error =
    (flags & RENAME_WHITEOUT) !== 0
      ? createAsCaller(ctx, renameLeavingWhiteout, newFd, newName)
      : renameat2(oldFd, ctx.address(oldAt), newFd, newName, flags);
  if (victim > 0) releaseVictim(ctx, victim, error < 0, mayStay);
  return error;
}

/** The only rename that creates an inode, which belongs to the caller. */
function renameLeavingWhiteout(ctx: Context, dirFd: number, name: number): number {
  const oldName = ctx.address(ctx.body + RENAME2_IN.SIZE);
  return renameat2(ctx.fromDirFd, oldName, dirFd, name, ctx.arg32(RENAME2_IN.flags));
}

/**
 * Before a name goes: if it may be the last one of an inode the kernel knows, that inode gets a
 * descriptor it keeps until FORGET, since no file handle opens a file without names.
 * @returns the inode's slot, 0 if there is nothing to hold, or -errno
 */
function holdVictim(ctx: Context, parent: number, dirFd: number, name: number): number {
  const { inodes, mounts } = ctx.tables;
  const place = inodes.mount(parent);
  // Without handles every inode keeps its descriptor anyway.
  if (!mounts.hasFlag(place, MOUNT_FLAG.HANDLES)) return 0;
  const fd = openChild(ctx, dirFd, name);
  // What cannot be found cannot go either; what cannot be held must not go.
  if (fd < 0) return fd === -ERRNO.EMFILE || fd === -ERRNO.ENFILE || fd === -ERRNO.ENOMEM ? fd : 0;
  ctx.keepFd(fd);
  // An inode the host cannot read can still lose its name.
  if (identify(ctx, fd, place) < 0) return 0;
  const known = mounts.hasFlag(place, MOUNT_FLAG.OWN_NUMBERS) ? holdOpen(ctx) : 0;
  return known > 0 ? known : holdByHandle(ctx, fd);
}

/** Holds the file identified last if its inode has a descriptor: then the number is no other one's. */
function holdOpen(ctx: Context): number {
  const slot = holdIdentified(ctx);
  if (slot <= 0 || cachedInodeFd(ctx, slot) >= 0) return slot;
  ctx.tables.inodes.dropHold(slot);
  return 0;
}

/** Holds the file identified last, with the descriptor `fd` if its inode has none. */
function holdByHandle(ctx: Context, fd: number): number {
  if (identifyHandle(ctx, fd) < 0) return 0;
  const slot = holdIdentified(ctx);
  if (slot <= 0 || cacheInodeFd(ctx, slot, fd, true)) return slot;
  ctx.tables.inodes.dropHold(slot);
  return budgetExhausted(ctx);
}

/** Holds and pins the inode identified last. @returns its slot, 0 if the kernel does not know it */
function holdIdentified(ctx: Context): number {
  const { inodes, journal } = ctx.tables;
  const slot = inodes.holdAndPin(ctx.identity);
  if (slot < 0) return 0;
  journal.notePin(slot);
  return slot;
}

/** Whether the file identified last may have a name left when it loses one. */
function mayKeepName(ctx: Context): boolean {
  // A directory on btrfs has one link all its life: removed means gone.
  return linksOf(ctx) > 1 && !isDirectory(ctx);
}

/**
 * After the name went, or did not: an inode that still has a name needs no hold. One that was given
 * another name meanwhile, behind us, keeps it until FORGET.
 * @param mayStay see mayKeepName(): before the name went
 */
function releaseVictim(ctx: Context, slot: number, failed: boolean, mayStay: boolean): void {
  const { inodes } = ctx.tables;
  if (!failed) {
    if (!mayStay) return;
    const error = statxInto(ctx, inodes.fd(slot), SCRATCH.STATX, STATX_BASIC_STATS);
    if (error < 0 || linksOf(ctx) === 0) return;
  }
  inodes.dropHold(slot);
}
