/** Lock requests one by one, to a layer. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import {
  FOPEN_NOFLUSH,
  FUSE_LK_FLOCK,
  FUSE_RELEASE_FLOCK_UNLOCK,
} from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { FLUSH_IN, LK_IN, LK_OUT, RELEASE_IN } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { F_RDLCK, F_UNLCK, F_WRLCK, O_RDONLY, O_RDWR } from '../../src/shared/sys/constants.ts';
import { type Answer, type Client, type Fields, type Opened, struct } from '../rules/messages.ts';
import { openFds, ROOT, type Stage, stage } from '../rules/stage.ts';

const LAST = 0x7fffffffffffffffn;
const NOBODY = 0x1234n;

async function lockStage(options = {}): Promise<Stage> {
  const s = await stage({ posixLock: true, flock: true, ...options });
  s.layer.fs.init(NEGOTIATED.POSIX_LOCKS | NEGOTIATED.FLOCK_LOCKS);
  return s;
}

interface LockFile extends Opened {
  readonly client: Client;
  readonly nodeid: number;
}

function lock(file: LockFile, owner: bigint, type: number, fields: Fields = {}): string {
  const body = struct(LK_IN, { fh: file.fh, owner, type, end: LAST, pid: 100, ...fields });
  const answer = file.client.call(OP.SETLK, file.nodeid, body);
  return typeof answer === 'string' ? answer : 'ok';
}

function inTheWay(file: LockFile, owner: bigint, fields: Fields = {}): Answer {
  const body = struct(LK_IN, { fh: file.fh, owner, type: F_WRLCK, end: LAST, ...fields });
  return file.client.call(OP.GETLK, file.nodeid, body);
}

function flush(file: LockFile, owner: bigint): void {
  file.client.ok(OP.FLUSH, file.nodeid, struct(FLUSH_IN, { fh: file.fh, lock_owner: owner }));
}

function openFile({ client }: Stage, name = 'f'): LockFile {
  const { nodeid, fh, flags } = client.create(ROOT, name);
  return { client, nodeid, fh, flags };
}

suite('lock requests', () => {
  test('each owner costs a descriptor until its FLUSH', async () => {
    const s = await lockStage();
    const file = openFile(s);
    const { locks, fds } = s.layer.fs.ctx.tables;
    const [fdsBefore, usedBefore] = [openFds(), fds.used()];
    for (let owner = 1n; owner <= 10n; owner++) {
      assert.equal(lock(file, owner, F_RDLCK), 'ok');
      assert.equal(lock(file, owner, F_RDLCK, { start: 10n }), 'ok');
    }
    assert.deepEqual([locks.count(), openFds(), fds.used()], [10, fdsBefore + 10, usedBefore + 10]);
    // Who has no lock and cannot have one has no descriptor.
    assert.equal(lock(file, NOBODY, F_WRLCK), 'EAGAIN');
    assert.equal(lock(file, NOBODY, F_UNLCK), 'ok');
    flush(file, NOBODY);
    assert.equal(locks.count(), 10);
    for (let owner = 1n; owner <= 10n; owner++) flush(file, owner);
    assert.deepEqual([locks.count(), openFds(), fds.used()], [0, fdsBefore, usedBefore]);
    assert.equal(lock(file, NOBODY, F_WRLCK), 'ok');
  });

  test('without descriptors the answer is ENOLCK, and nothing is lost', async () => {
    const s = await lockStage({ fdBudget: 20 });
    const file = openFile(s);
    const { locks, fds } = s.layer.fs.ctx.tables;
    const before = openFds();
    const answers = Array.from({ length: 40 }, (_, i) => lock(file, BigInt(i + 1), F_RDLCK));
    const taken = answers.filter((answer) => answer === 'ok').length;
    assert.ok(taken > 5 && taken < 20, `${taken} taken`);
    assert.deepEqual(new Set(answers.slice(taken)), new Set(['ENOLCK']));
    assert.equal(locks.count(), taken);
    assert.ok(fds.used() <= 20);
    assert.match(s.reports.join(), /descriptor budget \(20\) is used up/);
    for (let i = 0; i < 40; i++) flush(file, BigInt(i + 1));
    assert.deepEqual([locks.count(), openFds()], [0, before]);
    assert.equal(lock(file, NOBODY, F_WRLCK), 'ok');
  });

  test('GETLK: the lock in the way with its process, to the end of the file or not', async () => {
    const s = await lockStage();
    const file = openFile(s);
    const read = (body: Answer): unknown[] => {
      assert.ok(typeof body !== 'string', String(body));
      assert.equal(body.length, LK_OUT.SIZE);
      return [
        body.readUInt32LE(LK_OUT.type),
        body.readBigUInt64LE(LK_OUT.start),
        body.readBigUInt64LE(LK_OUT.end),
        body.readUInt32LE(LK_OUT.pid),
      ];
    };
    assert.equal(read(inTheWay(file, 1n))[0], F_UNLCK);
    assert.equal(lock(file, 1n, F_WRLCK, { start: 0xffff_fff0n, end: 0x1_0000_000fn }), 'ok');
    assert.equal(lock(file, 2n, F_RDLCK, { start: 0x2_0000_0000n, pid: 200 }), 'ok');
    assert.deepEqual(read(inTheWay(file, 3n)), [F_WRLCK, 0xffff_fff0n, 0x1_0000_000fn, 100]);
    assert.deepEqual(read(inTheWay(file, 1n)), [F_RDLCK, 0x2_0000_0000n, LAST, 200]);
    assert.equal(read(inTheWay(file, 3n, { type: F_RDLCK, start: 0x3_0000_0000n }))[0], F_UNLCK);
    // The largest range that is not to the end.
    flush(file, 2n);
    assert.equal(lock(file, 2n, F_WRLCK, { start: 0x2_0000_0000n, end: LAST - 1n }), 'ok');
    assert.equal(read(inTheWay(file, 3n, { start: 0x2_0000_0000n }))[2], LAST - 1n);
    assert.equal(lock(file, 3n, F_WRLCK, { start: LAST }), 'ok');
  });

  test('ranges and kinds that are none are EINVAL, handles that are none EBADF', async () => {
    const s = await lockStage();
    const file = openFile(s);
    for (const fields of [
      { start: 10n, end: 9n },
      { start: 0x1_0000_0000n, end: 0xffff_ffffn },
      { start: -1n, end: -1n },
      { type: 3 },
      { type: 0x10000 },
      { type: 3, lk_flags: FUSE_LK_FLOCK },
    ]) {
      const { type = F_WRLCK, ...rest } = fields as { type?: number };
      assert.equal(lock(file, 1n, type, rest), 'EINVAL', JSON.stringify(type));
    }
    assert.equal(lock({ ...file, fh: file.fh + 1n }, 1n, F_WRLCK), 'EBADF');
    assert.equal(inTheWay({ ...file, fh: 0n }, 1n), 'EBADF');
    assert.equal(s.layer.fs.ctx.tables.locks.count(), 0);
  });

  test('RELEASE ends flock locks, and those of owners for whom no FLUSH came', async () => {
    const s = await lockStage();
    const file = openFile(s);
    const other: LockFile = { ...file, ...s.client.open(file.nodeid, O_RDWR) };
    const flocked = { lk_flags: FUSE_LK_FLOCK };
    assert.equal(lock(file, 1n, F_WRLCK), 'ok');
    assert.equal(lock(file, 1n, F_WRLCK, flocked), 'ok');
    assert.equal(lock(other, 2n, F_WRLCK), 'EAGAIN');
    assert.equal(lock(other, 2n, F_RDLCK, flocked), 'EAGAIN');
    const fields = { fh: file.fh, release_flags: FUSE_RELEASE_FLOCK_UNLOCK };
    s.client.ok(OP.RELEASE, file.nodeid, struct(RELEASE_IN, fields));
    assert.equal(s.layer.fs.ctx.tables.locks.count(), 0);
    assert.equal(lock(other, 2n, F_WRLCK), 'ok');
    assert.equal(lock(other, 2n, F_RDLCK, flocked), 'ok');
    assert.equal(s.client.release(other.nodeid, other.fh).length, 0);
    assert.equal(s.layer.fs.ctx.tables.locks.count(), 0);
  });

  test('an owner that came by another file since keeps its locks', async () => {
    const s = await lockStage();
    const file = openFile(s);
    const other: LockFile = { ...file, ...s.client.open(file.nodeid, O_RDWR) };
    assert.equal(lock(file, 1n, F_WRLCK, { end: 9n }), 'ok');
    assert.equal(lock(other, 1n, F_WRLCK, { start: 10n }), 'ok');
    s.client.release(file.nodeid, file.fh);
    assert.equal(lock(other, 2n, F_RDLCK, { end: 9n }), 'EAGAIN');
  });

  test('SETLKW that would have to wait answers EAGAIN to the user of a layer', async () => {
    const s = await lockStage();
    const file = openFile(s);
    assert.equal(lock(file, 1n, F_WRLCK), 'ok');
    const body = struct(LK_IN, { fh: file.fh, owner: 2n, type: F_WRLCK, end: LAST });
    assert.equal(s.client.call(OP.SETLKW, file.nodeid, body), 'EAGAIN');
    flush(file, 1n);
    assert.equal(s.client.ok(OP.SETLKW, file.nodeid, body).length, 0);
  });

  test('every close is heard of with fcntl locks, and only with them', async () => {
    const s = await lockStage();
    const { nodeid } = openFile(s);
    assert.equal(s.client.open(nodeid, O_RDONLY).flags & FOPEN_NOFLUSH, 0);
    const plain = await stage();
    const made = openFile(plain);
    assert.equal(plain.client.open(made.nodeid, O_RDONLY).flags & FOPEN_NOFLUSH, FOPEN_NOFLUSH);
  });

  test('starting over forgets the locks', async () => {
    const s = await lockStage();
    const before = openFds();
    const file = openFile(s);
    for (let owner = 1n; owner <= 5n; owner++) assert.equal(lock(file, owner, F_RDLCK), 'ok');
    s.layer.fs.destroy();
    assert.equal(s.layer.fs.ctx.tables.locks.count(), 0);
    assert.equal(openFds(), before);
  });
});
