/**
 * Runs the compiled tests, in the rounds of rounds.ts, and fails when they leave a mount behind.
 * Usage: run-tests.js [PATTERN...] (runs the files whose path contains one of the patterns)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { forceUnmount, type MountLine, readMounts } from '../harness/mountinfo.ts';
import { isLongRun, seconds } from '../harness/seconds.ts';
import { type Round, roundsOf } from './rounds.ts';

const testRoot = fileURLToPath(new URL('..', import.meta.url));
const isFull = process.env['SLUICE_POSIX'] === 'full' || isLongRun;
/** A single test, and a file, may not take longer than this, whatever its own limit. */
const TEST_TIMEOUT_MS = isFull ? 6 * 3600_000 : 900_000;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const RUN_DIRECTORY = /\/sluice-(\d+)-[^/]+$/;

function findTests(patterns: readonly string[]): string[] {
  return readdirSync(testRoot, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js'))
    .filter((path) => patterns.length === 0 || patterns.some((p) => `test/${path}`.includes(p)))
    .map((path) => join(testRoot, path))
    .sort();
}

function isBelow(mount: MountLine, directory: string): boolean {
  return mount.mountpoint.startsWith(`${directory}/`);
}

/** The mounts of a run, innermost first, whatever their type. */
function mountsBelow(directory: string): MountLine[] {
  return readMounts()
    .filter((mount) => isBelow(mount, directory))
    .reverse();
}

function removeMounts(mounts: readonly MountLine[]): void {
  for (const mount of mounts) {
    process.stderr.write(`left mounted: ${mount.mountpoint} (${mount.type}); unmounting it\n`);
    forceUnmount(mount);
  }
}

/** Clears away what runs that were killed have left. */
function removeOldRuns(): void {
  for (const name of readdirSync(tmpdir())) {
    const path = join(tmpdir(), name);
    const pid = RUN_DIRECTORY.exec(path)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    removeMounts(mountsBelow(path));
    if (mountsBelow(path).length === 0) rmSync(path, { recursive: true, force: true });
  }
}

/** Runs the files of one round. @returns what node ended with, 1 for a signal */
async function runNode({ atOnce, files }: Round, directory: string): Promise<number> {
  const args = [
    '--import',
    new URL('./fix-seed.js', import.meta.url).href,
    '--test',
    `--test-concurrency=${atOnce}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${new URL('./slow-files.js', import.meta.url).href}`,
    '--test-reporter-destination=stdout',
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    ...files,
  ];
  const child = spawn(process.execPath, args, {
    stdio: 'inherit',
    env: { ...process.env, TMPDIR: directory },
  });
  const pass = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, pass);
  const [code] = (await once(child, 'close')) as [number | null];
  for (const signal of SIGNALS) process.off(signal, pass);
  return code ?? 1;
}

/** Runs the rounds, also behind one that failed, but none behind a signal. */
async function runRounds(rounds: readonly Round[], directory: string): Promise<number> {
  let isStopped = false;
  for (const signal of SIGNALS) process.once(signal, () => (isStopped = true));
  const results: string[] = [];
  let worst = 0;
  for (const round of rounds) {
    if (isStopped) break;
    const names = round.files.map((file) => `  ${relative(testRoot, file)}`);
    process.stdout.write(`\n${names.length} files, ${round.name}:\n${names.join('\n')}\n`);
    const startedMs = performance.now();
    const code = await runNode(round, directory);
    const how = code === 0 ? 'passed' : 'FAILED, see above';
    results.push(`${round.name}: ${how} (${seconds(performance.now() - startedMs)})`);
    worst = Math.max(worst, code);
  }
  process.stdout.write(`\n${results.join('\n')}\n`);
  return isStopped ? Math.max(worst, 1) : worst;
}

async function main(patterns: readonly string[]): Promise<number> {
  const files = findTests(patterns);
  if (files.length === 0) {
    process.stderr.write(`no test file matches: ${patterns.join(' ')}\n`);
    return 1;
  }
  removeOldRuns();
  const directory = mkdtempSync(join(tmpdir(), `sluice-${process.pid}-`));
  chmodSync(directory, 0o755);
  const code = await runRounds(roundsOf(files), directory);
  const leaked = mountsBelow(directory);
  removeMounts(leaked);
  if (mountsBelow(directory).length === 0) rmSync(directory, { recursive: true, force: true });
  if (leaked.length === 0) return code;
  process.stderr.write(`tests have left ${leaked.length} mounts behind: that is a failure\n`);
  return code === 0 ? 1 : code;
}

process.exitCode = await main(process.argv.slice(2));
