/** The table of callers behind `sluice top`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALLER_CAPACITY, CallerTable } from '../../src/shared/caller-table.ts';

test('counts are kept by caller, with what was asked for', () => {
  const table = new CallerTable();
  table.count(7);
  table.countRead(7, 4096);
  table.countRead(9, 100);
  table.countWrite(7, 10);
  table.count(0);
  const byPid = new Map(table.callers().map((caller) => [caller.pid, caller]));
  assert.deepEqual([...byPid.keys()].sort(), [0, 7, 9]);
  const { entry, ...seven } = byPid.get(7) as NonNullable<ReturnType<typeof byPid.get>>;
  assert.equal(entry, 0);
  const expected = { requests: 3, reads: 1, writes: 1, readBytes: 4096, writtenBytes: 10 };
  assert.deepEqual(seven, { pid: 7, ...expected });
  assert.equal(table.requests(), 5);
  assert.equal(table.dropped(), 0);
});

test('numbers that share a place are told apart', () => {
  const table = new CallerTable();
  // Equal in the bits by which a place is chosen.
  const pids = [1, 513, 1025, 1537, 4_194_305];
  for (const [index, pid] of pids.entries()) {
    for (let n = 0; n <= index; n++) table.count(pid);
  }
  const counts = new Map(table.callers().map(({ pid, requests }) => [pid, requests]));
  assert.deepEqual(
    pids.map((pid) => counts.get(pid)),
    [1, 2, 3, 4, 5],
  );
});

test('a full table drops the less active half and keeps the sum', () => {
  const table = new CallerTable();
  for (let pid = 1; pid <= CALLER_CAPACITY; pid++) {
    for (let n = 0; n < (pid % 2 === 0 ? 3 : 1); n++) table.count(pid);
  }
  assert.equal(table.dropped(), 0);
  table.count(100_000);
  assert.equal(table.dropped(), CALLER_CAPACITY / 2);
  const kept = table.callers().map(({ pid }) => pid);
  assert.equal(kept.length, CALLER_CAPACITY / 2 + 1);
  assert.deepEqual(
    kept.filter((pid) => pid % 2 === 1),
    [],
  );
  assert.equal(table.requests(), 2 * CALLER_CAPACITY + 1);
  for (const { pid, requests } of table.callers()) assert.equal(requests, pid === 100_000 ? 1 : 3);
});

test('who was busy long ago goes before who is busy now, and comes back as a new entry', () => {
  const table = new CallerTable();
  for (let n = 0; n < 1000; n++) table.count(1);
  const first = table.callers()[0]?.entry;
  let pid = 10;
  // Two rounds of newcomers: in the second the old one has done nothing.
  while (table.dropped() <= CALLER_CAPACITY / 2) {
    table.count(pid);
    table.count(pid);
    pid++;
  }
  assert.equal(
    table.callers().some((caller) => caller.pid === 1),
    false,
  );
  table.count(1);
  const again = table.callers().find((caller) => caller.pid === 1);
  assert.equal(again?.requests, 1);
  assert.notEqual(again?.entry, first);
});

test('a storm of callers leaves a bounded table and counts everything', () => {
  const table = new CallerTable();
  for (let pid = 0; pid < 100_000; pid++) table.count(pid);
  assert.ok(table.callers().length <= CALLER_CAPACITY);
  assert.equal(table.requests(), 100_000);
  assert.equal(table.dropped() + table.callers().length, 100_000);
});

test('what another table has counted is added, and counted there no more', () => {
  const [main, deputy] = [new CallerTable(), new CallerTable()];
  main.countRead(7, 100);
  deputy.countRead(7, 50);
  deputy.countWrite(8, 30);
  deputy.count(8);
  main.add(deputy.takeAll());
  assert.deepEqual(deputy.takeAll(), { callers: [], requests: 0 });
  main.add(deputy.takeAll());
  const rows = main.callers().map(({ pid, requests, reads, readBytes, writes, writtenBytes }) => {
    return [pid, requests, reads, readBytes, writes, writtenBytes];
  });
  rows.sort((a, b) => (a[0] as number) - (b[0] as number));
  assert.deepEqual(rows, [
    [7, 2, 2, 150, 0, 0],
    [8, 2, 0, 0, 1, 30],
  ]);
  assert.equal(main.requests(), 4);
});

test('those that another table has dropped count all the same', () => {
  const [main, deputy] = [new CallerTable(), new CallerTable()];
  for (let pid = 0; pid < 2 * CALLER_CAPACITY; pid++) deputy.count(pid);
  main.add(deputy.takeAll());
  assert.equal(main.requests(), 2 * CALLER_CAPACITY);
});
