import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { lockCell } from '../../src/shared/memory/lock.ts';
import { freshTables, makeMemory, tablesOf } from './tables.ts';

const LANE = 3;

test('the first open decides, the last one gives the id back', () => {
  const { backings, journal } = freshTables();
  assert.equal(backings.join(7, 1, journal), 0);
  assert.equal(journal.backing(), 0);
  const index = backings.enter(7, 1, 42, journal);
  assert.equal(journal.backing(), index);
  assert.equal(backings.join(7, 1, journal), index);
  assert.equal(backings.enter(7, 1, 43, journal), index, 'another thread was faster');
  assert.equal(backings.id(index), 42);
  assert.equal(backings.join(7, 2, journal), 0, 'another inode in the same slot');
  assert.equal(backings.count(), 1);
  assert.deepEqual(
    [1, 2, 3].map(() => backings.leave(index)),
    [0, 0, 42],
  );
  assert.equal(backings.count(), 0);
  assert.equal(backings.join(7, 1, journal), 0);
});

test('an inode whose data the daemon moves has no id to give back', () => {
  const { backings, journal } = freshTables();
  const index = backings.enter(7, 1, 0, journal);
  assert.ok(index > 0);
  assert.equal(backings.id(index), 0);
  assert.equal(backings.leave(index), 0);
});

test('a full table says so, and takes the next when one has gone', () => {
  const { backings, journal } = freshTables({ handles: 2 });
  const first = backings.enter(1, 0, 11, journal);
  backings.enter(2, 0, 12, journal);
  assert.equal(backings.enter(3, 0, 13, journal), 0);
  assert.equal(backings.enter(2, 0, 14, journal) > 0, true, 'one that is there');
  assert.equal(backings.leave(first), 11);
  assert.equal(backings.enter(3, 0, 13, journal), first);
});

/** Nodeids that share buckets, since the table of a test is small. */
const nodes = fc.record({
  lo: fc.constantFrom(1, 2, 3, 17, 33, 65, 129),
  hi: fc.constantFrom(0, 9),
});
const steps = fc.array(fc.record({ node: nodes, isOpen: fc.boolean() }), { maxLength: 200 });

test('opens and closes of any files leave what a map would have', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (turns, isRebuilt) => {
      const memory = makeMemory({ handles: 16 });
      const { backings, journal } = tablesOf(memory, 1);
      const model = new Map<string, { id: number; entries: number[] }>();
      for (const [turn, { node, isOpen }] of turns.entries()) {
        const key = `${node.lo} ${node.hi}`;
        const known = model.get(key);
        if (isOpen) {
          const joined = backings.join(node.lo, node.hi, journal);
          assert.equal(joined > 0, known !== undefined);
          const index = joined || backings.enter(node.lo, node.hi, turn + 1, journal);
          const entry = known ?? { id: turn + 1, entries: [] };
          assert.equal(backings.id(index), entry.id);
          entry.entries.push(index);
          model.set(key, entry);
        } else if (known !== undefined) {
          const left = backings.leave(known.entries.pop() as number);
          assert.equal(left, known.entries.length === 0 ? known.id : 0);
          if (known.entries.length === 0) model.delete(key);
        }
        if (isRebuilt && turn % 5 === 0) {
          lockCell(new Int32Array(memory.backings), 0, LANE);
          backings.recoverOwner(LANE, () => assert.fail('an id was left'));
        }
        assert.equal(backings.count(), model.size);
      }
    }),
  );
});
