/** The whole of a tree: what two twins, and a mount and its backing, must have in common. */
import { createHash, type Hash } from 'node:crypto';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_RDONLY,
  PAGE_SIZE,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { type Json, SHARED, type TreeEntry } from './operations.ts';
import { statFacts } from './perform.ts';
import * as sys from './syscalls.ts';

/** More than the kernel allows a list of xattr names to be. */
const XATTR_LIST_BYTES = 64 * 1024;

/** Where in large files data is: the generator's offsets are near multiples of this. */
const REGION_BYTES = 2 ** 32;
const REGIONS = 8;
const BEFORE_REGION_BYTES = 64 * 1024;
const REGION_START_BYTES = 2 * 1024 * 1024;
const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);

/** The parts of a file that are read: all of a small one. */
function* windows(sizeBytes: number): Generator<[start: number, end: number]> {
  let start = 0;
  for (let region = 0; region < REGIONS && start < sizeBytes; region += 1) {
    yield [start, Math.min(sizeBytes, region * REGION_BYTES + REGION_START_BYTES)];
    start = (region + 1) * REGION_BYTES - BEFORE_REGION_BYTES;
  }
}

/** Puts all pages of a window that are not zero, and where they are, into the hash: 0 or -errno. */
function hashWindow(fd: number, hash: Hash, start: number, end: number): number {
  for (let position = start; position < end; ) {
    const room = Math.min(end - position, sys.IO_SIZE_BYTES);
    const length = libc.pread(fd, sys.ioAddress, room, position);
    if (length <= 0) {
      return length;
    }
    for (let at = 0; at < length; at += PAGE_SIZE) {
      const page = sys.io.subarray(at, Math.min(at + PAGE_SIZE, length));
      if (!page.equals(ZERO_PAGE.subarray(0, page.length))) {
        hash.update(`${position + at}:`).update(page);
      }
    }
    position += length;
  }
  return 0;
}

function contents(path: string, sizeBytes: number): string {
  const fd = libc.openat(AT_FDCWD, sys.bytes(path).address, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) {
    return `open: ${fd}`;
  }
  const hash = createHash('sha1');
  let failure = 0;
  for (const [start, end] of windows(sizeBytes)) {
    failure ||= hashWindow(fd, hash, start, end);
  }
  libc.close(fd);
  return failure < 0 ? `read: ${failure}` : hash.digest('hex');
}

function xattrs(path: string): Json {
  const names = sys.xattrNames(path, XATTR_LIST_BYTES);
  if (typeof names === 'number') {
    return names;
  }
  const pathBytes = sys.bytes(path);
  return names.map((name) => {
    const nameBytes = sys.bytes(name);
    const length = libc.getxattr(
      pathBytes.address,
      nameBytes.address,
      sys.ioAddress,
      XATTR_LIST_BYTES,
    );
    const value = sys.io.subarray(0, Math.max(length, 0));
    return `${name}=${length}:${createHash('sha1').update(value).digest('hex')}`;
  });
}

function linkTarget(path: string): string {
  const length = libc.readlinkat(
    AT_FDCWD,
    sys.bytes(path).address,
    sys.ioAddress,
    sys.IO_SIZE_BYTES,
  );
  return length < 0 ? `readlink: ${length}` : sys.ioText(0, length);
}

/**
 * Describes everything below `root`, sorted by path. Times that the clock gave read `recent`; atime
 * is left out, since taking the snapshot moves it.
 */
export function snapshot(root: string): TreeEntry[] {
  const tree: TreeEntry[] = [];
  const firstPathByInode = new Map<number, string>();

  function visit(path: string): void {
    const absolute = path === '' ? root : `${root}/${path}`;
    const stat = sys.stat(absolute, false);
    if (typeof stat === 'number') {
      tree.push({ path, ino: 0, facts: { error: stat } });
      return;
    }
    const facts = statFacts(stat);
    const type = sys.fileType(stat.mode);
    if (type === S_IFREG) {
      facts['sha1'] = contents(absolute, stat.sizeBytes);
    }
    if (type === S_IFREG || type === S_IFDIR) {
      facts['xattrs'] = xattrs(absolute);
    }
    if (type === S_IFLNK) {
      facts['target'] = linkTarget(absolute);
    }
    if (path === SHARED) {
      // How far it has grown depends on the order in which the actors came.
      delete facts['size'];
    }
    const firstPath = firstPathByInode.get(stat.ino);
    if (firstPath === undefined) {
      firstPathByInode.set(stat.ino, path);
    } else {
      facts['sameFileAs'] = firstPath;
    }
    const names = type === S_IFDIR ? sys.namesIn(absolute) : [];
    tree.push({ path, ino: stat.ino, facts });
    if (typeof names === 'number') {
      facts['list'] = names;
      return;
    }
    for (const name of names) {
      visit(path === '' ? name : `${path}/${name}`);
    }
  }

  visit('');
  return tree;
}
