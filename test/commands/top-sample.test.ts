/** The arithmetic of `sluice top`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sampleOf } from '../../src/main/commands/top-sample.ts';
import type { CallerCounts, TopReport } from '../../src/main/control/protocol.ts';

function report(clockMs: number, given: Partial<TopReport>): TopReport {
  return {
    clockMs,
    load: {} as TopReport['load'],
    operations: [],
    callers: [],
    callerRequests: 0,
    callersDropped: 0,
    pidNamespace: 'pid:[1]',
    ...given,
  };
}

function caller(pid: number, entry: number, requests: number): CallerCounts {
  return { pid, entry, requests, reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 };
}

const itself = (pid: number) => ({ pid, command: `c${pid}` });

test('operations are shown by what came in the interval', () => {
  const before = report(1000, { operations: [{ name: 'LOOKUP', replies: 100, errors: 10 }] });
  const now = report(3000, {
    operations: [
      { name: 'LOOKUP', replies: 104, errors: 11 },
      { name: 'READ', replies: 10, errors: 0 },
    ],
  });
  const { intervalSeconds, operations } = sampleOf(before, now, itself);
  assert.equal(intervalSeconds, 2);
  assert.deepEqual(operations, [
    { name: 'READ', requests: 10, errors: 0, perSecond: 5 },
    { name: 'LOOKUP', requests: 4, errors: 1, perSecond: 2 },
  ]);
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
