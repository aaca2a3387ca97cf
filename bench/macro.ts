/**
 * The macro benchmark: file system work through sluice, through its peers and on the plain directory,
 * in interleaved rounds of one run. README.md beside this file says what is measured.
 */
import { mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { errnoName } from '../src/shared/abi/errno.ts';
import { FS_MAGIC } from '../src/shared/sys/constants.ts';
import * as libc from '../src/shared/sys/libc.ts';
import { describeHost, firstCpu } from './host.ts';
import { comparisonTable, type Figures, figureTable } from './report.ts';
import { Runner } from './runner.ts';
import { detach, KNOWN_TARGETS, sourceOf, Target, type TargetSpec } from './targets.ts';
import { FULL_SIZES, makeArchive, makeSource, QUICK_SIZES } from './tree.ts';
import { WORKLOADS, type Workload } from './workloads.ts';

interface MacroOptions {
  readonly rounds?: number;
  readonly fs: 'ext4' | 'tmpfs';
  readonly dir: string;
  readonly targets: TargetSpec[];
  readonly peer: TargetSpec[];
  readonly workloads: Workload[];
  readonly pin: boolean;
  readonly quick: boolean;
  readonly json?: string;
}

const FULL_ROUNDS = 7;
const QUICK_ROUNDS = 2;
const RUN_TIMEOUT_MS = 120_000;
const WARM_UP: TargetSpec = { name: 'warm-up' };
const WARM_UP_ROUNDS = 5;

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('a number from 1.');
  return count;
}

function parseList<T extends { readonly name: string }>(known: readonly T[]) {
  return (text: string): T[] =>
    text.split(',').map((name) => {
      const found = known.find((item) => item.name === name);
      if (found !== undefined) return found;
      const names = known.map((item) => item.name).join(', ');
      throw new InvalidArgumentError(`'${name}' is none of ${names}.`);
    });
}

function parsePeer(text: string, before: TargetSpec[]): TargetSpec[] {
  const [, name, command] = /^([\w.-]+)=(.+)$/s.exec(text) ?? [];
  if (command?.includes('{source}') && command.includes('{mountpoint}')) {
    return [...before, { name, command }];
  }
  throw new InvalidArgumentError('NAME=COMMAND, with {source} and {mountpoint} in the command.');
}

function parseOptions(): MacroOptions {
  return new Command('macro')
    .description('Measures file system work through sluice and others, in interleaved rounds.')
    .option('--rounds <n>', `rounds (default: ${FULL_ROUNDS}, quick: ${QUICK_ROUNDS})`, parseCount)
    .addOption(
      new Option('--fs <type>', 'backing file system').choices(['ext4', 'tmpfs']).default('ext4'),
    )
    .option('--dir <dir>', 'where the work directory is made', tmpdir())
    .option('--targets <list>', 'what is compared', parseList(KNOWN_TARGETS), [...KNOWN_TARGETS])
    .option('--workloads <list>', 'what is done', parseList(WORKLOADS), [...WORKLOADS])
    .option('--peer <name=command>', 'one more target; may be repeated', parsePeer, [])
    .option('--pin', 'daemons and client on one CPU', false)
    .option('--quick', 'small sizes: shows that it runs', false)
    .option('--json <file>', 'write all raw figures')
    .parse()
    .opts<MacroOptions>();
}

function fileSystemOf(directory: string): string {
  const { type } = statfsSync(directory);
  const known = Object.entries(FS_MAGIC).find(([, magic]) => magic === type);
  return known?.[0].toLowerCase() ?? `0x${type.toString(16)}`;
}

/** A new directory on the wanted file system; a tmpfs is mounted on it. */
function makeWorkDir({ fs, dir }: MacroOptions): string {
  const workDir = mkdtempSync(join(dir, 'sluice-bench-'));
  if (fs === 'tmpfs') {
    const type = new libc.CString('tmpfs');
    const place = new libc.CString(workDir);
    const result = libc.mount(type.address, place.address, type.address, 0, 0);
    if (result < 0) throw new Error(`cannot mount a tmpfs: ${errnoName(result)}; run as root`);
  }
  const found = fileSystemOf(workDir);
  if (found === fs) return workDir;
  rmSync(workDir, { recursive: true });
  throw new Error(`${dir} is on ${found}, not on ${fs}: choose another place with --dir`);
}

/** Removes the work directory, unless something is still mounted in it. */
function removeWorkDir(workDir: string, isTmpfs: boolean): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'latin1');
  if (mounts.includes(` ${workDir}/`)) {
    console.error(`${workDir} is left as it is: something is still mounted in it`);
    return;
  }
  if (isTmpfs) detach(workDir);
  rmSync(workDir, { recursive: true, force: true });
}

/** Starts what can be started; a target that cannot is said and left out. */
async function startTargets(
  specs: readonly TargetSpec[],
  workDir: string,
  cpu: number | undefined,
  started: Target[],
  interrupt: AbortSignal,
): Promise<void> {
  for (const spec of specs) {
    if (interrupt.aborted) return;
    try {
      started.push(await Target.start(spec, workDir, cpu));
    } catch (error) {
      console.error((error as Error).message);
      process.exitCode = 1;
    }
  }
}

