import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { defer } from '../harness/cleanup.ts';
import { startMount } from '../harness/mount.ts';
import { missingTool, type RunResult, runOk, shell } from '../harness/run.ts';
import { isLongRun, seconds } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const USER = 'postgres';
const BENCH_SECONDS = isLongRun ? 60 : 10;
const CLIENTS = 4;
const SCALE = 2;
const TIMEOUT_MS = 120_000;
const POSTGRES_ROOT = '/usr/lib/postgresql';

/** The programs of the newest PostgreSQL here; undefined when there is none. */
async function findPrograms(): Promise<string | undefined> {
  const versions = await readdir(POSTGRES_ROOT).catch(() => []);
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
  return newest === undefined ? undefined : join(POSTGRES_ROOT, newest, 'bin');
}

/**
 * Starts a mount namespace in which every user may open /dev/fuse, as most distributions have it, and
 * leaves the machine's own as it is.
 *
 * @returns the id of the process that holds the namespace, or why there is none
 */
async function openNamespace(directory: string): Promise<number | string> {
  const node = join(directory, 'fuse');
  const script = `mknod -m 666 "$1" c 10 229
    mount --bind "$1" /dev/fuse
    echo ready
    exec sleep infinity`;
  const holder = spawn(
    'unshare',
    ['--mount', '--propagation=private', 'sh', '-euc', script, 'sh', node],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  let said = '';
  holder.stderr.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  const end = once(holder, 'close');
  const kill = (): void => {
    holder.kill('SIGKILL');
  };
  defer(async () => {
    kill();
    await end;
  }, kill);
  const isReady = await Promise.race([
    once(holder.stdout, 'data').then(() => true),
    end.then(() => false),
  ]);
  return isReady ? (holder.pid as number) : `no mount namespace of its own: ${said.trim()}`;
}

/** Ends a server that a failed test has left; the backends end when they see it gone. */
async function killServer(pidFile: string): Promise<void> {
  const text = await readFile(pidFile, 'utf8').catch(() => undefined);
  if (text === undefined) return;
  try {
    process.kill(-Number.parseInt(text, 10), 'SIGKILL');
  } catch {
    // It has ended without taking its file away.
  }
}

test('PostgreSQL: initdb, pgbench, restart', { timeout: 900_000 }, async (t) => {
  const missing = await missingTool('unshare', 'nsenter', 'setpriv', 'fusermount3');
  if (missing !== undefined) return t.skip(missing);
  if (process.getuid?.() !== 0) return t.skip('starting programs as another user needs root');
  const programs = await findPrograms();
  if (programs === undefined) return t.skip(`no PostgreSQL in ${POSTGRES_ROOT}`);
  const [source, mountpoint, outside] = (await tempDirs('source', 'mnt', 'outside')) as [
    string,
    string,
    string,
  ];
  await runOk('chown', [USER, source, mountpoint, outside]);
  const holder = await openNamespace(outside);
  if (typeof holder === 'string') return t.skip(holder);

  const asUser = [
    'nsenter',
    `--mount=/proc/${holder}/ns/mnt`,
    'setpriv',
    `--reuid=${USER}`,
    `--regid=${USER}`,
    '--init-groups',
    '--',
  ];
  const env = { ...process.env, HOME: outside, PGHOST: outside, LC_ALL: 'C' };
  const pg = (program: string, ...args: string[]): Promise<RunResult> => {
    const [command, ...rest] = [...asUser, join(programs, program), ...args] as [string];
    return runOk(command, rest, { env, cwd: outside, timeoutMs: TIMEOUT_MS });
  };
  const data = join(mountpoint, 'data');
  const log = join(outside, 'log');
  const server = `-c listen_addresses= -c unix_socket_directories=${outside} -c shared_buffers=32MB`;
  const start = (): Promise<RunResult> =>
    pg('pg_ctl', '-D', data, '-l', log, '-w', '-o', server, 'start');
  const stop = (): Promise<RunResult> => pg('pg_ctl', '-D', data, '-m', 'fast', '-w', 'stop');
  const query = async (text: string): Promise<string> =>
    (
      await pg('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', 'postgres', '-c', text)
    ).stdout.trim();

  const mount = await startMount({ source, mountpoint, prefix: asUser, env: { HOME: outside } });
  // The server is in a session of its own; without it the mount's end would find it busy.
  defer(() => killServer(join(source, 'data/postmaster.pid')));
  const initialised = await pg('initdb', '-D', data, '-U', USER, '-A', 'trust', '--data-checksums');
  const owner = await shell('stat -c %U:%a "$1"', [join(source, 'data')]);
  assert.equal(owner.stdout.trim(), `${USER}:700`);
  await start();
  await pg('pgbench', '-q', '-i', '-s', String(SCALE), 'postgres');
  const bench = await pg(
    'pgbench',
    ...['-c', String(CLIENTS), '-j', '2', '-T', String(BENCH_SECONDS), '-n', 'postgres'],
  );
  const transactions = Number(/actually processed: (\d+)/.exec(bench.stdout)?.[1] ?? 0);
  const rate = /^tps = ([\d.]+)/m.exec(bench.stdout)?.[1];
  assert.ok(transactions > 0, bench.stdout);
  assert.match(bench.stdout, /number of failed transactions: 0 /);

  // What a client was told is committed is there after the restart, and adds up.
  const sums = `SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
    (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history),
    (SELECT count(*) FROM pgbench_history)`;
  const before = await query(sums);
  const restartMs = performance.now();
  await stop();
  await start();
  const restarted = performance.now() - restartMs;
  assert.equal(await query(sums), before);
  const [accounts, branches, tellers, deltas, count] = before.split('|');
  assert.deepEqual([accounts, branches, tellers], [deltas, deltas, deltas]);
  assert.equal(Number(count), transactions);
  await query('VACUUM FULL');
  await query('CHECKPOINT');
  await pg('pg_amcheck', '--install-missing', '--heapallindexed', '-d', 'postgres').catch(
    (error) => {
      // Part of the contrib package, which some distributions leave out.
      if (!/could not open extension control file|is not available/.test(String(error)))
        throw error;
      t.diagnostic('amcheck is not installed: indexes were not checked');
    },
  );
  await stop();
  await pg('pg_checksums', '--check', '-D', data);
  // The same pages, read behind the mount.
  await pg('pg_checksums', '--check', '-D', join(source, 'data'));
  t.diagnostic(
    `initdb ${seconds(initialised.elapsedMs)}, pgbench -c ${CLIENTS} for ${BENCH_SECONDS} s: ` +
      `${transactions} transactions, ${rate} per second, restart ${seconds(restarted)}`,
  );
  await mount.stop();
});
