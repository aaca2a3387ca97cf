import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import {
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PARALLEL_DIRECT_WRITES,
} from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  CREATE_IN,
  ENTRY_OUT,
  FLUSH_IN,
  FSYNC_IN,
  IN_HEADER,
  LINK_IN,
  OPEN_IN,
  OPEN_OUT,
  OUT_HEADER,
} from '../../src/shared/abi/structs.ts';
import { MOUNT_FLAG } from '../../src/shared/memory/mount-table.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import {
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
} from '../../src/shared/sys/constants.ts';
import { entryAt, message, names, struct } from './messages.ts';
import { openFds, ROOT, type Stage, stage } from './stage.ts';

/** F_GETFL of a handle's descriptor. */
function hostFlags(s: Stage, fh: bigint): number {
  const fd = s.layer.fs.ctx.tables.handles.fd(Number(fh & 0xffffffffn));
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
  return Number.parseInt(/^flags:\s*(\d+)$/m.exec(text)?.[1] as string, 8);
}

const O_CLOEXEC = 0o2000000;

suite('opening files', () => {
  const direct = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  for (const [cache, file, directory] of [
    ['never', direct, 0],
    ['metadata', direct, FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE],
    ['auto', 0, 0],
    ['always', FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR],
  ] as const) {
    test(`rules 33, 34: what an open answers under cache=${cache}`, async () => {
      const { client, layer } = await stage({ cache });
      const { mounts } = layer.fs.ctx.tables;
      // A close means nothing to a local file system.
      const noFlush = mounts.hasFlag(0, MOUNT_FLAG.LOCAL) ? FOPEN_NOFLUSH : 0;
      const made = client.create(ROOT, 'f');
      assert.equal(made.flags, file | noFlush);
      assert.equal(client.open(made.nodeid, O_RDWR).flags, file | noFlush);
      assert.equal(client.open(made.nodeid, O_RDONLY).flags, file | FOPEN_NOFLUSH);
      assert.equal(client.opendir(ROOT).flags, directory);
    });
  }

  test("rules 82, 84, 85: O_APPEND and the kernel's own bits do not reach the host, O_CLOEXEC does", async () => {
    const s = await stage();
    const { nodeid } = s.client.create(ROOT, 'f');
    const flags = hostFlags(s, s.client.open(nodeid, O_WRONLY | O_APPEND | 0x20).fh);
    assert.equal(flags & (O_APPEND | 0x20 | 3), O_WRONLY);
    assert.equal(flags & O_CLOEXEC, O_CLOEXEC);
    s.layer.fs.init(NEGOTIATED.WRITEBACK);
    const again = s.client.lookup(ROOT, 'f').nodeid;
    assert.equal(hostFlags(s, s.client.open(again, O_WRONLY).fh) & 3, O_RDWR);
    assert.equal(hostFlags(s, s.client.create(ROOT, 'g', O_WRONLY | O_CREAT).fh) & 3, O_RDWR);
  });

  for (const allowDirectIo of [true, false]) {
    test(`rule 83: O_DIRECT reaches the host as allow_direct_io=${allowDirectIo} says`, async () => {
      const s = await stage({ allowDirectIo });
      const made = s.client.create(ROOT, 'f', O_RDWR | O_CREAT | O_DIRECT);
      const opened = s.client.open(made.nodeid, O_RDWR | O_DIRECT);
      for (const { fh } of [made, opened]) {
        assert.equal((hostFlags(s, fh) & O_DIRECT) !== 0, allowDirectIo);
      }
    });
  }

  test('rule 86: an fh belongs to one inode and one kind, and is not known after RELEASE', async () => {
    const { client } = await stage();
    const a = client.create(ROOT, 'a');
    const b = client.create(ROOT, 'b');
    const dir = client.opendir(ROOT);
    assert.equal(client.read(a.nodeid, b.fh, 0n, 1), 'EBADF');
    assert.equal(client.release(a.nodeid, b.fh), 'EBADF');
    assert.equal(client.read(ROOT, dir.fh, 0n, 1), 'EBADF');
    assert.equal(client.list(a.nodeid, a.fh, 0n, 4096), 'EBADF');
    for (const fh of [0n, 12345n, 2n ** 63n, a.fh + 2n ** 32n]) {
      assert.equal(client.read(a.nodeid, fh, 0n, 1), 'EBADF');
    }
    assert.ok(typeof client.release(a.nodeid, a.fh) !== 'string');
    assert.equal(client.release(a.nodeid, a.fh), 'EBADF');
    const again = client.open(a.nodeid, O_RDONLY);
    assert.notEqual(again.fh, a.fh, 'the number is taken again, with another epoch');
    assert.equal(client.read(a.nodeid, a.fh, 0n, 1), 'EBADF');
    assert.ok(typeof client.releasedir(ROOT, dir.fh) !== 'string');
  });

  test('rule 107: RELEASE works after the inode was forgotten, and closes the descriptor', async () => {
    const { client } = await stage();
    const before = openFds();
    const made = client.create(ROOT, 'f');
    client.forget(made.nodeid);
    assert.ok(typeof client.release(made.nodeid, made.fh) !== 'string');
    assert.equal(openFds(), before);
  });

  test('rules 87, 99, 107, 108, defects 13, 14: without opens everything works by inode', async () => {
    const { client, layer, at } = await stage({ cache: 'always' });
    layer.fs.init(NEGOTIATED.NO_OPEN | NEGOTIATED.NO_OPENDIR);
    writeFileSync(at('f'), 'abc');
    const { nodeid } = client.lookup(ROOT, 'f');
    const before = openFds();
    assert.equal(client.call(OP.OPEN, nodeid, struct(OPEN_IN)), 'ENOSYS');
    assert.equal(client.call(OP.OPENDIR, ROOT, struct(OPEN_IN)), 'ENOSYS');
    assert.equal(client.release(nodeid, 0n), 'ENOSYS');
    assert.equal(client.releasedir(ROOT, 0n), 'ENOSYS');
    assert.equal(client.call(OP.FLUSH, nodeid, struct(FLUSH_IN)), 'ENOSYS');
    assert.equal(client.write(nodeid, 0n, 1n, 'XY'), 2);
    assert.equal(String(client.read(nodeid, 0n, 0n, 10)), 'aXY');
    for (const flags of [0, 1]) {
      assert.ok(
        typeof client.call(OP.FSYNC, nodeid, struct(FSYNC_IN, { fsync_flags: flags })) !== 'string',
      );
      assert.ok(
        typeof client.call(OP.FSYNCDIR, ROOT, struct(FSYNC_IN, { fsync_flags: flags })) !==
          'string',
      );
    }
    const listed = client.list(ROOT, 0n, 0n, 4096);
    assert.ok(typeof listed !== 'string' && listed.length === 3);
    const body = client.tryCreate(ROOT, 'new');
    assert.ok(typeof body !== 'string');
    assert.equal(body.readBigUInt64LE(ENTRY_OUT.SIZE), 0n, 'no handle');
    assert.equal(openFds() - before, 1, 'the new inode has its descriptor, no handle has any');
  });

  test('defect 9: without opens a CREATE that cannot open what exists leaves no lookup', async () => {
    const { client, layer, at, lookups } = await stage({ cache: 'always' });
    layer.fs.init(NEGOTIATED.NO_OPEN);
    symlinkSync('nowhere', at('link'));
    assert.equal(client.tryCreate(ROOT, 'link'), 'EBADF');
    assert.equal(lookups(), 0);
  });

  test('rule 109, defect 13: FSYNC takes file handles, FSYNCDIR those of directories', async () => {
    const { client } = await stage();
    const file = client.create(ROOT, 'f');
    const dir = client.opendir(ROOT);
    const sync = (opcode: number, nodeid: number, fh: bigint) =>
      client.call(opcode, nodeid, struct(FSYNC_IN, { fh }));
    assert.ok(typeof sync(OP.FSYNC, file.nodeid, file.fh) !== 'string');
    assert.ok(typeof sync(OP.FSYNCDIR, ROOT, dir.fh) !== 'string');
    assert.equal(sync(OP.FSYNCDIR, file.nodeid, file.fh), 'EBADF');
    assert.equal(sync(OP.FSYNC, ROOT, dir.fh), 'EBADF');
    assert.ok(
      typeof client.call(OP.FLUSH, file.nodeid, struct(FLUSH_IN, { fh: file.fh })) !== 'string',
    );
  });
});

