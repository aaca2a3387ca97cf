/** Turns the figures of all rounds into tables. */
import type { Workload } from './workloads.ts';

/** Least, median and most of the rounds, in microseconds per operation. */
export interface Summary {
  readonly leastUs: number;
  readonly medianUs: number;
  readonly mostUs: number;
}

/** Microseconds per operation: by workload, by target, one for each round. */
export type Figures = Record<string, Record<string, number[]>>;

export function summarise(figuresUs: readonly number[]): Summary {
  const sorted = [...figuresUs].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const medianUs =
    sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { leastUs: sorted[0], medianUs, mostUs: sorted[sorted.length - 1] };
}

/** Two targets whose spreads meet are not told apart by this run. */
export function isTie(a: Summary, b: Summary): boolean {
  return a.leastUs <= b.mostUs && b.leastUs <= a.mostUs;
}

function short(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function spreadText({ leastUs, medianUs, mostUs }: Summary): string {
  return `${short(medianUs)} (${short(leastUs)}-${short(mostUs)})`;
}

function ratioText(numerator: Summary, denominator: Summary): string {
  const ratio = `x${short(numerator.medianUs / denominator.medianUs)}`;
  return isTie(numerator, denominator) ? `${ratio} tie` : ratio;
}

function rateText({ medianUs }: Summary, sizeBytes: number | undefined): string {
  return sizeBytes === undefined ? '' : ` ${short(sizeBytes / medianUs)} MB/s`;
}

/** Columns are padded to their widest cell. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** One row for each workload, one column for each target; the ratio is to `reference`. */
export function figureTable(
  workloads: readonly Workload[],
  targetNames: readonly string[],
  figures: Figures,
  reference: string,
): string {
  const rows = workloads.map(({ name, operationSizeBytes }) => {
    const referenceFigures = figures[name][reference] ?? [];
    const cells = targetNames.map((target) => {
      const own = figures[name][target];
      if (own.length === 0) return 'failed';
      const summary = summarise(own);
      const text = spreadText(summary) + rateText(summary, operationSizeBytes);
      if (target === reference || referenceFigures.length === 0) return text;
      return `${text} ${ratioText(summary, summarise(referenceFigures))}`;
    });
    return [name, ...cells];
  });
  return table([['us per operation', ...targetNames], ...rows]);
}

/** How much longer than `subject` the others take. */
export function comparisonTable(
  workloads: readonly Workload[],
  subject: string,
  others: readonly string[],
  figures: Figures,
): string {
  const rows = workloads.map(({ name }) => {
    const own = figures[name][subject];
    const cells = others.map((other) => {
      const theirs = figures[name][other];
      if (own.length === 0 || theirs.length === 0) return 'failed';
      return ratioText(summarise(theirs), summarise(own));
    });
    return [name, ...cells];
  });
  return table([[`time / ${subject}'s time`, ...others], ...rows]);
}
