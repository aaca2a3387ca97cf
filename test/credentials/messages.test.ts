/** What requests say of their caller, to the byte: kernels that send little, and lies. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync } from 'node:fs';
import { suite, test } from 'node:test';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { IN_HEADER, MKDIR_IN, OUT_HEADER } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { defer } from '../harness/cleanup.ts';
import { run } from '../harness/run.ts';
import { extension, suppGroups, u32s, withExtensions } from '../rules/extensions.ts';
import { message, names, struct } from '../rules/messages.ts';
import { ROOT, type Stage, stage } from '../rules/stage.ts';

const USER = 65531;
const GROUP = 7000;
const NOBODY = 0xffffffff;
const FIXED = struct(MKDIR_IN, { mode: 0o2775 });

interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid?: number;
}

/** A directory below the stage's that only a group may write to. */
async function groupStage(negotiated: number): Promise<{ s: Stage; parent: number }> {
  const s = await stage();
  s.layer.fs.init(negotiated);
  chmodSync(s.dir, 0o755);
  mkdirSync(s.at('g'));
  await run('sh', ['-c', 'chgrp "$1" "$2" && chmod 2770 "$2"', 'sh', String(GROUP), s.at('g')]);
  return { s, parent: s.client.lookup(ROOT, 'g').nodeid };
}

function mkdirAs(s: Stage, parent: number, caller: Caller, ...extensions: Buffer[]): string {
  const request = withExtensions(message(OP.MKDIR, parent, FIXED, names('d')), ...extensions);
  request.writeUInt32LE(caller.uid, IN_HEADER.uid);
  request.writeUInt32LE(caller.gid, IN_HEADER.gid);
  request.writeUInt32LE(caller.pid ?? 0, IN_HEADER.pid);
  const reply = Buffer.from(s.layer.handle(request) as Uint8Array);
  const error = reply.readInt32LE(OUT_HEADER.error);
  // Whatever came of it, this thread is itself again.
  assert.equal(process.geteuid?.(), 0);
  assert.equal(process.getegid?.(), 0);
  return error === 0 ? 'ok' : errnoName(error);
}

/** A process of the user with these groups, for its number. */
async function processWithGroups(groups: string): Promise<number> {
  const user = String(USER);
  const child = spawn(
    'setpriv',
    ['--reuid', user, '--regid', user, '--groups', groups, 'sleep', '60'],
    { stdio: 'ignore' },
  );
  defer(async () => {
    child.kill('SIGKILL');
  });
  const has = `until grep -q '^Uid:.${user}' /proc/${child.pid}/status; do sleep 0.02; done`;
  const done = await run('sh', ['-c', has], { timeoutMs: 10_000 });
  assert.equal(done.code, 0);
  return child.pid as number;
}

const caller = { uid: USER, gid: USER };

suite('the caller of a request', () => {
  test('has the group that came with the request', async () => {
    const { s, parent } = await groupStage(NEGOTIATED.CREATE_SUPP_GROUP);
    assert.equal(mkdirAs(s, parent, caller, suppGroups([GROUP])), 'ok');
    const { uid, gid, mode } = lstatSync(s.at('g/d'));
    assert.deepEqual([uid, gid, mode & 0o7777], [USER, GROUP, 0o2755]);
  });

  test('has the groups of its process where the kernel sends none', async () => {
    const { s, parent } = await groupStage(0);
    const pid = await processWithGroups(`6999,${GROUP},7001`);
    assert.equal(mkdirAs(s, parent, { ...caller, pid }), 'ok');
    const { uid, gid } = lstatSync(s.at('g/d'));
    assert.deepEqual([uid, gid], [USER, GROUP]);
  });

  test('has no other group, and none of ours', async () => {
    for (const negotiated of [0, NEGOTIATED.CREATE_SUPP_GROUP]) {
      const { s, parent } = await groupStage(negotiated);
      const pid = await processWithGroups(`${GROUP - 1}`);
      assert.equal(mkdirAs(s, parent, { ...caller, pid }), 'EACCES');
      assert.equal(existsSync(s.at('g/d')), false);
    }
  });

  test('counts as checked by the kernel when it cannot be seen', async () => {
    const { s, parent } = await groupStage(NEGOTIATED.CREATE_SUPP_GROUP);
    assert.equal(mkdirAs(s, parent, { ...caller, pid: 0 }), 'ok');
    assert.equal(lstatSync(s.at('g/d')).uid, USER);
  });

  for (const ids of [
    { uid: NOBODY, gid: USER },
    { uid: USER, gid: NOBODY },
    { uid: NOBODY, gid: NOBODY },
  ]) {
    test(`without an id creates nothing: ${ids.uid}, ${ids.gid}`, async () => {
      const { s, parent } = await groupStage(NEGOTIATED.CREATE_SUPP_GROUP);
      assert.equal(mkdirAs(s, parent, ids, suppGroups([GROUP])), 'EOVERFLOW');
      assert.equal(existsSync(s.at('g/d')), false);
    });
  }

  test('gets EINVAL for extensions that are none', async () => {
    const { s, parent } = await groupStage(NEGOTIATED.CREATE_SUPP_GROUP);
    const bad = [
      extension(32, u32s(1000, GROUP)),
      extension(32),
      u32s(7, 32),
      u32s(0xfffffff8, 32),
    ];
    for (const one of bad) assert.equal(mkdirAs(s, parent, caller, one), 'EINVAL');
    assert.equal(existsSync(s.at('g/d')), false);
  });
});
