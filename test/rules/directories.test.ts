import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { DIRENT, DIRENTPLUS, OPEN_IN, READ_IN } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { struct } from './messages.ts';
import { openFds, ROOT, stage } from './stage.ts';

function fill(at: (name: string) => string, count: number): string[] {
  const made = Array.from({ length: count }, (_, i) => `${'n'.repeat(i % 40)}${i}`);
  for (const name of made) writeFileSync(at(name), '');
  return made;
}

const DT_DIR = 4;
const DT_REG = 8;

test('READDIRPLUS of a directory that has no descriptor left lists every name', async () => {
  const { client, at } = await stage({ fdBudget: 16 });
  mkdirSync(at('d'));
  for (let i = 0; i < 40; i++) writeFileSync(at(`d/${i}`), '');
  const { nodeid } = client.lookup(ROOT, 'd');
  const { fh } = client.opendir(nodeid);
  let made = 0;
  while (typeof client.tryCreate(ROOT, `f${made}`) !== 'string') made++;
  assert.ok(made > 5);
  const listed = client.list(nodeid, fh, 0n, 65536, true);
  assert.ok(typeof listed !== 'string', `the listing answered ${String(listed)}`);
  assert.equal(listed.length, 42);
});

for (const plus of [false, true]) {
  const fixed = plus ? DIRENTPLUS.SIZE : DIRENT.SIZE;
  const recordBytes = (name: string) => (fixed + name.length + 7) & ~7;

  suite(plus ? 'READDIRPLUS' : 'READDIR', () => {
    for (const size of [512, 4096, 65536, 1 << 20]) {
      test(`rules 112, 113: every name once, dots too, in replies of ${size} bytes`, async () => {
        const { client, at, lookups } = await stage();
        const made = fill(at, 300);
        mkdirSync(at('dir'));
        const listed = client.listAll(ROOT, size, plus);
        const seen = listed.map(({ name }) => name);
        assert.deepEqual(seen.toSorted(), ['.', '..', 'dir', ...made].toSorted());
        assert.equal(lookups(), plus ? 301 : 0);
        for (const { name, ino, type, nodeid } of listed) {
          if (name === '.' || name === '..') {
            assert.deepEqual([type, nodeid], [DT_DIR, 0], 'dots have no lookup');
            continue;
          }
          assert.equal(ino, statSync(at(name), { bigint: true }).ino);
          assert.equal(type, name === 'dir' ? DT_DIR : DT_REG);
          assert.equal(nodeid > 1, plus);
        }
      });
    }

    test('rule 112: one record that just fits; one byte less is EINVAL, 0 is empty', async () => {
      const { client, at } = await stage();
      writeFileSync(at('n'.repeat(200)), '');
      const { fh } = client.opendir(ROOT);
      let offset = 0n;
      for (let i = 0; i < 3; i++) {
        const whole = client.list(ROOT, fh, offset, 1024, plus);
        assert.ok(typeof whole !== 'string' && whole.length > 0);
        const [first] = whole as [(typeof whole)[number]];
        const bytes = recordBytes(first.name);
        assert.equal(client.list(ROOT, fh, offset, bytes - 1, plus), 'EINVAL');
        assert.deepEqual(client.list(ROOT, fh, offset, 0, plus), []);
        const exact = client.list(ROOT, fh, offset, bytes, plus);
        assert.ok(typeof exact !== 'string');
        assert.deepEqual(
          exact.map(({ name }) => name),
          [first.name],
        );
        offset = first.offset;
      }
      assert.deepEqual(client.list(ROOT, fh, offset, 4096, plus), []);
    });

    test('defect 4: what did not fit took no lookup; after FORGET of the rest nothing is owed', async () => {
      const { client, at, lookups, inodes } = await stage({ fdBudget: 16 });
      fill(at, 60);
      const before = openFds();
      const { fh } = client.opendir(ROOT);
      const got: number[] = [];
      for (let offset = 0n; ; ) {
        const some = client.list(ROOT, fh, offset, 700, plus);
        assert.ok(typeof some !== 'string');
        if (some.length === 0) break;
        got.push(...some.map(({ nodeid }) => nodeid).filter((id) => id !== 0));
        assert.equal(lookups(), got.length);
        offset = some.at(-1)?.offset as bigint;
      }
      assert.equal(got.length, plus ? 60 : 0);
      for (const id of got) client.forget(id);
      client.releasedir(ROOT, fh);
      assert.deepEqual([lookups(), inodes(), openFds()], [0, 0, before]);
    });

    test('entries removed while listing: each that stays is seen once, none fails the listing', async () => {
      const { client, at } = await stage();
      const made = fill(at, 200);
      const { fh } = client.opendir(ROOT);
      const seen: string[] = [];
      for (let offset = 0n, round = 0; ; round++) {
        const some = client.list(ROOT, fh, offset, 1024, plus);
        assert.ok(typeof some !== 'string');
        if (some.length === 0) break;
        seen.push(...some.map(({ name }) => name));
        offset = some.at(-1)?.offset as bigint;
        rmSync(at(made[round * 3] as string), { force: true });
      }
      assert.equal(new Set(seen).size, seen.length);
      for (const name of readdirSync(at('.'))) assert.ok(seen.includes(name), name);
    });

    test('cookies: a listing goes on from any of them, back and forth, also without opens', async () => {
      const { client, at, layer } = await stage({ cache: 'always' });
      fill(at, 50);
      const all = client.listAll(ROOT, 4096, plus);
      const follow = (fh: bigint) => {
        for (const index of [10, 3, 40, 0, 51]) {
          const from = all[index]?.offset as bigint;
          const next = client.list(ROOT, fh, from, 1 << 16, plus);
          assert.ok(typeof next !== 'string');
          assert.deepEqual(
            next.map(({ name }) => name),
            all.slice(index + 1).map(({ name }) => name),
          );
        }
      };
      follow(client.opendir(ROOT).fh);
      layer.fs.init(NEGOTIATED.NO_OPENDIR);
      follow(0n);
    });

    test('an offset no file system gives out does no harm', async () => {
      const { client, at } = await stage();
      fill(at, 5);
      const { fh } = client.opendir(ROOT);
      for (const offset of [2n ** 63n, 2n ** 64n - 1n, 2n ** 62n]) {
        const some = client.list(ROOT, fh, offset, 4096, plus);
        assert.ok(Array.isArray(some) || some === 'EINVAL', String(some));
      }
      assert.equal((client.list(ROOT, fh, 0n, 4096, plus) as unknown[]).length, 7);
    });

    test('rule 26, defect 21: no_readdir shows an empty directory', async () => {
      const { client, at } = await stage({ noReaddir: true });
      fill(at, 3);
      assert.deepEqual(client.listAll(ROOT, 4096, plus), []);
      client.lookup(ROOT, '0');
    });

    test('a size beyond the largest reply is EINVAL', async () => {
      const { client } = await stage({ maxWrite: 8192 });
      const { fh } = client.opendir(ROOT);
      assert.equal(client.list(ROOT, fh, 0n, 8193, plus), 'EINVAL');
      assert.equal(client.list(ROOT, fh, 0n, 0xffffffff, plus), 'EINVAL');
      const size = struct(READ_IN, { fh, size: 8192 });
      assert.ok(typeof client.call(plus ? OP.READDIRPLUS : OP.READDIR, ROOT, size) !== 'string');
    });
  });
}

suite('OPENDIR', () => {
  test('rule 111: a file is ENOTDIR; what was removed lists as empty', async () => {
    const { client, at } = await stage();
    writeFileSync(at('f'), '');
    mkdirSync(at('d'));
    const file = client.lookup(ROOT, 'f').nodeid;
    assert.equal(client.call(OP.OPENDIR, file, struct(OPEN_IN)), 'ENOTDIR');
    const dir = client.lookup(ROOT, 'd').nodeid;
    const { fh } = client.opendir(dir);
    rmSync(at('d'), { recursive: true });
    const left = client.list(dir, fh, 0n, 4096);
    assert.ok(left === 'ENOENT' || (Array.isArray(left) && left.length <= 2), String(left));
  });

  test('rule 113: where no lookup can be had the names stand without', async () => {
    const { client, at, lookups } = await stage({ fdBudget: 20, inodeFileHandles: 'never' });
    fill(at, 40);
    const listed = client.listAll(ROOT, 65536, true);
    assert.equal(listed.length, 42);
    const known = listed.filter(({ nodeid }) => nodeid !== 0).length;
    assert.ok(known > 0 && known < 20, `${known}`);
    assert.equal(lookups(), known);
  });
});
