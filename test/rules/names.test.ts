import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { suite, test } from 'node:test';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  CREATE_IN,
  LINK_IN,
  MKDIR_IN,
  MKNOD_IN,
  OPEN_IN,
  RENAME_IN,
  RENAME2_IN,
} from '../../src/shared/abi/structs.ts';
import { O_CREAT, O_RDWR, S_IFCHR, S_IFIFO, S_IFREG } from '../../src/shared/sys/constants.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { type Answer, type Client, entryAt, names, struct } from './messages.ts';
import { openFds, ROOT, stage } from './stage.ts';

/** Every operation that makes, removes or renames a name. */
const MAKERS: Readonly<Record<string, (c: Client, name: Buffer, other: number) => Answer>> = {
  SYMLINK: (c, name) => c.call(OP.SYMLINK, ROOT, name, names('target')),
  MKNOD: (c, name) => c.call(OP.MKNOD, ROOT, struct(MKNOD_IN, { mode: S_IFREG | 0o600 }), name),
  MKDIR: (c, name) => c.call(OP.MKDIR, ROOT, struct(MKDIR_IN, { mode: 0o700 }), name),
  UNLINK: (c, name) => c.call(OP.UNLINK, ROOT, name),
  RMDIR: (c, name) => c.call(OP.RMDIR, ROOT, name),
  LINK: (c, name, other) =>
    c.call(OP.LINK, ROOT, struct(LINK_IN, { oldnodeid: BigInt(other) }), name),
  CREATE: (c, name) =>
    c.call(OP.CREATE, ROOT, struct(CREATE_IN, { flags: O_RDWR | O_CREAT, mode: 0o600 }), name),
  'RENAME from': (c, name) =>
    c.call(OP.RENAME, ROOT, struct(RENAME_IN, { newdir: 1n }), name, names('new')),
  'RENAME to': (c, name) =>
    c.call(OP.RENAME, ROOT, struct(RENAME_IN, { newdir: 1n }), names('f'), name),
  'RENAME2 from': (c, name) =>
    c.call(OP.RENAME2, ROOT, struct(RENAME2_IN, { newdir: 1n }), name, names('new')),
  'RENAME2 to': (c, name) =>
    c.call(OP.RENAME2, ROOT, struct(RENAME2_IN, { newdir: 1n }), names('f'), name),
};

function rename2(c: Client, from: string, to: string, flags: number): Answer {
  return c.call(OP.RENAME2, ROOT, struct(RENAME2_IN, { newdir: 1n, flags }), names(from, to));
}

