/**
 * READDIR and READDIRPLUS: one batch of getdents64 per request, so a listing costs what it lists.
 * Cookies are the host's own.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_UNKNOWN_INO } from '../abi/flags.ts';
import { DIRENT, DIRENTPLUS, ENTRY_OUT, READ_IN } from '../abi/structs.ts';
import {
  LINUX_DIRENT64,
  NAME_MAX,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  SEEK_SET,
} from '../sys/constants.ts';
import { getdents64, lseek } from '../sys/libc.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, DEFER, int64, SCRATCH } from './context.ts';
import { enterInode, identify, KEEP, putEntry } from './identify.ts';
import { openInodeBriefly } from './inode-access.ts';
import { openChild } from './names.ts';
import { MAX_HOST_INO_HI } from './unique-ino.ts';

const DOT = 0x2e;
/** Room for the longest record getdents64(2) writes. */
const LARGEST_HOST_RECORD = (LINUX_DIRENT64.name + NAME_MAX + 1 + 7) & ~7;
const LARGEST_HOST_BATCH = 96 * 1024;
/** The least a host record takes where the wire's takes 32 bytes, or 160 with attributes. */
const SMALLEST_HOST_RECORD = 24;
const SMALLEST_RECORD = DIRENT.SIZE + 8;
const SMALLEST_RECORD_PLUS = DIRENTPLUS.SIZE + 8;

/** READDIR. */
export function readdir(ctx: Context): number {
  return list(ctx, false);
}

/** READDIRPLUS. */
export function readdirplus(ctx: Context): number {
  return list(ctx, true);
}

