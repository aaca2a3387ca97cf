import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, test } from 'node:test';
import { type MountedDevice, mountFuse } from '../../src/main/session/mount.ts';
import { unmount } from '../../src/main/session/unmount.ts';
import { close } from '../../src/shared/sys/libc.ts';
import {
  countRows,
  holdOpen,
  keepingLog,
  makeScratch,
  mountSkip,
  request,
  serve,
} from './fake-session.ts';

const bounded = { skip: mountSkip, timeout: 30_000 };

let scratch = makeScratch();
scratch.remove();
let device: MountedDevice | undefined;
let holder: ChildProcess | undefined;

beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => {
  if (device !== undefined) {
    close(device.fuseFd);
    device = undefined;
  }
  holder?.kill('SIGKILL');
  holder = undefined;
  scratch.remove();
});

function mounted(): MountedDevice {
  device = mountFuse(request(scratch.mountpoint), keepingLog().log);
  return device;
}

test('an idle mount is unmounted at once', bounded, async () => {
  const { log, infos, warnings } = keepingLog();
  const own = mounted();
  const stop = serve(own.fuseFd);
  assert.equal(await unmount(own, { timeoutMs: 5000, log }), 'unmounted');
  stop();
  assert.equal(countRows(scratch.mountpoint), 0);
  assert.deepEqual([infos, warnings], [[], []]);
});

test('a mount nobody ever served is unmounted', bounded, async () => {
  const { log } = keepingLog();
  assert.equal(await unmount(mounted(), { timeoutMs: 5000, log }), 'unmounted');
});

test('a busy mount is waited for, and its holder named once', bounded, async () => {
  const { log, infos, warnings } = keepingLog();
  const own = mounted();
  const stop = serve(own.fuseFd);
  holder = await holdOpen(scratch.mountpoint);
  setTimeout(() => holder?.kill('SIGKILL'), 1000);
  assert.equal(await unmount(own, { timeoutMs: 15_000, log }), 'unmounted');
  stop();
  assert.equal(infos.length, 1);
  assert.match(infos[0] ?? '', new RegExp(`in use by .*\\[${holder.pid}\\]`));
  assert.deepEqual(warnings, []);
});

test('a mount that stays busy is flushed and detached at the deadline', bounded, async () => {
  const { log, warnings } = keepingLog();
  const own = mounted();
  const stop = serve(own.fuseFd);
  holder = await holdOpen(scratch.mountpoint);
  const startMs = performance.now();
  assert.equal(await unmount(own, { timeoutMs: 3000, log }), 'lazy');
  const tookMs = performance.now() - startMs;
  stop();
  assert.ok(tookMs > 1500, `gave up after ${tookMs} ms`);
  assert.equal(countRows(scratch.mountpoint), 0);
  assert.equal(warnings.length, 1, warnings.join('\n'));
  assert.match(warnings[0] ?? '', /detached lazily/);
});

test('a busy mount that nobody serves is detached all the same, in time', bounded, async () => {
  const { log, warnings } = keepingLog();
  const own = mounted();
  holder = await holdOpen(scratch.mountpoint);
  const startMs = performance.now();
  assert.equal(await unmount(own, { timeoutMs: 1500, log }), 'lazy');
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs < 1500 + 3000 + 1000, `took ${tookMs} ms`);
  assert.equal(countRows(scratch.mountpoint), 0);
  assert.match(warnings[0] ?? '', /not written back within \d+ ms/);
  assert.match(warnings[1] ?? '', /detached lazily/);
});

test('a mount that somebody else unmounted is gone', bounded, async () => {
  const { log, warnings } = keepingLog();
  const own = mounted();
  spawnSync('umount', ['-l', scratch.mountpoint], { timeout: 10_000 });
  assert.equal(await unmount(own, { timeoutMs: 2000, log }), 'gone');
  assert.deepEqual(warnings, []);
});

test('another sluice mount at the same place is not ours to unmount', bounded, async () => {
  const first = mounted();
  spawnSync('umount', ['-l', scratch.mountpoint], { timeout: 10_000 });
  // The kernel may well give it the device number that was freed.
  const second = mountFuse(request(scratch.mountpoint), keepingLog().log);
  const { log, warnings } = keepingLog();
  const outcome = await unmount(first, { timeoutMs: 1000, log });
  const left = countRows(scratch.mountpoint);
  close(second.fuseFd);
  assert.equal(outcome, 'gone');
  assert.equal(left, 1);
  assert.match(warnings[0] ?? '', /is left alone/);
});

test('a mount on top of ours is neither removed nor passed over in silence', bounded, async () => {
  const { log, infos } = keepingLog();
  const own = mounted();
  const cover = spawnSync('mount', ['-i', '-n', '-t', 'tmpfs', 'cover', scratch.mountpoint], {
    timeout: 5000,
  });
  assert.equal(cover.status, 0, String(cover.stderr));
  await assert.rejects(unmount(own, { timeoutMs: 600, log }), {
    code: 'ERR_SLUICE_MOUNT',
    message: /another mount lies on top of it/,
  });
  assert.equal(countRows(scratch.mountpoint), 2);
  assert.match(infos[0] ?? '', /another mount lies on top/);
});
