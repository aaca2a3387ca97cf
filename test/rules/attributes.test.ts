import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import * as F from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  GETATTR_IN,
  MKNOD_IN,
  SETATTR_IN,
  STATX_IN,
  STATX_OUT,
} from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { O_RDONLY, O_WRONLY, S_IFCHR, STATX } from '../../src/shared/sys/constants.ts';
import { runOk } from '../harness/run.ts';
import { entryAt, names, struct } from './messages.ts';
import { ROOT, stage } from './stage.ts';

const isRoot = process.getuid?.() === 0;

suite('attributes', () => {
  test('rules 74, 76: GETATTR tells what stat does, to the nanosecond', async () => {
    const { client, at } = await stage();
    writeFileSync(at('f'), 'x'.repeat(5000));
    await runOk('touch', ['-d', '2001-02-03 04:05:06.123456789 UTC', at('f')]);
    chmodSync(at('f'), 0o4751);
    const host = statSync(at('f'), { bigint: true });
    const attr = client.getattr(client.lookup(ROOT, 'f').nodeid);
    assert.equal(attr.ino, host.ino);
    assert.deepEqual(attr.mtime, [host.mtimeNs / 1_000_000_000n, 123456789]);
    assert.deepEqual(
      [attr.size, attr.blocks, attr.mode, attr.nlink, attr.uid, attr.gid],
      [5000n, host.blocks, 0o104751, 1, Number(host.uid), Number(host.gid)],
    );
  });

  test('rule 76: times before 1970 and after 2106 keep their sign and their width', async () => {
    const { client, at } = await stage();
    writeFileSync(at('f'), '');
    const { nodeid } = client.lookup(ROOT, 'f');
    for (const seconds of [-2, 2 ** 32 + 5]) {
      await runOk('touch', ['-d', `@${seconds}`, at('f')]);
      assert.deepEqual(client.getattr(nodeid).mtime, [BigInt(seconds), 0]);
    }
  });

  for (const [major, minor] of [
    [1, 3],
    [240, 17],
    [511, 300],
    [4000, 0xfedcb],
  ] as const) {
    test(`rule 76: device ${major}:${minor} both ways`, {
      skip: isRoot ? false : 'needs root',
    }, async () => {
      const { client, at } = await stage();
      const rdev = ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
      const fixed = struct(MKNOD_IN, { mode: S_IFCHR | 0o600, rdev });
      const made = entryAt(client.ok(OP.MKNOD, ROOT, fixed, names('d')));
      assert.equal(made.attr.rdev, rdev);
      const seen = await runOk('stat', ['-c', '%Hr %Lr', at('d')]);
      assert.equal(seen.stdout.trim(), `${major} ${minor}`);
    });
  }

  test('defect 5: entry and attr timeouts are apart, and directories have their own', async () => {
    const { client } = await stage({
      entryTimeout: 2,
      attrTimeout: 3.25,
      dirEntryTimeout: 4,
      dirAttrTimeout: 5.5,
    });
    const made = client.create(ROOT, 'f');
    assert.deepEqual([made.entryValid, made.attrValid], [2, 3.25]);
    const dir = client.mkdir(ROOT, 'd');
    assert.deepEqual([dir.entryValid, dir.attrValid], [4, 5.5]);
    const validOf = (nodeid: number) => {
      const body = client.ok(OP.GETATTR, nodeid, struct(GETATTR_IN));
      return Number(body.readBigUInt64LE(0)) + body.readUInt32LE(8) / 1e9;
    };
    assert.deepEqual([validOf(made.nodeid), validOf(dir.nodeid)], [3.25, 5.5]);
  });

  test('STATX tells the time of birth', async () => {
    const { client, at } = await stage();
    writeFileSync(at('f'), 'abc');
    const { nodeid } = client.lookup(ROOT, 'f');
    const body = client.ok(OP.STATX, nodeid, struct(STATX_IN, { sx_mask: 0xfff }));
    const stat = STATX_OUT.stat;
    const host = statSync(at('f'), { bigint: true });
    assert.equal(body.readBigInt64LE(stat + STATX.btime), host.birthtimeNs / 1_000_000_000n);
    assert.equal(body.readBigUInt64LE(stat + STATX.size), 3n);
    assert.equal(body.readUInt32LE(stat + STATX.mask), 0xfff);
  });
});

