/** The tester itself: that it can fail, that it shrinks, and that it finds nothing where nothing is. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { tempDirs } from '../harness/temp-dir.ts';
import { ACTORS, Arena, judge, type TrialResult } from './arena.ts';
import { describeFinding, explore } from './explore.ts';
import type { Json, Sequence } from './operations.ts';

const SELF_CHECK_MS = 4_000;

/** Every kind of outcome once. */
const TOUR: Sequence = [
  { op: 'mkdir', path: 'a', mode: 0o755 },
  { op: 'open', handle: 0, path: 'a/f', flags: 'RDWR|CREAT', mode: 0o640 },
  { op: 'write', handle: 0, size: 5000, seed: 1 },
  { op: 'pread', handle: 0, size: 100, offset: 10 },
  { op: 'copy', from: 0, to: 0, fromOffset: 0, toOffset: 8192, size: 100 },
  { op: 'seek', handle: 0, offset: 0, whence: 'HOLE' },
  { op: 'blocks', handle: 0 },
  { op: 'link', from: 'a/f', to: 'g', follow: false },
  { op: 'symlink', target: 'a', path: 'l' },
  { op: 'readlink', path: 'l', size: 100 },
  { op: 'setxattr', on: 'g', name: 'user.a', size: 20, seed: 1, flags: 0 },
  { op: 'getxattr', on: 'g', name: 'user.a', size: 100 },
  { op: 'listxattr', on: 'l/f', size: 100 },
  { op: 'utimens', on: 'a/f', atime: [1, 2], mtime: [3, 4], follow: true },
  { op: 'stat', on: 'g', follow: true },
  { op: 'list', on: 'a', chunk: 512 },
  { op: 'mkchain', name: 'c', depth: 2 },
  { op: 'unlinkWhileListing', path: '.', chunk: 512, keepEvery: 2 },
  { op: 'open', handle: 1, path: 'none', flags: 'RDONLY', mode: 0 },
];
const TOURS: Sequence[] = new Array<Sequence>(ACTORS).fill(TOUR);

/** The same value with one leaf changed, for every leaf there is, and where it was. */
function* corruptions(value: Json, path = ''): Generator<[where: string, changed: Json]> {
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      for (const [where, changed] of corruptions(item, `${path}[${index}]`)) {
        yield [where, value.with(index, changed)];
      }
    }
    yield [`${path} made longer`, [...value, 'extra']];
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value as Record<string, Json>)) {
      for (const [where, changed] of corruptions(item, `${path}.${key}`)) {
        yield [where, { ...value, [key]: changed }];
      }
    }
  } else {
    yield [path, typeof value === 'number' ? value + 1 : `${value}x`];
  }
}

suite('the differential tester', () => {
  let arena: Arena;

  before(async () => {
    const [plain, backing] = (await tempDirs('plain', 'backing')) as [string, string];
    arena = new Arena({ plain, mounted: backing, backing });
  });
  after(() => arena.stop());

  test('sees every single field of a result that is corrupted', async () => {
    const result = await arena.run(TOURS);
    assert.equal(judge(TOURS, result), undefined);
    let count = 0;
    for (const [where, changed] of corruptions(result.mounted as unknown as Json)) {
      const corrupted = { ...result, mounted: changed as unknown as TrialResult['mounted'] };
      // One actor's list of outcomes more, or an outcome after the last, answers no operation.
      if (!/^\.outcomes(\[\d+\])? made longer$/.test(where)) {
        assert.notEqual(judge(TOURS, corrupted), undefined, `not seen: ${where}`);
        count += 1;
      }
    }
    assert.ok(count > 500, `only ${count} fields were corrupted`);
  });

  test('lets st_blocks and the places of data pass with --writeback only', async () => {
    const result = await arena.run(TOURS);
    for (const [op, field, value] of [
      ['blocks', 'blocks', 0],
      ['seek', 'result', 77],
    ] as const) {
      const outcomes = result.mounted.outcomes.map((list) =>
        list.map((outcome, at) => (TOUR[at]?.op === op ? { ...outcome, [field]: value } : outcome)),
      );
      const changed = { ...result, mounted: { ...result.mounted, outcomes } };
      assert.match(judge(TOURS, changed) ?? '', new RegExp(`"op":"${op}"`));
      assert.match(judge(TOURS, changed, ['--cache=never']) ?? '', new RegExp(`"op":"${op}"`));
      assert.equal(judge(TOURS, changed, ['--writeback']), undefined);
    }
  });

  test('sees a difference between the mount and its backing, and a tree that stays', async () => {
    const result = await arena.run(TOURS);
    const [first, ...rest] = result.backing;
    const moved = [{ ...first, ino: first.ino + 1 }, ...rest];
    assert.match(judge(TOURS, { ...result, backing: moved }) ?? '', /ino/);
    assert.match(judge(TOURS, { ...result, backing: rest }) ?? '', /does not exist/);
    assert.ok(judge(TOURS, { ...result, removal: { result: -39, isGone: false } }));
    assert.ok(judge(TOURS, { ...result, removal: { result: 0, isGone: false } }));
  });

  test('shrinks what it finds to the one operation that matters', async () => {
    const { finding } = await explore(
      async (sequences) =>
        sequences.some((sequence) => sequence.some(({ op }) => op === 'link'))
          ? 'a link'
          : undefined,
      1,
      { searchMs: 20_000, shrinkMs: 20_000 },
    );
    assert.deepEqual(
      finding?.sequences.flat().map(({ op }) => op),
      ['link'],
    );
  });

  test('says so when an actor dies', async () => {
    const { finding } = await explore(() => Promise.reject(new Error('gone')), 1, {
      searchMs: 20_000,
      shrinkMs: 20_000,
    });
    assert.match(finding?.difference ?? '', /gone/);
  });

  test('finds nothing between two plain directories', async (t) => {
    const seed = Date.now() % 2 ** 31;
    const budget = { searchMs: SELF_CHECK_MS, shrinkMs: SELF_CHECK_MS };
    const { trials, operations, finding } = await explore((s) => arena.trial(s), seed, budget);
    t.diagnostic(`seed ${seed}: ${trials} trials, ${operations} operations`);
    assert.equal(finding && describeFinding(finding), undefined);
    assert.ok(trials > 0);
  });
});
