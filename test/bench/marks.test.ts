/** Verdicts on figures whose outcome is plain. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge, type Verdict } from '../../bench/macro/marks.ts';
import { type Cell, RECORD_VERSION, type RunRecord } from '../../bench/macro/record.ts';
import { isTie, summarise } from '../../bench/macro/summary.ts';

type Times = Readonly<Record<string, readonly number[]>>;

/** A record of `rename` on one CPU. */
function recordOf(times: Times): RunRecord {
  const cells = Object.entries(times).map(
    ([target, rounds]): Cell => ({
      workload: 'rename',
      placement: 'one-cpu',
      target,
      rounds: rounds.map((elapsedUs) => ({
        operations: 1,
        elapsedUs,
        clientCpuUs: 0,
        clientSwitches: 0,
        daemonCpuUs: null,
        daemonSwitches: null,
        daemonRssBytes: null,
      })),
      requests: null,
    }),
  );
  return {
    version: RECORD_VERSION,
    host: { date: '', cpu: '', cpuCount: 2, memoryGib: 1, kernel: '', node: '', load: 0 },
    fs: 'tmpfs',
    rounds: 3,
    quick: false,
    placements: ['one-cpu'],
    targets: Object.keys(times).map((name) => ({ name, command: null })),
    workloads: [{ name: 'rename', group: 'metadata', operation: '', clients: 1 }],
    cells,
    requestsUnknown: null,
    failures: [],
  };
}

/** The verdict against passthrough_hp and passthrough_ll, whose limit is 0.7. */
function verdictOf(times: Times, aliases: [string, string][] = []): Verdict {
  const found = judge(recordOf(times), new Map(aliases)).find(({ mark }) => mark.most === 0.7);
  assert.ok(found);
  return found;
}

test('a mark is reached, missed or a tie by the limit and not by the peer', () => {
  const peers = { passthrough_hp: [100, 101, 99], passthrough_ll: [200, 201, 202] };
  const reached = verdictOf({ sluice: [60, 61, 59], ...peers });
  assert.equal(reached.outcome, 'reached');
  assert.equal(reached.ratio, 0.6);
  assert.equal(verdictOf({ sluice: [80, 81, 79], ...peers }).outcome, 'missed');
  assert.equal(verdictOf({ sluice: [69, 60, 75], ...peers }).outcome, 'tie (median: reached)');
  assert.equal(verdictOf({ sluice: [71, 60, 75], ...peers }).outcome, 'tie (median: missed)');
});

test('the faster of two peers counts, and a missing one is said', () => {
  const sluice = [60, 60, 60];
  const both = { passthrough_hp: [100, 100, 100], passthrough_ll: [70, 70, 70] };
  assert.equal(verdictOf({ sluice, ...both }).peer, 'passthrough_ll');
  assert.equal(verdictOf({ sluice, ...both }).outcome, 'missed');
  const one = verdictOf({ sluice, passthrough_hp: [100, 100, 100] });
  assert.equal(one.outcome, 'reached (no passthrough_ll)');
  const none = verdictOf({ sluice });
  assert.equal(none.outcome, 'not measured: no passthrough_hp, passthrough_ll');
  assert.equal(none.ratio, null);
});

test('another target may stand for a peer', () => {
  const times = { sluice: [60, 60, 60], other: [100, 100, 100] };
  assert.equal(verdictOf(times, [['passthrough_hp', 'other']]).peer, 'other');
});

test('spreads that meet are a tie', () => {
  assert.deepEqual(summarise([3, 1, 2, 10]), { least: 1, median: 2.5, most: 10 });
  assert.ok(isTie(summarise([1, 5]), summarise([5, 9])));
  assert.ok(!isTie(summarise([1, 5]), summarise([6, 9])));
});
