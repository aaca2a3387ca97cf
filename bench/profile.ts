/** Flame graphs of the daemon at work: perf samples it while the clients of a workload run. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { parseCount, parseList } from './arguments.ts';
import { describeHost, firstCpu } from './host.ts';
import { onInterrupt } from './interrupt.ts';
import { ClientPool } from './macro/client-pool.ts';
import { measureCell } from './macro/measure.ts';
import { sluiceCommand, sourceOf, Target } from './macro/targets.ts';
import { FULL_SIZES, makeArchive, makeSource, removeMade } from './macro/tree.ts';
import { makeWorkDir, removeWorkDir } from './macro/work-dir.ts';
import { WORKLOADS } from './macro/workloads/all.ts';
import type { Workload } from './macro/workloads/workload.ts';
import { flameGraph } from './profile/flame-graph.ts';
import { foldStacks } from './profile/stacks.ts';

interface ProfileOptions {
  readonly workloads: Workload[];
  readonly flags?: string;
  readonly seconds: number;
  readonly pin: boolean;
  readonly fs: 'ext4' | 'tmpfs';
  readonly dir: string;
  readonly out: string;
}

const HOTTEST = ['create', 'open-read-close', 'tar-in'];
/** V8 writes /tmp/perf-PID.map, which tells perf the names of what it has compiled; Target removes it. */
const NODE_FLAGS = ['--perf-basic-prof', '--interpreted-frames-native-stack'];
const SAMPLES_PER_SECOND = 999;
const SPEC_NAME = 'sluice';
/** Runs before perf starts: what is compiled by then has its last form. */
const WARM_UP_RUNS = 5;

const interrupt = new AbortController();

function parseOptions(): ProfileOptions {
  const hottest = WORKLOADS.filter(({ name }) => HOTTEST.includes(name));
  return new Command('profile')
    .description('Draws flame graphs of a sluice daemon under workloads of bench/macro.')
    .addOption(
      new Option('--workloads <list>', 'what is done')
        .argParser(parseList(WORKLOADS))
        .default(hottest, HOTTEST.join(',')),
    )
    .option('--flags <flags>', 'flags of sluice mount, separated by blanks')
    .option('--seconds <n>', 'how long each is sampled', parseCount, 10)
    .option('--pin', 'daemon and clients on one CPU', false)
    .addOption(
      new Option('--fs <type>', 'backing file system').choices(['ext4', 'tmpfs']).default('tmpfs'),
    )
    .option('--dir <dir>', 'where the work directory is made', tmpdir())
    .option('--out <dir>', 'where the SVGs are written', 'bench/results')
    .parse()
    .opts<ProfileOptions>();
}

/** Runs a command to its end. @throws Error with what it said */
function run(file: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.once('error', (error) => reject(new Error(`${file}: ${error.message}`)));
    child.once('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${file}: ${said.trim()}`)),
    );
  });
}

/** Repeats a workload until `isOver`. */
async function repeatRuns(
  clients: ClientPool,
  target: Target,
  workload: Workload,
  workDir: string,
  isOver: (runs: number) => boolean,
): Promise<void> {
  for (let runs = 0; !isOver(runs); runs++) {
    interrupt.signal.throwIfAborted();
    const tag = `${workload.name}-${process.hrtime.bigint()}`;
    await measureCell(clients, target, workload, {
      root: target.root,
      source: target.source,
      workDir,
      round: 0,
      tag,
      sizes: FULL_SIZES,
      client: 0,
      startAtUs: 0,
    });
    removeMade(target.source, tag);
  }
}

async function sample(
  { seconds }: ProfileOptions,
  clients: ClientPool,
  target: Target,
  workload: Workload,
  workDir: string,
): Promise<string> {
  await repeatRuns(clients, target, workload, workDir, (runs) => runs === WARM_UP_RUNS);
  const file = join(workDir, 'perf.data');
  let isOver = false;
  const rate = ['-F', String(SAMPLES_PER_SECOND), '-g', '-p', String(target.pid)];
  const record = run('perf', ['record', '-q', '-o', file, ...rate, '--', 'sleep', String(seconds)]);
  const recorded = record.finally(() => {
    isOver = true;
  });
  await Promise.all([recorded, repeatRuns(clients, target, workload, workDir, () => isOver)]);
  return run('perf', ['script', '-i', file, '-F', 'comm,tid,ip,sym,dso']);
}

async function main(): Promise<void> {
  const options = parseOptions();
  const { fs, workloads, pin, out } = options;
  const host = describeHost();
  const workDir = makeWorkDir(fs, options.dir);
  const cpu = pin ? firstCpu() : undefined;
  const flags = options.flags?.split(' ').filter(Boolean) ?? [];
  const clients = new ClientPool(cpu);
  onInterrupt((reason) => {
    interrupt.abort(reason);
    clients.stop();
  });
  let target: Target | undefined;
  try {
    const spec = { name: SPEC_NAME, command: sluiceCommand(flags, NODE_FLAGS) };
    const hasData = workloads.some(({ group }) => group === 'data');
    makeSource(sourceOf(workDir, spec), 1, FULL_SIZES, hasData);
    makeArchive(workDir, sourceOf(workDir, spec));
    target = await Target.start(spec, workDir, pin ? 'one-cpu' : 'free', cpu);
    mkdirSync(out, { recursive: true });
    for (const workload of workloads) {
      const stacks = foldStacks(await sample(options, clients, target, workload, workDir));
      const title =
        `${workload.name}: ${workload.operation}; ${['sluice mount', ...flags].join(' ')}; ${fs}, ` +
        `${pin ? 'one CPU' : 'free'}, Linux ${host.kernel}, Node ${host.node}; ${stacks.samples} samples`;
      const path = join(out, `flame-${workload.name}.svg`);
      writeFileSync(path, flameGraph(stacks, title));
      console.log(`${path}: ${stacks.samples} samples`);
    }
  } finally {
    clients.stop();
    await target?.stop();
    removeWorkDir(workDir, fs);
  }
}

try {
  await main();
} catch (error) {
  console.error(`profile: ${(error as Error).message}`);
  process.exitCode = 1;
}
