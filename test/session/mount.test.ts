import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { abortConnection, connectionNumber, mountFuse } from '../../src/main/session/mount.ts';
import { unmount } from '../../src/main/session/unmount.ts';
import {
  MS_NODEV,
  MS_NOSUID,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
} from '../../src/shared/sys/constants.ts';
import { CString, close, fcntl, mount, open } from '../../src/shared/sys/libc.ts';
import { findMountByPoint, type MountRow, readMountInfo } from '../../src/shared/sys/mountinfo.ts';
import {
  countRows,
  holdOpen,
  keepingLog,
  makeScratch,
  mountSkip,
  request,
} from './fake-session.ts';

const CHILD = fileURLToPath(new URL('./session-child.js', import.meta.url));
const F_GETFD = 1;
const F_GETFL = 3;
const USER = 65534;

let scratch = makeScratch();
scratch.remove();
beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => scratch.remove());

function rowAt(mountpoint: string): MountRow {
  const row = findMountByPoint(readMountInfo(), mountpoint);
  assert.ok(row);
  return row;
}

function openFiles(): string[] {
  return readdirSync('/proc/self/fd');
}

test('a privileged mount has our type, name, flags and descriptor', { skip: mountSkip }, () => {
  const { log, infos } = keepingLog();
  const { mountpoint } = scratch;
  const device = mountFuse(
    request(mountpoint, {
      fsname: 'a,b\\c d',
      mountFlags: MS_NODEV | MS_NOSUID,
      readOnly: true,
      allowOther: true,
      maxWriteBytes: 65536,
    }),
    log,
  );
  const row = rowAt(mountpoint);
  close(device.fuseFd);
  assert.equal(row.fsType, 'fuse.sluice');
  assert.equal(row.source, 'a,b\\c d');
  assert.match(row.options, /^ro,nosuid,nodev/);
  for (const option of ['default_permissions', 'allow_other', 'max_read=65536', 'user_id=0']) {
    assert.ok(row.superOptions.split(',').includes(option), row.superOptions);
  }
  assert.deepEqual(
    { ...device, fuseFd: 0 },
    { fuseFd: 0, mountpoint, ownsMount: true, how: 'mount', connection: row.devMinor },
  );
  assert.equal(infos.length, 1);
});

test('the descriptor is non-blocking and close-on-exec', { skip: mountSkip }, () => {
  const device = mountFuse(request(scratch.mountpoint), keepingLog().log);
  const flags = [fcntl(device.fuseFd, F_GETFL, 0), fcntl(device.fuseFd, F_GETFD, 0)];
  close(device.fuseFd);
  assert.equal((flags[0] ?? 0) & (O_NONBLOCK | O_RDWR), O_NONBLOCK | O_RDWR);
  assert.equal(flags[1], 1);
});

test('a failed mount leaves nothing open and nothing mounted', { skip: mountSkip }, () => {
  const missing = path.join(scratch.folder, 'missing');
  const before = openFiles();
  assert.throws(() => mountFuse(request(missing), keepingLog().log), {
    code: 'ERR_SLUICE_MOUNT',
    exitCode: 32,
    message: /cannot mount on .*missing: ENOENT; /,
  });
  assert.deepEqual(openFiles(), before);
  assert.equal(countRows(missing), 0);
});

test('there is no connection number where nothing of ours is mounted', () => {
  assert.equal(connectionNumber('/'), -2);
  assert.equal(connectionNumber(scratch.mountpoint), -2);
});

test('a mounted descriptor is taken over and its mount left alone', {
  skip: mountSkip,
  timeout: 20_000,
}, async () => {
  const { mountpoint } = scratch;
  const fuseFd = open(new CString('/dev/fuse').address, O_RDWR | O_CLOEXEC);
  const texts = ['x', mountpoint, 'fuse', `fd=${fuseFd},rootmode=40000,user_id=0,group_id=0`];
  const [source, target, type, data] = texts.map((text) => new CString(text).address);
  assert.equal(mount(source ?? 0, target ?? 0, type ?? 0, 0, data ?? 0), 0);
  const { log } = keepingLog();
  const device = mountFuse(request(`/dev/fd/${fuseFd}`), log);
  const { devMinor } = rowAt(mountpoint);
  const outcome = await unmount(device, { timeoutMs: 500, log });
  const left = countRows(mountpoint);
  close(fuseFd);
  assert.deepEqual(
    { ...device, connection: device.connection ?? devMinor },
    {
      fuseFd,
      mountpoint: `/dev/fd/${fuseFd}`,
      ownsMount: false,
      how: 'given',
      connection: devMinor,
    },
  );
  assert.equal(outcome, 'gone');
  assert.equal(left, 1);
});

test('a given descriptor that is not /dev/fuse is refused', () => {
  const nullFd = open(new CString('/dev/null').address, O_RDWR | O_CLOEXEC);
  for (const fd of [nullFd, 999_999]) {
    assert.throws(() => mountFuse(request(`/dev/fd/${fd}`), keepingLog().log), {
      code: 'ERR_SLUICE_MOUNTPOINT',
      message: /is not an open \/dev\/fuse/,
    });
  }
  close(nullFd);
});

