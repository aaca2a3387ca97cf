import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { OP, ROW_BY_OPCODE } from '../../src/shared/abi/opcodes.ts';
import { nowUs } from '../../src/shared/clock.ts';
import { StatsBlock } from '../../src/shared/memory/stats-block.ts';
import { laneThread, MAIN_THREAD } from '../../src/shared/memory/thread-journal.ts';
import { GROUP_BY_INDEX, OPERATION_BY_INDEX } from '../../src/shared/metrics-table.ts';
import { countQueueWait, countReply } from '../../src/shared/request-stats.ts';
import { QUEUE_WAIT, REQUEST_DURATION, STAT, STAT_CELLS } from '../../src/shared/stats-layout.ts';
import { identityOf, makeMemory, tablesOf } from '../memory/tables.ts';

const THREADS = laneThread(2);

function makeBlocks(): { main: StatsBlock; lane: StatsBlock } {
  const buffer = new SharedArrayBuffer(StatsBlock.byteLength(THREADS, STAT_CELLS));
  const open = (thread: number): StatsBlock => new StatsBlock(buffer, thread, THREADS, STAT_CELLS);
  return { main: open(MAIN_THREAD), lane: open(laneThread(0)) };
}

test('a value is counted in the first bucket it does not exceed', () => {
  const { main } = makeBlocks();
  for (const us of [0, 10, 10.5, 25, 10_000_000, 10_000_001]) main.observe(QUEUE_WAIT, 0, us);
  const { at, bounds } = QUEUE_WAIT;
  assert.equal(main.sum(at), 2);
  assert.equal(main.sum(at + 1), 2);
  assert.equal(main.sum(at + bounds.length - 1), 1);
  assert.equal(main.sum(at + bounds.length), 1);
  assert.equal(main.sum(at + bounds.length + 1), 20_000_046.5);
});

test('a reply is counted by operation, thread, class of error and time', () => {
  const { main, lane } = makeBlocks();
  const row = ROW_BY_OPCODE[OP.UNLINK];
  assert.ok(row !== undefined);
  countReply(main, row, 0, 20);
  countReply(lane, row, -ERRNO.ENOENT, 20);
  const cell = STAT.REQUESTS + (OPERATION_BY_INDEX[row.statsIndex] as number);
  assert.equal(main.of(MAIN_THREAD, cell), 1);
  assert.equal(main.sum(cell, laneThread(0)), 1);
  const group = GROUP_BY_INDEX[row.statsIndex] as number;
  assert.equal(main.sum(STAT.REQUEST_ERRORS + 8 * group), 1, 'not_found is the first class');
  assert.equal(main.sum(REQUEST_DURATION.at + group * REQUEST_DURATION.stride + 1), 2);
});

test('what is no operation, and a wait for a lock, disturb no latency', () => {
  const { main } = makeBlocks();
  countReply(main, undefined, -ERRNO.ENOSYS, 20);
  countReply(main, ROW_BY_OPCODE[OP.SETLKW], 0, 1e9);
  countQueueWait(main, ROW_BY_OPCODE[OP.INIT], 20);
  let counted = 0;
  for (let cell = 0; cell < STAT_CELLS; cell++) counted += main.sum(cell) === 1 ? 1 : 0;
  // The unknown request, its error, its latency; and the lock.
  assert.equal(counted, 4);
  const other = REQUEST_DURATION.at + 14 * REQUEST_DURATION.stride;
  assert.equal(main.sum(other + REQUEST_DURATION.bounds.length + 1), 20);
});

test('the clock is one for all threads', { timeout: 20_000 }, async () => {
  const module = new URL('../../src/shared/clock.js', import.meta.url).href;
  // Threads begin at different times: a clock that counts from there would be off by these.
  for (let i = 0; i < 3; i++) {
    await sleep(30);
    const code = `import('${module}').then(({ nowUs }) => {
      const { parentPort, workerData } = require('node:worker_threads');
      parentPort.once('message', () => parentPort.postMessage(nowUs()));
      parentPort.postMessage(0);
    })`;
    const worker = new Worker(code, { eval: true });
    await new Promise((resolve) => worker.once('message', resolve));
    const beforeUs = nowUs();
    worker.postMessage(0);
    const theirsUs = await new Promise<number>((resolve) => worker.once('message', resolve));
    const afterUs = nowUs();
    // Two roundings of what process.hrtime() gives.
    assert.ok(theirsUs > beforeUs - 2 && theirsUs < afterUs + 2, `${theirsUs - beforeUs} us`);
    await worker.terminate();
  }
});

test('lookups outstanding are counted as the table counts them', () => {
  const memory = makeMemory({ inodes: 100 });
  const [main, lane] = [tablesOf(memory, MAIN_THREAD), tablesOf(memory, laneThread(0))];
  main.inodes.clear();
  main.slots.initialise();
  // The only cell of these tables is that of the lookups.
  const agree = (expected: number): void => {
    assert.equal(main.stats.sum(0), expected);
    assert.equal(main.inodes.countLookups(), expected);
  };
  const slots = [1, 2, 3].map((ino) =>
    lane.inodes.lookup(identityOf({ mount: 0, ino, handle: 1 })),
  );
  const again = main.inodes.lookup(identityOf({ mount: 0, ino: 2, handle: 1 }));
  assert.equal(again, slots[1]);
  agree(4);
  main.inodes.forget(again, 0, 1);
  agree(3);
  // More than were counted: what is below zero makes no sense.
  main.inodes.forget(again, 0, 50);
  main.inodes.forget(again, 0, 1);
  agree(2);
  assert.ok(main.stats.of(MAIN_THREAD, 0) < 0, 'main gave back what the lane has taken');
  main.inodes.clear();
  agree(0);
  lane.inodes.lookup(identityOf({ mount: 0, ino: 9, handle: 1 }));
  agree(1);
});
