/** What happened between two looks at a daemon. */
import type { CallerCounts } from '../../shared/caller-table.ts';
import type { TopReport } from '../control/protocol.ts';
import { type Operation, type Operations, operationsOf } from './operations.ts';
import type { ProcessName } from './process-names.ts';

/** What of an operation was done in the interval. */
export interface OperationRate extends Operation {
  readonly perSecond: number;
}

/** The requests of all threads of one process in the interval. */
export interface ProcessRate {
  /** Null for what is not told apart: ended processes, and callers dropped from the table. */
  readonly pid: number | null;
  readonly command: string;
  readonly perSecond: number;
  readonly requests: number;
  readonly reads: number;
  readonly writes: number;
  /** Bytes asked for. */
  readonly readBytes: number;
  readonly writtenBytes: number;
}

export interface TopSample {
  readonly intervalSeconds: number;
  readonly operations: Operations<OperationRate>;
  readonly processes: readonly ProcessRate[];
  /** Callers dropped from the daemon's table in the interval. */
  readonly callersDropped: number;
}

/**
 * The difference of two reports of one daemon, the busiest first.
 *
 * @param nameOf the process of a thread
 */
export function sampleOf(
  before: TopReport,
  now: TopReport,
  nameOf: (pid: number) => ProcessName,
): TopSample {
  const intervalSeconds = Math.max((now.clockMs - before.clockMs) / 1000, 0.001);
  const withRate = (operation: Operation): OperationRate => ({
    ...operation,
    perSecond: operation.requests / intervalSeconds,
  });
  const { each, others } = operationsOf(now.operations, before.operations);
  return {
    intervalSeconds,
    operations: { each: each.map(withRate), others: withRate(others) },
    processes: processRates(before, now, intervalSeconds, nameOf),
    callersDropped: now.callersDropped - before.callersDropped,
  };
}

type Counts = Pick<CallerCounts, 'requests' | 'reads' | 'writes' | 'readBytes' | 'writtenBytes'>;

const NONE: Counts = { requests: 0, reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 };

function processRates(
  before: TopReport,
  now: TopReport,
  seconds: number,
  nameOf: (pid: number) => ProcessName,
): ProcessRate[] {
  const earlier = new Map(before.callers.map((caller) => [caller.entry, caller]));
  const byProcess = new Map<number | null, ProcessRate>();
  let rest = now.callerRequests - before.callerRequests;
  for (const caller of now.callers) {
    const counts = difference(caller, earlier.get(caller.entry) ?? NONE);
    if (counts.requests === 0) continue;
    rest -= counts.requests;
    const name = nameOf(caller.pid);
    const sum = addCounts(byProcess.get(name.pid) ?? NONE, counts);
    byProcess.set(name.pid, { ...name, ...sum, perSecond: sum.requests / seconds });
  }
  const rates = [...byProcess.values()].sort((a, b) => b.requests - a.requests);
  if (rest <= 0) return rates;
  const others = { ...NONE, pid: null, command: '(others)', requests: rest };
  return [...rates, { ...others, perSecond: rest / seconds }];
}

function difference(a: Counts, b: Counts): Counts {
  return {
    requests: a.requests - b.requests,
    reads: a.reads - b.reads,
    writes: a.writes - b.writes,
    readBytes: a.readBytes - b.readBytes,
    writtenBytes: a.writtenBytes - b.writtenBytes,
  };
}

function addCounts(a: Counts, b: Counts): Counts {
  return difference(a, difference(NONE, b));
}