function list(ctx: Context, plus: boolean): number {
  const size = ctx.arg32(READ_IN.size);
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  if (ctx.config.noReaddir || size === 0) return 0;
  if (size > ctx.config.maxWriteBytes) return -ERRNO.EINVAL;
  if (ctx.has(NEGOTIATED.NO_OPENDIR)) {
    const fd = openInodeBriefly(ctx, slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? fd : listFrom(ctx, fd, -1, size, plus);
  }
  const handle = ctx.useHandle(ctx.argLo(READ_IN.fh), ctx.argHi(READ_IN.fh), slot, true);
  if (handle < 0) return handle;
  const { handles, journal } = ctx.tables;
  // The position belongs to the handle: one reader at a time.
  journal.setDirectory(handle);
  if (ctx.mayBlock) handles.lockDirectory(handle);
  else if (!handles.tryLockDirectory(handle)) {
    journal.setDirectory(0);
    return DEFER;
  }
  const result = listFrom(ctx, handles.fd(handle), handle, size, plus);
  handles.unlockDirectory(handle);
  journal.setDirectory(0);
  return result;
}

/** Bytes to ask getdents64 for, so that as good as all it gives fits into the reply. */
function batchBytes(size: number, plus: boolean): number {
  const record = plus ? SMALLEST_RECORD_PLUS : SMALLEST_RECORD;
  const fitting = Math.floor((size / record) * SMALLEST_HOST_RECORD);
  return Math.min(LARGEST_HOST_BATCH, Math.max(LARGEST_HOST_RECORD, fitting));
}

function listFrom(ctx: Context, fd: number, handle: number, size: number, plus: boolean): number {
  const positioned = seekDirectory(ctx, fd, handle);
  if (positioned < 0) return positioned;
  const { handles } = ctx.tables;
  const dirents = ctx.scratch + SCRATCH.DIRENTS;
  let used = 0;
  for (;;) {
    const bytes = getdents64(fd, ctx.address(dirents), batchBytes(size - used, plus));
    if (bytes < 0) {
      if (handle > 0) handles.setDirectoryAstray(handle);
      return used > 0 ? used : bytes;
    }
    const taken = putBatch(ctx, fd, dirents, bytes, used, size, plus);
    used = ctx.listed;
    const isAll = taken === bytes;
    if (handle > 0) notePosition(ctx, handle, bytes, isAll);
    // The kernel asks again as long as it got something: one batch that held anything is enough.
    if (bytes === 0 || used > 0 || !isAll) {
      return used === 0 && !isAll ? -ERRNO.EINVAL : used;
    }
  }
}

/** Brings the directory's descriptor to the cookie of the request. */
function seekDirectory(ctx: Context, fd: number, handle: number): number {
  const lo = ctx.argLo(READ_IN.offset);
  const hi = ctx.argHi(READ_IN.offset);
  if (handle > 0 && ctx.tables.handles.isDirectoryAt(handle, lo, hi)) return 0;
  if (handle < 0 && lo === 0 && hi === 0) return 0;
  // A cookie above 2^63 is no offset for lseek(2), though some file systems hand such out.
  const position = hi < 0 ? -ERRNO.EINVAL : lseek(fd, int64(lo, hi), SEEK_SET);
  if (position >= 0) return 0;
  return position === -ERRNO.EINVAL ? scanDirectory(ctx, fd, lo, hi) : Number(position);
}

/** Finds a cookie that cannot be sought to by reading from the start. */
function scanDirectory(ctx: Context, fd: number, lo: number, hi: number): number {
  const rewound = lseek(fd, 0, SEEK_SET);
  if (rewound < 0) return Number(rewound);
  const dirents = ctx.scratch + SCRATCH.DIRENTS;
  for (;;) {
    // One record at a time, so that the descriptor stands right behind the one sought.
    const bytes = getdents64(fd, ctx.address(dirents), LARGEST_HOST_RECORD);
    if (bytes <= 0) return bytes;
    for (let at = dirents; at < dirents + bytes; at += recordLength(ctx, at)) {
      if (cookieLo(ctx, at) !== lo || cookieHi(ctx, at) !== hi) continue;
      if (at + recordLength(ctx, at) === dirents + bytes) return 0;
      return scanExactly(ctx, fd, lo, hi);
    }
  }
}

/** As above with the smallest buffer that gives one record, when records are short. */
function scanExactly(ctx: Context, fd: number, lo: number, hi: number): number {
  const rewound = lseek(fd, 0, SEEK_SET);
  if (rewound < 0) return Number(rewound);
  const dirents = ctx.scratch + SCRATCH.DIRENTS;
  for (;;) {
    let bytes = -ERRNO.EINVAL;
    for (
      let room = SMALLEST_HOST_RECORD;
      bytes === -ERRNO.EINVAL && room <= LARGEST_HOST_RECORD;
      room += 8
    ) {
      bytes = getdents64(fd, ctx.address(dirents), room);
    }
    if (bytes <= 0) return bytes;
    if (cookieLo(ctx, dirents) === lo && cookieHi(ctx, dirents) === hi) return 0;
  }
}

/** Remembers where the descriptor stands, so that the next request need not seek. */
function notePosition(ctx: Context, handle: number, bytes: number, isAll: boolean): void {
  const { handles } = ctx.tables;
  if (!isAll) {
    handles.setDirectoryAstray(handle);
  } else if (bytes > 0) {
    handles.setDirectoryAt(handle, ctx.lastCookieLo, ctx.lastCookieHi);
  } else {
    handles.setDirectoryAt(handle, ctx.argLo(READ_IN.offset), ctx.argHi(READ_IN.offset));
  }
}

/**
 * Puts host records into the reply from `used` on, until one does not fit. Sets ctx.listed to the
 * bytes of the reply and ctx.lastCookie to the cookie behind the last record taken.
 * @returns host bytes taken
 */
function putBatch(
  ctx: Context,
  dirFd: number,
  dirents: number,
  bytes: number,
  used: number,
  size: number,
  plus: boolean,
): number {
  let to = used;
  let taken = 0;
  while (taken < bytes) {
    const at = dirents + taken;
    const nameAt = at + LINUX_DIRENT64.name;
    const length = hostNameLength(ctx, nameAt, recordLength(ctx, at));
    const recordBytes = ((plus ? DIRENTPLUS.SIZE : DIRENT.SIZE) + length + 7) & ~7;
    if (to + recordBytes > size) break;
    if (!plus || putPlusEntry(ctx, dirFd, to, nameAt, length)) {
      putDirent(ctx, plus ? to + DIRENTPLUS.dirent : to, at, nameAt, length);
      to += recordBytes;
      if (plus) ctx.tables.journal.effectDirectoryEntries(to);
    }
    ctx.lastCookieLo = cookieLo(ctx, at);
    ctx.lastCookieHi = cookieHi(ctx, at);
    taken += recordLength(ctx, at);
  }
  ctx.listed = to;
  return taken;
}

function recordLength(ctx: Context, at: number): number {
  return ctx.u8[at + LINUX_DIRENT64.reclen] | (ctx.u8[at + LINUX_DIRENT64.reclen + 1] << 8);
}

function cookieLo(ctx: Context, at: number): number {
  return ctx.i32[(at + LINUX_DIRENT64.off) >> 2];
}

function cookieHi(ctx: Context, at: number): number {
  return ctx.i32[((at + LINUX_DIRENT64.off) >> 2) + 1];
}

function hostNameLength(ctx: Context, nameAt: number, recordBytes: number): number {
  const end = nameAt + recordBytes - LINUX_DIRENT64.name;
  let i = nameAt;
  while (i < end && ctx.u8[i] !== 0) i++;
  return i - nameAt;
}

function putDirent(ctx: Context, to: number, from: number, nameAt: number, length: number): void {
  const inoLo = ctx.i32[(from + LINUX_DIRENT64.ino) >> 2];
  const inoHi = ctx.i32[((from + LINUX_DIRENT64.ino) >> 2) + 1];
  if (ctx.config.useHostIno) putShownIno(ctx, to + DIRENT.ino, inoLo, inoHi);
  else ctx.putWords(to + DIRENT.ino, inoLo, inoHi);
  ctx.putWords(to + DIRENT.off, cookieLo(ctx, from), cookieHi(ctx, from));
  ctx.put32(to + DIRENT.namelen, length);
  ctx.put32(to + DIRENT.type, ctx.u8[from + LINUX_DIRENT64.type]);
  const nameTo = ctx.out + to + DIRENT.name;
  const end = (nameTo + length + 7) & ~7;
  ctx.u8.fill(0, nameTo + length, end);
  for (let i = 0; i < length; i++) ctx.u8[nameTo + i] = ctx.u8[nameAt + i];
}

/** The number use_host_ino shows; those that are given at the first lookup are not known here. */
function putShownIno(ctx: Context, to: number, inoLo: number, inoHi: number): void {
  const { inodes, mounts } = ctx.tables;
  const dir = ctx.nodeLo;
  const at = (ctx.scratch + SCRATCH.UNIQUE_INO) >> 2;
  const place = inodes.mount(dir);
  if (inoHi >>> 0 > MAX_HOST_INO_HI) {
    ctx.putWords(to, FUSE_UNKNOWN_INO, 0);
    return;
  }
  const error = ctx.uniqueIno.uniqueIno(
    0,
    inodes.dev(dir) >>> 0,
    mounts.idHi(place) >>> 0,
    mounts.idLo(place) >>> 0,
    inoHi >>> 0,
    inoLo >>> 0,
    ctx.u32,
    at,
  );
  if (error === 0) ctx.putWords(to, ctx.i32[at], ctx.i32[at + 1]);
  else ctx.putWords(to, inoLo, inoHi);
}

/**
 * Writes the entry part of a READDIRPLUS record, with one lookup counted. Where that cannot be had
 * the record stands without it (nodeid 0): a name is never lost.
 * @returns false if the name is gone
 */
function putPlusEntry(
  ctx: Context,
  dirFd: number,
  to: number,
  nameAt: number,
  length: number,
): boolean {
  ctx.zero(to, ENTRY_OUT.SIZE);
  if (isDotOrDotDot(ctx, nameAt, length)) return true;
  // Another mount's root is not asked here (EXDEV): its server may hang.
  const fd = openChild(ctx, dirFd, ctx.address(nameAt));
  if (fd < 0) return fd !== -ERRNO.ENOENT;
  ctx.keepFd(fd);
  const { inodes, journal } = ctx.tables;
  if (identify(ctx, fd, inodes.mount(ctx.nodeLo)) === 0) {
    const slot = enterInode(ctx, fd, KEEP.IF_FREE);
    if (slot > 0) putEntry(ctx, to, slot, ctx.nodeLo);
  }
  if (journal.hasFd(fd)) ctx.dropFd(fd);
  return true;
}

function isDotOrDotDot(ctx: Context, at: number, length: number): boolean {
  return ctx.u8[at] === DOT && (length === 1 || (length === 2 && ctx.u8[at + 1] === DOT));
}

/**
 * Gives back the lookups of a READDIRPLUS reply that was never delivered.
 * @param reply offset of its body in the request memory
 */
export function undoListing(ctx: Context, reply: number, bytes: number): void {
  for (let at = reply; at < reply + bytes; ) {
    const word = at >> 2;
    const slot = ctx.i32[word];
    if (slot !== 0) ctx.forget(slot, ctx.i32[word + 1], 1);
    const nameLength = ctx.u32[(at + DIRENTPLUS.dirent + DIRENT.namelen) >> 2];
    at += (DIRENTPLUS.SIZE + nameLength + 7) & ~7;
  }
}
