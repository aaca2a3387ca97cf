/** Runs operations on one file, one after the other, and checks the file against the model. */
import { writeFileSync } from 'node:fs';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { O_CLOEXEC, O_CREAT, O_RDWR } from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import {
  FALLOCATE_MODES,
  type FallocateMode,
  NOT_IN_FUSE,
  OPERATIONS,
  type Surroundings,
  WEIGHTS,
} from './operations.ts';
import { Random } from './random.ts';
import { Finding, must, Subject } from './subject.ts';

export interface Task {
  /** The file, and the same file behind the mount; the same path for a file that is not in a mount. */
  readonly path: string;
  readonly backing: string;
  readonly seed: number;
  /** Ends after so many operations, or after so many milliseconds. */
  readonly operations: number;
  readonly limitMs: number;
  readonly hasWriteback: boolean;
  /** From this operation on bytes are changed behind the mount: that has to be found. */
  readonly corruptAt?: number;
}

export interface Outcome {
  readonly seed: number;
  readonly operations: number;
  /** How often each operation was done. */
  readonly counts: Readonly<Record<string, number>>;
  /** What was found, after which operations; the last is the one that failed. */
  readonly finding?: { readonly message: string; readonly last: readonly string[] };
}

const REMEMBERED = 12;
const WHOLE_EVERY = 40;
const BACKING_EVERY = 120;
const BLOCK = 4096;

/** The modes of fallocate(2) that the file system behind refuses, as it does for any file in it. */
function refusedModes(task: Task): Set<FallocateMode> {
  const refused = new Set<FallocateMode>(task.path === task.backing ? [] : NOT_IN_FUSE);
  const path = new libc.CString(`${task.backing}.modes`);
  const fd = must('open', libc.open(path.address, O_RDWR | O_CREAT | O_CLOEXEC, 0o600));
  for (const [name, mode] of Object.entries(FALLOCATE_MODES) as [FallocateMode, number][]) {
    must('ftruncate', libc.ftruncate(fd, 4 * BLOCK));
    if (libc.fallocate(fd, mode, BLOCK, BLOCK) === -ERRNO.EOPNOTSUPP) refused.add(name);
  }
  libc.close(fd);
  return refused;
}

/** Changes one byte in the middle of the file behind the mount. */
function corrupt(task: Task, size: number, random: Random): void {
  const at = random.below(size);
  const path = new libc.CString(task.backing);
  const fd = must('open', libc.open(path.address, O_RDWR | O_CLOEXEC));
  const byte = new Uint8Array(new SharedArrayBuffer(64));
  must('pread', libc.pread(fd, libc.addressOf(byte), 1, at));
  byte[0] = (byte[0] as number) ^ 0x10;
  must('pwrite', libc.pwrite(fd, libc.addressOf(byte), 1, at));
  libc.close(fd);
}

/** Runs until something is found, the operations are done, or the time is up. */
export function runTask(task: Task): Outcome {
  // Through the mount: with writeback the kernel would not see that the file was emptied behind it.
  writeFileSync(task.path, '');
  const random = new Random(task.seed);
  const subject = new Subject(task.path, task.backing, random);
  const log: string[] = [];
  const counts: Record<string, number> = {};
  const surroundings: Surroundings = {
    subject,
    refused: refusedModes(task),
    hasWriteback: task.hasWriteback,
    say(text) {
      log.push(text);
      if (log.length > REMEMBERED) log.shift();
    },
  };
  const untilMs = performance.now() + task.limitMs;
  let done = 0;
  try {
    for (; done < task.operations && performance.now() < untilMs; done++) {
      if (task.corruptAt !== undefined && done >= task.corruptAt && subject.model.size > 0) {
        subject.sync();
        corrupt(task, subject.model.size, random);
      }
      const name = random.weighted(WEIGHTS);
      const [from, to] = OPERATIONS[name](surroundings);
      counts[name] = (counts[name] ?? 0) + 1;
      if (to > from) subject.checkPart(from, to);
      if (random.oneIn(WHOLE_EVERY)) subject.checkWhole();
      if (random.oneIn(BACKING_EVERY)) subject.checkBacking();
    }
    subject.checkWhole();
    subject.checkBacking();
    counts['xfs collision'] = subject.collisions;
    return { seed: task.seed, operations: done, counts };
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    const { message } = error;
    return { seed: task.seed, operations: done + 1, counts, finding: { message, last: log } };
  } finally {
    subject.close();
  }
}
