/** The process that works in the mount: one step for each message. */

import { nowUs } from '../../src/shared/clock.ts';
import {
  LINUX_DIRENT64,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import {
  data,
  must,
  mustEqual,
  NativeBuffer,
  PAGE,
  stat,
  withOpen,
} from '../macro/workloads/workload.ts';

export interface ScaleStep {
  readonly step: keyof typeof STEPS;
  /** The directory in the mount. */
  readonly directory: string;
  readonly files: number;
  readonly openFiles: number;
  readonly seconds: number;
}

export type ScaleReply =
  | { readonly operations: number; readonly elapsedUs: number }
  | { readonly error: string };

const DOTS = 2;
const CHURN_NAMES = 1000;
const dirents = new NativeBuffer(32 << 10, 0);
const direntView = new DataView(dirents.bytes.buffer, dirents.bytes.byteOffset);
/** Files that are held open between two steps. */
const held: number[] = [];

/** A name made anew in the same memory: a million of them would be a client's heap. */
const nameBuffer = new NativeBuffer(PAGE, 0);
function nameAt(index: number): number {
  let rest = index;
  for (let digit = 8; digit >= 0; digit--) {
    nameBuffer.bytes[digit] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  return nameBuffer.address;
}

function inDirectory(path: string, body: (dirfd: number) => number): number {
  return withOpen(path, O_RDONLY | O_DIRECTORY, body);
}

function create({ directory, files }: ScaleStep): number {
  return inDirectory(directory, (dirfd) => {
    for (let file = 0; file < files; file++) {
      const fd = libc.openat(dirfd, nameAt(file), O_RDWR | O_CREAT | O_EXCL, 0o644);
      must(libc.close(must(fd, 'create')), 'close');
    }
    return files;
  });
}

/** Far from the one before: a prime that is no divisor of usual counts. */
const STRIDE = 999_983;

function statFar({ directory, files }: ScaleStep): number {
  return inDirectory(directory, (dirfd) => {
    for (let step = 0; step < files; step++) {
      must(stat(dirfd, nameAt((step * STRIDE) % files)), 'statx');
    }
    return files;
  });
}

function list({ directory, files }: ScaleStep): number {
  return inDirectory(directory, (fd) => {
    let entries = 0;
    for (;;) {
      const filled = must(libc.getdents64(fd, dirents.address, dirents.bytes.length), 'getdents64');
      if (filled === 0) break;
      for (let at = 0; at < filled; entries++) {
        at += direntView.getUint16(at + LINUX_DIRENT64.reclen, true);
      }
    }
    mustEqual(entries, files + DOTS, `of ${files + DOTS} entries, found`);
    return files;
  });
}

function open({ directory, openFiles }: ScaleStep): number {
  return inDirectory(directory, (dirfd) => {
    for (let file = 0; file < openFiles; file++) {
      held.push(must(libc.openat(dirfd, nameAt(file), O_RDWR, 0), 'open'));
    }
    return openFiles;
  });
}

function use(): number {
  for (const fd of held) mustEqual(libc.pwrite(fd, data.address, 1, 0), 1, 'pwrite');
  return held.length;
}

function close(): number {
  const count = held.length;
  for (const fd of held.splice(0)) must(libc.close(fd), 'close');
  return count;
}

/** Creates, writes, reads and removes over and over. */
function churn({ directory, seconds }: ScaleStep): number {
  return inDirectory(directory, (dirfd) => {
    const untilUs = nowUs() + seconds * 1e6;
    let step = 0;
    for (; nowUs() < untilUs; step++) {
      // Names beyond those of the million files.
      const name = nameAt(900_000_000 + (step % CHURN_NAMES));
      const fd = must(libc.openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL, 0o644), 'create');
      mustEqual(libc.pwrite(fd, data.address, PAGE, 0), PAGE, 'pwrite');
      mustEqual(libc.pread(fd, data.address, PAGE, 0), PAGE, 'pread');
      must(libc.close(fd), 'close');
      must(stat(dirfd, name), 'statx');
      must(libc.unlinkat(dirfd, name, 0), 'unlink');
    }
    return step;
  });
}

function remove({ directory, files }: ScaleStep): number {
  return inDirectory(directory, (dirfd) => {
    for (let file = 0; file < files; file++) {
      must(libc.unlinkat(dirfd, nameAt(file), 0), 'unlink');
    }
    return files;
  });
}

const STEPS = { create, statFar, list, open, use, close, churn, remove };

process.on('message', (request: ScaleStep) => {
  const startUs = nowUs();
  let reply: ScaleReply;
  try {
    const operations = STEPS[request.step](request);
    reply = { operations, elapsedUs: nowUs() - startUs };
  } catch (error) {
    reply = { error: (error as Error).message };
  }
  process.send?.(reply);
});
process.on('disconnect', () => process.exit());
