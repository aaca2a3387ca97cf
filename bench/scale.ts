/**
 * Many of everything through a mount: files, entries of one directory, open files, and, if asked for,
 * an hour of load. Prints what an inode costs the daemon, and what its garbage collections cost.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { surveyMounts } from '../src/main/control/survey.ts';
import type { DaemonLoad } from '../src/main/status.ts';
import { ask } from '../test/metrics/scrape.ts';
import { parseCount } from './arguments.ts';
import { describeHost } from './host.ts';
import { onInterrupt } from './interrupt.ts';
import { sluiceCommand, sourceOf, Target } from './macro/targets.ts';
import { makeWorkDir, removeWorkDir } from './macro/work-dir.ts';
import type { ScaleReply, ScaleStep } from './scale/client.ts';
import { type HeapHistory, readCollections, START_MS } from './scale/garbage-collections.ts';

interface ScaleOptions {
  readonly files: number;
  readonly openFiles: number;
  readonly seconds: number;
  readonly fs: 'ext4' | 'tmpfs';
  readonly dir: string;
}

interface Sample {
  readonly load: DaemonLoad;
  readonly rssBytes: number;
  readonly heapBytes: number;
}

const CLIENT_PATH = fileURLToPath(new URL('./scale/client.js', import.meta.url));
const SPEC_NAME = 'sluice';
const ATTEMPTS = 50;
const ATTEMPT_MS = 100;
/** A million files take their time, beside the seconds asked for; a mount that hangs takes longer. */
const STEP_TIMEOUT_MS = 1_800_000;

function parseOptions(): ScaleOptions {
  return new Command('scale')
    .description('Puts many files, entries and open files through a sluice mount.')
    .option('--files <n>', 'files, all in one directory', parseCount, 1_000_000)
    .option('--open-files <n>', 'files that are open at once', parseCount, 10_000)
    .option('--seconds <n>', 'how long files are made and removed at the end', parseCount, 30)
    .addOption(
      new Option('--fs <type>', 'backing file system').choices(['ext4', 'tmpfs']).default('tmpfs'),
    )
    .option('--dir <dir>', 'where the work directory is made', tmpdir())
    .parse()
    .opts<ScaleOptions>();
}

function mib(sizeBytes: number): string {
  return `${(sizeBytes / 2 ** 20).toFixed(1)} MiB`;
}

/** Asks the daemon how it is; the mount is not touched. */
async function sample(target: Target, workDir: string): Promise<Sample> {
  const load = await loadOf(target, workDir);
  const metrics = await ask(`unix:${metricsSocketOf(workDir)}`, '/metrics');
  const heap = /^nodejs_heap_size_used_bytes (\S+)$/m.exec(metrics.body)?.[1];
  return { load, rssBytes: target.residentBytes() ?? 0, heapBytes: Number(heap) };
}

/** A mount is seen a moment before its daemon has all it tells of. */
async function loadOf(target: Target, workDir: string): Promise<DaemonLoad> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { mounts } = await surveyMounts(runtimeDirOf(workDir));
    const load = mounts.find(({ row }) => row.mountPoint === target.root)?.daemon?.status.load;
    if (load) return load;
    await sleep(ATTEMPT_MS);
  }
  throw new Error('the daemon does not say how it is');
}

function runtimeDirOf(workDir: string): string {
  return join(workDir, 'run');
}

function metricsSocketOf(workDir: string): string {
  return join(workDir, 'metrics');
}

function askClient(client: ChildProcess, step: ScaleStep): Promise<ScaleReply> {
  return new Promise((resolve, reject) => {
    const lost = (reason: string): void => {
      client.kill('SIGKILL');
      reject(new Error(`${step.step}: ${reason}`));
    };
    if (!client.connected) return lost('the client has ended');
    const timeoutMs = STEP_TIMEOUT_MS + step.seconds * 1000;
    const timer = setTimeout(() => lost('no answer in time'), timeoutMs);
    client.once('exit', () => {
      clearTimeout(timer);
      lost('the client ended');
    });
    client.once('message', (reply) => {
      clearTimeout(timer);
      client.removeAllListeners('exit');
      resolve(reply as ScaleReply);
    });
    client.send(step);
  });
}

