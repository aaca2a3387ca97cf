/** Loops over system calls on names, attributes and directories. */
import { join } from 'node:path';
import { ERRNO } from '../../../src/shared/abi/errno.ts';
import {
  LINUX_DIRENT64,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import * as libc from '../../../src/shared/sys/libc.ts';
import { LAYOUT, MOST_CLIENTS } from '../tree.ts';
import {
  data,
  type Figure,
  must,
  mustEqual,
  NativeBuffer,
  PAGE,
  type Run,
  repeat,
  stat,
  timed,
  type Workload,
  withOpen,
} from './workload.ts';

/** `.` and `..`: passthrough_hp 3.14 does not list them. */
const DOTS = 2;
const dirents = new NativeBuffer(32 << 10, 0);
const direntView = new DataView(dirents.bytes.buffer, dirents.bytes.byteOffset);

/** Runs `body` with a descriptor of a directory that causes no OPENDIR. */
function inDirectory<T>(path: string, body: (dirfd: number) => T): T {
  return withOpen(path, O_PATH | O_DIRECTORY, body);
}

function namesOf(count: number, name: (index: number) => string): libc.CString[] {
  return Array.from({ length: count }, (_, index) => new libc.CString(name(index)));
}

function statAgain(run: Run): Figure {
  const names = namesOf(LAYOUT.fileCount, LAYOUT.fileName);
  return inDirectory(join(run.root, LAYOUT.files), (dirfd) =>
    repeat(run, run.sizes.statOperations, (step) => {
      must(stat(dirfd, names[step % names.length].address), 'statx');
    }),
  );
}

function statFirst(run: Run): Figure {
  const names = namesOf(run.sizes.freshFiles, LAYOUT.fileName);
  return inDirectory(join(run.root, LAYOUT.fresh(run.round)), (dirfd) =>
    repeat(run, names.length, (step) => {
      must(stat(dirfd, names[step].address), 'statx');
    }),
  );
}

function statAbsent(run: Run): Figure {
  const names = namesOf(run.sizes.freshFiles, (index) => `absent-${run.tag}-${index}`);
  return inDirectory(join(run.root, LAYOUT.files), (dirfd) =>
    repeat(run, names.length, (step) => {
      mustEqual(stat(dirfd, names[step].address), -ERRNO.ENOENT, 'statx of an absent name');
    }),
  );
}

function openReadClose(run: Run): Figure {
  const names = namesOf(LAYOUT.fileCount, LAYOUT.fileName);
  return inDirectory(join(run.root, LAYOUT.files), (dirfd) =>
    repeat(run, run.sizes.openOperations, (step) => {
      const name = names[step % names.length].address;
      const fd = must(libc.openat(dirfd, name, O_RDONLY, 0), 'open');
      mustEqual(libc.read(fd, data.address, PAGE), LAYOUT.fileSizeBytes, 'read');
      must(libc.close(fd), 'close');
    }),
  );
}

function createWriteUnlink(run: Run): Figure {
  const names = namesOf(run.sizes.createOperations, (index) => `${run.tag}-${index}`);
  const flags = O_WRONLY | O_CREAT | O_EXCL;
  return inDirectory(join(run.root, LAYOUT.scratch(run.client)), (dirfd) =>
    repeat(run, names.length, (step) => {
      const { address } = names[step];
      const fd = must(libc.openat(dirfd, address, flags, 0o644), 'create');
      mustEqual(libc.write(fd, data.address, PAGE), PAGE, 'write');
      must(libc.close(fd), 'close');
      must(libc.unlinkat(dirfd, address, 0), 'unlink');
    }),
  );
}

const renamed = (index: number): string => `renamed-${index}`;

/** Every file gets another name and, at the next pass, its own again. */
function rename(run: Run): Figure {
  const names = namesOf(LAYOUT.fileCount, LAYOUT.fileName);
  const others = namesOf(LAYOUT.fileCount, renamed);
  return inDirectory(join(run.root, LAYOUT.files), (dirfd) =>
    repeat(run, run.sizes.renameOperations, (step) => {
      const index = step % names.length;
      const isBack = Math.floor(step / names.length) % 2 === 1;
      const from = (isBack ? others : names)[index].address;
      const to = (isBack ? names : others)[index].address;
      must(libc.renameat2(dirfd, from, dirfd, to, 0), 'rename');
    }),
  );
}

/** A run may end in the middle of a pass: files that still have the other name get their own. */
function renameBack({ root }: Run): void {
  inDirectory(join(root, LAYOUT.files), (dirfd) => {
    for (let index = 0; index < LAYOUT.fileCount; index++) {
      const from = new libc.CString(renamed(index));
      const to = new libc.CString(LAYOUT.fileName(index));
      const result = libc.renameat2(dirfd, from.address, dirfd, to.address, 0);
      if (result !== -ERRNO.ENOENT) must(result, 'rename back');
    }
  });
}

/** Lists the large directory as ls does, by 32 KiB, and looks at every entry when `withStat`. */
function readLargeDirectory(run: Run, withStat: boolean): Figure {
  const path = new libc.CString(join(run.root, LAYOUT.large));
  const files = run.sizes.directoryEntries;
  return timed(run, () => {
    const fd = must(libc.open(path.address, O_RDONLY | O_DIRECTORY), 'open');
    let entries = 0;
    for (;;) {
      const filled = must(libc.getdents64(fd, dirents.address, dirents.bytes.length), 'getdents64');
      if (filled === 0) break;
      for (let at = 0; at < filled; ) {
        if (withStat) must(stat(fd, dirents.address + at + LINUX_DIRENT64.name), 'statx');
        at += direntView.getUint16(at + LINUX_DIRENT64.reclen, true);
        entries++;
      }
    }
    must(libc.close(fd), 'close');
    if (entries !== files) mustEqual(entries, files + DOTS, `of ${files} entries and dots, found`);
    return files;
  });
}

const group = 'metadata';
const CREATE = 'create, write 4 KiB, close, unlink';

export const METADATA_WORKLOADS: readonly Workload[] = [
  {
    name: 'stat',
    group,
    clients: 1,
    operation: 'statx of one of 100 names, again and again',
    run: statAgain,
  },
  {
    name: 'stat-first',
    group,
    clients: 1,
    operation: 'statx of a name the mount has not seen before',
    run: statFirst,
  },
  {
    name: 'stat-absent',
    group,
    clients: 1,
    operation: 'statx of a name that does not exist',
    run: statAbsent,
  },
  {
    name: 'open-read-close',
    group,
    clients: 1,
    operation: 'open, read 1 KiB, close, of one of 100 files',
    run: openReadClose,
  },
  { name: 'create', group, clients: 1, operation: CREATE, run: createWriteUnlink },
  {
    name: 'create-4',
    group,
    clients: 4,
    operation: `${CREATE}, 4 clients`,
    run: createWriteUnlink,
  },
  {
    name: 'rename',
    group,
    clients: 1,
    operation: 'rename of one of 100 files',
    run: rename,
    finish: renameBack,
  },
  {
    name: 'readdir',
    group,
    clients: 1,
    operation: 'one entry of a directory of 10,000',
    run: (run) => readLargeDirectory(run, false),
  },
  {
    name: 'readdir-stat',
    group,
    clients: 1,
    operation: 'one entry of a directory of 10,000, and its statx',
    run: (run) => readLargeDirectory(run, true),
  },
  {
    name: 'stat-8',
    group,
    clients: MOST_CLIENTS,
    operation: 'as stat, 8 clients',
    run: statAgain,
  },
  {
    name: 'create-8',
    group,
    clients: MOST_CLIENTS,
    operation: `${CREATE}, 8 clients`,
    run: createWriteUnlink,
  },
];
