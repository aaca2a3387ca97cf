import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { runCli } from '../harness/mount.ts';
import { forceUnmount, isFuse, readMounts } from '../harness/mountinfo.ts';
import { cliPath } from '../harness/paths.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { everyOptionIsTested, optionTest } from './by-option.ts';
import { logLine, tracedMount } from './traced-mount.ts';

const END_WAIT_MS = 10_000;

optionTest(
  'background',
  'the command returns when the mount is usable, and it serves on',
  async () => {
    const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [
      string,
      string,
      string,
    ];
    defer(async () => {
      for (const row of readMounts()) if (row.mountpoint === mnt && isFuse(row)) forceUnmount(row);
    });
    const log = join(base, 'log');
    const args = [cliPath, 'mount', source, mnt, '--background', `--log-file=${log}`, '--no-open'];
    const { stdout, stderr } = await runOk(process.execPath, args, { timeoutMs: 20_000 });
    const line = /^sluice: (.*) is mounted on (.*) \(pid (\d+)\)\n$/.exec(stdout);
    assert.deepEqual(line?.slice(1, 3), [source, mnt], stdout);
    assert.match(stderr, /^sluice: warning: no_open is switched off/);
    const pid = Number(line?.[3]);
    await runOk('sh', ['-euc', 'echo text > "$1/f"; cat "$1/f"', 'sh', mnt], { timeoutMs: 10_000 });
    assert.equal(readFileSync(join(source, 'f'), 'utf8'), 'text\n');
    // A session of its own, at no terminal, with no working directory that keeps anything busy.
    assert.equal((await runOk('ps', ['-o', 'sid=', '-p', String(pid)])).stdout.trim(), String(pid));
    process.kill(pid, 'SIGTERM');
    const untilMs = performance.now() + END_WAIT_MS;
    while (existsSync(`/proc/${pid}`) && performance.now() < untilMs) await sleep(20);
    assert.equal(existsSync(`/proc/${pid}`), false, 'the daemon runs on');
    assert.equal(
      readMounts().some((row) => row.mountpoint === mnt),
      false,
    );
    assert.match(readFileSync(log, 'utf8'), /"msg":"unmounted"/);
  },
);

optionTest('background', 'a start that fails ends the command with its line and code', async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const bad = await runCli(['mount', join(source, 'none'), mnt, '--background'], {
    timeoutMs: 20_000,
  });
  assert.equal(bad.code, 32);
  assert.match(bad.stderr, /^sluice: source .*none does not exist; create it or correct.*\n$/);
  assert.equal(bad.stdout, '');
});

async function workInside(directory: string): Promise<ChildProcess> {
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

optionTest('stopTimeout', 'a busy mount is detached then, with a warning', async () => {
  const { mount, mnt } = await tracedMount(['--stop-timeout=2']);
  const child = await workInside(mnt);
  const startMs = performance.now();
  await mount.stop();
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 1_000 && tookMs < 8_000, `${tookMs} ms`);
  assert.match(
    String((await logLine(mount, /in use by/))['msg']),
    new RegExp(`\\[${child.pid}\\]`),
  );
  assert.equal((await logLine(mount, /detached lazily/))['level'], 'warn');
});

optionTest('stopTimeout', 'zero detaches a busy mount at once', async () => {
  const { mount, mnt } = await tracedMount(['--stop-timeout=0']);
  await workInside(mnt);
  const startMs = performance.now();
  await mount.stop();
  assert.ok(performance.now() - startMs < 5_000);
  await logLine(mount, /detached lazily/);
  assert.equal((await run('ls', ['-A', mnt])).stdout, '');
});

optionTest('runtimeDir', 'the socket of the daemon is there, and nowhere else', async () => {
  const [base] = (await tempDirs('base')) as [string];
  const runtimeDir = join(base, 'run');
  const { mount } = await tracedMount([`--runtime-dir=${runtimeDir}`]);
  const { mount: id } = await logLine(mount, /^negotiated$/);
  assert.deepEqual(readdirSync(runtimeDir), [`${id}.sock`]);
  assert.equal(existsSync(`/run/sluice/${id}.sock`), false);
  await mount.stop();
  assert.deepEqual(readdirSync(runtimeDir), []);
});

optionTest('engine', 'fuse-native reaches the same operations through libfuse', async () => {
  const { mount, mnt } = await tracedMount(['--engine=fuse-native']);
  await run('sh', ['-c', 'echo text > "$1/f"', 'sh', mnt]);
  assert.equal((await run('cat', [join(mnt, 'f')])).stdout, 'text\n');
  await logLine(mount, /^mounted by fuse-native$/);
  await mount.stop();
});

everyOptionIsTested('Process');
