/** `sluice top`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { cliPath } from '../harness/paths.ts';
import { run, shell } from '../harness/run.ts';
import { RawClient } from './raw-client.ts';
import { type Stage, stage } from './stage.ts';

const BOUND = { timeout: 60_000 };

interface Sample {
  readonly intervalSeconds: number;
  readonly operations: {
    each: {
      name: string;
      requests: number;
      errors: number | null;
      latency: { meanUs: number } | null;
      perSecond: number;
    }[];
  };
  readonly processes: {
    pid: number | null;
    command: string;
    requests: number;
    reads: number;
    writes: number;
    readBytes: number;
    writtenBytes: number;
  }[];
}

/** Runs a script in the mount as one process that lives on: sh and its builtins. */
function busy(script: string, mnt: string): number {
  const child = spawn('sh', ['-c', script, 'sh', mnt], { stdio: 'ignore', detached: true });
  const pid = child.pid as number;
  const end = () => {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  };
  defer(async () => end(), end);
  return pid;
}

function samples(stdout: string): Sample[] {
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as Sample);
}

const WRITE_LOOP = 'while :; do echo text > "$1/w"; read -r line < "$1/f"; sleep 0.02; done';

test('shows who does what: operations, processes, and what was asked for', BOUND, async () => {
  const { mount, mnt, tool } = await stage({ flags: ['--no-kernel-passthrough'] });
  const pid = busy(WRITE_LOOP, mnt);
  const { code, stdout, stderr } = await tool('top', mnt, '--json', '-n', '2', '--interval=0.7');
  assert.equal(code, 0, stderr);
  const shown = samples(stdout);
  assert.equal(shown.length, 2);
  for (const { intervalSeconds, operations, processes } of shown) {
    assert.ok(intervalSeconds > 0.6 && intervalSeconds < 5);
    const writes = operations.each.find(({ name }) => name === 'write');
    assert.ok((writes?.requests ?? 0) > 0);
    assert.ok((writes?.latency?.meanUs ?? 0) > 0);
    const rate = (writes?.requests ?? 0) / intervalSeconds;
    assert.ok(Math.abs(rate - (writes?.perSecond ?? 0)) < 1e-6);
    const own = processes.find((row) => row.pid === pid);
    assert.equal(own?.command, 'sh');
    assert.ok((own?.writes ?? 0) > 0);
    assert.equal(own?.writtenBytes, 5 * (own?.writes ?? 0));
    assert.ok((own?.requests ?? 0) >= (own?.writes ?? 0) + (own?.reads ?? 0));
  }
  await mount.stop();
});

test('the threads of a process are one line', BOUND, async () => {
  const { mount, mnt, tool } = await stage();
  const script = `
    const { Worker, isMainThread, workerData } = require('node:worker_threads');
    const { statSync } = require('node:fs');
    const dir = isMainThread ? process.argv[1] : workerData;
    if (isMainThread) for (let n = 0; n < 2; n++) new Worker(process._eval, { eval: true, workerData: dir });
    let n = 0;
    setInterval(() => statSync(dir + '/none' + n++, { throwIfNoEntry: false }), 10);`;
  const child = spawn(process.execPath, ['-e', script, mnt], { stdio: 'ignore' });
  const end = () => child.kill('SIGKILL');
  defer(async () => void end(), end);
  await sleep(1000);
  const { stdout } = await tool('top', mnt, '--json', '--once', '-i', '1');
  const rows = samples(stdout)[0]?.processes.filter((row) => row.pid !== 0) ?? [];
  assert.deepEqual(
    rows.map(({ pid }) => pid),
    [child.pid],
  );
  // Three threads, about a hundred times a second each on an idle machine.
  assert.ok((rows[0]?.requests ?? 0) > 20, String(rows[0]?.requests));
  await mount.stop();
});

test(
  'more callers than the table holds: the least active are dropped, and said',
  BOUND,
  async () => {
    const { mount, mnt, tool } = await stage();
    const done = tool('top', mnt, '--json', '--once', '--interval=6');
    const text = tool('top', mnt, '--once', '--interval=6');
    await sleep(1000);
    const pid = busy(WRITE_LOOP, mnt);
    await shell('n=0; while [ $n -lt 400 ]; do n=$((n+1)); cat "$1/f" > /dev/null; done', [mnt]);
    const { stdout } = await done;
    const { callersDropped, processes } = JSON.parse(stdout) as Sample & { callersDropped: number };
    assert.ok(callersDropped >= 128, String(callersDropped));
    assert.ok(processes.some(({ pid: its }) => its === pid));
    const others = processes.find(({ command }) => command === '(others)');
    assert.ok((others?.requests ?? 0) >= callersDropped);
    assert.match(
      (await text).stdout,
      /^\d+ of the least active callers were dropped: see \(others\)$/m,
    );
    await mount.stop();
  },
);

