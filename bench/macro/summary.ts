/** Median and spread of the rounds, and whether two spreads tell two things apart. */
import type { Cell } from './record.ts';

/** Least, median and most of the rounds. */
export interface Summary {
  readonly least: number;
  readonly median: number;
  readonly most: number;
}

/** @param figures at least one */
export function summarise(figures: readonly number[]): Summary {
  const sorted = [...figures].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median =
    sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { least: sorted[0], median, most: sorted[sorted.length - 1] };
}

/** Microseconds per operation, over all clients together. */
export function timeOf(cell: Cell): Summary {
  return summarise(cell.rounds.map(({ elapsedUs, operations }) => elapsedUs / operations));
}

/** Two spreads that meet are not told apart by this run. */
export function isTie(a: Summary, b: Summary): boolean {
  return a.least <= b.most && b.least <= a.most;
}

/** The same, all of it times `factor`. */
export function scaled({ least, median, most }: Summary, factor: number): Summary {
  return { least: least * factor, median: median * factor, most: most * factor };
}

/** Three digits. */
export function short(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function spreadText({ least, median, most }: Summary): string {
  return `${short(median)} (${short(least)}-${short(most)})`;
}

/** `x1.25`, and `tie` where the spreads meet. */
export function ratioText(numerator: Summary, denominator: Summary): string {
  const ratio = `x${short(numerator.median / denominator.median)}`;
  return isTie(numerator, denominator) ? `${ratio} tie` : ratio;
}
