/** How long requests took, from counts by duration. */
import type { Durations } from '../../shared/request-stats.ts';

/** Of requests with a reply. Quantiles are estimates within the bucket they fall into. */
export interface Latency {
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/**
 * @param boundsUs upper bounds of the counts, ascending
 * @returns null when there was no request
 */
export function latencyOf(durations: Durations, boundsUs: readonly number[]): Latency | null {
  const { counts, sumUs } = durations;
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return null;
  return {
    meanUs: sumUs / total,
    p50Us: quantileUs(counts, boundsUs, 0.5 * total),
    p99Us: quantileUs(counts, boundsUs, 0.99 * total),
  };
}

/**
 * The duration that `rank` requests stay below, as histogram_quantile() of Prometheus estimates it:
 * requests are taken to be spread evenly in their bucket, and those above the last bound to be at it.
 */
function quantileUs(counts: readonly number[], boundsUs: readonly number[], rank: number): number {
  let below = 0;
  for (const [bucket, upperUs] of boundsUs.entries()) {
    const count = counts[bucket] ?? 0;
    if (count > 0 && below + count >= rank) {
      const lowerUs = boundsUs[bucket - 1] ?? 0;
      return lowerUs + ((upperUs - lowerUs) * (rank - below)) / count;
    }
    below += count;
  }
  return boundsUs.at(-1) ?? 0;
}

/** What came in between. */
export function durationsBetween(before: Durations | undefined, now: Durations): Durations {
  return {
    counts: now.counts.map((count, bucket) => count - (before?.counts[bucket] ?? 0)),
    sumUs: now.sumUs - (before?.sumUs ?? 0),
  };
}
