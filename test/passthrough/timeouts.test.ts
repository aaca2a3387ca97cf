import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  TIMEOUT,
  Timeouts,
  validNanoseconds,
  validSeconds,
} from '../../src/shared/passthrough/timeouts.ts';

const LONGEST_MS = 1e12;
const ALL = Object.values(TIMEOUT);

function newTimeouts(): Timeouts {
  return new Timeouts(new SharedArrayBuffer(8 + Timeouts.byteLength), 8);
}

function wireMs(value: number): number {
  return validSeconds(value) * 1000 + validNanoseconds(value) / 1e6;
}

test('what is set is what the wire gets, beyond 24 days in whole seconds, rounded up', () => {
  const timeouts = newTimeouts();
  const ms = fc.oneof(
    fc.integer({ min: 0, max: 5000 }),
    fc.integer({ min: 0x7ffffff0, max: 0x8000_1000 }),
    fc.integer({ min: 0, max: LONGEST_MS }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...ALL), ms, (cell, given) => {
      timeouts.set(cell, given);
      const value = timeouts.get(cell);
      const exact = given <= 0x7fffffff ? given : Math.ceil(given / 1000) * 1000;
      assert.equal(wireMs(value), exact);
      assert.ok(Number.isInteger(validSeconds(value)));
      assert.ok(validNanoseconds(value) >= 0 && validNanoseconds(value) < 1e9);
    }),
  );
});

test('cells are apart, and fresh ones are 0', () => {
  const timeouts = newTimeouts();
  assert.deepEqual(
    ALL.map((cell) => timeouts.get(cell)),
    [0, 0, 0, 0, 0],
  );
  for (const cell of ALL) timeouts.set(cell, cell * 1000 + 500);
  assert.deepEqual(
    ALL.map((cell) => wireMs(timeouts.get(cell))),
    [500, 1500, 2500, 3500, 4500],
  );
});
