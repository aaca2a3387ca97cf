/**
 * What is measured: each workload is one loop over system calls that runs in the client process. Names
 * and buffers are made before the clock starts, so that a loop costs a koffi call per system call and
 * little else.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName } from '../src/shared/abi/errno.ts';
import {
  AT_SYMLINK_NOFOLLOW,
  LINUX_DIRENT64,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  STATX,
  STATX_BASIC_STATS,
} from '../src/shared/sys/constants.ts';
import * as libc from '../src/shared/sys/libc.ts';
import { ARCHIVE_NAME, LAYOUT, type Sizes } from './tree.ts';

/** Where and how much one run works. */
export interface Run {
  /** The directory under test: the plain one or a mount of it. */
  readonly root: string;
  /** Outside every mount: holds the archive that is unpacked. */
  readonly workDir: string;
  readonly round: number;
  readonly sizes: Sizes;
}

/** What a run took. */
export interface Figure {
  readonly operations: number;
  readonly elapsedUs: number;
}

export interface Workload {
  readonly name: string;
  /** What one operation is. */
  readonly operation: string;
  /** Bytes moved by one operation, where a rate makes sense. */
  readonly operationSizeBytes?: number;
  run(run: Run): Figure;
}

const MIB = 1 << 20;
const PAGE = 4096;

/** Memory for system calls. Its address is valid while the holder is reachable, not longer. */
class NativeBuffer {
  readonly bytes: Uint8Array;
  readonly address: number;

  constructor(sizeBytes: number, fill: number) {
    this.bytes = new Uint8Array(new SharedArrayBuffer(sizeBytes)).fill(fill);
    this.address = libc.addressOf(this.bytes);
  }
}

const statx = new NativeBuffer(STATX.SIZE, 0);
const data = new NativeBuffer(MIB, 0x5a);
const dirents = new NativeBuffer(32 << 10, 0);
const direntView = new DataView(dirents.bytes.buffer);

