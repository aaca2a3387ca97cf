/**
 * Longer runs of the differential tester, and replays. See `--help`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { Arena } from './arena.ts';
import {
  countOperations,
  describeFinding,
  type Exploration,
  explore,
  type Finding,
} from './explore.ts';
import { PLACES, setUp, sluiceCommand } from './stand.ts';

interface Choices {
  seconds: number;
  shrinkSeconds: number;
  seed: number;
  flags: string;
  sourceFs: string;
  mountCommand?: string;
  plain?: true;
  users?: true;
  replay?: string;
  times: number;
}

const FINDING_EXIT_CODE = 1;

function parseNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) {
    throw new Error(`Not a whole number: ${text}`);
  }
  return value;
}

const program = new Command('run')
  .description('Runs random operations on a plain directory and on a mount, and compares.')
  .option('--seconds <n>', 'how long to search', parseNumber, 60)
  .option('--shrink-seconds <n>', 'how long to look for a shorter trial', parseNumber, 60)
  .option('--seed <n>', 'the first seed', parseNumber, Date.now() % 2 ** 31)
  .option('--flags <flags>', 'flags of sluice mount, separated by blanks', '')
  .addOption(
    new Option('--source-fs <type>', 'where the directories lie')
      .choices(Object.keys(PLACES))
      .default('temporary'),
  )
  .option(
    '--mount-command <command>',
    'another file system: its foreground command with {source} and {mountpoint} in it',
  )
  .option('--plain', 'compare two plain directories: whatever is found is a fault of the tester')
  .option('--users', 'the actors are root and three users, who take turns in the same directories')
  .option('--replay <file>', 'run the trial of this file')
  .option('--times <n>', 'how often to replay', parseNumber, 1)
  .parse();

function readFinding(file: string): Finding {
  return JSON.parse(readFileSync(file, 'utf8')) as Finding;
}

async function replay(arena: Arena, file: string, times: number): Promise<Exploration> {
  const { seed, company, trial } = readFinding(file);
  const operations = countOperations(trial);
  for (let trials = 1; trials <= times; trials += 1) {
    const difference = await arena.trial(trial).catch(String);
    if (difference !== undefined) {
      const finding = { seed, company, trial, difference };
      return { seed, trials, operations: operations * trials, finding };
    }
  }
  return { seed, trials: times, operations: operations * times };
}

async function main(choices: Choices): Promise<number> {
  const command = choices.plain
    ? undefined
    : (choices.mountCommand ?? sluiceCommand(choices.flags));
  const stand = await setUp(choices.sourceFs, command);
  const chosen = choices.users ? 'users' : 'alike';
  const company = choices.replay === undefined ? chosen : readFinding(choices.replay).company;
  const arena = new Arena(
    stand.paths,
    [...choices.flags.split(/\s+/), `on ${choices.sourceFs}`],
    company,
  );
  const budget = { searchMs: choices.seconds * 1000, shrinkMs: choices.shrinkSeconds * 1000 };
  try {
    const { seed, trials, operations, finding } =
      choices.replay === undefined
        ? await explore((trial) => arena.trial(trial), choices.seed, budget, company)
        : await replay(arena, choices.replay, choices.times);
    process.stdout.write(`seed ${seed}: ${trials} trials, ${operations} operations\n`);
    if (finding === undefined) {
      return 0;
    }
    process.stdout.write(`${describeFinding(finding)}\n`);
    if (choices.replay === undefined) {
      const file = join(tmpdir(), `sluice-differential-${finding.seed}.json`);
      writeFileSync(file, JSON.stringify(finding));
      process.stdout.write(`which is ${file}\n`);
    }
    return FINDING_EXIT_CODE;
  } finally {
    await arena.stop();
    await stand.stop();
  }
}

process.exitCode = await main(program.opts<Choices>());
