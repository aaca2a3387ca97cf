/**
 * The macro benchmark: file system work through sluice, through its peers and on the plain directory,
 * in interleaved rounds of one run. README.md beside this file says what is measured.
 */
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { parseCount, parseList, parseOutputFile } from './arguments.ts';
import { describeHost } from './host.ts';
import { onInterrupt } from './interrupt.ts';
import type { PlacementName } from './macro/record.ts';
import { report } from './macro/report.ts';
import { Session, workloadsOf } from './macro/session.ts';
import { DEFAULT_TARGETS, KNOWN_TARGETS, type TargetSpec } from './macro/targets.ts';
import { FULL_SIZES, QUICK_SIZES } from './macro/tree.ts';
import { makeWorkDir, removeWorkDir } from './macro/work-dir.ts';
import { WORKLOADS } from './macro/workloads/all.ts';
import type { Workload } from './macro/workloads/workload.ts';

interface MacroOptions {
  readonly rounds?: number;
  readonly fs: 'ext4' | 'tmpfs';
  readonly dir: string;
  readonly group: 'metadata' | 'data' | 'all';
  readonly targets: TargetSpec[];
  readonly peer: TargetSpec[];
  readonly workloads?: Workload[];
  readonly placements: { readonly name: PlacementName }[];
  readonly quick: boolean;
  readonly json?: string;
}

const FULL_ROUNDS = 7;
const QUICK_ROUNDS = 2;
const PLACEMENTS: { readonly name: PlacementName }[] = [{ name: 'one-cpu' }, { name: 'free' }];

function parsePeer(text: string, before: TargetSpec[]): TargetSpec[] {
  const [, name, command] = /^([\w.-]+)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || !command?.includes('{source}') || !command.includes('{mountpoint}')) {
    throw new InvalidArgumentError('NAME=COMMAND, with {source} and {mountpoint} in the command.');
  }
  if ([...KNOWN_TARGETS, ...before].some((target) => target.name === name)) {
    throw new InvalidArgumentError(`'${name}' is the name of another target.`);
  }
  return [...before, { name, command }];
}

function parseOptions(): MacroOptions {
  return new Command('macro')
    .description('Measures file system work through sluice and others, in interleaved rounds.')
    .option('--rounds <n>', `rounds (default: ${FULL_ROUNDS}, quick: ${QUICK_ROUNDS})`, parseCount)
    .addOption(
      new Option('--fs <type>', 'backing file system').choices(['ext4', 'tmpfs']).default('ext4'),
    )
    .option('--dir <dir>', 'where the work directory is made', tmpdir())
    .addOption(
      new Option('--group <group>', 'which workloads')
        .choices(['metadata', 'data', 'all'])
        .default('all'),
    )
    .option('--workloads <list>', 'these workloads instead', parseList(WORKLOADS))
    .addOption(
      new Option('--targets <list>', 'what is compared')
        .argParser(parseList(KNOWN_TARGETS))
        .default(DEFAULT_TARGETS, DEFAULT_TARGETS.map(({ name }) => name).join(',')),
    )
    .option('--peer <name=command>', 'one more target; may be repeated', parsePeer, [])
    .addOption(
      new Option('--placements <list>', 'where daemons and clients run')
        .argParser(parseList(PLACEMENTS))
        .default(PLACEMENTS, 'one-cpu,free'),
    )
    .option('--quick', 'small sizes: shows that it runs', false)
    .option('--json <file>', 'write all raw figures', parseOutputFile)
    .parse()
    .opts<MacroOptions>();
}

async function main(): Promise<void> {
  const options = parseOptions();
  const { fs, quick, placements } = options;
  const interrupt = new AbortController();
  onInterrupt((reason) => interrupt.abort(reason));
  const host = describeHost();
  const workDir = makeWorkDir(fs, options.dir);
  const session = new Session(
    {
      host,
      fs,
      quick,
      rounds: options.rounds ?? (quick ? QUICK_ROUNDS : FULL_ROUNDS),
      sizes: quick ? QUICK_SIZES : FULL_SIZES,
      placements: placements.map(({ name }) => name),
      targets: [...options.targets, ...options.peer],
      workloads: options.workloads ?? workloadsOf(options.group, fs),
    },
    workDir,
    interrupt.signal,
  );
  try {
    const record = await session.run();
    console.log(report(record));
    if (record.failures.length > 0) process.exitCode = 1;
    if (options.json !== undefined) {
      writeFileSync(options.json, `${JSON.stringify(record, null, 1)}\n`);
    }
  } finally {
    await session.close();
    removeWorkDir(workDir, fs);
  }
}

try {
  await main();
} catch (error) {
  console.error(`macro: ${(error as Error).message}`);
  process.exitCode = 1;
}
