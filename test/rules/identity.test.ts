import assert from 'node:assert/strict';
import {
  linkSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { suite, test } from 'node:test';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { BATCH_FORGET_IN, FORGET_ONE } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { message, names, struct } from './messages.ts';
import { openFds, ROOT, stage } from './stage.ts';

for (const inodeFileHandles of ['prefer', 'never'] as const) {
  suite(`identity of inodes, inode_file_handles=${inodeFileHandles}`, () => {
    test('rules 45, 46: hard links have one nodeid, whose lookups add up', async () => {
      const { client, at, lookups, inodes } = await stage({ inodeFileHandles });
      writeFileSync(at('a'), 'x');
      linkSync(at('a'), at('b'));
      const { nodeid } = client.lookup(ROOT, 'a');
      assert.equal(client.lookup(ROOT, 'b').nodeid, nodeid);
      assert.equal(client.lookup(ROOT, 'a').nodeid, nodeid);
      assert.deepEqual([lookups(), inodes()], [3, 1]);
      client.forget(nodeid, 2);
      client.getattr(nodeid);
      client.forget(nodeid);
      assert.equal(client.tryGetattr(nodeid), 'ESTALE');
      assert.deepEqual([lookups(), inodes()], [0, 0]);
    });

    test('rule 47: FORGET saturates and knows no unknown nodeids; BATCH_FORGET takes many', async () => {
      const { client, layer, at, inodes } = await stage({ inodeFileHandles });
      const before = openFds();
      const ids = ['a', 'b', 'c'].map((name) => {
        writeFileSync(at(name), '');
        return client.lookup(ROOT, name).nodeid;
      });
      client.forget(ids[0] as number, 1_000_000);
      client.forget(ids[0] as number);
      client.forget(0);
      client.forget(2 ** 40);
      assert.equal(inodes(), 2);
      const rows = [ROOT, ...ids].map((id) =>
        struct(FORGET_ONE, { nodeid: BigInt(id), nlookup: 1n }),
      );
      // A count larger than the message holds is cut, not believed.
      const head = struct(BATCH_FORGET_IN, { count: 1000 });
      assert.equal(layer.handle(message(OP.BATCH_FORGET, 0, head, ...rows)), undefined);
      assert.equal(inodes(), 0);
      assert.equal(openFds(), before);
      client.getattr(ROOT);
    });

    test('defects 6, 8: a nodeid comes again for no other file while its epoch lasts, and memory comes back', async () => {
      const { client, layer, at, inodes } = await stage({ inodeFileHandles });
      writeFileSync(at('f'), '');
      const seen = new Set<string>();
      for (let round = 0; round < 300; round++) {
        const { nodeid, generation } = client.lookup(ROOT, 'f');
        seen.add(`${nodeid}.${generation}`);
        client.forget(nodeid);
      }
      assert.equal(seen.size, 300);
      assert.equal(inodes(), 0);
      const { inodes: table } = layer.fs.ctx.tables;
      assert.equal(table.countLookups(), 0);
    });

    test('defect 7: a file that gets the ino of one still known is another inode', async (t) => {
      const made = await makeFileSystem('ext4', { sizeBytes: 32 * 1024 * 1024 });
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      const { client, at, layer } = await stage({ inodeFileHandles }, made.path);
      writeFileSync(at('old'), 'old');
      const { ino } = statSync(at('old'));
      const old = client.lookup(ROOT, 'old');
      client.ok(OP.UNLINK, ROOT, names('old'));
      // ext4 takes the lowest free number, unless a descriptor keeps it: then there is no reuse to
      // see.
      writeFileSync(at('new'), 'newer');
      const fresh = client.lookup(ROOT, 'new');
      assert.notEqual(fresh.nodeid, old.nodeid);
      assert.equal(client.getattr(fresh.nodeid).size, 5n);
      assert.notEqual(statSync(at('new')).ino, ino, 'the known inode is held, its number taken');
      assert.equal(client.getattr(old.nodeid).size, 3n, 'the old one is reached until FORGET');
      client.forget(old.nodeid);
      writeFileSync(at('third'), '');
      assert.equal(statSync(at('third')).ino, ino, 'now the number is free');
      const third = client.lookup(ROOT, 'third');
      assert.notEqual(third.nodeid, old.nodeid);
      assert.equal(client.tryGetattr(old.nodeid), 'ESTALE');
      assert.equal(client.getattr(third.nodeid).size, 0n);
      // The test's file system is busy as long as the layer is open.
      layer.fs.close();
    });

    test('rules 44, 78: `..` of the root is the root, and with NO_EXPORT no dots are looked up', async () => {
      const { client, layer, at } = await stage({ inodeFileHandles });
      mkdirSync(at('d'));
      const root = client.getattr(ROOT).ino;
      assert.equal(client.lookup(ROOT, '..').nodeid, ROOT);
      assert.equal(client.lookup(ROOT, '.').nodeid, ROOT);
      const { nodeid } = client.lookup(ROOT, 'd');
      const up = client.lookup(nodeid, '..');
      assert.deepEqual([up.nodeid, up.attr.ino], [ROOT, root]);
      layer.fs.init(NEGOTIATED.NO_EXPORT);
      assert.equal(client.tryLookup(ROOT, '..'), 'EINVAL');
      assert.equal(client.tryLookup(ROOT, '.'), 'EINVAL');
    });

    test('defect 34: `..` of a directory that the host moved out of the source is not served', async () => {
      const [source, outside] = (await tempDirs('source', 'outside')) as [string, string];
      const { client, at } = await stage({ inodeFileHandles }, source);
      mkdirSync(at('d'));
      mkdirSync(at('d/e'));
      const d = client.lookup(ROOT, 'd').nodeid;
      const e = client.lookup(d, 'e').nodeid;
      assert.equal(client.lookup(e, '..').nodeid, d);
      renameSync(at('d'), `${outside}/d`);
      const fds = openFds();
      assert.equal(client.tryLookup(d, '..'), 'ESTALE');
      assert.equal(client.tryLookup(e, '..'), 'ESTALE');
      assert.equal(openFds(), fds);
      renameSync(`${outside}/d`, at('d'));
      assert.equal(client.lookup(d, '..').nodeid, ROOT);
      rmdirSync(at('d/e'));
    });

    test('rule 49, defect 27: unknown nodeids are ESTALE in every operation on them', async () => {
      const { client } = await stage({ inodeFileHandles });
      for (const nodeid of [0, 2, 77, 2 ** 32 + 1, 2 ** 53 - 1]) {
        assert.equal(client.tryGetattr(nodeid), 'ESTALE');
        assert.equal(client.tryLookup(nodeid, 'x'), 'ESTALE');
        assert.equal(client.call(OP.READLINK, nodeid), 'ESTALE');
        assert.equal(client.call(OP.STATFS, nodeid), 'ESTALE');
        assert.equal(client.call(OP.UNLINK, nodeid, names('x')), 'ESTALE');
      }
    });
  });
}

suite('numbers under use_host_ino', () => {
  test('rules 52-54: bits 47..54 are the file system, the rest the host number', async (t) => {
    const { client, at, dir } = await stage({ useHostIno: true });
    writeFileSync(at('f'), '');
    mkdirSync(at('m'));
    const host = (path: string) => statSync(path, { bigint: true }).ino;
    const shown = (ino: bigint) => ({ pair: ino >> 47n, ino: ino & ((1n << 47n) - 1n) });
    const root = client.getattr(ROOT).ino;
    assert.deepEqual(shown(root), { pair: 1n, ino: host(dir) });
    const { attr, nodeid } = client.lookup(ROOT, 'f');
    assert.deepEqual(shown(attr.ino), { pair: 1n, ino: host(at('f')) });
    assert.equal(client.getattr(nodeid).ino, attr.ino);
    const listed = client.listAll(ROOT, 4096).find(({ name }) => name === 'f');
    assert.equal(listed?.ino, attr.ino, 'READDIR shows what GETATTR does');
    t.diagnostic(`0x${attr.ino.toString(16)}`);
  });

  test('rule 56: the pair ids go up in order of first sight', async (t) => {
    const made = await makeFileSystem('tmpfs');
    if ('skip' in made) {
      t.skip(made.skip);
      return;
    }
    const { client, layer, at } = await stage({ useHostIno: true }, `${made.path}/..`);
    writeFileSync(at('outer'), '');
    const name = made.path.slice(made.path.lastIndexOf('/') + 1);
    const inner = client.lookup(ROOT, name).attr.ino;
    const outer = client.lookup(ROOT, 'outer').attr.ino;
    assert.deepEqual([inner >> 47n, outer >> 47n], [2n, 1n]);
    assert.equal(inner & ((1n << 47n) - 1n), statSync(made.path, { bigint: true }).ino);
    rmSync(at('outer'));
    layer.fs.close();
  });
});
