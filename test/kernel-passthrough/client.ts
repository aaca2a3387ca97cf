/**
 * Opens one file again and again in many ways, beside others that do the same. Prints what any call
 * failed with, as JSON. Usage: client.js FILE SECONDS
 */
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';

const { O_APPEND, O_CREAT, O_DIRECT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const WAYS = [
  O_RDONLY,
  O_WRONLY,
  O_RDWR,
  O_RDWR | O_CREAT,
  O_WRONLY | O_APPEND,
  O_WRONLY | O_TRUNC,
  O_RDONLY | O_DIRECT,
];
const [path = '', seconds = '1'] = process.argv.slice(2);
const untilMs = performance.now() + 1000 * Number(seconds);
const buffer = Buffer.alloc(64);
const failures: Record<string, number> = {};
const open: number[] = [];
let rounds = 0;

function attempt(what: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    const key = `${what} ${(error as NodeJS.ErrnoException).code}`;
    failures[key] = (failures[key] ?? 0) + 1;
  }
}

while (performance.now() < untilMs) {
  const way = WAYS[Math.floor(Math.random() * WAYS.length)] ?? O_RDONLY;
  attempt(`open ${way}`, () => open.push(openSync(path, way, 0o644)));
  const fd = open[open.length - 1];
  const access = way & 3;
  if (fd !== undefined && (way & O_DIRECT) === 0) {
    if (access !== O_WRONLY) attempt('read', () => readSync(fd, buffer, 0, 16, 0));
    if (access !== O_RDONLY) attempt('write', () => writeSync(fd, buffer, 0, 16));
    attempt('stat', () => fstatSync(fd));
  }
  if (open.length > 4 * Math.random()) attempt('close', () => closeSync(open.shift() as number));
  rounds++;
}
for (const fd of open) closeSync(fd);
process.stdout.write(JSON.stringify({ rounds, failures }));
