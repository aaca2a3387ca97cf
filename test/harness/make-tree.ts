/**
 * A program: makes a tree of small files, the same each time.
 * Usage: make-tree.js ROOT FILE_COUNT
 */
import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const FILES_PER_DIRECTORY = 100;
const MODES = [0o644, 0o600, 0o755, 0o440];
const EPOCH_SECONDS = 1_500_000_000;

/** Most files are below 2 KiB, one in 200 has 64 KiB and some bytes. */
function sizeOf(index: number): number {
  return index % 200 === 7 ? 65_536 + index : (index * 37) % 2048;
}

function makeFile(directory: string, index: number, filler: Buffer): void {
  const path = join(directory, `file-${index}`);
  const timeSeconds = EPOCH_SECONDS + index + (index % 1000) / 1000;
  if (index % FILES_PER_DIRECTORY === 50) {
    symlinkSync(`file-${index - 1}`, path);
    lutimesSync(path, timeSeconds, timeSeconds);
    return;
  }
  if (index % FILES_PER_DIRECTORY === 60) {
    linkSync(join(directory, `file-${index - 1}`), path);
    return;
  }
  const start = index % 97;
  writeFileSync(path, filler.subarray(start, start + sizeOf(index)));
  chmodSync(path, MODES[index % MODES.length] as number);
  utimesSync(path, timeSeconds, timeSeconds);
}

function makeTree(root: string, fileCount: number): void {
  const text = Array.from({ length: 24_000 }, (_, i) => `${i * i} `).join('');
  const filler = Buffer.from(text);
  for (let first = 0; first < fileCount; first += FILES_PER_DIRECTORY) {
    const number = first / FILES_PER_DIRECTORY;
    const directory = join(root, `part-${number % 10}`, `directory-${number}`);
    mkdirSync(directory, { recursive: true });
    const end = Math.min(first + FILES_PER_DIRECTORY, fileCount);
    for (let index = first; index < end; index++) makeFile(directory, index, filler);
  }
}

const [root, fileCount] = process.argv.slice(2);
if (root === undefined || fileCount === undefined) {
  throw new Error('usage: make-tree.js ROOT FILE_COUNT');
}
makeTree(root, Number(fileCount));
