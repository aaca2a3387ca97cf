/** The tester itself: that it can fail, that it shrinks, and that it finds nothing where nothing is. */
import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { tempDirs } from '../harness/temp-dir.ts';
import { Arena, judge, type TrialResult } from './arena.ts';
import { describeFinding, explore } from './explore.ts';
import type { Json, Sequence, Trial } from './operations.ts';
import { ACTORS, type Company, TEAM, USERS } from './users.ts';

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
const TOURS: Trial = Array.from({ length: ACTORS }, (_, actor) => ({ actor, sequence: TOUR }));

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

  test('lets holes be data with --cache=always only, and no data be holes', async () => {
    const result = await arena.run(TOURS);
    const withSeek = (change: number) => {
      const outcomes = result.mounted.outcomes.map((list) =>
        list.map((outcome, at) => {
          const moved = { ...outcome, result: Number(outcome['result']) + change };
          return TOUR[at]?.op === 'seek' ? moved : outcome;
        }),
      );
      return { ...result, mounted: { ...result.mounted, outcomes } };
    };
    assert.equal(judge(TOURS, withSeek(5), ['--cache=always']), undefined);
    for (const flags of [[], ['--cache=never'], ['--no-kernel-passthrough']]) {
      assert.match(judge(TOURS, withSeek(5), flags) ?? '', /"op":"seek"/);
    }
    assert.match(judge(TOURS, withSeek(-1), ['--cache=always']) ?? '', /"op":"seek"/);
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

  for (const company of ['alike', 'users'] as const) {
    test(`shrinks what it finds to the one operation that matters: ${company}`, async () => {
      const { finding } = await explore(
        async (trial) =>
          trial.some(({ sequence }) => sequence.some(({ op }) => op === 'link'))
            ? 'a link'
            : undefined,
        1,
        { searchMs: 20_000, shrinkMs: 20_000 },
        company,
      );
      assert.deepEqual(
        finding?.trial.flatMap(({ sequence }) => sequence.map(({ op }) => op)),
        ['link'],
      );
    });
  }

  test('says so when an actor dies', async () => {
    const { finding } = await explore(() => Promise.reject(new Error('gone')), 1, {
      searchMs: 20_000,
      shrinkMs: 20_000,
    });
    assert.match(finding?.difference ?? '', /gone/);
  });

  test('finds nothing between two plain directories', async (t) => {
    await findNothing(arena, 'alike', t);
  });
});

async function findNothing(arena: Arena, company: Company, t: TestContext): Promise<void> {
  const seed = Date.now() % 2 ** 31;
  const budget = { searchMs: SELF_CHECK_MS, shrinkMs: SELF_CHECK_MS };
  const exploration = await explore((trial) => arena.trial(trial), seed, budget, company);
  const { trials, operations, finding } = exploration;
  t.diagnostic(`seed ${seed}: ${trials} trials, ${operations} operations`);
  assert.equal(finding && describeFinding(finding), undefined);
  assert.ok(trials > 0);
}

const isRoot = process.getuid?.() === 0;

suite('users in the differential tester', { skip: !isRoot && 'needs root' }, () => {
  let arena: Arena;

  before(async () => {
    const [plain, backing] = (await tempDirs('plain', 'backing')) as [string, string];
    arena = new Arena({ plain, mounted: backing, backing }, [], 'users');
  });
  after(() => arena.stop());

  test('are themselves, and their files stay open from one turn to the next', async () => {
    const trial: Trial = [
      {
        actor: 0,
        sequence: [
          { op: 'mkdir', path: 'd', mode: 0o755 },
          { op: 'chown', on: 'd', uid: USERS[1].uid, gid: TEAM, follow: true },
          { op: 'chmod', on: 'd', mode: 0o2770 },
        ],
      },
      {
        actor: 1,
        sequence: [
          { op: 'umask', mask: 0o027 },
          { op: 'open', handle: 0, path: 'd/f', flags: 'RDWR|CREAT', mode: 0o666 },
        ],
      },
      {
        actor: 2,
        sequence: [
          { op: 'open', handle: 0, path: 'd/f', flags: 'RDONLY', mode: 0 },
          { op: 'open', handle: 0, path: 'd/f', flags: 'RDWR', mode: 0 },
        ],
      },
      { actor: 3, sequence: [{ op: 'stat', on: 'd/f', follow: true }] },
      { actor: 1, sequence: [{ op: 'write', handle: 0, size: 10, seed: 1 }] },
    ];
    const { plain } = await arena.run(trial);
    assert.deepEqual(
      plain.outcomes.map((turn) => turn.map(({ result }) => result)),
      [[0, 0, 0], [0o022, 0], [0, 'EACCES'], ['EACCES'], [10]],
    );
    const { uid, gid, mode, size } =
      plain.tree.find(({ path }) => path.endsWith('/f'))?.facts ?? {};
    assert.deepEqual(
      { uid, gid, mode, size },
      { uid: USERS[1].uid, gid: TEAM, mode: '640', size: 10 },
    );
  });

  test('do the same in two plain directories', async (t) => {
    await findNothing(arena, 'users', t);
  });
});
