import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { nowUs } from '../../src/shared/clock.ts';
import { MOUNT_FLAG } from '../../src/shared/memory/mount-table.ts';
import { allocateSharedMemory } from '../../src/shared/memory/shared-memory.ts';
import { queueThread, ThreadJournal } from '../../src/shared/memory/thread-journal.ts';
import { STAT, STAT_CELLS } from '../../src/shared/stats-layout.ts';
import { Health } from '../../src/workers/exporter-health.ts';
import { isBlocked } from '../../src/workers/watchdog-blocked.ts';
import { LanesOnly } from '../../src/workers/watchdog-lanes-only.ts';
import { QueueWatch } from '../../src/workers/watchdog-queues.ts';
import { WorkUnderWay } from '../../src/workers/watchdog-work.ts';
import { identityOf, makeMemory, tablesOf } from '../memory/tables.ts';

const LOOKS = 4;
const STUCK_MS = 100;

/** A thread of this process that waits in the kernel, and its number. */
async function waitingThread(): Promise<{ readonly id: number; end(): Promise<unknown> }> {
  const code = `const { parentPort } = require('node:worker_threads');
    const id = require('node:fs').readlinkSync('/proc/thread-self').split('/').at(-1);
    parentPort.postMessage(Number(id));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`;
  const worker = new Worker(code, { eval: true, execArgv: [] });
  const [id] = (await once(worker, 'message')) as [number];
  // It has told us before it waits.
  while (!isBlocked(id)) await sleep(5);
  return { id, end: () => worker.terminate() };
}

test('a thread of a queue that is stuck is told of, and its mount left to the lanes', async (t) => {
  const ringEntries = { threads: 2, entriesPerThread: 1, payloadBytes: 4096 };
  const { geometry } = makeMemory({ ringEntries });
  const memory = allocateSharedMemory({ ...geometry, statCells: STAT_CELLS });
  const tables = tablesOf(memory, 1);
  const { mounts, stats, inodes } = tables;
  inodes.clear();
  const mount = mounts.add(7, 0, 1, 2, -1, MOUNT_FLAG.LOCAL);
  const nodeid = inodes.lookup(identityOf({ mount, ino: 7, handle: undefined }));
  const said: string[] = [];
  const log = (level: string, fields: object, message: string) =>
    void said.push(`${level} ${(fields as { queue: number }).queue} ${message}`);
  const watch = new QueueWatch(
    tables,
    new WorkUnderWay(tables, memory),
    new LanesOnly(mounts),
    LOOKS,
    log,
  );
  const health = new Health(tables, memory, STUCK_MS);
  const isLeft = () => mounts.hasFlag(mount, MOUNT_FLAG.LANES_ONLY);
  const thread = queueThread(memory.geometry.maxLanes, 1);
  const waiting = await waitingThread();
  t.after(() => waiting.end());
  new ThreadJournal(memory.journal, thread).setThreadId(waiting.id);
  const begin = (sinceMs: number) => {
    stats.setOf(thread, STAT.BUSY_OPCODE, OP.LOOKUP);
    stats.setOf(thread, STAT.BUSY_NODE_LO, nodeid);
    stats.setOf(thread, STAT.BUSY_NODE_HI, 0);
    stats.setOf(thread, STAT.BUSY_SINCE_MS, sinceMs);
  };

  // One request after the other is no standstill.
  for (let look = 0; look < 2 * LOOKS; look++) {
    begin(nowUs() / 1000 + look);
    watch.look();
  }
  assert.deepEqual([said, isLeft()], [[], false]);

  // Main's loop turns.
  stats.set(STAT.HEARTBEAT_MS, nowUs() / 1000 + 10_000);
  begin(nowUs() / 1000 - 2 * STUCK_MS);
  for (let look = 0; look <= LOOKS; look++) watch.look();
  assert.match(said.join('\n'), /^error 1 the thread of a queue is stuck in LOOKUP;/);
  assert.equal(isLeft(), true);
  assert.match(
    String(health.whyNotLive()),
    /thread 1 of io_uring's queues has been stuck .* LOOKUP/,
  );
  assert.ok(health.receiversBusyMs() >= 2 * STUCK_MS);

  stats.setOf(thread, STAT.BUSY_SINCE_MS, 0);
  watch.look();
  assert.equal(said.length, 2);
  assert.match(String(said[1]), /^warn 1 the thread of a queue goes on after LOOKUP/);
});
