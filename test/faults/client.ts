/**
 * A program: works on files below a directory, again and again, and checks every byte it gets.
 * Usage: client.js DIRECTORY SECONDS
 * Prints {"rounds", "errors" by code, "wrong": what was not as written, "slowestMs"}.
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

interface Outcome {
  rounds: number;
  readonly errors: Record<string, number>;
  readonly wrong: string[];
  slowestMs: number;
}

const [directory, seconds] = process.argv.slice(2) as [string, string];
const outcome: Outcome = { rounds: 0, errors: {}, wrong: [], slowestMs: 0 };

/** Calls, counts a failure, and returns undefined for it. */
function attempt<T>(call: () => T): T | undefined {
  const startedMs = performance.now();
  try {
    return call();
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    outcome.errors[code] = (outcome.errors[code] ?? 0) + 1;
    return undefined;
  } finally {
    outcome.slowestMs = Math.max(outcome.slowestMs, performance.now() - startedMs);
  }
}

function checkFile(fd: number, written: Buffer): void {
  const got = Buffer.alloc(written.length + 1);
  const count = attempt(() => readSync(fd, got, 0, got.length, 0));
  if (count !== undefined && !got.subarray(0, count).equals(written)) {
    outcome.wrong.push(`round ${outcome.rounds}: read ${count} bytes that were not written`);
  }
  const size = attempt(() => fstatSync(fd).size);
  if (size !== undefined && size !== written.length) {
    outcome.wrong.push(`round ${outcome.rounds}: size ${size} of ${written.length}`);
  }
}

function round(number: number): void {
  const path = join(directory, `file-${number}`);
  const written = Buffer.alloc(1 + ((number * 7919) % 20_000), `${number} `);
  const fd = attempt(() => openSync(path, 'wx+'));
  if (fd !== undefined) {
    // A write that failed may have been done or not: nothing can be said about the bytes then.
    const isWritten = attempt(() => writeSync(fd, written, 0, written.length, 0));
    if (isWritten === written.length) checkFile(fd, written);
    attempt(() => closeSync(fd));
    attempt(() => renameSync(path, `${path}.moved`));
    const again = attempt(() => openSync(`${path}.moved`, 'r'));
    if (again !== undefined) {
      if (isWritten === written.length) checkFile(again, written);
      attempt(() => closeSync(again));
    }
  }
  if (number % 4 === 0) attempt(() => mkdirSync(join(directory, `dir-${number}`)));
  if (number % 4 === 1) attempt(() => readdirSync(directory));
  if (number % 4 === 2) attempt(() => rmdirSync(join(directory, `dir-${number - 2}`)));
  attempt(() => unlinkSync(`${path}.moved`));
}

const untilMs = performance.now() + 1000 * Number(seconds);
while (performance.now() < untilMs) round(outcome.rounds++);
process.stdout.write(`${JSON.stringify(outcome)}\n`);
