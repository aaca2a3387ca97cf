import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOUNT_FLAG, MountTable } from '../../src/shared/memory/mount-table.ts';
import { LanesOnly } from '../../src/workers/watchdog-lanes-only.ts';

const MINUTE_MS = 60_000;

function tableOfOne(): MountTable {
  const mounts = new MountTable(new SharedArrayBuffer(MountTable.byteLength), 1);
  assert.equal(mounts.add(7, 0, 1, 2, -1, MOUNT_FLAG.LOCAL), 0);
  return mounts;
}

test('a mount is left to the lanes for five minutes, and twice as long each time', () => {
  const mounts = tableOfOne();
  const lanesOnly = new LanesOnly(mounts);
  const isLeft = () => mounts.hasFlag(0, MOUNT_FLAG.LANES_ONLY);
  let nowMs = 1000;
  for (const minutes of [5, 10, 20]) {
    assert.equal(lanesOnly.begin(0, nowMs, true), minutes * MINUTE_MS);
    // It counts from the end of the call.
    nowMs += 60 * MINUTE_MS;
    lanesOnly.goesOn(0, nowMs);
    assert.deepEqual([lanesOnly.end(nowMs + minutes * MINUTE_MS - 1), isLeft()], [[], true]);
    nowMs += minutes * MINUTE_MS;
    assert.deepEqual([lanesOnly.end(nowMs), isLeft()], [[0], false]);
    assert.deepEqual(lanesOnly.end(nowMs + 1), []);
  }
  assert.ok(mounts.hasFlag(0, MOUNT_FLAG.LOCAL));
  for (let i = 0; i < 20; i++) lanesOnly.begin(0, nowMs, true);
  assert.equal(lanesOnly.begin(0, nowMs, true), 24 * 60 * MINUTE_MS);
});

test('without a deputy it is left to the lanes for good', () => {
  const mounts = tableOfOne();
  const lanesOnly = new LanesOnly(mounts);
  assert.equal(lanesOnly.begin(0, 0, false), Number.POSITIVE_INFINITY);
  lanesOnly.goesOn(0, 0);
  assert.deepEqual(lanesOnly.end(1e15), []);
  assert.ok(mounts.hasFlag(0, MOUNT_FLAG.LANES_ONLY));
});
