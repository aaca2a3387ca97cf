/**
 * From a descriptor to an inode: who is this file, on which mount, and have we met.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_ATTR_SUBMOUNT } from '../abi/flags.ts';
import { ATTR, ENTRY_OUT } from '../abi/structs.ts';
import { IDENTITY } from '../memory/inode-table.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  AT_EMPTY_PATH,
  FS_MAGIC,
  S_IFDIR,
  S_IFMT,
  STATX,
  STATX_BASIC_STATS,
} from '../sys/constants.ts';
import { nameToHandleAt } from '../sys/libc.ts';
import { putAttr, statxInto } from './attributes.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, SCRATCH } from './context.ts';
import { budgetExhausted, cacheInodeFd } from './inode-access.ts';
import { TIMEOUT, validNanoseconds, validSeconds } from './timeouts.ts';

/** How a looked-up file came to us, which decides about its descriptor. */
export const KEEP = {
  /** Cache the descriptor, evicting another if need be. */
  ALWAYS: 0,
  /** Cache it only if that costs no other inode its descriptor: listings touch more than they use. */
  IF_FREE: 1,
  /** Keep it until FORGET: the file has no name, and no handle opens what has none. */
  HELD: 2,
} as const;

/** The device of the file in the statx buffer at `offset` of the scratch memory, in 32 bits. */
export function deviceOf(ctx: Context, offset: number): number {
  const at = (ctx.scratch + offset) >> 2;
  const major = ctx.u32[at + (STATX.dev_major >> 2)];
  return (major << 20) | ctx.u32[at + (STATX.dev_minor >> 2)];
}

/**
 * Reads identity and attributes of a descriptor on mount `place` into the scratch memory, all but the
 * file handle.
 * @returns 0 or -errno
 */
export function identify(ctx: Context, fd: number, place: number): number {
  const error = statxInto(ctx, fd, SCRATCH.STATX, STATX_BASIC_STATS);
  if (error < 0) return error;
  const id = ctx.identity;
  const at = (ctx.scratch + SCRATCH.STATX) >> 2;
  id[IDENTITY.MOUNT] = place;
  id[IDENTITY.DEV] = mayPart(ctx, place) ? ctx.nextLoneDevice() : deviceOf(ctx, SCRATCH.STATX);
  id[IDENTITY.INO_LO] = ctx.i32[at + (STATX.ino >> 2)];
  id[IDENTITY.INO_HI] = ctx.i32[at + (STATX.ino >> 2) + 1];
  id[IDENTITY.TYPE] = modeOf(ctx) & S_IFMT;
  id[IDENTITY.HANDLE_BYTES] = 0;
  return 0;
}

/**
 * Whether the names of the file in the scratch memory may come to be those of several files. An overlay without
 * an index copies a file of a lower layer for the one name by which it is first changed; until then all its names
 * have one number (Documentation/filesystems/overlayfs.rst). So each look at one makes an inode of its own.
 */
function mayPart(ctx: Context, place: number): boolean {
  const { mounts } = ctx.tables;
  if (mounts.fsType(place) !== FS_MAGIC.OVERLAYFS) return false;
  if (mounts.hasFlag(place, MOUNT_FLAG.HANDLES) || isDirectory(ctx)) return false;
  return linksOf(ctx) > 1;
}

/** st_mode of the file identified last. */
export function modeOf(ctx: Context): number {
  return ctx.u32[(ctx.scratch + SCRATCH.STATX + STATX.mode) >> 2] & 0xffff;
}

/** The same for st_nlink. */
export function linksOf(ctx: Context): number {
  return ctx.u32[(ctx.scratch + SCRATCH.STATX + STATX.nlink) >> 2];
}

/** Whether the file identified last is a directory. */
export function isDirectory(ctx: Context): boolean {
  return (modeOf(ctx) & S_IFMT) === S_IFDIR;
}

/**
 * Adds the file handle of `fd`, the file identified last, to the identity: none where the mount has none.
 * @returns 0 or -errno
 */
export function identifyHandle(ctx: Context, fd: number): number {
  const id = ctx.identity;
  const place = id[IDENTITY.MOUNT];
  const { inodes, mounts } = ctx.tables;
  id.fill(0, IDENTITY.HANDLE_BYTES, IDENTITY.HANDLE + inodes.handleRoomBytes / 4);
  if (!mounts.hasFlag(place, MOUNT_FLAG.HANDLES)) return 0;
  id[IDENTITY.HANDLE_BYTES] = inodes.handleRoomBytes;
  const error = nameToHandleAt(
    fd,
    ctx.scratchAddress(SCRATCH.EMPTY),
    ctx.scratchAddress(SCRATCH.IDENTITY + 4 * IDENTITY.HANDLE_BYTES),
    ctx.scratchAddress(SCRATCH.MOUNT_ID),
    AT_EMPTY_PATH,
  );
  if (error >= 0) return 0;
  id[IDENTITY.HANDLE_BYTES] = 0;
  id[IDENTITY.HANDLE_TYPE] = 0;
  // EOVERFLOW: longer than an entry has room for, or no handle at all (automount points of NFS).
  const isNone = error === -ERRNO.EOPNOTSUPP || error === -ERRNO.EOVERFLOW;
  if (!isNone) return error;
  return ctx.config.inodeFileHandles === 'mandatory' ? -ERRNO.EOPNOTSUPP : 0;
}

/**
 * Counts one lookup of the file identified last. The noted descriptor `fd` becomes the inode's when
 * it has none; without file handles it must have one, for its whole life.
 * @returns the slot, or -errno
 */