suite('SETATTR, field by field (rule 91, defect 3)', () => {
  const withFh = [false, true];
  for (const hasFh of withFh) {
    const how = hasFh ? 'with fh' : 'without fh';
    async function file() {
      const s = await stage();
      const made = s.client.create(ROOT, 'f', undefined, 0o640);
      s.client.write(made.nodeid, made.fh, 0n, '0123456789');
      await runOk('touch', ['-d', '2001-01-01 00:00:00.5 UTC', s.at('f')]);
      const set = (valid: number, fields: Record<string, number | bigint>) =>
        s.client.setattr(made.nodeid, valid | (hasFh ? F.FATTR_FH : 0), {
          fh: hasFh ? made.fh : 0n,
          ...fields,
        });
      return { ...s, set, nodeid: made.nodeid, host: () => statSync(s.at('f'), { bigint: true }) };
    }

    test(`mode alone, ${how}`, async () => {
      const { set, host } = await file();
      assert.equal(set(F.FATTR_MODE, { mode: 0o100604 }).mode, 0o100604);
      assert.deepEqual([host().mode & 0o7777n, host().size], [0o604n, 10n]);
    });

    test(`uid alone and gid alone, ${how}`, { skip: isRoot ? false : 'needs root' }, async () => {
      const { set, host } = await file();
      set(F.FATTR_UID, { uid: 1234, gid: 99 });
      assert.deepEqual([host().uid, host().gid], [1234n, 0n]);
      set(F.FATTR_GID, { uid: 99, gid: 4321 });
      assert.deepEqual([host().uid, host().gid], [1234n, 4321n]);
    });

    test(`size, ${how}, also beyond 4 GiB`, async () => {
      const { set, host } = await file();
      assert.equal(set(F.FATTR_SIZE, { size: 3n }).size, 3n);
      assert.equal(set(F.FATTR_SIZE, { size: 2n ** 32n + 7n }).size, 2n ** 32n + 7n);
      assert.equal(host().size, 2n ** 32n + 7n);
    });

    test(`one time at a time, to the nanosecond, and now, ${how}`, async () => {
      const { set, host } = await file();
      const second = 1_000_000_000n;
      set(F.FATTR_ATIME, { atime: 77n, atimensec: 5, mtime: 1n, mtimensec: 1 });
      assert.deepEqual([host().atimeNs, host().mtimeNs], [77n * second + 5n, 978307200_500000000n]);
      set(F.FATTR_MTIME, { mtime: -3n, mtimensec: 999_999_999 });
      assert.deepEqual(
        [host().atimeNs, host().mtimeNs],
        [77n * second + 5n, -3n * second + 999_999_999n],
      );
      set(F.FATTR_ATIME | F.FATTR_ATIME_NOW, { atime: 5n });
      assert.ok(Math.abs(Number(host().atimeMs) - Date.now()) < 60_000);
      assert.equal(host().mtimeNs, -3n * second + 999_999_999n);
      set(F.FATTR_MTIME | F.FATTR_MTIME_NOW, {});
      assert.ok(Math.abs(Number(host().mtimeMs) - Date.now()) < 60_000);
    });

    test(`nothing, or ctime alone, changes nothing, ${how}`, async () => {
      const { set, host } = await file();
      chmodSync((await file()).at('f'), 0o644);
      const before = host();
      set(0, {});
      set(F.FATTR_CTIME, { ctime: 1n });
      assert.deepEqual(
        [host().mode, host().mtimeNs, host().size],
        [before.mode, before.mtimeNs, before.size],
      );
    });
  }

  test('an fh of another file, or a stale one, is EBADF', async () => {
    const { client } = await stage();
    const a = client.create(ROOT, 'a');
    const b = client.create(ROOT, 'b');
    const set = (fh: bigint) =>
      client.call(
        OP.SETATTR,
        a.nodeid,
        struct(SETATTR_IN, { valid: F.FATTR_FH | F.FATTR_MODE, mode: 0o600, fh }),
      );
    assert.equal(set(b.fh), 'EBADF');
    assert.ok(typeof set(a.fh) !== 'string');
    client.release(a.nodeid, a.fh);
    assert.equal(set(a.fh), 'EBADF');
  });

  test('rule 91b, 105: under seal_size EPERM comes before anything is changed', async () => {
    const { client, at } = await stage({ sealSize: true });
    writeFileSync(at('f'), 'abc');
    chmodSync(at('f'), 0o644);
    const { nodeid } = client.lookup(ROOT, 'f');
    const body = struct(SETATTR_IN, { valid: F.FATTR_SIZE | F.FATTR_MODE, size: 1n, mode: 0o600 });
    assert.equal(client.call(OP.SETATTR, nodeid, body), 'EPERM');
    assert.deepEqual([statSync(at('f')).mode & 0o777, statSync(at('f')).size], [0o644, 3]);
  });

  test('with HANDLE_KILLPRIV_V2 an empty SETATTR clears the set-id bits, of files, for who writes and is not root', {
    skip: isRoot ? false : 'needs root',
  }, async () => {
    const { client, layer, at } = await stage();
    layer.fs.init(NEGOTIATED.KILLPRIV_V2);
    client.pid = 0;
    for (const [mode, left] of [
      [0o6777, 0o777],
      [0o2666, 0o2666],
      [0o1777, 0o1777],
    ] as const) {
      writeFileSync(at(`f${mode}`), '');
      chmodSync(at(`f${mode}`), mode);
      const { nodeid } = client.lookup(ROOT, `f${mode}`);
      client.uid = 1000;
      const noWriter = client.call(OP.SETATTR, nodeid, struct(SETATTR_IN, { valid: 0 }));
      assert.equal(noWriter === 'EPERM', mode !== left, 'chown(2) of nothing is for the owner');
      client.open(nodeid, O_RDONLY);
      const { fh } = client.open(nodeid, O_WRONLY);
      client.uid = 0;
      assert.equal(client.setattr(nodeid, 0).mode & 0o7777, mode);
      client.uid = 1000;
      assert.equal(client.setattr(nodeid, 0).mode & 0o7777, left);
      client.release(nodeid, fh);
      chmodSync(at(`f${mode}`), mode);
      client.uid = 0;
      assert.equal(client.setattr(nodeid, 0).mode & 0o7777, left, 'chown(2) of nothing, by root');
    }
    writeFileSync(at('roots'), '');
    chmodSync(at('roots'), 0o4755);
    const { nodeid } = client.lookup(ROOT, 'roots');
    client.open(nodeid, O_WRONLY);
    client.uid = 1000;
    const other = spawn('sleep', ['60'], { stdio: 'ignore' });
    client.pid = other.pid ?? 0;
    const mode = () => client.setattr(nodeid, 0).mode & 0o7777;
    assert.equal(mode(), 0o4755, 'he may not write to it, and has not opened it');
    other.kill();
    client.pid = 0;
    assert.equal(mode(), 0o755, 'who cannot be seen may have opened it');
    client.uid = 0;
    mkdirSync(at('d'));
    chmodSync(at('d'), 0o6755);
    assert.equal(client.setattr(client.lookup(ROOT, 'd').nodeid, 0).mode & 0o7777, 0o6755);
  });
});