test('a table for people', BOUND, async () => {
  const { mount, mnt, source, tool } = await stage();
  const pid = busy(WRITE_LOOP, mnt);
  const { code, stdout } = await tool('top', '--once', '--interval', '0.5', mnt);
  assert.equal(code, 0);
  assert.ok(stdout.startsWith(`${source} on ${mnt}, pid ${mount.pid}, in 0.`), stdout);
  assert.match(stdout, /^[\d.]+ requests\/s, [\d.]+ errors\/s, \d+ in flight, \d+ inodes/m);
  assert.match(stdout, /^OPERATION +PER SECOND +REQUESTS +ERRORS +MEAN +P50 +P99$/m);
  assert.match(stdout, new RegExp(`^ *${pid} +sh +[\\d.]+ +\\d+`, 'm'));
  assert.equal(stdout.includes('\x1b'), false);
  await mount.stop();
});

/** Counts callers through the socket, as a tool would, and says how many there are. */
async function callersSeen({ socket, mnt }: Stage): Promise<number> {
  const client = new RawClient(socket());
  defer(async () => client.end());
  client.ask({ v: 1, op: 'top' });
  const first = (await client.reply(1))['result'] as { callerRequests: number };
  await run('stat', [`${mnt}/f`, `${mnt}/none`]);
  client.ask({ v: 1, op: 'top' });
  const second = (await client.reply(2))['result'] as { callerRequests: number };
  client.end();
  await sleep(100);
  return second.callerRequests - first.callerRequests;
}

test('counting begins and ends with who looks', BOUND, async () => {
  const given = await stage();
  await run('stat', [`${given.mnt}/f`]);
  assert.ok((await callersSeen(given)) > 0);
  await run('stat', [`${given.mnt}/other`]);
  const client = new RawClient(given.socket());
  defer(async () => client.end());
  client.ask({ v: 1, op: 'top' });
  // A new table: nothing of what was before, and of what happened in between.
  const { callers, callerRequests } = (await client.reply(1))['result'] as {
    callers: unknown[];
    callerRequests: number;
  };
  assert.deepEqual([callers, callerRequests], [[], 0]);
  client.end();
  await given.mount.stop();
});

test('the end of the mount ends it with 32, Ctrl-C and a closed pipe with 0', BOUND, async () => {
  const { mount, mnt, runtimeDir } = await stage();
  const argv = [cliPath, 'top', mnt, '--runtime-dir', runtimeDir, '-i', '0.2'];
  const start = () => {
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    defer(async () => void child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.on('close', (...how) => resolve(how)));
    const shown = new Promise((resolve) => child.stdout.once('data', resolve));
    return { child, ended, shown };
  };
  const [interrupted, piped, left] = [start(), start(), start()];
  await Promise.all([interrupted.shown, piped.shown, left.shown]);
  interrupted.child.kill('SIGINT');
  assert.deepEqual(await interrupted.ended, [0, null]);
  piped.child.stdout.destroy();
  assert.deepEqual(await piped.ended, [0, null]);
  let stderr = '';
  left.child.stderr.on('data', (data) => {
    stderr += data;
  });
  left.child.stdout.resume();
  await mount.stop();
  assert.deepEqual(await left.ended, [32, null]);
  assert.equal(stderr, `sluice: ${mnt}: its daemon ended; see sluice status\n`);
});

test('no mount, one that is silent, several and none named', BOUND, async () => {
  const one = await stage();
  const two = await stage({ flags: [] });
  const bad = await one.tool('top', '/proc');
  assert.equal(bad.code, 32);
  const elsewhere = await one.tool('top', two.mnt);
  assert.equal(elsewhere.code, 32);
  assert.equal(
    elsewhere.stderr,
    `sluice: ${two.mnt}: its daemon does not answer; see sluice status\n`,
  );
  await two.mount.stop();
  const none = await two.tool('top');
  assert.equal(none.code, 32);
  assert.match(none.stderr, /^sluice: no sluice daemon answers; see sluice status\n$/);
  // The only one need not be named.
  const only = await one.tool('top', '--once', '-i', '0.1');
  assert.equal(only.code, 0, only.stderr);
  await one.mount.stop();
});

test('options that cannot be', BOUND, async () => {
  const { mount, tool } = await stage();
  const cases: readonly (readonly [string[], RegExp])[] = [
    [['--interval', '0'], /'0' is invalid\. Give seconds from 0\.1 to 60, fractions allowed; see/],
    [['--interval=61'], /'61' is invalid\. Give seconds/],
    [['--count', '0'], /'0' is invalid\. Give a whole number from 1 to/],
    [['-n', 'x'], /'x' is invalid\. Give a whole number/],
    [['a', 'b'], /too many arguments/],
  ];
  for (const [args, reason] of cases) {
    const { code, stderr } = await tool('top', ...args);
    assert.equal(code, 1, stderr);
    assert.match(
      stderr,
      new RegExp(`^sluice: .*${reason.source}.*sluice top --help\\n$|^sluice: .*${reason.source}`),
    );
    assert.equal(stderr.split('\n').length, 2);
  }
  await mount.stop();
});
