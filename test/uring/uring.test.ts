import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NO_CPU, shareOut } from '../../src/main/session/uring.ts';
import { Client, mountHanging } from '../faults/hanging.ts';
import { settle } from '../faults/settle.ts';
import { startMount } from '../harness/mount.ts';
import { cliPath } from '../harness/paths.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { everyOptionIsTested, optionTest } from '../options/by-option.ts';
import { idleStatus, startUring, switchOn } from './engine.ts';

const TIME_LIMIT = { timeout: 60_000 };
const saboteur = new URL('../faults/saboteur.js', import.meta.url).href;
const clientPath = fileURLToPath(new URL('../faults/client.js', import.meta.url));

const wishes = {
  posixLock: false,
  flock: false,
  opTimeoutMs: 0,
  maxWriteBytes: 1 << 20,
  uringDepth: 16,
  uringMemoryBytes: 256 << 20,
};

test('every possible CPU has a queue, and the memory its bound', () => {
  const all = [0, 1, 2, 3, 4, 5];
  const plan = shareOut(all, [1, 4], wishes);
  assert.ok(typeof plan === 'object');
  assert.deepEqual(
    plan.threads.map(({ cpu }) => cpu),
    [1, 4, NO_CPU],
  );
  const queues = plan.threads.flatMap((thread) => thread.queues);
  assert.deepEqual([...new Set(queues)].sort(), all);
  assert.equal(queues.length, 2 * 16 + 4 + 2);
  assert.equal(plan.memoryBytes, 38 * ((1 << 20) + 4096));
  const tight = shareOut(all, all, { ...wishes, uringMemoryBytes: 20 << 20 });
  assert.ok(typeof tight === 'object');
  assert.equal(tight.depth, 2);
  assert.ok(tight.memoryBytes <= 20 << 20);
  assert.match(String(shareOut(all, all, { ...wishes, uringMemoryBytes: 1 << 20 })), /no room/);
});

