import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IDENTITY, InodeTable } from '../../src/shared/memory/inode-table.ts';
import { addressOf } from '../../src/shared/sys/libc.ts';
import { isLongRun } from '../harness/seconds.ts';

const CYCLES = isLongRun ? 10_000_000 : 1_000_000;
const FLAT_BYTES = 8 << 20;
/** Inodes that are known at the same moment: each goes as the one so many cycles later comes. */
const WINDOW = 1000;

test(`${CYCLES} inodes that come and go leave memory flat`, { timeout: 120_000 }, () => {
  const geometry = { capacity: 100_000, handleRoomBytes: 16 };
  const buffer = new SharedArrayBuffer(InodeTable.byteLength(geometry));
  const table = new InodeTable(buffer, geometry, 1, addressOf(new Uint8Array(buffer, 0, 8)));
  table.clear();
  const identity = new Int32Array(64);
  const slots = new Int32Array(WINDOW);
  const epochs = new Int32Array(WINDOW);
  let number = 0;
  const cycle = (count: number): void => {
    for (let i = 0; i < count; i++, number++) {
      const at = number % WINDOW;
      const old = slots[at] as number;
      if (old > 0 && !table.forget(old, epochs[at] as number, 1)) assert.fail(`${old} stays`);
      identity[IDENTITY.INO_LO] = number;
      identity[IDENTITY.HANDLE_BYTES] = 8;
      identity[IDENTITY.HANDLE] = number;
      slots[at] = table.lookup(identity);
      epochs[at] = table.epoch(slots[at] as number);
    }
  };
  cycle(CYCLES / 10);
  const before = process.memoryUsage().rss;
  cycle(CYCLES);
  const grown = process.memoryUsage().rss - before;
  assert.equal(table.count(), WINDOW);
  assert.equal(table.countLookups(), WINDOW);
  assert.ok(grown < FLAT_BYTES, `resident memory grew by ${grown} bytes`);
});
