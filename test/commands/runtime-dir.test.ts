/** The runtime directory of a mount: where it may be, and what is when it may not. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownRuntimeDir } from '../../src/main/control/runtime-dir.ts';
import { mayServe } from '../../src/main/control/survey.ts';
import type { MountRow } from '../../src/shared/sys/mountinfo.ts';
import { defer } from '../harness/cleanup.ts';
import { startMount } from '../harness/mount.ts';
import { cliPath } from '../harness/paths.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from '../input/refusal.ts';
import { RawClient } from './raw-client.ts';
import { stage } from './stage.ts';

interface Shown {
  readonly problem: string | null;
  readonly daemon: { readonly pid: number } | null;
}

const BOUND = { timeout: 60_000 };
const needsRoot = process.getuid?.() === 0 ? false : 'needs root';

test('a directory that was asked for and cannot be used is refused', BOUND, async () => {
  const [source, mnt, base] = (await tempDirs('source', 'mnt', 'base')) as [string, string, string];
  writeFileSync(join(base, 'file'), '');
  mkdirSync(join(base, 'closed'), { mode: 0o777 });
  await runOk('chmod', ['777', join(base, 'closed')]);
  const long = join(base, 'x'.repeat(100));
  const cases: readonly (readonly [string, readonly [string, string, string]])[] = [
    [join(base, 'file'), ['runtime_dir: no socket can be made in', 'EEXIST', 'give a directory']],
    ['/proc/none', ['runtime_dir: no socket can be made in', '/proc/none', 'that you may write']],
    [long, ['runtime_dir:', 'bytes, and a socket', 'give a directory with a shorter path']],
    [join(base, 'closed'), ['runtime_dir:', 'may be written to by others', 'give a directory']],
    [
      join(mnt, 'run'),
      ['runtime_dir:', 'lies below the mount point', 'give a directory elsewhere'],
    ],
  ];
  for (const [directory, says] of cases) {
    await assertRefused({
      args: ['mount', source, mnt, '--runtime-dir', directory],
      code: 1,
      says,
    });
  }
  assert.deepEqual(readdirSync(base).sort(), ['closed', 'file']);
  assert.deepEqual(readdirSync(mnt), []);
});

test('a default that cannot be written: one warning, and the mount serves', {
  ...BOUND,
  skip: needsRoot,
}, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  writeFileSync(join(source, 'f'), 'text');
  const script = 'mount -t tmpfs -o ro none /run; exec "$@"';
  const prefix = ['unshare', '-m', '--propagation', 'private', 'sh', '-euc', script, 'sh'];
  const mount = await startMount({ source, mountpoint: mnt, prefix });
  const warnings = mount.logs.filter(({ level }) => level === 'warn');
  assert.deepEqual(
    warnings.map(({ msg }) => msg),
    [
      'no control socket, so sluice status, top and umount do not reach this daemon: no socket can be made in /run/sluice (EROFS); give a directory that you may write to with --runtime-dir',
    ],
  );
  const inside = ['-t', String(mount.pid), '-m', 'cat', join(mnt, 'f')];
  assert.equal((await runOk('nsenter', inside)).stdout, 'text');
  await mount.stop();
});

test('a start that fails leaves no socket', BOUND, async () => {
  const [mnt, base] = (await tempDirs('mnt', 'base')) as [string, string];
  const runtimeDir = join(base, 'run');
  mkdirSync(runtimeDir, { mode: 0o700 });
  // Found out after the socket was made: there are too few descriptors for so many lanes.
  await assertRefused({
    args: ['mount', base, mnt, '--runtime-dir', runtimeDir, '--lanes=64'],
    prefix: ['prlimit', '--nofile=200:200'],
    code: 2,
    says: ['RLIMIT_NOFILE of 200', 'too small for 64 lanes', 'raise it'],
  });
  assert.deepEqual(readdirSync(runtimeDir), []);
});

test('two mounts share a directory, and the end of one leaves the other', BOUND, async () => {
  const { mount, runtimeDir } = await stage();
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const flags = [`--runtime-dir=${runtimeDir}`];
  const second = await startMount({ source, mountpoint: mnt, flags });
  assert.equal(readdirSync(runtimeDir).length, 2);
  assert.equal(statSync(runtimeDir).mode & 0o777, 0o700);
  await second.stop();
  assert.equal(readdirSync(runtimeDir).length, 1);
  await mount.stop();
  assert.deepEqual(readdirSync(runtimeDir), []);
});

test('file and environment name it, and the environment also to the commands', BOUND, async () => {
  const [source, mnt, base] = (await tempDirs('source', 'mnt', 'base')) as [string, string, string];
  const file = join(base, 'sluice.toml');
  writeFileSync(file, 'runtime_dir = "file"\n');
  const given = { source, mountpoint: mnt };
  const byFile = await startMount({ ...given, flags: [`--config=${file}`] });
  assert.equal(readdirSync(join(base, 'file')).length, 1);
  await byFile.stop();
  const env = { ...process.env, SLUICE_OPT_RUNTIME_DIR: join(base, 'env') };
  const byVariable = await startMount({ ...given, env });
  assert.equal(readdirSync(join(base, 'env')).length, 1);
  const args = [cliPath, 'status', mnt, '--json'];
  const { stdout } = await runOk(process.execPath, args, { env });
  const { mounts } = JSON.parse(stdout) as { mounts: Shown[] };
  assert.equal(mounts[0]?.daemon?.pid, byVariable.pid);
  await byVariable.stop();
});

/** As uid 65534, with a session directory and a /dev/fuse that it may open. */
const USER_SETUP = `
mount -t tmpfs none /run
mkdir -p /run/user/65534
chown 65534:65534 /run/user/65534 "$1"
mount -t tmpfs none /mnt
mknod -m 666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
shift
export XDG_RUNTIME_DIR=/run/user/65534
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`;

