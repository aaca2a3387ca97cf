/** What fuse-native takes for attributes: numbers of 32 bits, times in milliseconds. */
import { ATTR, DIRENT, KSTATFS } from '../../../shared/abi/structs.ts';
import { readWord } from './request-channel.ts';

/** A struct stat as the addon takes it; see STAT. */
export type NativeStat = Uint32Array;

/** Places in a NativeStat. Sizes and times have two, the low one first. */
const STAT = {
  mode: 0,
  uid: 1,
  gid: 2,
  size: 3,
  nlink: 6,
  ino: 7,
  rdev: 8,
  blksize: 9,
  blocks: 10,
  atime: 12,
  mtime: 14,
  ctime: 16,
  LENGTH: 18,
} as const;

/** Places in a struct statvfs as the addon takes it. */
const STATVFS = {
  bsize: 0,
  frsize: 1,
  blocks: 2,
  bfree: 3,
  bavail: 4,
  files: 5,
  ffree: 6,
  favail: 7,
  namemax: 10,
  LENGTH: 11,
} as const;

const S_IFMT_SHIFT = 12;
const UINT32_MAX = 0xffff_ffff;
const WORD = UINT32_MAX + 1;

/** Numbers of inodes have 32 bits here: larger ones are folded, and two may come out the same. */
function inode32(low: number, high: number): number {
  return (low ^ high) >>> 0 || 1;
}

/** A time in milliseconds. One before 1970 would be read as one in the far future: it is shown as 1970. */
function putTime(
  stat: NativeStat,
  place: number,
  attr: Buffer,
  at: number,
  nanoseconds: number,
): void {
  const seconds = attr.readInt32LE(at + 4) < 0 ? 0 : readWord(attr, at);
  const ms = seconds * 1000 + Math.floor(attr.readUInt32LE(nanoseconds) / 1e6);
  putWord(stat, place, ms);
}

function putWord(stat: NativeStat, place: number, value: number): void {
  stat[place] = value % WORD;
  stat[place + 1] = Math.floor(value / WORD);
}

/** @param attr a fuse_attr */
export function nativeStat(attr: Buffer): NativeStat {
  const stat = new Uint32Array(STAT.LENGTH);
  for (const name of ['mode', 'nlink', 'uid', 'gid', 'rdev', 'blksize'] as const) {
    stat[STAT[name]] = attr.readUInt32LE(ATTR[name]);
  }
  stat[STAT.ino] = inode32(attr.readUInt32LE(ATTR.ino), attr.readUInt32LE(ATTR.ino + 4));
  putWord(stat, STAT.size, readWord(attr, ATTR.size));
  putWord(stat, STAT.blocks, readWord(attr, ATTR.blocks));
  putTime(stat, STAT.atime, attr, ATTR.atime, ATTR.atimensec);
  putTime(stat, STAT.mtime, attr, ATTR.mtime, ATTR.mtimensec);
  putTime(stat, STAT.ctime, attr, ATTR.ctime, ATTR.ctimensec);
  return stat;
}

/** Counts of blocks have 32 bits too: larger ones are told in larger blocks. */
export function nativeStatfs(body: Buffer): Uint32Array {
  let scale = 1;
  while (readWord(body, KSTATFS.blocks) / scale > UINT32_MAX) scale *= 2;
  const statfs = new Uint32Array(STATVFS.LENGTH);
  for (const name of ['bsize', 'frsize'] as const) {
    statfs[STATVFS[name]] = body.readUInt32LE(KSTATFS[name]) * scale;
  }
  for (const name of ['blocks', 'bfree', 'bavail'] as const) {
    statfs[STATVFS[name]] = Math.floor(readWord(body, KSTATFS[name]) / scale);
  }
  statfs[STATVFS.files] = Math.min(UINT32_MAX, readWord(body, KSTATFS.files));
  statfs[STATVFS.ffree] = Math.min(UINT32_MAX, readWord(body, KSTATFS.ffree));
  statfs[STATVFS.favail] = statfs[STATVFS.ffree];
  statfs[STATVFS.namemax] = body.readUInt32LE(KSTATFS.namelen);
  return statfs;
}

export interface DirectoryEntry {
  readonly name: Buffer;
  readonly stat: NativeStat;
}

/** The entries of a READDIR's reply, and where the next one goes on. */
export function entriesOf(body: Buffer): { entries: DirectoryEntry[]; next: Buffer | undefined } {
  const entries: DirectoryEntry[] = [];
  let next: Buffer | undefined;
  for (let at = 0; at + DIRENT.SIZE <= body.length; ) {
    const length = body.readUInt32LE(at + DIRENT.namelen);
    const mode = body.readUInt32LE(at + DIRENT.type) << S_IFMT_SHIFT;
    const ino = inode32(body.readUInt32LE(at + DIRENT.ino), body.readUInt32LE(at + DIRENT.ino + 4));
    const name = body.subarray(at + DIRENT.name, at + DIRENT.name + length);
    const stat = new Uint32Array(STAT.LENGTH);
    stat[STAT.mode] = mode;
    stat[STAT.ino] = ino;
    entries.push({ name, stat });
    next = body.subarray(at + DIRENT.off, at + DIRENT.off + 8);
    at += (DIRENT.SIZE + length + 7) & ~7;
  }
  return { entries, next };
}
