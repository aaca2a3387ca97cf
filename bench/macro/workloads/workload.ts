/** What a workload is, and the parts they have in common: buffers, the clock, what a run costs. */
import { spawnSync } from 'node:child_process';
import { errnoName } from '../../../src/shared/abi/errno.ts';
import { nowUs } from '../../../src/shared/clock.ts';
import {
  AT_SYMLINK_NOFOLLOW,
  STATX,
  STATX_BASIC_STATS,
} from '../../../src/shared/sys/constants.ts';
import * as libc from '../../../src/shared/sys/libc.ts';
import { childrenUsage } from '../children-usage.ts';
import type { WorkloadFacts } from '../record.ts';
import type { Sizes } from '../tree.ts';

/** Where and how much one run works. */
export interface Run {
  /** The directory under test: the plain one or a mount of it. */
  readonly root: string;
  /** What lies behind it: the same for the plain directory. */
  readonly source: string;
  /** Outside every mount: holds the archive that is unpacked. */
  readonly workDir: string;
  readonly round: number;
  /** A part of a file name that no other round and placement has. */
  readonly tag: string;
  readonly sizes: Sizes;
  /** Which of the clients, from 0. */
  readonly client: number;
  /** When all clients begin, on nowUs(); 0: at once. */
  readonly startAtUs: number;
}

/** What a run took one client. */
export interface Figure {
  readonly operations: number;
  /** On nowUs(), which all processes share. */
  readonly startUs: number;
  readonly endUs: number;
  readonly cpuUs: number;
  readonly switches: number;
}

export interface Workload extends WorkloadFacts {
  /** Pages are to come from the disk: makes no sense on tmpfs. */
  readonly isCold?: boolean;
  /** By the first client alone, before and after, not measured. */
  prepare?(run: Run): void;
  finish?(run: Run): void;
  run(run: Run): Figure;
}

export const PAGE = 4096;
export const MIB = 1 << 20;
/** The clock is read after so many operations: that costs 50 ns each time. */
const LOOK_EVERY = 8;

/** Memory for system calls, on a page. Its address is valid while the holder is reachable. */
export class NativeBuffer {
  readonly bytes: Uint8Array;
  readonly address: number;

  constructor(sizeBytes: number, fill: number) {
    const room = new Uint8Array(new SharedArrayBuffer(sizeBytes + PAGE));
    const address = libc.addressOf(room);
    const skip = (PAGE - (address % PAGE)) % PAGE;
    this.bytes = room.subarray(skip, skip + sizeBytes).fill(fill);
    this.address = address + skip;
  }
}

export const data = new NativeBuffer(MIB, 0x5a);
const statxBuffer = new NativeBuffer(STATX.SIZE, 0);

/** @throws Error with the name of the errno */
export function must(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: ${errnoName(result)}`);
  return result;
}

export function mustEqual(actual: number, expected: number, what: string): void {
  if (actual === expected) return;
  throw new Error(actual < 0 ? `${what}: ${errnoName(actual)}` : `${what}: ${actual}`);
}

export function stat(dirfd: number, name: number): number {
  return libc.statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, statxBuffer.address);
}

/** Opens a path for the time of `body`. */
export function withOpen<T>(path: string, flags: number, body: (fd: number) => T): T {
  const name = new libc.CString(path);
  const fd = must(libc.open(name.address, flags, 0o644), path);
  try {
    return body(fd);
  } finally {
    libc.close(fd);
  }
}

interface Usage {
  readonly cpuUs: number;
  readonly switches: number;
}

function usage(): Usage {
  const own = process.resourceUsage();
  const children = childrenUsage();
  return {
    cpuUs: own.userCPUTime + own.systemCPUTime + children.cpuUs,
    switches: own.voluntaryContextSwitches + own.involuntaryContextSwitches + children.switches,
  };
}

/** Runs `body` when all clients begin; it returns the operations it did. */
export function timed({ startAtUs }: Run, body: () => number): Figure {
  waitUntil(startAtUs);
  const before = usage();
  const startUs = nowUs();
  const operations = body();
  const endUs = nowUs();
  const after = usage();
  const cpuUs = after.cpuUs - before.cpuUs;
  return { operations, startUs, endUs, cpuUs, switches: after.switches - before.switches };
}

/** Repeats one operation `most` times, or until the time of a run is over. */
export function repeat(run: Run, most: number, operation: (step: number) => void): Figure {
  return timed(run, () => {
    const untilUs = nowUs() + run.sizes.runMs * 1000;
    let step = 0;
    while (step < most) {
      operation(step++);
      if (step % LOOK_EVERY === 0 && nowUs() > untilUs) break;
    }
    return step;
  });
}

/** Sleeps: a busy client would take the time of those that are not ready. */
function waitUntil(startAtUs: number): void {
  const ms = (startAtUs - nowUs()) / 1000;
  if (ms > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Runs a script of sh with the operands as $1, $2... @throws Error with what it said */
export function runScript(script: string, ...operands: string[]): void {
  const env = { ...process.env, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' };
  const child = spawnSync('sh', ['-ec', script, 'sh', ...operands], { encoding: 'utf8', env });
  if (child.status === 0) return;
  throw new Error((child.error?.message ?? child.stderr.trim()) || `exit code ${child.status}`);
}
