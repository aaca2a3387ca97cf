/** The ways a mount ends. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { forceUnmount, isFuse, readMounts } from '../harness/mountinfo.ts';
import { cliPath, projectRoot } from '../harness/paths.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const BOUND = { timeout: 60_000 };
const END_MS = 20_000;

async function mounted(flags: readonly string[] = []): Promise<Mount> {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  writeFileSync(join(source, 'f'), 'text\n');
  return startMount({ source, mountpoint, flags });
}

function isMounted(mountpoint: string): boolean {
  return readMounts().some((row) => row.mountpoint === mountpoint && isFuse(row));
}

/** Waits for the daemon's end and checks that it was a clean one. */
async function assertEnded(mount: Mount, reason: string): Promise<void> {
  await mount.exited(END_MS);
  assert.equal(mount.exitCode, 0, mount.logTail());
  assert.equal(isMounted(mount.mountpoint), false);
  const last = mount.logs.findLast((line) => line['msg'] === 'unmounted');
  assert.equal(last?.['reason'], reason, mount.logTail());
  // It has ended already: this looks at what it has left and logged.
  await mount.stop();
}

/** A child that says `in` when it has done what keeps the mount busy. */
async function inside(script: string, directory: string): Promise<ChildProcess> {
  const child = spawn('sh', ['-euc', script], {
    cwd: directory,
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const end = () => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  };
  defer(async () => end(), end);
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  return child;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} unmounts and ends with 0`, BOUND, async () => {
    const mount = await mounted();
    await runOk('cat', [join(mount.mountpoint, 'f')]);
    process.kill(mount.pid, signal);
    await assertEnded(mount, 'stopped');
    assert.ok(mount.logs.some((line) => line['signal'] === signal));
  });
}

test('umount by somebody else ends the daemon with 0', BOUND, async () => {
  const mount = await mounted();
  await runOk('umount', [mount.mountpoint]);
  await assertEnded(mount, 'external');
});

test('umount -l with users: the daemon serves them to their end', BOUND, async () => {
  const mount = await mounted();
  const child = await inside('exec 3< f; echo in; read line; cat <&3; cat f', mount.mountpoint);
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await runOk('umount', ['-l', mount.mountpoint]);
  await sleep(300);
  assert.equal(mount.hasExited, false, 'the daemon left its users alone');
  const ended = once(child, 'close');
  child.stdin?.end('go\n');
  await ended;
  assert.equal(said, 'text\ntext\n');
  await assertEnded(mount, 'external');
});

test('a busy mount is waited for', BOUND, async () => {
  const mount = await mounted(['--stop-timeout=15']);
  const child = await inside('echo in; exec sleep 100', mount.mountpoint);
  process.kill(mount.pid, 'SIGTERM');
  await sleep(700);
  assert.equal(mount.hasExited, false);
  assert.equal(isMounted(mount.mountpoint), true);
  child.kill('SIGKILL');
  await assertEnded(mount, 'stopped');
  const lines = mount.logs.map((line) => String(line['msg'])).join('\n');
  assert.match(lines, new RegExp(`waiting to unmount .*: in use by sleep\\[${child.pid}\\]`));
  assert.doesNotMatch(lines, /lazily/);
});

test('a mount that stays busy is detached at the deadline, with a warning', BOUND, async () => {
  const mount = await mounted(['--stop-timeout=1.5']);
  await inside('echo in; exec sleep 100', mount.mountpoint);
  const startMs = performance.now();
  process.kill(mount.pid, 'SIGINT');
  await assertEnded(mount, 'stopped');
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 700 && tookMs < 8_000, `${tookMs} ms`);
  const warning = mount.logs.find((line) => /detached lazily/.test(String(line['msg'])));
  assert.equal(warning?.['level'], 'warn', mount.logTail());
});

test('a second signal aborts at once', BOUND, async () => {
  const mount = await mounted(['--stop-timeout=100']);
  const child = await inside('echo in; read line; cat f 2> /dev/null', mount.mountpoint);
  process.kill(mount.pid, 'SIGTERM');
  await sleep(600);
  assert.equal(mount.hasExited, false);
  const startMs = performance.now();
  process.kill(mount.pid, 'SIGTERM');
  await assertEnded(mount, 'aborted');
  assert.ok(performance.now() - startMs < 8_000);
  const ended = once(child, 'close');
  child.stdin?.end('go\n');
  const [code] = await ended;
  assert.notEqual(code, 0, 'the file was read from a mount that was aborted');
});

/** Maps a file, writes to it, and ends when it is told to, or at once with `leave`. */
const MAP = `import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 1 << 20)
memory = mmap.mmap(fd, 1 << 20, mmap.MAP_SHARED)
os.close(fd)
for at in range(0, 1 << 20, 4096): memory[at:at + 5] = b'dirty'
print('in', flush=True)
if sys.argv[2] == 'stay': sys.stdin.readline()
`;

for (const [what, flags] of [
  ['without writeback', []],
  ['with writeback', ['--writeback']],
] as const) {
  test(
    `dirty mapped pages reach the source when the mount is stopped, ${what}`,
    BOUND,
    async (t) => {
      const missing = await missingTool('python3');
      if (missing !== undefined) return t.skip(missing);
      for (const then of ['leave', 'stay'] as const) {
        const mount = await mounted(['--stop-timeout=1.5', ...flags]);
        const [base] = (await tempDirs('base')) as [string];
        writeFileSync(join(base, 'map.py'), MAP);
        const file = join(mount.mountpoint, 'mapped');
        const child = await inside(`exec python3 '${base}/map.py' '${file}' ${then}`, base);
        if (then === 'leave') await once(child, 'close');
        process.kill(mount.pid, 'SIGTERM');
        await assertEnded(mount, 'stopped');
        const bytes = readFileSync(join(mount.source, 'mapped'));
        assert.equal(bytes.length, 1 << 20);
        let dirty = 0;
        for (let at = 0; at < bytes.length; at += 4096) {
          if (bytes.subarray(at, at + 5).toString() === 'dirty') dirty++;
        }
        assert.equal(dirty, 256, `${then}: pages are lost`);
      }
    },
  );
}

test('SIGTERM during heavy load: no hang, nothing left', { timeout: 90_000 }, async () => {
  const tree = join(projectRoot, 'node_modules', 'zod');
  for (const flags of [['--stop-timeout=1'], ['--stop-timeout=1', '--writeback', '--lanes=1']]) {
    const mount = await mounted(flags);
    const load = `echo in; for i in 1 2 3 4; do
      (while cp -r '${tree}' d$i && tar cf t$i d$i && rm -r d$i t$i; do :; done) & done; wait`;
    const child = await inside(`exec 2> /dev/null; ${load}`, mount.mountpoint);
    await sleep(1_500);
    process.kill(mount.pid, 'SIGTERM');
    await assertEnded(mount, 'stopped');
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {
      // The load has ended with its mount.
    }
  }
});

test('many short mounts leave nothing behind', { timeout: 120_000 }, async () => {
  const [source, mountpoint, base] = (await tempDirs('s', 'm', 'b')) as [string, string, string];
  const program = join(base, 'cycles.mjs');
  const library = new URL('../../src/main/daemon.js', import.meta.url).href;
  const optionsModule = new URL('../../src/shared/options.js', import.meta.url).href;
  const logModule = new URL('../../src/shared/log.js', import.meta.url).href;
  // One process, so that what leaks stays visible: descriptors, threads and memory maps.
  writeFileSync(
    program,
    `import { startDaemon } from ${JSON.stringify(library)};
     import { resolveOptions } from ${JSON.stringify(optionsModule)};
     import { createLogger } from ${JSON.stringify(logModule)};
     import { readdirSync, readFileSync } from 'node:fs';
     const [source, mountpoint] = process.argv.slice(2);
     const { options } = resolveOptions({ source, mountpoint, lanes: 1, logLevel: 'warn' });
     const logger = createLogger({ ...options, mountId: '01890000-0000-7000-8000-000000000000' });
     const count = () => ({
       fds: readdirSync('/proc/self/fd').length,
       threads: readdirSync('/proc/self/task').length,
     });
     const seen = [];
     for (let i = 0; i < 50; i++) {
       const daemon = await startDaemon(options, logger);
       await daemon.stop();
       await daemon.unmounted;
       seen.push(count());
     }
     console.log(JSON.stringify(seen));
     process.exit(0);`,
  );
  const result = await run(process.execPath, [program, source, mountpoint], {
    timeoutMs: 100_000,
  });
  for (const row of readMounts()) {
    if (row.mountpoint === mountpoint && isFuse(row)) forceUnmount(row);
  }
  assert.equal(result.code, 0, result.stderr);
  const seen = JSON.parse(result.stdout) as { fds: number; threads: number }[];
  const [early, late] = [seen[9], seen[49]] as [{ fds: number; threads: number }, (typeof seen)[0]];
  assert.ok((late?.fds ?? 0) <= early.fds + 2, JSON.stringify(seen));
  assert.ok((late?.threads ?? 0) <= early.threads + 2, JSON.stringify(seen));
  assert.equal(isMounted(mountpoint), false);
});

test('commands that start and stop in a row leave no mount', BOUND, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  for (let i = 0; i < 8; i++) {
    const mount = await startMount({ source, mountpoint, flags: ['--lanes=1'] });
    await mount.stop();
  }
  assert.equal((await runOk('ls', ['-A', mountpoint])).stdout, '');
});

test('a signal at any moment of the start leaves nothing mounted', BOUND, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const codes: unknown[] = [];
  for (let afterMs = 40; afterMs <= 520; afterMs += 40) {
    const child = spawn(process.execPath, [cliPath, 'mount', source, mountpoint], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    await sleep(afterMs);
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
    const [code, signal] = await ended;
    clearTimeout(timer);
    const isLeft = isMounted(mountpoint);
    for (const row of readMounts()) {
      if (row.mountpoint === mountpoint && isFuse(row)) forceUnmount(row);
    }
    assert.equal(isLeft, false, `after ${afterMs} ms`);
    codes.push(code ?? signal);
  }
  // Before the command listens the signal ends it as any program; then 8; and 0 when it was mounted.
  const order = ['SIGTERM', 8, 0];
  assert.deepEqual(
    codes.filter((code) => !order.includes(code as never)),
    [],
    codes.join(),
  );
});

test('two signals during the start leave nothing mounted', BOUND, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const script = `"$0" "$1" mount "$2" "$3" >/dev/null 2>&1 & p=$!
    while ! grep -qF "$3" /proc/mounts; do kill -0 $p; done
    kill -TERM $p; sleep 0.002; kill -TERM $p; wait $p`;
  const args = ['-uc', script, process.execPath, cliPath, source, mountpoint];
  const { code } = await run('sh', args, { timeoutMs: END_MS });
  // 8 when both came before it was usable; 0 when the start was faster than the second.
  assert.ok(code === 8 || code === 0, `exit status ${code}`);
  assert.equal(isMounted(mountpoint), false);
});

test('a daemon that is killed leaves a dead mount, which the next one names', BOUND, async () => {
  const mount = await mounted();
  process.kill(mount.pid, 'SIGKILL');
  await mount.exited(END_MS);
  assert.equal(isMounted(mount.mountpoint), true);
  assert.match((await run('ls', [mount.mountpoint])).stderr, /not connected/);
  const other = join(mount.source, '..', 'other');
  mkdirSync(other);
  const again = await run(process.execPath, [cliPath, 'mount', other, mount.mountpoint], {
    timeoutMs: 20_000,
  });
  assert.equal(again.code, 32);
  const { mountpoint } = mount;
  assert.match(again.stderr, new RegExp(`^sluice: mount point ${mountpoint} is already .*\n$`));
  assert.match(again.stderr, new RegExp(`\`umount -l ${mountpoint}\` if its daemon is gone`));
  mount.kill();
  const next = await startMount({ source: other, mountpoint });
  await next.stop();
});