const STEPS: readonly { readonly step: ScaleStep['step']; readonly text: string }[] = [
  { step: 'create', text: 'create and close, all in one directory' },
  { step: 'list', text: 'list that directory' },
  { step: 'statFar', text: 'statx, far from the one before' },
  { step: 'open', text: 'open, and keep open' },
  { step: 'use', text: 'write a byte to each open file' },
  { step: 'close', text: 'close' },
  { step: 'churn', text: 'create, write, read, statx, unlink, again and again' },
  { step: 'remove', text: 'unlink all' },
];

async function steps(options: ScaleOptions, target: Target, workDir: string): Promise<void> {
  const directory = join(target.root, 'many');
  const client = fork(CLIENT_PATH);
  onInterrupt(() => client.kill('SIGKILL'));
  try {
    const first = await sample(target, workDir);
    console.log(`${'before'.padEnd(54)}${sampleText(first)}`);
    for (const { step, text } of STEPS) {
      const reply = await askClient(client, { step, directory, ...options });
      if ('error' in reply) throw new Error(`${step}: ${reply.error}`);
      const us = (reply.elapsedUs / reply.operations).toFixed(2);
      const now = await sample(target, workDir);
      const head = `${text}`.padEnd(54);
      console.log(`${head}${sampleText(now)}  ${reply.operations} of ${us} us`);
      if (step === 'create') printPerInode(first, now);
    }
  } finally {
    client.removeAllListeners('exit');
    client.kill('SIGKILL');
  }
}

function sampleText({ load, rssBytes, heapBytes }: Sample): string {
  const { inodes, handles, fdsUsed } = load;
  return (
    `${String(inodes).padStart(8)} inodes  ${String(handles).padStart(6)} open  ` +
    `${String(fdsUsed).padStart(7)} fds  RSS ${mib(rssBytes).padStart(10)}  heap ${mib(heapBytes).padStart(9)}`
  );
}

function printPerInode(before: Sample, after: Sample): void {
  const inodes = after.load.inodes - before.load.inodes;
  const perInode = (of: (sample: Sample) => number): string =>
    ((of(after) - of(before)) / inodes).toFixed(1);
  console.log(
    `  for each inode: ${perInode(({ rssBytes }) => rssBytes)} bytes of RSS, ` +
      `${perInode(({ heapBytes }) => heapBytes)} of main's heap`,
  );
}

function heapText(history: HeapHistory, thread: number): string {
  const { collections, longestPauseMs, longestLaterPauseMs, totalPauseMs, leftMib } = history;
  const left = leftMib.map((size) => size.toFixed(1));
  const full =
    left.length === 0
      ? 'no full one'
      : `after the first full one ${left[0]} MiB, after the last ${left.at(-1)} MiB`;
  return (
    `  ${thread === 0 ? 'the first' : 'another'} thread: ${collections} collections, ` +
    `longest pause ${longestPauseMs.toFixed(2)} ms (${longestLaterPauseMs.toFixed(2)} after the ` +
    `first ${START_MS / 1000} s), all ${totalPauseMs.toFixed(1)} ms; ${full}`
  );
}

async function main(): Promise<void> {
  const options = parseOptions();
  const host = describeHost();
  console.log(
    `${host.date}  ${host.cpuCount} x ${host.cpu}, load ${host.load}  Linux ${host.kernel}  ` +
      `Node ${host.node}  ${options.fs}  ${options.files} files\n`,
  );
  const workDir = makeWorkDir(options.fs, options.dir);
  let target: Target | undefined;
  try {
    const flags = [
      `--runtime-dir=${runtimeDirOf(workDir)}`,
      `--metrics-socket=${metricsSocketOf(workDir)}`,
    ];
    const spec = { name: SPEC_NAME, command: sluiceCommand(flags, ['--trace-gc']) };
    mkdirSync(join(sourceOf(workDir, spec), 'many'), { recursive: true });
    mkdirSync(runtimeDirOf(workDir), { mode: 0o700 });
    target = await Target.start(spec, workDir, 'free', undefined);
    await steps(options, target, workDir);
    console.log('\nGarbage collections of the daemon (--trace-gc), by thread:');
    console.log(readCollections(target.log()).map(heapText).join('\n'));
  } finally {
    await target?.stop();
    removeWorkDir(workDir, options.fs);
  }
}

try {
  await main();
} catch (error) {
  console.error(`scale: ${(error as Error).message}`);
  process.exitCode = 1;
}