suite('names', () => {
  for (const [operation, call] of Object.entries(MAKERS)) {
    test(`rule 77: ${operation} refuses names that are no names`, async () => {
      const { client, dir, at, lookups } = await stage();
      writeFileSync(at('f'), '');
      const { nodeid } = client.lookup(ROOT, 'f');
      for (const bad of ['.', '..', 'a/b', '/', '']) {
        assert.equal(call(client, names(bad), nodeid), 'EINVAL', bad);
      }
      assert.equal(call(client, names('n'.repeat(256)), nodeid), 'ENAMETOOLONG');
      assert.equal(call(client, Buffer.from('unfinished'), nodeid), 'EINVAL');
      assert.deepEqual(readdirSync(dir), ['f']);
      assert.equal(lookups(), 1);
    });
  }

  test('rule 77: with do_import off a layer above has checked the names', async () => {
    const { client, at } = await stage({ doImport: false });
    mkdirSync(at('d'));
    const answer = client.call(OP.MKDIR, ROOT, struct(MKDIR_IN, { mode: 0o700 }), names('d/e'));
    assert.ok(typeof answer !== 'string' || answer === 'EXDEV', String(answer));
  });

  test('rules 78, 88: LOOKUP refuses slashes, tells ENOENT, and keeps to the negative timeout', async () => {
    const { client } = await stage();
    assert.equal(client.tryLookup(ROOT, 'a/b'), 'EINVAL');
    assert.equal(client.tryLookup(ROOT, ''), 'EINVAL');
    assert.equal(client.tryLookup(ROOT, 'none'), 'ENOENT');
    assert.equal(client.tryLookup(ROOT, 'n'.repeat(256)), 'ENAMETOOLONG');
    const patient = await stage({ negativeTimeout: 2.5 });
    const { nodeid, entryValid } = patient.client.lookup(ROOT, 'none');
    assert.deepEqual([nodeid, entryValid, patient.lookups()], [0, 2.5, 0]);
  });

  test('defect 20: names are bytes, and any type of file is looked up', async () => {
    const { client, dir } = await stage();
    const odd = Buffer.from([0xff, 0x0a, 0x80, 0x20]);
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), odd]), 'x');
    assert.equal(client.lookup(ROOT, odd).attr.size, 1n);
    const listed = client.listAll(ROOT, 4096, true).map(({ name }) => name);
    assert.ok(listed.includes(odd.toString('latin1')));
    for (const mode of [S_IFIFO, S_IFCHR]) {
      const answer = client.call(
        OP.MKNOD,
        ROOT,
        struct(MKNOD_IN, { mode: mode | 0o600 }),
        names(`t${mode}`),
      );
      if (answer === 'EPERM') continue;
      assert.equal(client.lookup(ROOT, `t${mode}`).attr.mode, mode | 0o600);
    }
  });

  test('rules 79, 80: symlinks are not followed; what is no file or directory is not opened', async () => {
    const [source, outside] = (await tempDirs('source', 'outside')) as [string, string];
    writeFileSync(`${outside}/secret`, 'x');
    symlinkSync(outside, `${source}/link`);
    const { client } = await stage({}, source);
    const link = client.lookup(ROOT, 'link');
    assert.equal(link.attr.mode & 0o170000, 0o120000);
    assert.equal(client.tryLookup(link.nodeid, 'secret'), 'ENOTDIR');
    const inLink = client.call(
      OP.MKDIR,
      link.nodeid,
      struct(MKDIR_IN, { mode: 0o700 }),
      names('d'),
    );
    assert.equal(inLink, 'ENOTDIR');
    assert.equal(client.tryCreate(link.nodeid, 'f'), 'ENOTDIR');
    assert.deepEqual(readdirSync(outside), ['secret']);
    client.ok(OP.MKNOD, ROOT, struct(MKNOD_IN, { mode: S_IFIFO | 0o600 }), names('pipe'));
    const pipe = client.lookup(ROOT, 'pipe');
    for (const { nodeid } of [link, pipe]) {
      assert.equal(client.call(OP.OPEN, nodeid, struct(OPEN_IN)), 'EBADF');
      assert.equal(client.call(OP.OPENDIR, nodeid, struct(OPEN_IN)), 'EBADF');
    }
  });

  test('rules 92, 93: SYMLINK and READLINK carry any target', async () => {
    const { client, at } = await stage();
    for (const [i, target] of ['t', '../..//x', 'n'.repeat(4095), '\xff\xfe'].entries()) {
      const bytes = Buffer.from(target, 'latin1');
      const made = entryAt(client.ok(OP.SYMLINK, ROOT, names(`l${i}`, bytes)));
      assert.deepEqual(Buffer.from(client.ok(OP.READLINK, made.nodeid)), bytes);
      assert.equal(made.attr.size, BigInt(bytes.length));
      assert.deepEqual(readlinkSync(at(`l${i}`), 'buffer'), bytes);
    }
    assert.equal(client.call(OP.READLINK, ROOT), 'ENOENT');
  });

  test('rules 94, 95: MKNOD and MKDIR answer for what they made', async () => {
    const { client, at, lookups } = await stage();
    const node = entryAt(
      client.ok(OP.MKNOD, ROOT, struct(MKNOD_IN, { mode: S_IFREG | 0o640 }), names('n')),
    );
    assert.equal(node.attr.mode, S_IFREG | 0o640);
    const dir = client.mkdir(ROOT, 'd', 0o751);
    assert.equal(statSync(at('d')).mode & 0o777, 0o751 & ~process.umask());
    assert.equal(client.mkdir(dir.nodeid, 'e').attr.nlink, 2);
    assert.equal(lookups(), 3);
    const again = client.call(OP.MKDIR, ROOT, struct(MKDIR_IN, { mode: 0o700 }), names('d'));
    assert.equal(again, 'EEXIST');
    assert.equal(lookups(), 3);
  });

  test('rule 96: an inode works from its removal to its FORGET', async () => {
    const { client, at, inodes } = await stage({ fdBudget: 16 });
    const before = openFds();
    writeFileSync(at('f'), 'abc');
    mkdirSync(at('d'));
    const f = client.lookup(ROOT, 'f').nodeid;
    const d = client.lookup(ROOT, 'd').nodeid;
    client.ok(OP.UNLINK, ROOT, names('f'));
    client.ok(OP.RMDIR, ROOT, names('d'));
    // Others come, and take the cached descriptors with them.
    for (let i = 0; i < 40; i++) {
      writeFileSync(at(`g${i}`), '');
      client.forget(client.lookup(ROOT, `g${i}`).nodeid);
    }
    assert.deepEqual([client.getattr(f).size, client.getattr(f).nlink], [3n, 0]);
    assert.equal(client.getattr(d).nlink, 0);
    client.forget(f);
    client.forget(d);
    assert.equal(inodes(), 0);
    assert.equal(openFds(), before);
    assert.equal(client.call(OP.UNLINK, ROOT, names('f')), 'ENOENT');
  });

  test('rule 97, defect 15: LINK gives a further name to the same nodeid', async () => {
    const { client, at, lookups } = await stage();
    writeFileSync(at('a'), 'x');
    symlinkSync('a', at('s'));
    for (const name of ['a', 's']) {
      const { nodeid } = client.lookup(ROOT, name);
      const fixed = struct(LINK_IN, { oldnodeid: BigInt(nodeid) });
      const made = entryAt(client.ok(OP.LINK, ROOT, fixed, names(`${name}2`)));
      assert.deepEqual([made.nodeid, made.attr.nlink], [nodeid, 2]);
    }
    assert.equal(readlinkSync(at('s2')), 'a');
    assert.equal(lookups(), 4);
  });

  test('rule 98: RENAME2 passes its flags on', async () => {
    const { client, at } = await stage();
    writeFileSync(at('a'), 'a');
    writeFileSync(at('b'), 'bb');
    assert.equal(rename2(client, 'a', 'b', 1), 'EEXIST');
    assert.ok(typeof rename2(client, 'a', 'b', 2) !== 'string');
    assert.deepEqual([statSync(at('a')).size, statSync(at('b')).size], [2, 1]);
    assert.equal(rename2(client, 'a', 'b', 3), 'EINVAL');
    assert.equal(rename2(client, 'a', 'b', 0x80), 'EINVAL');
    assert.ok(typeof rename2(client, 'a', 'c', 4) !== 'string');
    assert.ok(statSync(at('a')).isCharacterDevice());
    assert.ok(typeof rename2(client, 'c', 'd', 0) !== 'string');
    assert.ok(existsSync(at('d')));
  });

  test('defect 16: a rename that fails leaves a character device at its target alone', async () => {
    const { client, at } = await stage();
    const made = client.call(OP.MKNOD, ROOT, struct(MKNOD_IN, { mode: S_IFCHR }), names('white'));
    if (made === 'EPERM') return;
    mkdirSync(at('d'));
    const answer = client.call(
      OP.RENAME,
      ROOT,
      struct(RENAME_IN, { newdir: 1n }),
      names('d', 'white'),
    );
    assert.equal(answer, 'ENOTDIR');
    assert.ok(statSync(at('white')).isCharacterDevice());
    assert.equal(rename2(client, 'none', 'white', 0), 'ENOENT');
    assert.ok(existsSync(at('white')));
  });
});
