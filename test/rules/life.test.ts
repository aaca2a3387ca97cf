import assert from 'node:assert/strict';
import { readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { newPassthroughLayer, PassthroughLayer } from '../../src/main/layer.ts';
import { ROOT_SLOT } from '../../src/shared/memory/inode-table.ts';
import { resolveOptions } from '../../src/shared/options.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { defer } from '../harness/cleanup.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { openFds, ROOT, stage } from './stage.ts';

const S_IFDIR = 0o040000;

/** What the options of a mount come to. */
function resolved(input: object) {
  return resolveOptions({ source: '/', mountpoint: '/mnt', ...input });
}

suite('the life of a layer', () => {
  test('rules 1, 2: the root is nodeid 1, others are larger and differ', async () => {
    const { client, at } = await stage();
    writeFileSync(at('a'), '');
    writeFileSync(at('b'), '');
    assert.equal(client.getattr(ROOT).mode & 0o170000, S_IFDIR);
    const ids = [client.lookup(ROOT, 'a').nodeid, client.lookup(ROOT, 'b').nodeid];
    assert.ok(ids.every((id) => id > ROOT && Number.isSafeInteger(id)));
    assert.equal(new Set(ids).size, 2);
  });

  test('rule 3: newPassthroughLayer has xattr, import and file handles, and is imported', async () => {
    const [dir] = (await tempDirs('source')) as [string];
    const layer = newPassthroughLayer(dir);
    defer(async () => layer.fs.close());
    const { config, tables } = layer.fs.ctx;
    const { xattr, doImport, inodeFileHandles } = config;
    assert.deepEqual(
      { xattr, doImport, inodeFileHandles },
      {
        xattr: true,
        doImport: true,
        inodeFileHandles: 'prefer',
      },
    );
    const { sealSize, noReaddir, useHostIno, cache, allowDirectIo } = config;
    assert.deepEqual(
      { sealSize, noReaddir, useHostIno, cache, allowDirectIo },
      {
        sealSize: false,
        noReaddir: false,
        useHostIno: false,
        cache: 'auto',
        allowDirectIo: true,
      },
    );
    assert.equal(tables.inodes.count(), 1);
    assert.throws(() => newPassthroughLayer(`${dir}/none`), { code: 'ERR_SLUICE_SOURCE' });
  });

  test('rule 4: options that exclude each other are settled with a warning, never an error', () => {
    for (const [input, key] of [
      [{ noOpen: true }, 'noOpen'],
      [{ noOpen: true, cache: 'metadata' }, 'noOpen'],
      [{ writeback: true, cache: 'never' }, 'writeback'],
    ] as const) {
      const { options, warnings } = resolved(input);
      assert.equal(options[key], false, JSON.stringify(input));
      assert.equal(warnings.length, 1, JSON.stringify(input));
    }
    const { options, warnings } = resolved({ noOpen: true, cache: 'always' });
    assert.deepEqual([options.noOpen, warnings], [true, []]);
  });

  test('rules 6, 35: timeouts come of the policy, and of each other for directories', () => {
    const times = (input: object) => {
      const o = resolved(input).options;
      return [o.entryTimeoutMs, o.attrTimeoutMs, o.dirEntryTimeoutMs, o.dirAttrTimeoutMs];
    };
    assert.deepEqual(times({}), [1000, 1000, 1000, 1000]);
    assert.deepEqual(times({ cache: 'never' }), [0, 0, 0, 0]);
    for (const cache of ['metadata', 'always']) {
      assert.deepEqual(times({ cache }), new Array(4).fill(86_400_000));
    }
    assert.deepEqual(times({ entryTimeout: 2, dirAttrTimeout: 7 }), [2000, 1000, 2000, 7000]);
  });

  test('rule 32: policies are read in any case, and others are refused', () => {
    for (const [text, policy] of [
      ['NEVER', 'never'],
      ['None', 'never'],
      ['Metadata', 'metadata'],
      ['AUTO', 'auto'],
      ['Always', 'always'],
    ]) {
      assert.equal(resolved({ cache: text }).options.cache, policy);
    }
    assert.throws(() => resolved({ cache: 'sometimes' }), { code: 'ERR_SLUICE_OPTION' });
  });

  test('rule 8: a symlink to the root is followed once, anything but a directory is refused', async () => {
    const [real, other] = (await tempDirs('real', 'other')) as [string, string];
    symlinkSync(real, `${other}/link`);
    const { layer } = await stage({}, `${other}/link`);
    assert.equal(layer.fs.readlinkatProcFile(ROOT)?.toString(), real);
    writeFileSync(`${other}/file`, '');
    for (const path of [`${other}/file`, `${other}/none`, `${other}/file/below`]) {
      assert.throws(() => new PassthroughLayer(path, {}, () => undefined), {
        code: 'ERR_SLUICE_SOURCE',
      });
    }
  });

  test('rules 8, 47: the root counts two lookups and is never forgotten', async () => {
    const { client, layer } = await stage();
    const { inodes } = layer.fs.ctx.tables;
    assert.equal(inodes.lookups(ROOT_SLOT), 2);
    client.forget(ROOT, 100);
    client.lookup(ROOT, '.');
    client.forget(ROOT, 1000);
    assert.ok(inodes.lookups(ROOT_SLOT) >= 2);
    client.getattr(ROOT);
  });

  test('rule 9: keepFds names the descriptor of /proc/self/fd', async () => {
    const { layer } = await stage();
    const [fd, ...others] = layer.fs.keepFds();
    assert.deepEqual(others, []);
    assert.match(readlinkSync(`/proc/self/fd/${fd}`), /^\/proc\/\d+\/fd$/);
  });

  test('rule 10: the host path of an inode, also of a deleted one', async () => {
    const { client, layer, at } = await stage();
    writeFileSync(at('f'), 'x');
    const { nodeid } = client.lookup(ROOT, 'f');
    assert.equal(layer.fs.readlinkatProcFile(nodeid)?.toString(), at('f'));
    rmSync(at('f'));
    assert.equal(layer.fs.readlinkatProcFile(nodeid)?.toString(), `${at('f')} (deleted)`);
    assert.equal(layer.fs.readlinkatProcFile(nodeid + 12345), undefined);
  });

  for (const inodeFileHandles of ['prefer', 'never'] as const) {
    test(`rule 11: after destroy nothing is known, nothing is open and all works again (${inodeFileHandles})`, async () => {
      const { client, layer, at, lookups } = await stage({ inodeFileHandles });
      writeFileSync(at('f'), 'x');
      const before = openFds();
      const { nodeid, fh } = client.create(ROOT, 'new');
      const dir = client.mkdir(ROOT, 'd');
      client.opendir(dir.nodeid);
      client.lookup(ROOT, 'f');
      assert.ok(openFds() > before);
      layer.fs.destroy();
      assert.equal(openFds(), before);
      assert.equal(lookups(), 0);
      assert.equal(client.tryGetattr(nodeid), 'ESTALE');
      assert.equal(client.read(nodeid, fh, 0n, 10), 'ESTALE');
      assert.equal(client.getattr(client.lookup(ROOT, 'new').nodeid).size, 0n);
    });
  }

  test('rule 12: a second INIT starts over, with no descriptor lost', async () => {
    const { client, layer, at } = await stage();
    writeFileSync(at('f'), 'x');
    layer.fs.init(NEGOTIATED.NO_EXPORT);
    const before = openFds();
    const seen: number[] = [];
    for (let round = 0; round < 5; round++) {
      const { nodeid } = client.lookup(ROOT, 'f');
      client.open(nodeid, 0);
      assert.ok(!seen.includes(nodeid), 'a nodeid from before comes again');
      seen.push(nodeid);
      layer.fs.init(NEGOTIATED.NO_EXPORT);
      for (const old of seen) assert.equal(client.tryGetattr(old), 'ESTALE');
      client.getattr(ROOT);
    }
    assert.equal(openFds(), before);
    assert.equal(client.tryLookup(ROOT, '.'), 'EINVAL', 'the new INIT counts');
  });

  test('defect 22: a second import does not replace the root in use', async () => {
    const { client, layer } = await stage();
    const before = [client.getattr(ROOT).ino, openFds()];
    layer.fs.importRoot();
    layer.fs.init(0);
    assert.deepEqual([client.getattr(ROOT).ino, openFds()], before);
  });

  test('defect 26: neither the layer nor a request changes the umask of the process', async () => {
    const before = process.umask();
    const { client } = await stage();
    client.mkdir(ROOT, 'd', 0o777);
    client.create(ROOT, 'f');
    assert.equal(process.umask(), before);
  });

  test('rule 64: mandatory file handles refuse a source that has none, and prefer does without', async () => {
    const before = openFds();
    const layer = new PassthroughLayer('/proc', { inodeFileHandles: 'mandatory' }, () => undefined);
    assert.throws(() => layer.fs.importRoot(), {
      code: 'ERR_SLUICE_SOURCE',
      message: /no file handles .*=prefer/,
    });
    layer.fs.close();
    assert.equal(openFds(), before);
    const { client, reports } = await stage({}, '/proc');
    assert.equal(client.lookup(ROOT, 'version').attr.mode & 0o170000, 0o100000);
    assert.equal(reports.length, 1, 'told once');
  });

  test('close leaves nothing open', async () => {
    const [dir] = (await tempDirs('source')) as [string];
    const before = openFds();
    const layer = newPassthroughLayer(dir);
    assert.ok(openFds() > before);
    layer.fs.close();
    assert.equal(openFds(), before);
  });
});