/** The order of the targets moves by one with every round, so that no one is always the first. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/** Lets the client compile its loops, on a plain directory of its own. */
async function warmUp(workDir: string, runner: Runner, interrupt: AbortSignal): Promise<void> {
  const run = { root: sourceOf(workDir, WARM_UP), workDir, round: 0, sizes: QUICK_SIZES };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    for (const { name } of WORKLOADS) {
      const reply = await runner.run({ workload: name, run }, RUN_TIMEOUT_MS);
      interrupt.throwIfAborted();
      if ('error' in reply) throw new Error(`${name} on the plain directory: ${reply.error}`);
    }
  }
}

async function measure(
  options: MacroOptions,
  rounds: number,
  workDir: string,
  targets: Target[],
  runner: Runner,
  interrupt: AbortSignal,
): Promise<Figures> {
  const sizes = options.quick ? QUICK_SIZES : FULL_SIZES;
  const figures: Figures = {};
  for (const { name } of options.workloads) {
    figures[name] = Object.fromEntries(targets.map((target) => [target.name, []]));
  }
  const lost = new Set<Target>();
  await warmUp(workDir, runner, interrupt);
  for (let round = 0; round < rounds; round++) {
    for (const { name } of options.workloads) {
      for (const target of rotated(targets, round)) {
        if (lost.has(target)) continue;
        interrupt.throwIfAborted();
        const run = { root: target.root, workDir, round, sizes };
        const reply = await runner.run({ workload: name, run }, RUN_TIMEOUT_MS);
        interrupt.throwIfAborted();
        if ('figure' in reply) {
          figures[name][target.name].push(reply.figure.elapsedUs / reply.figure.operations);
          continue;
        }
        console.error(`${target.name}: ${name}, round ${round + 1}: ${reply.error}`);
        process.exitCode = 1;
        if (!reply.hung) continue;
        lost.add(target);
        await target.abort();
      }
    }
    console.error(`round ${round + 1} of ${rounds} done`);
  }
  return figures;
}

function printReport(options: MacroOptions, targets: readonly Target[], figures: Figures): void {
  const names = targets.map(({ name }) => name);
  for (const { name, operation } of options.workloads) {
    console.log(`  ${name.padEnd(16)} ${operation}`);
  }
  console.log(
    '\nMedian (least-most) of the rounds; xN: so many times plain; tie: the spreads overlap.\n',
  );
  console.log(figureTable(options.workloads, names, figures, 'plain'));
  const others = names.filter((name) => name !== 'plain' && name !== 'sluice');
  if (!names.includes('sluice') || others.length === 0) return;
  console.log('\nThe others against sluice, by the medians: above 1 sluice is faster.\n');
  console.log(comparisonTable(options.workloads, 'sluice', others, figures));
}

async function main(): Promise<void> {
  const options = parseOptions();
  const rounds = options.rounds ?? (options.quick ? QUICK_ROUNDS : FULL_ROUNDS);
  const sizes = options.quick ? QUICK_SIZES : FULL_SIZES;
  const cpu = options.pin ? firstCpu() : undefined;
  const host = describeHost();
  const placement = cpu === undefined ? 'free' : `daemons and client on CPU ${cpu}`;
  console.log(
    `${host.date}  ${host.cpuCount} x ${host.cpu}, ${host.memoryGib} GiB, load ${host.load}  ` +
      `Linux ${host.kernel}  Node ${host.node}  ${options.fs}  ${placement}  ${rounds} rounds` +
      `${options.quick ? '  QUICK: the figures say little' : ''}\n`,
  );
  const workDir = makeWorkDir(options);
  const runner = new Runner(cpu);
  const targets: Target[] = [];
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interrupt.abort(new Error(`ended by ${signal}`));
      runner.stop();
    });
  }
  try {
    const specs = [...options.targets, ...options.peer];
    for (const spec of specs) makeSource(sourceOf(workDir, spec), rounds, sizes);
    makeSource(sourceOf(workDir, WARM_UP), 1, QUICK_SIZES);
    makeArchive(workDir, sourceOf(workDir, options.targets[0]));
    await startTargets(specs, workDir, cpu, targets, interrupt.signal);
    if (targets.length === 0) return;
    const figures = await measure(options, rounds, workDir, targets, runner, interrupt.signal);
    printReport(options, targets, figures);
    if (options.json === undefined) return;
    const commands = targets.map(({ name, command }) => ({ name, command: command ?? null }));
    const record = { host, fs: options.fs, placement, rounds, sizes, targets: commands, figures };
    writeFileSync(options.json, `${JSON.stringify(record, null, 2)}\n`);
  } finally {
    runner.stop();
    for (const target of targets) await target.stop();
    removeWorkDir(workDir, options.fs === 'tmpfs');
  }
}

try {
  await main();
} catch (error) {
  console.error(`macro: ${(error as Error).message}`);
  process.exitCode = 1;
}