const abortSkip = existsSync('/sys/fs/fuse/connections')
  ? mountSkip
  : 'needs fusectl in the kernel';

test('a connection is aborted through fusectl, and its mount removed', {
  skip: abortSkip,
  timeout: 30_000,
}, () => {
  const script =
    'mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections; exec "$@"';
  const command = ['sh', '-c', script, 'sh', process.execPath, CHILD, 'abort', scratch.mountpoint];
  const run = spawnSync('unshare', ['-m', ...command], { encoding: 'utf8', timeout: 20_000 });
  const answer = JSON.parse(run.stdout);
  assert.deepEqual(answer, {
    aborted: true,
    errno: -103,
    outcome: 'unmounted',
    rows: 0,
    warnings: [],
  });
});

test('an abort that cannot be done is said once', () => {
  const { log, warnings } = keepingLog();
  // No connection has this number, with fusectl or without.
  assert.equal(abortConnection(99_999_999, log), false);
  assert.equal(abortConnection(99_999_999, log), false);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /cannot abort the connection/);
});

type HelperUser = 'root without the capability' | 'user';

/** What starts the child as somebody who has to ask fusermount3. */
const PREFIXES: Record<HelperUser, string[]> = {
  'root without the capability': [],
  user: ['setpriv', '--reuid', String(USER), '--regid', String(USER), '--clear-groups'],
};

function succeeds(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { timeout: 10_000 }).status === 0;
}

function helperSkip(user: HelperUser): false | string {
  if (mountSkip !== false) {
    return mountSkip;
  }
  if (!succeeds('sh', '-c', 'command -v fusermount3')) {
    return 'needs fusermount3';
  }
  const [program = 'env', ...args] = PREFIXES[user];
  // fusermount3 opens the device with its caller's rights.
  return succeeds(program, ...args, 'sh', '-c', ': <>/dev/fuse')
    ? false
    : `uid ${USER} may not open /dev/fuse here`;
}

function spawnChild(user: HelperUser, mountpoint: string): ChildProcess {
  const command = user === 'user' ? 'mount-and-wait' : 'mount-and-wait-without-capability';
  const [program = '', ...args] = [...PREFIXES[user], process.execPath, CHILD, command, mountpoint];
  return spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], timeout: 20_000 });
}

for (const user of ['root without the capability', 'user'] as const) {
  const bounded = { skip: helperSkip(user), timeout: 30_000 };
  test(`${user} mounts and unmounts by fusermount3`, bounded, async () => {
    const { folder, mountpoint } = scratch;
    chmodSync(folder, 0o755);
    const uid = user === 'user' ? USER : 0;
    chownSync(mountpoint, uid, uid);
    const child = spawnChild(user, mountpoint);
    assert.ok(child.stdout && child.stdin);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const mounted = JSON.parse((await lines.next()).value);
    assert.equal(mounted.device?.how, 'fusermount3', JSON.stringify(mounted));
    const row = rowAt(mountpoint);
    assert.equal(mounted.device.connection, row.devMinor);
    assert.equal(mounted.descriptorFlags, 1);
    assert.equal(mounted.statusFlags & O_NONBLOCK, O_NONBLOCK);
    assert.equal(row.fsType, 'fuse.sluice');
    assert.equal(row.source, 'a,b\\c d');
    assert.ok(row.superOptions.split(',').includes(`user_id=${uid}`), row.superOptions);
    child.stdin.write('stop\n');
    const { outcome, warnings } = JSON.parse((await lines.next()).value);
    assert.deepEqual([outcome, warnings], ['unmounted', []]);
    assert.equal(countRows(mountpoint), 0);
  });
}

const rootUser = 'root without the capability';
const helperBounded = { skip: helperSkip(rootUser), timeout: 30_000 };

test('a busy mount of fusermount3 is detached lazily at the deadline', helperBounded, async () => {
  const { mountpoint } = scratch;
  const child = spawnChild(rootUser, mountpoint);
  assert.ok(child.stdout && child.stdin);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const holder = await holdOpen(mountpoint);
  child.stdin.write('stop\n');
  const { outcome, warnings } = JSON.parse((await lines.next()).value);
  holder.kill('SIGKILL');
  assert.equal(outcome, 'lazy');
  assert.match(warnings.at(-1), /detached lazily/);
  assert.equal(countRows(mountpoint), 0);
});

test('the words of fusermount3 are in the one line', helperBounded, async () => {
  const missing = path.join(scratch.folder, 'missing');
  const child = spawnChild(rootUser, missing);
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = JSON.parse((await lines.next()).value);
  assert.equal(answer.exitCode, 32);
  assert.match(answer.message, /cannot mount on .*missing: .*fusermount3: .*No such file/);
});
