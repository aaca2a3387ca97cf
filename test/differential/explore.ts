/** Searches for a sequence that goes differently, as long as the time lasts, and shrinks it. */
import fc from 'fast-check';
import { ACTORS } from './arena.ts';
import { sequences as arbitrarySequences } from './generate.ts';
import type { Sequence } from './operations.ts';

/** The most operations of one actor in one trial. */
const LENGTH_MAX = 60;
/** Trials between two looks at the clock; also the step in which the seed goes up. */
const TRIALS_PER_ROUND = 10;

export interface Budget {
  readonly searchMs: number;
  /** Once something was found: how long to look for a shorter sequence. */
  readonly shrinkMs: number;
}

export interface Finding {
  readonly seed: number;
  readonly sequences: readonly Sequence[];
  readonly difference: string;
}

export interface Exploration {
  readonly seed: number;
  readonly trials: number;
  readonly operations: number;
  readonly finding?: Finding;
}

/**
 * Runs random trials until the time is over or one finds a difference.
 *
 * @param runTrial - gives the difference in words, or nothing; when it throws the
 *   actors or the mount are gone, which is a finding that cannot be shrunk
 */
export async function explore(
  runTrial: (sequences: readonly Sequence[]) => Promise<string | undefined>,
  seed: number,
  { searchMs, shrinkMs }: Budget,
): Promise<Exploration> {
  const searchEnd = Date.now() + searchMs;
  let shrinkEnd = Number.POSITIVE_INFINITY;
  let isBroken = false;
  let trials = 0;
  let operations = 0;
  let smallest: Omit<Finding, 'seed'> | undefined;

  const property = fc.asyncProperty(
    arbitrarySequences(ACTORS, LENGTH_MAX),
    async (sequences: readonly Sequence[]) => {
      const over = smallest === undefined ? Date.now() > searchEnd : Date.now() > shrinkEnd;
      if (over) {
        return true;
      }
      trials += 1;
      operations += sequences.reduce((sum, sequence) => sum + sequence.length, 0);
      const difference = await runTrial(sequences).catch((error: unknown) => {
        isBroken = true;
        return String(error);
      });
      if (difference === undefined) {
        return true;
      }
      if (isBroken) {
        shrinkEnd = 0;
      } else if (smallest === undefined) {
        shrinkEnd = Date.now() + shrinkMs;
      }
      // fast-check goes on from the failure it saw last, which is the smallest so far.
      smallest = { sequences, difference };
      return false;
    },
  );

  for (let round = seed; Date.now() < searchEnd; round += 1) {
    await fc.check(property, { seed: round, numRuns: TRIALS_PER_ROUND });
    const found: Omit<Finding, 'seed'> | undefined = smallest;
    if (found !== undefined) {
      return { seed, trials, operations, finding: { seed: round, ...found } };
    }
  }
  return { seed, trials, operations };
}

/** A finding for a person to read, and in its last line for `run.js --replay`. */
export function describeFinding(finding: Finding): string {
  const lines = finding.sequences.flatMap((sequence, actor) =>
    sequence.map((operation, index) => `  actor ${actor} ${index}: ${JSON.stringify(operation)}`),
  );
  return [
    `seed ${finding.seed}: ${finding.difference}`,
    'the sequences:',
    ...lines,
    'as a file for --replay:',
    JSON.stringify(finding),
  ].join('\n');
}