suite('CREATE and TMPFILE', () => {
  test('rule 100: a new file, with its mode, entry and handle', async () => {
    const { client, at, lookups } = await stage();
    const made = client.create(ROOT, 'f', O_RDWR | O_CREAT | O_EXCL, 0o100604);
    assert.equal(statSync(at('f')).mode & 0o7777, 0o604 & ~process.umask());
    assert.equal(client.write(made.nodeid, made.fh, 0n, 'abc'), 3);
    assert.equal(client.lookup(ROOT, 'f').nodeid, made.nodeid);
    assert.equal(lookups(), 2);
  });

  test('rule 100c: one that exists is EEXIST with O_EXCL, and opened without', async () => {
    const { client, at, lookups } = await stage();
    writeFileSync(at('f'), 'abc');
    assert.equal(client.tryCreate(ROOT, 'f', O_RDWR | O_CREAT | O_EXCL), 'EEXIST');
    assert.equal(lookups(), 0);
    const opened = client.create(ROOT, 'f', O_RDWR | O_CREAT, 0o600);
    assert.equal(String(client.read(opened.nodeid, opened.fh, 0n, 9)), 'abc');
    assert.equal(statSync(at('f')).mode & 0o777, 0o666 & ~process.umask(), 'its mode stays');
    client.create(ROOT, 'f', O_RDWR | O_CREAT | O_TRUNC);
    assert.equal(statSync(at('f')).size, 0);
  });

  test('rule 100c: a file nobody has checked is not opened for another user', async () => {
    const { client, layer, at, lookups } = await stage();
    writeFileSync(at('f'), 'abc');
    const flags = O_RDWR | O_CREAT | O_TRUNC;
    const request = message(OP.CREATE, ROOT, struct(CREATE_IN, { flags }), names('f'));
    request.writeUInt32LE((process.geteuid?.() ?? 0) + 1, IN_HEADER.uid);
    const answer = Buffer.from(layer.handle(request) ?? []);
    assert.equal(answer.readInt32LE(OUT_HEADER.error), -ERRNO.ESTALE);
    assert.equal(statSync(at('f')).size, 3);
    assert.equal(lookups(), 0);
    client.create(ROOT, 'f', flags);
    assert.equal(statSync(at('f')).size, 0);
  });

  test('rules 80, 100: a symlink at the name is not followed', async () => {
    const { client, at, lookups } = await stage();
    symlinkSync(at('target'), at('link'));
    assert.equal(client.tryCreate(ROOT, 'link', O_RDWR | O_CREAT | O_EXCL), 'EEXIST');
    assert.equal(client.tryCreate(ROOT, 'link'), 'EBADF');
    assert.ok(!existsSync(at('target')));
    assert.equal(lookups(), 0);
  });

  for (const inodeFileHandles of ['prefer', 'never'] as const) {
    test(`defects 9, 30: a CREATE that runs out of descriptors leaves no lookup and none open (${inodeFileHandles})`, async () => {
      const { client, at, lookups, layer } = await stage({ fdBudget: 16, inodeFileHandles });
      writeFileSync(at('old'), '');
      const handles: { nodeid: number; fh: bigint }[] = [];
      let answer: unknown;
      for (let i = 0; i < 40; i++) {
        answer = client.tryCreate(ROOT, `f${i}`);
        if (typeof answer === 'string') break;
        const { nodeid } = entryAt(answer as Buffer);
        const fh = (answer as Buffer).readBigUInt64LE(ENTRY_OUT.SIZE + OPEN_OUT.fh);
        handles.push({ nodeid, fh });
      }
      assert.equal(answer, 'ENFILE');
      const [owed, fds] = [lookups(), openFds()];
      assert.equal(client.tryCreate(ROOT, 'more'), 'ENFILE');
      assert.equal(client.tryCreate(ROOT, 'old'), 'ENFILE');
      assert.equal(lookups(), owed);
      assert.equal(openFds(), fds);
      for (const { nodeid, fh } of handles) {
        assert.ok(typeof client.release(nodeid, fh) !== 'string');
        client.forget(nodeid);
      }
      assert.equal(lookups(), 0);
      assert.equal(layer.fs.ctx.tables.handles.openFiles(), 0);
      client.create(ROOT, 'now');
    });
  }

  test('rule 100, defect 9: the answer is about the file made, whatever has its name by then', async () => {
    const { client, at } = await stage();
    const made = client.create(ROOT, 'f');
    client.ok(OP.UNLINK, ROOT, names('f'));
    writeFileSync(at('f'), 'another');
    assert.notEqual(client.lookup(ROOT, 'f').nodeid, made.nodeid);
    assert.equal(client.getattr(made.nodeid).size, 0n);
  });

  test('rule 101: a file without a name keeps to FORGET, and LINK gives it one', async () => {
    const { client, at, inodes } = await stage();
    const before = openFds();
    const body = client.ok(
      OP.TMPFILE,
      ROOT,
      struct(CREATE_IN, { flags: O_RDWR, mode: 0o600 }),
      names('/'),
    );
    const { nodeid, attr } = entryAt(body);
    const fh = body.readBigUInt64LE(ENTRY_OUT.SIZE + OPEN_OUT.fh);
    assert.equal(attr.nlink, 0);
    assert.equal(client.write(nodeid, fh, 0n, 'abc'), 3);
    client.release(nodeid, fh);
    assert.equal(client.getattr(nodeid).size, 3n);
    client.ok(OP.LINK, ROOT, struct(LINK_IN, { oldnodeid: BigInt(nodeid) }), names('named'));
    assert.equal(readFileSync(at('named'), 'utf8'), 'abc');
    client.forget(nodeid, 2);
    assert.deepEqual([inodes(), openFds()], [0, before]);
  });

  test('rule 105: under seal_size nothing is truncated by an open', async () => {
    const { client, at } = await stage({ sealSize: true });
    writeFileSync(at('f'), 'abc');
    const { nodeid } = client.lookup(ROOT, 'f');
    assert.equal(
      client.call(OP.OPEN, nodeid, struct(OPEN_IN, { flags: O_RDWR | O_TRUNC })),
      'EPERM',
    );
    assert.equal(client.tryCreate(ROOT, 'f', O_RDWR | O_CREAT | O_TRUNC), 'EPERM');
    assert.equal(statSync(at('f')).size, 3);
  });
});