test('what cannot be had is said once, and /dev/fuse serves', TIME_LIMIT, async () => {
  const [source] = (await tempDirs('source')) as [string];
  writeFileSync(join(source, 'file'), 'here');
  const mount = await startMount({ source, flags: ['--engine=uring', '--posix-lock'] });
  const said = mount.logs.filter(({ msg }) => /and not by io_uring/.test(String(msg)));
  assert.equal(said.length, 1);
  assert.match(String(said[0]?.['msg']), /posix_lock/);
  const { stdout } = await runOk('cat', [join(mount.mountpoint, 'file')]);
  assert.equal(stdout, 'here');
  const status = await runOk(process.execPath, [cliPath, 'status', mount.mountpoint]);
  assert.match(status.stdout, /engine +\/dev\/fuse \(posix_lock/);
  await mount.stop();
});

test('requests come by io_uring, and status says so', TIME_LIMIT, async (t) => {
  const reason = switchOn();
  if (reason !== undefined) return t.skip(reason);
  const [source] = (await tempDirs('source')) as [string];
  const mount = await startUring({ source });
  const start = await idleStatus(mount);
  const work = [clientPath, mount.mountpoint, '1'];
  const { stdout } = await runOk(process.execPath, work, { timeoutMs: 30_000 });
  const { errors, wrong } = JSON.parse(stdout) as { errors: object; wrong: string[] };
  assert.deepEqual({ errors, wrong }, { errors: {}, wrong: [] });
  const status = await runOk(process.execPath, [cliPath, 'status', mount.mountpoint]);
  assert.match(status.stdout, /engine +io_uring, \d+ threads/);
  await runOk('sh', ['-c', 'rm -rf "$1"/*', 'sh', mount.mountpoint]);
  await settle(mount, start);
  await mount.stop();
});

/** What the log says of a mount with these flags; undefined: skipped. */
async function engaged(
  t: TestContext,
  ...flags: string[]
): Promise<{ depth: number; memoryBytes: number } | undefined> {
  const reason = switchOn();
  if (reason !== undefined) {
    t.skip(reason);
    return undefined;
  }
  const [source] = (await tempDirs('source')) as [string];
  writeFileSync(join(source, 'file'), 'here');
  const mount = await startUring({ source, flags });
  const { stdout } = await runOk('cat', [join(mount.mountpoint, 'file')]);
  assert.equal(stdout, 'here');
  const line = mount.logs.find(({ msg }) => msg === 'requests come by io_uring');
  await mount.stop();
  return line as unknown as { depth: number; memoryBytes: number };
}

optionTest('uringDepth', 'so many entries for each CPU', async (t) => {
  const plan = await engaged(t, '--uring-depth=3');
  if (plan !== undefined) assert.equal(plan.depth, 3);
});

optionTest('uringMemory', 'the buffers keep the bound, with fewer entries', async (t) => {
  const bound = 4 * availableParallelism() * 2 * (1 << 20);
  const plan = await engaged(t, `--uring-memory=${bound}`, '--uring-depth=64');
  if (plan === undefined) return;
  assert.ok(plan.memoryBytes <= bound, JSON.stringify(plan));
  assert.ok(plan.depth < 64, JSON.stringify(plan));
});

test('a read that hangs delays none of 64 requests of its CPU', TIME_LIMIT, async (t) => {
  const reason = switchOn() ?? (await missingTool('bindfs', 'taskset'));
  if (reason !== undefined) return t.skip(reason);
  const [source, behind] = (await tempDirs('source', 'behind')) as [string, string];
  const slow = join(source, 'slow');
  mkdirSync(slow);
  writeFileSync(join(behind, 'file'), 'late');
  for (let i = 0; i < 64; i++) writeFileSync(join(source, `file-${i}`), `${i}`);
  const server = await mountHanging(behind, slow);
  const flags = ['--cache=never', '--no-kernel-passthrough', '--lanes=2'];
  const mount = await startUring({ source, flags });
  // The lookup is done, the read hangs.
  const read = 'exec 3<"$1"; echo open; read go; cat <&3';
  const reader = new Client(
    'taskset',
    '-c',
    '0',
    'sh',
    '-c',
    read,
    'sh',
    `${mount.mountpoint}/slow/file`,
  );
  await reader.started();
  server.hang();
  reader.go();
  assert.equal(await reader.endsWithin(300), false, 'the read did not hang');
  const beganMs = performance.now();
  const others = await run(
    'taskset',
    ['-c', '0', 'sh', '-c', 'cat "$1"/file-*', 'sh', mount.mountpoint],
    { timeoutMs: 20_000 },
  );
  const tookMs = performance.now() - beganMs;
  assert.equal(others.timedOut, false, 'the others hang');
  assert.equal(
    others.stdout,
    Array.from({ length: 64 }, (_, i) => `file-${i}`)
      .sort()
      .map((name) => name.slice(5))
      .join(''),
  );
  assert.equal(await reader.endsWithin(0), false);
  t.diagnostic(`64 files opened, read and closed in ${tookMs.toFixed(0)} ms beside it`);
  server.goOn();
  assert.ok(await reader.endsWithin(10_000), 'the read does not end');
  await mount.stop();
});

for (const [what, env, count] of [
  ['threads of queues', { FAULT_QUEUES: '9:1200:9' }, 'the thread of a queue died'],
  ['lanes', { FAULT_LANE: 'executing:throw:15' }, 'a lane died'],
] as const) {
  test(`${what} that die lose no request`, TIME_LIMIT, async (t) => {
    const reason = switchOn() ?? (await missingTool('bindfs'));
    if (reason !== undefined) return t.skip(reason);
    const [source, behind] = (await tempDirs('source', 'behind')) as [string, string];
    mkdirSync(join(source, 'work'));
    // What lies on FUSE is left to the lanes.
    if (what === 'lanes') await mountHanging(behind, join(source, 'work'));
    const mount = await startUring({
      source,
      env,
      nodeFlags: ['--import', saboteur],
      allowErrors: [/a lane died/, /the thread of a queue died/],
    });
    const start = await idleStatus(mount);
    const work = [clientPath, join(mount.mountpoint, 'work'), what === 'lanes' ? '1' : '4'];
    const { stdout, timedOut } = await run(process.execPath, work, { timeoutMs: 30_000 });
    assert.equal(timedOut, false, `the client hangs\n${mount.logTail()}`);
    const outcome = JSON.parse(stdout) as {
      rounds: number;
      errors: Record<string, number>;
      wrong: string[];
      slowestMs: number;
    };
    assert.deepEqual(outcome.wrong, []);
    // ECANCELED is the kernel's own answer to a request that was on its way to a thread that died.
    const allowed = ['ECANCELED', 'EIO', 'EEXIST', 'ENOENT', 'ENOTEMPTY'];
    assert.deepEqual(
      Object.keys(outcome.errors).filter((code) => !allowed.includes(code)),
      [],
    );
    const deaths = mount.logs.filter(({ msg }) => String(msg).startsWith(count)).length;
    t.diagnostic(`${deaths} deaths; ${JSON.stringify(outcome)}`);
    assert.ok(deaths > 0, 'nobody died');
    assert.ok(outcome.rounds > 0);
    for (let tries = 0; tries < 20; tries++) {
      const removed = await run('sh', ['-c', 'rm -rf "$1"/work/*', 'sh', mount.mountpoint], {
        timeoutMs: 20_000,
      });
      assert.equal(removed.timedOut, false, `rm hangs\n${mount.logTail()}`);
      if (removed.code === 0) break;
    }
    await settle(mount, start, 15_000, 1);
    await mount.stop();
  });
}

test(
  'an aborted connection and one that is unmounted under load end the daemon',
  TIME_LIMIT,
  async (t) => {
    const reason = switchOn();
    if (reason !== undefined) return t.skip(reason);
    for (const end of [
      'umount -l "$1"',
      'echo 1 > /sys/fs/fuse/connections/$(stat -fc %i "$1" >/dev/null; mountpoint -d "$1" | cut -d: -f2)/abort',
    ]) {
      const [source] = (await tempDirs('source')) as [string];
      const mount = await startUring({ source, flags: ['--stop-timeout=1'] });
      const load = new Client(process.execPath, clientPath, mount.mountpoint, '2');
      await run('sleep', ['0.5']);
      await runOk('sh', ['-c', end, 'sh', mount.mountpoint]);
      await mount.exited(20_000);
      assert.equal(mount.exitCode === null, false, 'ended by a signal');
      assert.ok(await load.endsWithin(10_000), 'the client hangs');
    }
  },
);

everyOptionIsTested('io_uring');