function must(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: ${errnoName(result)}`);
  return result;
}

function mustEqual(actual: number, expected: number, what: string): void {
  if (actual === expected) return;
  throw new Error(actual < 0 ? `${what}: ${errnoName(actual)}` : `${what}: ${actual} bytes`);
}

/** Runs `body` with a descriptor of a directory that causes no OPENDIR. */
function inDirectory<T>(path: string, body: (dirfd: number) => T): T {
  const name = new libc.CString(path);
  const dirfd = must(libc.open(name.address, O_PATH | O_DIRECTORY), path);
  try {
    return body(dirfd);
  } finally {
    libc.close(dirfd);
  }
}

function numberedNames(count: number): libc.CString[] {
  return Array.from({ length: count }, (_, index) => new libc.CString(LAYOUT.fileName(index)));
}

function timed(operations: number, body: () => void): Figure {
  const startMs = performance.now();
  body();
  return { operations, elapsedUs: (performance.now() - startMs) * 1000 };
}

function stat(dirfd: number, name: number): void {
  must(libc.statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, statx.address), 'statx');
}

function statNames(directory: string, nameCount: number, operations: number): Figure {
  const names = numberedNames(nameCount);
  return inDirectory(directory, (dirfd) =>
    timed(operations, () => {
      for (let step = 0; step < operations; step++) stat(dirfd, names[step % nameCount].address);
    }),
  );
}

function openReadClose({ root, sizes }: Run): Figure {
  const names = numberedNames(sizes.fileCount);
  return inDirectory(join(root, LAYOUT.files), (dirfd) =>
    timed(sizes.openOperations, () => {
      for (let step = 0; step < sizes.openOperations; step++) {
        const name = names[step % names.length].address;
        const fd = must(libc.openat(dirfd, name, O_RDONLY, 0), 'open');
        mustEqual(libc.read(fd, data.address, PAGE), LAYOUT.fileSizeBytes, 'read');
        must(libc.close(fd), 'close');
      }
    }),
  );
}

function createWriteUnlink({ root, sizes }: Run): Figure {
  const names = numberedNames(sizes.createOperations);
  return inDirectory(join(root, LAYOUT.scratch), (dirfd) =>
    timed(names.length, () => {
      for (const { address } of names) {
        const fd = must(libc.openat(dirfd, address, O_WRONLY | O_CREAT | O_EXCL, 0o644), 'create');
        mustEqual(libc.write(fd, data.address, PAGE), PAGE, 'write');
        must(libc.close(fd), 'close');
        must(libc.unlinkat(dirfd, address, 0), 'unlink');
      }
    }),
  );
}

/** Lists the large directory as ls does, by 32 KiB, and looks at every entry when `withStat`. */
function readLargeDirectory({ root, sizes }: Run, withStat: boolean): Figure {
  const path = new libc.CString(join(root, LAYOUT.large));
  return timed(sizes.directoryEntries, () => {
    const fd = must(libc.open(path.address, O_RDONLY | O_DIRECTORY), 'open');
    let entries = 0;
    for (;;) {
      const filled = must(libc.getdents64(fd, dirents.address, dirents.bytes.length), 'getdents64');
      if (filled === 0) break;
      for (let at = 0; at < filled; ) {
        if (withStat) stat(fd, dirents.address + at + LINUX_DIRENT64.name);
        at += direntView.getUint16(at + LINUX_DIRENT64.reclen, true);
        entries++;
      }
    }
    libc.close(fd);
    const dots = 2;
    if (entries !== sizes.directoryEntries + dots) throw new Error(`readdir: ${entries} entries`);
  });
}

function runCommand(operations: number, script: string, ...operands: string[]): Figure {
  return timed(operations, () => {
    const child = spawnSync('sh', ['-c', script, 'sh', ...operands], { encoding: 'utf8' });
    if (child.status === 0) return;
    throw new Error((child.error?.message ?? child.stderr.trim()) || `exit code ${child.status}`);
  });
}

function unpackedDirectory({ root, round }: Run): string {
  return join(root, LAYOUT.scratch, `unpacked-${round}`);
}

function unpack(run: Run): Figure {
  const target = unpackedDirectory(run);
  mkdirSync(target);
  const archive = join(run.workDir, ARCHIVE_NAME);
  return runCommand(run.sizes.treeFiles, 'tar -xf "$1" -C "$2"', archive, target);
}

function sequentialRead({ root, sizes }: Run): Figure {
  const path = new libc.CString(join(root, LAYOUT.sequential));
  return timed(sizes.sequentialMib, () => {
    const fd = must(libc.open(path.address, O_RDONLY), 'open');
    for (let step = 0; step < sizes.sequentialMib; step++) {
      mustEqual(libc.read(fd, data.address, MIB), MIB, 'read');
    }
    must(libc.close(fd), 'close');
  });
}

function sequentialWrite({ root, sizes }: Run): Figure {
  return inDirectory(join(root, LAYOUT.scratch), (dirfd) => {
    const name = new libc.CString('written');
    const figure = timed(sizes.sequentialMib, () => {
      const flags = O_WRONLY | O_CREAT | O_EXCL;
      const fd = must(libc.openat(dirfd, name.address, flags, 0o644), 'create');
      for (let step = 0; step < sizes.sequentialMib; step++) {
        mustEqual(libc.write(fd, data.address, MIB), MIB, 'write');
      }
      must(libc.close(fd), 'close');
    });
    must(libc.unlinkat(dirfd, name.address, 0), 'unlink');
    return figure;
  });
}

/** Distinct page offsets in an order that depends on the round only: no page is met twice in a run. */
function shuffledOffsets({ round, sizes }: Run): number[] {
  const pages = Array.from({ length: (sizes.randomMib * MIB) / PAGE }, (_, page) => page * PAGE);
  let seed = round + 1;
  for (let last = pages.length - 1; last > 0; last--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (last + 1);
    [pages[last], pages[other]] = [pages[other], pages[last]];
  }
  return pages.slice(0, sizes.randomOperations);
}

function randomAccess(run: Run, openFlags: number, access: typeof libc.pread): Figure {
  const offsets = shuffledOffsets(run);
  const path = new libc.CString(join(run.root, LAYOUT.random));
  return timed(offsets.length, () => {
    const fd = must(libc.open(path.address, openFlags), 'open');
    for (const offset of offsets) {
      mustEqual(access(fd, data.address, PAGE, offset), PAGE, 'random access');
    }
    must(libc.close(fd), 'close');
  });
}

/** In the order in which a round runs them: `remove` deletes what `unpack` made. */
export const WORKLOADS: readonly Workload[] = [
  {
    name: 'stat',
    operation: 'statx of one of 100 names, again and again',
    run: ({ root, sizes }) =>
      statNames(join(root, LAYOUT.files), sizes.fileCount, sizes.statOperations),
  },
  {
    name: 'stat-fresh',
    operation: 'statx of a name the mount has not seen before',
    run: ({ root, round, sizes }) =>
      statNames(join(root, LAYOUT.fresh(round)), sizes.freshFiles, sizes.freshFiles),
  },
  {
    name: 'open-read-close',
    operation: 'open, read 1 KiB, close, of one of 100 files',
    run: openReadClose,
  },
  {
    name: 'create-unlink',
    operation: 'create, write 4 KiB, close, unlink',
    run: createWriteUnlink,
  },
  {
    name: 'readdir',
    operation: 'one entry of a directory of 10,000',
    run: (run) => readLargeDirectory(run, false),
  },
  {
    name: 'readdir-stat',
    operation: 'one entry of a directory of 10,000, and its statx',
    run: (run) => readLargeDirectory(run, true),
  },
  {
    name: 'tar-pack',
    operation: 'one file of a tree of 2,000, tar to a pipe',
    run: ({ root, sizes }) =>
      runCommand(sizes.treeFiles, 'tar -cf - -C "$1" . | cat >/dev/null', join(root, LAYOUT.tree)),
  },
  {
    name: 'tar-unpack',
    operation: 'one file of a tree of 2,000, tar from a file outside',
    run: unpack,
  },
  {
    name: 'remove',
    operation: 'one file of a tree of 2,000, rm -r',
    run: (run) => runCommand(run.sizes.treeFiles, 'rm -r "$1"', unpackedDirectory(run)),
  },
  {
    name: 'read-1m',
    operation: '1 MiB of a sequential read',
    operationSizeBytes: MIB,
    run: sequentialRead,
  },
  {
    name: 'write-1m',
    operation: '1 MiB of a sequential write to a new file',
    operationSizeBytes: MIB,
    run: sequentialWrite,
  },
  {
    name: 'read-4k',
    operation: '4 KiB at a random place, no place twice',
    operationSizeBytes: PAGE,
    run: (run) => randomAccess(run, O_RDONLY, libc.pread),
  },
  {
    name: 'write-4k',
    operation: '4 KiB at a random place, no place twice',
    operationSizeBytes: PAGE,
    run: (run) => randomAccess(run, O_WRONLY, libc.pwrite),
  },
];
