/** The arithmetic of `sluice top`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latencyOf } from '../../src/main/commands/latency.ts';
import { tableRows, totalsOf } from '../../src/main/commands/operations.ts';
import { latencyText } from '../../src/main/commands/table.ts';
import { sampleOf } from '../../src/main/commands/top-sample.ts';
import type {
  OperationCounts,
  OperationsReport,
  TopReport,
} from '../../src/main/control/protocol.ts';
import type { CallerCounts } from '../../src/shared/caller-table.ts';

function report(clockMs: number, given: Partial<TopReport>): TopReport {
  return {
    clockMs,
    load: {} as TopReport['load'],
    operations: operations([], counts('other', 0, 0)),
    callers: [],
    callerRequests: 0,
    callersDropped: 0,
    pidNamespace: 'pid:[1]',
    ...given,
  };
}

function operations(each: OperationCounts[], others: OperationCounts): OperationsReport {
  return { boundsUs: [100, 200], each, others };
}

function counts(name: string, requests: number, errors: number | null): OperationCounts {
  return { name, requests, errors, durations: null };
}

function lookups(requests: number, errors: number, durations: number[], sumUs: number) {
  return { name: 'lookup', requests, errors, durations: { counts: durations, sumUs } };
}

function caller(pid: number, entry: number, requests: number): CallerCounts {
  return { pid, entry, requests, reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 };
}

const itself = (pid: number) => ({ pid, command: `c${pid}` });

test('operations are shown by what came in the interval', () => {
  const before = report(1000, {
    operations: operations([lookups(100, 10, [100, 0, 0], 5000)], counts('other', 3, 1)),
  });
  const now = report(3000, {
    operations: operations(
      [lookups(104, 11, [102, 2, 0], 8000), counts('read', 10, 0), counts('statfs', 5, null)],
      counts('other', 8, 2),
    ),
  });
  const { intervalSeconds, operations: shown } = sampleOf(before, now, itself);
  assert.equal(intervalSeconds, 2);
  assert.deepEqual(shown.each, [
    { name: 'read', requests: 10, errors: 0, latency: null, perSecond: 5 },
    { name: 'statfs', requests: 5, errors: null, latency: null, perSecond: 2.5 },
    {
      name: 'lookup',
      requests: 4,
      errors: 1,
      // Two up to 100 us, two between 100 and 200 us, of 3 ms in all.
      latency: { meanUs: 750, p50Us: 100, p99Us: 198 },
      perSecond: 2,
    },
  ]);
  assert.deepEqual([shown.others.requests, shown.others.errors], [5, 1]);
  assert.deepEqual(totalsOf(shown), { requests: 19, errors: 2 });
  assert.deepEqual(
    tableRows(shown, 2).map(({ name }) => name),
    ['read', 'statfs', '(all with -)'],
  );
  assert.deepEqual(
    tableRows(shown, 1).map(({ name }) => name),
    ['read'],
  );
});

test('latencies are estimated within their bucket, as Prometheus does', () => {
  const bounds = [100, 200, 1000];
  const of = (...counts: number[]) => latencyOf({ counts, sumUs: 4000 }, bounds);
  assert.equal(of(0, 0, 0, 0), null);
  assert.deepEqual(of(0, 10, 0, 0), { meanUs: 400, p50Us: 150, p99Us: 199 });
  assert.deepEqual(of(50, 0, 50, 0), { meanUs: 40, p50Us: 100, p99Us: 984 });
  // Longer than is told apart.
  assert.deepEqual(of(1, 0, 0, 3), { meanUs: 1000, p50Us: 1000, p99Us: 1000 });
  const texts = [0.4, 85.2, 1300, 999_999, 2_500_000].map((us) => latencyText(us, 1e7));
  assert.deepEqual(texts, ['0.4 us', '85 us', '1.3 ms', '1000 ms', '2.5 s']);
  assert.equal(latencyText(1e7, 1e7), '>= 10 s');
});

test('threads add up to their process', () => {
  const before = report(0, { callers: [caller(11, 0, 5)], callerRequests: 5 });
  const now = report(1000, {
    callers: [caller(11, 0, 8), caller(12, 1, 4), caller(20, 2, 1)],
    callerRequests: 13,
  });
  const nameOf = (pid: number) => ({ pid: pid < 20 ? 10 : 20, command: 'x' });
  const { processes } = sampleOf(before, now, nameOf);
  assert.deepEqual(
    processes.map(({ pid, requests }) => [pid, requests]),
    [
      [10, 7],
      [20, 1],
    ],
  );
});

test('what dropped callers did is shown as that of others, and a new stay begins at zero', () => {
  const before = report(0, {
    callers: [caller(1, 0, 1000), caller(2, 1, 50)],
    callerRequests: 1050,
  });
  // 1 was dropped, did 30 more in between and came back with 4; 2 went on.
  const now = report(1000, {
    callers: [caller(1, 7, 4), caller(2, 1, 60)],
    callerRequests: 1094,
    callersDropped: 3,
  });
  const { processes, callersDropped } = sampleOf(before, now, itself);
  assert.deepEqual(
    processes.map(({ pid, command, requests }) => [pid, command, requests]),
    [
      [2, 'c2', 10],
      [1, 'c1', 4],
      [null, '(others)', 30],
    ],
  );
  assert.equal(callersDropped, 3);
});
