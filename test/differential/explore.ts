/** Searches for a trial that goes differently, as long as the time lasts, and shrinks it. */
import fc from 'fast-check';
import { trialsAtOnce } from './generate.ts';
import { trialsInTurns } from './generate-turns.ts';
import type { Trial } from './operations.ts';
import type { Company } from './users.ts';

/** Trials between two looks at the clock; also the step in which the seed goes up. */
const TRIALS_PER_ROUND = 10;

export interface Budget {
  readonly searchMs: number;
  /** Once something was found: how long to look for a shorter trial. */
  readonly shrinkMs: number;
}

export interface Finding {
  readonly seed: number;
  readonly company: Company;
  readonly trial: Trial;
  readonly difference: string;
}

export interface Exploration {
  readonly seed: number;
  readonly trials: number;
  readonly operations: number;
  readonly finding?: Finding;
}

/** How many operations a trial has. */
export function countOperations(trial: Trial): number {
  return trial.reduce((sum, { sequence }) => sum + sequence.length, 0);
}

/**
 * Runs random trials until the time is over or one finds a difference.
 *
 * @param runTrial - gives the difference in words, or nothing; when it throws the
 *   actors or the mount are gone, which is a finding that cannot be shrunk
 */
export async function explore(
  runTrial: (trial: Trial) => Promise<string | undefined>,
  seed: number,
  { searchMs, shrinkMs }: Budget,
  company: Company = 'alike',
): Promise<Exploration> {
  const searchEnd = Date.now() + searchMs;
  let shrinkEnd = Number.POSITIVE_INFINITY;
  let isBroken = false;
  let trials = 0;
  let operations = 0;
  let round = seed;
  let smallest: Finding | undefined;

  async function fails(trial: Trial): Promise<boolean> {
    const over = smallest === undefined ? Date.now() > searchEnd : Date.now() > shrinkEnd;
    if (over) {
      return false;
    }
    trials += 1;
    operations += countOperations(trial);
    const difference = await runTrial(trial).catch((error: unknown) => {
      isBroken = true;
      return String(error);
    });
    if (difference === undefined) {
      return false;
    }
    if (isBroken) {
      shrinkEnd = 0;
    } else if (smallest === undefined) {
      shrinkEnd = Date.now() + shrinkMs;
    }
    // Shrinking goes on from the failure it saw last, which is the smallest so far.
    smallest = { seed: round, company, trial, difference };
    return true;
  }

  const property = fc.asyncProperty(
    company === 'alike' ? trialsAtOnce() : trialsInTurns(),
    async (trial: Trial) => !(await fails(trial)),
  );

  for (; Date.now() < searchEnd; round += 1) {
    // No shrinking by fast-check, which is slow where a trial is: thin() does it.
    await fc.check(property, { seed: round, numRuns: TRIALS_PER_ROUND, endOnFailure: true });
    if (smallest !== undefined) {
      await thin((smallest as Finding).trial, fails);
      return { seed, trials, operations, finding: smallest };
    }
  }
  return { seed, trials, operations };
}

/** Leaves out `count` operations, counted through all turns from `start`. */
function withoutOperations(trial: Trial, start: number, count: number): Trial {
  let at = 0;
  return trial
    .map((turn) => ({
      ...turn,
      sequence: turn.sequence.filter(() => {
        at += 1;
        return at <= start || at > start + count;
      }),
    }))
    .filter(({ sequence }) => sequence.length > 0);
}

/** Leaves out what the failure does not need: half of the operations, a quarter, down to single ones. */
async function thin(trial: Trial, fails: (trial: Trial) => Promise<boolean>): Promise<void> {
  let smallest = trial;
  for (let step = countOperations(trial); step > 0; step = Math.floor(step / 2)) {
    for (let start = countOperations(smallest) - step; start > -step; start -= step) {
      const smaller = withoutOperations(smallest, start, step);
      if (await fails(smaller)) {
        smallest = smaller;
      }
    }
  }
}

/** A finding for a person to read, and in its last line for `run.js --replay`. */
export function describeFinding(finding: Finding): string {
  const lines = finding.trial.flatMap(({ actor, sequence }) =>
    sequence.map((operation, index) => `  actor ${actor} ${index}: ${JSON.stringify(operation)}`),
  );
  return [
    'the operations:',
    ...lines,
    `seed ${finding.seed}: ${finding.difference}`,
    'as a file for --replay:',
    JSON.stringify(finding),
  ].join('\n');
}