test("a user's daemon is found by that user, and by root", {
  ...BOUND,
  skip: needsRoot,
}, async (t) => {
  const missing = await missingTool('fusermount3', 'unshare', 'nsenter');
  if (missing !== undefined) return t.skip(missing);
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const unshared = ['unshare', '-m', '--propagation', 'private', 'sh', '-euc', USER_SETUP, 'sh'];
  const mount = await startMount({ source, mountpoint: mnt, prefix: [...unshared, mnt] });
  const status = async (...user: string[]) => {
    const inside = ['-t', String(mount.pid), '-m', ...user, process.execPath, cliPath];
    const { code, stdout } = await run('nsenter', [...inside, 'status', mnt, '--json']);
    const { mounts } = JSON.parse(stdout) as { mounts: Shown[] };
    return { code, shown: mounts[0] };
  };
  const byRoot = await status();
  assert.deepEqual([byRoot.code, byRoot.shown?.daemon?.pid], [0, mount.pid]);
  const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const bySelf = await status(...asUser, 'env', 'XDG_RUNTIME_DIR=/run/user/65534');
  assert.deepEqual([bySelf.code, bySelf.shown?.daemon?.pid], [0, mount.pid]);
  const byOther = await status('setpriv', '--reuid', '65533', '--clear-groups');
  assert.equal(byOther.code, 32);
  assert.match(byOther.shown?.problem ?? '', /^no answer: the daemon talks to uid 65534 only/);
  const umount = ['-t', String(mount.pid), '-m', ...asUser, 'env'];
  const own = [...umount, 'XDG_RUNTIME_DIR=/run/user/65534', process.execPath, cliPath];
  await runOk('nsenter', [...own, 'umount', mnt]);
  await mount.exited(5000);
  assert.equal(mount.exitCode, 0);
  mount.kill();
});

test("what answers in a user's directory is believed about that user's mounts only", () => {
  const of = (uid: number) => ({ superOptions: `rw,user_id=${uid},group_id=0` }) as MountRow;
  assert.ok(mayServe('/run/user/65534/sluice', of(65534)));
  assert.equal(mayServe('/run/user/65534/sluice', of(0)), false);
  assert.equal(mayServe('/run/user/65534/sluice', of(65533)), false);
  // His own directory holds what the user who asks has started, also as somebody else.
  assert.ok(mayServe(ownRuntimeDir(), of(65534)));
});

/** The slowest of so many calls of stat(1)'s system call on fresh names, in a process of its own. */
const PROBE = `
const { statSync } = require('node:fs');
let slowestMs = 0;
for (let n = 0; n < 400; n++) {
  const startMs = performance.now();
  statSync(process.argv[1] + '/none' + n, { throwIfNoEntry: false });
  slowestMs = Math.max(slowestMs, performance.now() - startMs);
}
console.log(slowestMs);`;

async function slowestLookupMs(mnt: string): Promise<number> {
  const { stdout } = await runOk(process.execPath, ['-e', PROBE, mnt], { timeoutMs: 40_000 });
  return Number(stdout);
}

test('clients that misbehave in every way delay no request', BOUND, async () => {
  const { mount, mnt, socket } = await stage();
  const path = socket();
  const status = `${JSON.stringify({ v: 1, op: 'status' })}\n`;
  const clients = [
    new RawClient(path, { reads: false }),
    new RawClient(path, { reads: false }),
    new RawClient(path),
    new RawClient(path),
    new RawClient(path),
  ];
  const [deaf, deafToo, garbage, flood, long] = clients as [
    RawClient,
    RawClient,
    RawClient,
    RawClient,
    RawClient,
  ];
  const end = () => {
    clearInterval(timer);
    for (const client of clients) client.end();
  };
  const timer = setInterval(() => {
    deaf.send(status);
    deafToo.send(status.repeat(3));
    garbage.send('{"v":1,"op":\n');
    flood.send(status.repeat(20));
    long.send('x'.repeat(3000));
  }, 20);
  defer(async () => end(), end);
  const slowestMs = await slowestLookupMs(mnt);
  end();
  // A daemon that waited for one of them would wait for ever, or for their time limits of seconds.
  assert.ok(slowestMs < 2000, `${slowestMs} ms`);
  await mount.stop();
});
