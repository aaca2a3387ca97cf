/** A debug message now and then about what a mount runs short of: sums, never one per request. */
import type { Logger } from '../shared/log.ts';
import type { ThreadTables } from '../shared/memory/shared-memory.ts';
import { STAT } from '../shared/stats-layout.ts';

const PERIOD_MS = 10_000;

type Counters = Readonly<Record<string, number>>;

function countersOf({ fds, stats }: ThreadTables): Counters {
  return {
    /** Descriptors closed to make room for others. */
    fdEvictions: fds.evictions(),
    fdExhausted: fds.exhausted(),
    /** Requests that had to wait in main's memory. */
    parked: stats.sum(STAT.PARKED),
    droppedReplies: stats.sum(STAT.DROPPED_REPLIES),
    interrupts: stats.sum(STAT.INTERRUPTS),
  };
}

/**
 * Looks every 10 seconds, and logs what has been counted since, if anything was.
 * @returns ends it
 */
export function logScarcity(tables: ThreadTables, logger: Logger): () => void {
  let before = countersOf(tables);
  const timer = setInterval(() => {
    const now = countersOf(tables);
    const grown = Object.entries(now)
      .map(([name, count]) => [name, count - (before[name] ?? 0)] as const)
      .filter(([, count]) => count > 0);
    before = now;
    if (grown.length > 0) {
      logger.debug({ seconds: PERIOD_MS / 1000, ...Object.fromEntries(grown) }, 'scarcity');
    }
  }, PERIOD_MS);
  return () => clearInterval(timer);
}
