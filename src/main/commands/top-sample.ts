/** What happened between two looks at a daemon. */
import type { CallerCounts, OperationCounts, TopReport } from '../control/protocol.ts';
import type { ProcessName } from './process-names.ts';

export interface OperationRate {
  readonly name: string;
  readonly perSecond: number;
  /** In the interval. */
  readonly requests: number;
  readonly errors: number;
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
  readonly operations: readonly OperationRate[];
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
  return {
    intervalSeconds,
    operations: operationRates(before.operations, now.operations, intervalSeconds),
    processes: processRates(before, now, intervalSeconds, nameOf),
    callersDropped: now.callersDropped - before.callersDropped,
  };
}

function operationRates(
  before: readonly OperationCounts[],
  now: readonly OperationCounts[],
  seconds: number,
): OperationRate[] {
  const earlier = new Map(before.map((row) => [row.name, row]));
  return now
    .map(({ name, replies, errors }) => {
      const requests = replies - (earlier.get(name)?.replies ?? 0);
      const failed = errors - (earlier.get(name)?.errors ?? 0);
      return { name, requests, errors: failed, perSecond: requests / seconds };
    })
    .filter(({ requests }) => requests > 0)
    .sort((a, b) => b.requests - a.requests);
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
