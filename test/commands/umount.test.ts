/** `sluice umount`. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { readMounts } from '../harness/mountinfo.ts';
import { cliPath } from '../harness/paths.ts';
import { run, runOk, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { codeOf, RawClient } from './raw-client.ts';
import { stage } from './stage.ts';

const BOUND = { timeout: 90_000 };

function isMounted(mnt: string): boolean {
  return readMounts().some(({ mountpoint }) => mountpoint === mnt);
}

async function workIn(directory: string): Promise<ChildProcess> {
  const child = spawn('sh', ['-c', 'echo in; exec sleep 100'], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  defer(
    async () => void child.kill('SIGKILL'),
    () => child.kill('SIGKILL'),
  );
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  return child;
}

test('unmounts by the daemon, and returns when it has ended', BOUND, async () => {
  const { mount, mnt, tool, ended, runtimeDir } = await stage();
  await shell('echo more > "$1/g"', [mnt]);
  const { code, stdout, stderr } = await tool('umount', mnt);
  assert.deepEqual([code, stdout, stderr], [0, '', '']);
  assert.equal(isMounted(mnt), false);
  await ended();
  assert.ok(mount.logs.some(({ msg }) => /asked to unmount/.test(String(msg))));
  assert.deepEqual(readdirSync(runtimeDir), []);
});

test('a busy mount stays, and who uses it is named', BOUND, async () => {
  const { mount, mnt, tool, ended } = await stage();
  const child = await workIn(mnt);
  const { code, stderr, elapsedMs } = await tool('umount', '--timeout=0', mnt);
  assert.equal(code, 32);
  assert.equal(
    stderr,
    `sluice: ${mnt} is busy, in use by sleep[${child.pid}]; end that, or use --lazy\n`,
  );
  assert.ok(elapsedMs < 9000, String(elapsedMs));
  // It serves on, and the next one works.
  assert.equal((await runOk('cat', [join(mnt, 'f')])).stdout, 'text\n');
  assert.equal(mount.hasExited, false);
  child.kill('SIGKILL');
  assert.equal((await tool('umount', mnt)).code, 0);
  await ended();
});

test('a busy mount is waited for', BOUND, async () => {
  const { mnt, tool, ended } = await stage();
  const child = await workIn(mnt);
  setTimeout(() => child.kill('SIGKILL'), 1500);
  const { code, stderr } = await tool('umount', '-t', '20', mnt);
  assert.deepEqual([code, stderr], [0, '']);
  await ended();
});

test('--lazy takes a busy mount out of the tree', BOUND, async () => {
  const { mnt, tool, ended } = await stage();
  await workIn(mnt);
  const { code, stderr, elapsedMs } = await tool('umount', '--lazy', '--timeout=1', mnt);
  assert.deepEqual([code, stderr], [0, '']);
  assert.ok(elapsedMs < 15_000);
  assert.equal(isMounted(mnt), false);
  await ended();
});

test('two at a time: one waits for the mount, the other is told', BOUND, async () => {
  const { mnt, tool, ended, socket } = await stage();
  const child = await workIn(mnt);
  const first = new RawClient(socket());
  defer(async () => first.end());
  first.ask({ v: 1, op: 'unmount', lazy: false, timeoutMs: 20_000 });
  await sleep(300);
  const second = new RawClient(socket());
  defer(async () => second.end());
  second.ask({ v: 1, op: 'unmount', lazy: false, timeoutMs: 0 });
  assert.equal(codeOf(await second.reply(1)), 'under-way');
  const other = await tool('umount', mnt);
  assert.equal(other.code, 32);
  assert.match(other.stderr, /^sluice: cannot unmount .*: another unmount is under way\n$/);
  child.kill('SIGKILL');
  assert.deepEqual((await first.reply(1, 20_000))['result'], { reason: 'external' });
  await ended();
});

test('the mount of a dead daemon is removed without it', BOUND, async () => {
  const { mount, mnt, tool } = await stage();
  process.kill(mount.pid, 'SIGKILL');
  await mount.exited(10_000);
  assert.equal(isMounted(mnt), true);
  const { code, stderr } = await tool('umount', mnt);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(isMounted(mnt), false);
  mount.kill();
});

test('a dead daemon and a process that stays: busy, and then lazily', BOUND, async () => {
  const { mount, mnt, tool } = await stage();
  const child = await workIn(mnt);
  process.kill(mount.pid, 'SIGKILL');
  await mount.exited(10_000);
  const busy = await tool('umount', '-t', '0', mnt);
  assert.equal(busy.code, 32);
  assert.match(busy.stderr, new RegExp(`is busy, in use by sleep\\[${child.pid}\\]`));
  const { code, stderr } = await tool('umount', '-l', mnt);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(isMounted(mnt), false);
  mount.kill();
});

test('a daemon that hangs does not hang the command', BOUND, async () => {
  const { mount, mnt, tool, ended } = await stage();
  process.kill(mount.pid, 'SIGSTOP');
  const { code, elapsedMs } = await tool('umount', '--lazy', mnt);
  assert.equal(code, 0);
  assert.ok(elapsedMs < 15_000, String(elapsedMs));
  assert.equal(isMounted(mnt), false);
  process.kill(mount.pid, 'SIGCONT');
  await ended();
});

test('a bind mount of the mount goes alone', BOUND, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root');
  const { mount, mnt, tool } = await stage();
  const [copy] = (await tempDirs('copy')) as [string];
  await shell('mount --bind "$1" "$2"', [mnt, copy]);
  defer(async () => void (await run('umount', ['-l', copy])));
  const { code, stderr } = await tool('umount', copy);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(isMounted(copy), false);
  assert.equal(isMounted(mnt), true);
  assert.equal((await runOk('cat', [join(mnt, 'f')])).stdout, 'text\n');
  await mount.stop();
});

test('not a mount, not a sluice mount, nothing at all', BOUND, async () => {
  const { mount, source, tool } = await stage();
  const cases: readonly (readonly [string[], number, RegExp])[] = [
    [[source], 32, /nothing is mounted there/],
    [['/proc'], 32, /it is a mount of type proc, not one of sluice; umount\(8\)/],
    [[join(source, 'none', 'x')], 32, /no such directory/],
    [[], 1, /missing required argument 'mountpoint'; see sluice umount --help/],
    [['--timeout=x', source], 1, /'x' is invalid\. Give seconds from 0 to 86400/],
  ];
  for (const [args, expected, reason] of cases) {
    const { code, stderr } = await tool('umount', ...args);
    assert.equal(code, expected, stderr);
    assert.match(stderr, new RegExp(`^sluice: .*${reason.source}.*\\n$`));
  }
  await mount.stop();
});

test("another user may not unmount root's mount, and is told so", BOUND, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root');
  const { mount, mnt } = await stage();
  const asUser = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const args = [...asUser, process.execPath, cliPath, 'umount', mnt];
  const { code, stderr } = await run('setpriv', args, { timeoutMs: 30_000 });
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^sluice: cannot unmount .*; be root, or the user who mounted it\n$/);
  assert.equal(isMounted(mnt), true);
  await mount.stop();
});
