/** System calls with paths as bytes, for what the actor does; each returns its result or -errno. */
import { accessSync } from 'node:fs';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  LINUX_DIRENT64,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  PAGE_SIZE,
  S_IFMT,
  STATX,
  STATX_BASIC_STATS,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import type { Acl } from './operations.ts';

/** The largest transfer of one call. */
export const IO_SIZE_BYTES = 256 * 1024;

const ioMemory = new Uint8Array(new SharedArrayBuffer(IO_SIZE_BYTES + PAGE_SIZE));
const ioStart = (PAGE_SIZE - (libc.addressOf(ioMemory) % PAGE_SIZE)) % PAGE_SIZE;

/**
 * The calls are synchronous and the process has one thread: one buffer serves them all. It stands on
 * a page, as O_DIRECT needs it.
 */
export const io = Buffer.from(ioMemory.buffer, ioStart, IO_SIZE_BYTES);
const ioView = new DataView(io.buffer, ioStart, IO_SIZE_BYTES);
export const ioAddress = libc.addressOf(io);

const cells = new DataView(new SharedArrayBuffer(64));
const cellsAddress = libc.addressOf(cells);

/** The strings made last stay alive for the call that was given no more than their address. */
const recentStrings: libc.CString[] = [];
const RECENT_STRINGS = 8;

/** A C string of the bytes of a latin1 string. */
export function bytes(text: string): libc.CString {
  const string = new libc.CString(Buffer.from(text, 'latin1'));
  recentStrings.push(string);
  if (recentStrings.length > RECENT_STRINGS) {
    recentStrings.shift();
  }
  return string;
}

/** Bytes of the transfer buffer as a latin1 string. */
export function ioText(start: number, end: number): string {
  return io.toString('latin1', start, end);
}

export interface Stat {
  readonly ino: number;
  readonly device: string;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly blocks: number;
  readonly rdev: string;
  readonly atime: readonly [seconds: number, nanoseconds: number];
  readonly mtime: readonly [seconds: number, nanoseconds: number];
}

function uint64(offset: number): number {
  return Number(ioView.getBigUint64(offset, true));
}

function timeAt(offset: number): [number, number] {
  return [Number(ioView.getBigInt64(offset, true)), ioView.getUint32(offset + 8, true)];
}

function uint32(offset: number): number {
  return ioView.getUint32(offset, true);
}

function statxAt(dirfd: number, path: string, flags: number): Stat | number {
  const result = libc.statx(dirfd, bytes(path).address, flags, STATX_BASIC_STATS, ioAddress);
  if (result < 0) {
    return result;
  }
  return {
    ino: uint64(STATX.ino),
    device: `${uint32(STATX.dev_major)}:${uint32(STATX.dev_minor)}`,
    mode: ioView.getUint16(STATX.mode, true),
    nlink: uint32(STATX.nlink),
    uid: uint32(STATX.uid),
    gid: uint32(STATX.gid),
    sizeBytes: uint64(STATX.size),
    blocks: uint64(STATX.blocks),
    rdev: `${uint32(STATX.rdev_major)}:${uint32(STATX.rdev_minor)}`,
    atime: timeAt(STATX.atime),
    mtime: timeAt(STATX.mtime),
  };
}

/** stat(2), or lstat(2) when links are not followed. */
export function stat(path: string, follow: boolean): Stat | number {
  return statxAt(AT_FDCWD, path, follow ? 0 : AT_SYMLINK_NOFOLLOW);
}

/** fstat(2). */
export function fstat(fd: number): Stat | number {
  return statxAt(fd, '', AT_EMPTY_PATH);
}

export function fileType(mode: number): number {
  return mode & S_IFMT;
}

/** linkat(2) of an open file that has no name, through its entry in /proc. */
export function linkDescriptor(fd: number, path: string): number {
  const from = bytes(`/proc/self/fd/${fd}`);
  return libc.linkat(AT_FDCWD, from.address, AT_FDCWD, bytes(path).address, AT_SYMLINK_FOLLOW);
}

/** access(2), for which the wrappers have no name: errors carry the negated errno. */
export function access(path: string, mode: number): number {
  try {
    accessSync(Buffer.from(path, 'latin1'), mode);
    return 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).errno ?? 0;
  }
}

/** The address of two struct timespec, valid until the next call. */
export function timespecs(
  atime: readonly [number, number],
  mtime: readonly [number, number],
): number {
  for (const [index, [seconds, nanoseconds]] of [atime, mtime].entries()) {
    cells.setBigInt64(index * 16, BigInt(seconds), true);
    cells.setBigInt64(index * 16 + 8, BigInt(nanoseconds), true);
  }
  return cellsAddress;
}

/** copy_file_range(2); without an offset the file's own position is used and moved. */
export function copyFileRange(
  from: number,
  fromOffset: number | null,
  to: number,
  toOffset: number | null,
  sizeBytes: number,
): number {
  cells.setBigInt64(0, BigInt(fromOffset ?? 0), true);
  cells.setBigInt64(8, BigInt(toOffset ?? 0), true);
  return libc.copyFileRange(
    from,
    fromOffset === null ? 0 : cellsAddress,
    to,
    toOffset === null ? 0 : cellsAddress + 8,
    sizeBytes,
    0,
  );
}