export function enterInode(ctx: Context, fd: number, keep: number): number {
  const { inodes, mounts } = ctx.tables;
  const place = ctx.identity[IDENTITY.MOUNT];
  const known = mounts.hasFlag(place, MOUNT_FLAG.OWN_NUMBERS)
    ? inodes.lookupOpen(ctx.identity)
    : -1;
  if (known < 0) {
    const error = identifyHandle(ctx, fd);
    if (error < 0) return error;
  }
  const slot = known < 0 ? inodes.lookup(ctx.identity) : known;
  if (slot < 0) {
    ctx.report(
      'error',
      'inode-table-full',
      `the inode table is full (${inodes.capacity} inodes): raise --max-inodes`,
    );
    return -ERRNO.ENFILE;
  }
  const epoch = inodes.epoch(slot);
  if (inodes.inserted) {
    mounts.addRef(place);
    if (ctx.config.useHostIno) chooseShownIno(ctx, slot);
  }
  // Before the descriptor can be evicted. Inodes without a handle are held from their entry on.
  if (keep === KEEP.HELD) inodes.addHold(slot);
  const mustKeep = keep === KEEP.HELD || !inodes.hasHandle(slot);
  const hasFd = cacheInodeFd(ctx, slot, fd, mustKeep || keep === KEEP.ALWAYS);
  if (hasFd || !mustKeep) return slot;
  undoLookup(ctx, slot, epoch);
  return budgetExhausted(ctx);
}

/** Takes back the lookup that enterInode() counted, when the kernel will not hear of it. */
export function undoLookup(ctx: Context, slot: number, epoch: number): void {
  ctx.tables.journal.effectNone();
  ctx.forget(slot, epoch, 1);
}

/** Gives an inode, identified last, the number that use_host_ino shows for it. */
export function chooseShownIno(ctx: Context, slot: number): void {
  const { inodes, mounts } = ctx.tables;
  const id = ctx.identity;
  const place = id[IDENTITY.MOUNT];
  const at = (ctx.scratch + SCRATCH.UNIQUE_INO) >> 2;
  const error = ctx.uniqueIno.uniqueIno(
    0,
    deviceOf(ctx, SCRATCH.STATX) >>> 0,
    mounts.idHi(place) >>> 0,
    mounts.idLo(place) >>> 0,
    id[IDENTITY.INO_HI] >>> 0,
    id[IDENTITY.INO_LO] >>> 0,
    ctx.u32,
    at,
  );
  if (error === 0) {
    inodes.setShownIno(slot, ctx.i32[at], ctx.i32[at + 1]);
  } else {
    ctx.report(
      'error',
      'host-ino',
      'more than 254 file systems or 2^47 virtual inode numbers: --use-host-ino shows host numbers for the rest',
    );
    inodes.setShownIno(slot, id[IDENTITY.INO_LO], id[IDENTITY.INO_HI]);
  }
}

/**
 * Writes fuse_entry_out for the file identified last, entered as `slot`, at `offset` of the reply
 * body.
 */
export function putEntry(ctx: Context, offset: number, slot: number, parent: number): void {
  const { inodes } = ctx.tables;
  const isDir = inodes.fileType(slot) === S_IFDIR;
  const entryValid = ctx.timeouts.get(isDir ? TIMEOUT.DIR_ENTRY : TIMEOUT.ENTRY);
  const attrValid = ctx.timeouts.get(isDir ? TIMEOUT.DIR_ATTR : TIMEOUT.ATTR);
  ctx.putWords(offset + ENTRY_OUT.nodeid, slot, inodes.epoch(slot));
  ctx.putWords(offset + ENTRY_OUT.generation, inodes.generation(slot), 0);
  putEntryValidity(ctx, offset, entryValid, attrValid);
  putAttr(ctx, offset + ENTRY_OUT.attr, SCRATCH.STATX, slot);
  if (isDir && isSubmount(ctx, slot, parent)) {
    ctx.put32(offset + ENTRY_OUT.attr + ATTR.flags, FUSE_ATTR_SUBMOUNT);
  }
}

/** Whether another device or mount begins at this inode. */
function isSubmount(ctx: Context, slot: number, parent: number): boolean {
  if (!ctx.has(NEGOTIATED.SUBMOUNTS)) return false;
  const { inodes } = ctx.tables;
  return inodes.mount(slot) !== inodes.mount(parent) || inodes.dev(slot) !== inodes.dev(parent);
}

/** @param entry @param attr values of {@link Timeouts.get} */
function putEntryValidity(ctx: Context, offset: number, entry: number, attr: number): void {
  ctx.putWords(offset + ENTRY_OUT.entry_valid, validSeconds(entry), 0);
  ctx.putWords(offset + ENTRY_OUT.attr_valid, validSeconds(attr), 0);
  ctx.put32(offset + ENTRY_OUT.entry_valid_nsec, validNanoseconds(entry));
  ctx.put32(offset + ENTRY_OUT.attr_valid_nsec, validNanoseconds(attr));
}

/** Writes the reply "no such name", which the kernel may remember. @returns the body's length */
export function putNegativeEntry(ctx: Context): number {
  ctx.zero(0, ENTRY_OUT.SIZE);
  const valid = ctx.timeouts.get(TIMEOUT.NEGATIVE);
  putEntryValidity(ctx, 0, valid, valid);
  return ENTRY_OUT.SIZE;
}
