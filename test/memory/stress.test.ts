import assert from 'node:assert/strict';
import { existsSync, openSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { lockCell, lockOwner, longWaitChecks, unlockCell } from '../../src/shared/memory/lock.ts';
import { isLongRun } from '../harness/seconds.ts';
import type { StressTask } from './stress-worker.ts';
import { makeMemory, tablesOf } from './tables.ts';

const TIME_LIMIT = { timeout: 60_000 };
const FACTOR = isLongRun ? 20 : 1;
const nullFd = openSync('/dev/null', 'r');

/** Runs the task in a worker. @returns what it says at its end */
function inWorker(task: StressTask): { answer: Promise<string>; worker: Worker } {
  const worker = new Worker(new URL('./stress-worker.js', import.meta.url), { workerData: task });
  const answer = new Promise<string>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the worker ended with ${code}`)));
  });
  return { answer, worker };
}

test('a lock is held by one of four threads at a time', TIME_LIMIT, async () => {
  const cells = new Int32Array(new SharedArrayBuffer(64));
  const rounds = 200_000 * FACTOR;
  const threads = [1, 2, 3, 4].map((thread) => inWorker({ kind: 'lock', cells, thread, rounds }));
  for (const { answer } of threads) assert.equal(await answer, 'ok');
  assert.equal(cells[1], 4 * rounds);
  assert.equal(cells[0], 0);
});

test(
  'who waits long for a lock gets to know whose it is, and may break it',
  TIME_LIMIT,
  async () => {
    const cells = new Int32Array(new SharedArrayBuffer(64));
    const { answer, worker } = inWorker({ kind: 'die-locked', cells, thread: 7 });
    const id = await answer;
    await worker.terminate();
    while (existsSync(`/proc/self/task/${id}`)) await sleep(1);
    const owners: number[] = [];
    const check = (owner: number): void => {
      owners.push(owner);
      if (lockOwner(cells, 0) === 7) unlockCell(cells, 0);
    };
    longWaitChecks.add(check);
    lockCell(cells, 0, 1);
    longWaitChecks.delete(check);
    assert.deepEqual(owners, [7]);
    assert.equal(lockOwner(cells, 0), 1);
  },
);

for (const files of [3, 2000]) {
  test(`four threads on ${files} identities leave nothing behind`, TIME_LIMIT, async () => {
    const memory = makeMemory({ inodes: 4000, fdBudget: 4 });
    const tables = tablesOf(memory, 1);
    tables.inodes.clear();
    const before = readdirSync('/proc/self/fd').length;
    const rounds = 60_000 * FACTOR;
    const threads = [2, 3, 4, 5].map((thread) =>
      inWorker({ kind: 'inodes', memory, thread, files, rounds, nullFd }),
    );
    const ended = threads.map(
      ({ worker }) => new Promise((resolve) => worker.once('exit', resolve)),
    );
    for (const { answer } of threads) assert.equal(await answer, 'ok');
    await Promise.all(ended);
    assert.equal(tables.inodes.count(), 0);
    assert.equal(tables.inodes.countLookups(), 0);
    // What the threads have counted for themselves.
    assert.equal(tables.stats.sum(0), 0);
    assert.equal(tables.fds.used(), 0);
    assert.ok(files === 3 || tables.fds.evictions() > 0, 'nothing was ever evicted');
    // Worker threads have descriptors of their own, which go a little later than they do.
    let left = readdirSync('/proc/self/fd').length;
    for (let tries = 0; left > before && tries < 100; tries++) {
      await sleep(20);
      left = readdirSync('/proc/self/fd').length;
    }
    assert.ok(left <= before, `${left} descriptors, ${before} before`);
    // Every slot is free again.
    for (let i = 0; i < 3999; i++) {
      const identity = new Int32Array(64);
      identity[2] = i;
      assert.ok(tables.inodes.lookup(identity) > 0, `slot ${i} was lost`);
    }
  });
}

test('no item of a ring is lost or doubled, no wake-up goes astray', TIME_LIMIT, async () => {
  const memory = makeMemory({ smallSlots: 30 });
  const { rings } = tablesOf(memory, 1);
  const count = 60_000 * FACTOR;
  const last = count;
  const seen = new Int32Array(new SharedArrayBuffer(4 * count));
  const lanes = [2, 3, 4, 5];
  const threads = lanes.map((thread) => inWorker({ kind: 'rings', memory, thread, seen, last }));
  const journals = lanes.map((thread) => tablesOf(memory, thread).journal);
  const push = async (item: number): Promise<void> => {
    while (!rings.push(0, item)) await new Promise((resolve) => setImmediate(resolve));
    for (const journal of journals) if (journal.wake()) return;
  };
  for (let item = 0; item < count; item++) {
    await push(item);
    // Pauses in which they all go to sleep.
    if (item % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (item % 4096 === 0) await sleep(2);
  }
  for (const _ of lanes) await push(last);
  for (const { answer } of threads) assert.equal(await answer, 'ok');
  assert.equal(
    seen.findIndex((times) => times !== 1),
    -1,
  );
});