export interface DirectoryEntry {
  readonly name: string;
  readonly ino: number;
  readonly type: number;
}

/** One getdents64(2) of at most `chunkBytes`: the entries, none at the end, or -errno. */
export function nextEntries(fd: number, chunkBytes: number): DirectoryEntry[] | number {
  const filled = libc.getdents64(fd, ioAddress, chunkBytes);
  if (filled < 0) {
    return filled;
  }
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < filled; ) {
    const length = ioView.getUint16(at + LINUX_DIRENT64.reclen, true);
    const nameStart = at + LINUX_DIRENT64.name;
    entries.push({
      name: ioText(nameStart, io.indexOf(0, nameStart)),
      ino: uint64(at + LINUX_DIRENT64.ino),
      type: io[at + LINUX_DIRENT64.type],
    });
    at += length;
  }
  return entries;
}

/** Every entry from where the directory is read next. */
export function remainingEntries(fd: number, chunkBytes: number): DirectoryEntry[] | number {
  const all: DirectoryEntry[] = [];
  for (;;) {
    const entries = nextEntries(fd, chunkBytes);
    if (typeof entries === 'number') {
      return entries;
    }
    if (entries.length === 0) {
      return all;
    }
    all.push(...entries);
  }
}

/** The names in a directory without `.` and `..`, in order, or -errno. */
export function namesIn(path: string): string[] | number {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const fd = libc.openat(AT_FDCWD, bytes(path).address, flags, 0);
  if (fd < 0) {
    return fd;
  }
  const entries = remainingEntries(fd, 32 * 1024);
  libc.close(fd);
  return typeof entries === 'number'
    ? entries
    : entries
        .map(({ name }) => name)
        .filter((name) => name !== '.' && name !== '..')
        .sort();
}

/** Removes a directory and all below it: 0, or the first -errno. */
export function removeTree(path: string): number {
  const names = namesIn(path);
  if (typeof names === 'number') {
    return names;
  }
  for (const name of names) {
    const child = `${path}/${name}`;
    const unlinked = libc.unlinkat(AT_FDCWD, bytes(child).address, 0);
    const result = unlinked === -ERRNO.EISDIR ? removeTree(child) : unlinked;
    if (result < 0) {
      return result;
    }
  }
  return libc.unlinkat(AT_FDCWD, bytes(path).address, AT_REMOVEDIR);
}

/** The attributes that security modules give to every file belong to the policy of the mount. */
const POLICY_XATTR = /^security\.(?!capability$|x$)/;

/** The names listxattr(2) gives, in order, without those of the mount's policy. */
export function xattrNames(path: string, sizeBytes: number): string[] | number {
  const length = libc.listxattr(bytes(path).address, ioAddress, sizeBytes);
  if (length < 0) {
    return length;
  }
  return ioText(0, length)
    .split('\0')
    .filter((name) => name !== '' && !POLICY_XATTR.test(name))
    .sort();
}

const ACL_HEADER_BYTES = 4;
const ACL_ENTRY_BYTES = 8;

/** Puts an ACL into the transfer buffer as setxattr(2) takes it; returns its size. */
export function putAcl({ version, entries, cut }: Acl): number {
  ioView.setUint32(0, version, true);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    const at = ACL_HEADER_BYTES + index * ACL_ENTRY_BYTES;
    ioView.setUint16(at, tag, true);
    ioView.setUint16(at + 2, permissions, true);
    ioView.setUint32(at + 4, id >>> 0, true);
  }
  return Math.max(0, ACL_HEADER_BYTES + entries.length * ACL_ENTRY_BYTES - cut);
}

const VFS_CAP_REVISION_2 = 0x02000000;
const VFS_CAP_FLAGS_EFFECTIVE = 1;
const CAP_NET_BIND_SERVICE = 10;

/** Puts a file capability into the transfer buffer; returns its size. */
export function putCapability(): number {
  const words = [VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, 1 << CAP_NET_BIND_SERVICE, 0, 0, 0];
  for (const [index, word] of words.entries()) {
    ioView.setUint32(index * 4, word, true);
  }
  return words.length * 4;
}

/** Of the flags of chattr(1) those that the tester sets: S, d and A. */
const INODE_FLAGS = 0x08 | 0x40 | 0x80;

/** FS_IOC_GETFLAGS: those flags, or -errno. */
export function inodeFlags(fd: number): number {
  const result = libc.ioctl(fd, FS_IOC_GETFLAGS, ioAddress);
  return result < 0 ? result : uint32(0) & INODE_FLAGS;
}

/** FS_IOC_SETFLAGS of those flags, after inodeFlags() of the same file: the others stay. */
export function setInodeFlags(fd: number, flags: number): number {
  ioView.setUint32(0, ((uint32(0) & ~INODE_FLAGS) | flags) >>> 0, true);
  return libc.ioctl(fd, FS_IOC_SETFLAGS, ioAddress);
}
