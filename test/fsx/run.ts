/**
 * The single-file tester by itself: `node dist/test/fsx/run.js --path MOUNT/f --backing SOURCE/f
 * --seed 1 --operations 100000`. It prints its outcome as JSON; the exit code is 1 when something
 * was found.
 */
import { Command } from 'commander';
import { runTask, type Task } from './tester.ts';

function parseNumber(text: string): number {
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`Not a number: ${text}`);
  return value;
}

interface Choices extends Omit<Task, 'limitMs' | 'hasWriteback'> {
  readonly seconds: number;
  readonly writeback?: true;
}

const choices = new Command('run')
  .requiredOption('--path <file>', 'the file, which is made empty')
  .requiredOption('--backing <file>', 'the same file behind the mount')
  .option('--seed <n>', 'decides everything', parseNumber, Date.now() % 2 ** 31)
  .option('--operations <n>', 'how many', parseNumber, 100_000)
  .option('--seconds <n>', 'how long at most', parseNumber, 3600)
  .option(
    '--writeback',
    'the mount has --writeback: what is written is behind it after fsync alone',
  )
  .option('--corrupt-at <n>', 'change a byte behind the mount before this operation', parseNumber)
  .parse()
  .opts<Choices>();

const outcome = runTask({
  ...choices,
  limitMs: choices.seconds * 1000,
  hasWriteback: choices.writeback === true,
});
console.log(JSON.stringify(outcome, undefined, 1));
process.exitCode = outcome.finding === undefined ? 0 : 1;
