/** `sluice check`. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAtLeast } from '../../src/main/check/kernel.ts';
import { cliPath } from '../harness/paths.ts';
import { run, shell } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';

const BOUND = { timeout: 60_000 };
const needsRoot = process.getuid?.() === 0 ? false : 'needs root';
const rootOnly = { ...BOUND, skip: needsRoot };

interface Row {
  readonly what: string;
  readonly state: string;
  readonly found: string;
  readonly change: string | null;
}

/** Runs `sluice check --json` behind another command. */
async function check(args: readonly string[] = [], prefix: readonly string[] = []) {
  const [command, ...rest] = [...prefix, process.execPath, cliPath, 'check', '--json', ...args];
  const { code, stdout, stderr } = await run(command as string, rest, { timeoutMs: 30_000 });
  assert.equal(stderr, '');
  const { version, ok, rows } = JSON.parse(stdout) as { version: number; ok: boolean; rows: Row[] };
  assert.equal(version, 1);
  assert.equal(
    ok,
    rows.every(({ state }) => state !== 'problem'),
  );
  assert.equal(code, ok ? 0 : 1);
  for (const { state, change } of rows) assert.equal(change === null, state === 'ok');
  return { code, row: (what: string) => rows.find((row) => row.what === what) };
}

/** A mount namespace in which a script was run first. */
function unshared(script: string): string[] {
  return ['unshare', '-m', '--propagation', 'private', 'sh', '-euc', `${script}; exec "$@"`, 'sh'];
}

test('root on a host that mounts is told so', rootOnly, async (t) => {
  const { code, row } = await check();
  if (row('/dev/fuse')?.state !== 'ok') return t.skip('no /dev/fuse here');
  assert.equal(code, 0);
  assert.equal(row('kernel')?.found, release());
  assert.equal(row('Node')?.found, process.versions.node);
  assert.equal(row('right to mount')?.found, 'CAP_SYS_ADMIN');
  assert.match(row('C library')?.found ?? '', /^glibc 2\./);
  assert.equal(row('runtime directory')?.found, '/run/sluice');
});

test('for people: a row each, what to change below it, and a verdict', rootOnly, async () => {
  const hidden = unshared('mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3');
  const [command, ...rest] = [...hidden, process.execPath, cliPath, 'check'];
  const { code, stdout } = await run(command as string, rest);
  assert.equal(code, 1);
  assert.match(stdout, /^problem {2}\/dev\/fuse +ENOENT\n +load the module with `modprobe fuse`/m);
  assert.match(stdout, /^ok {7}kernel +\S+$/m);
  assert.match(stdout, /\n\nsluice cannot mount here: one problem\n$/);
});

test('what is missing for another user is a note or a problem', rootOnly, async (t) => {
  const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const { row } = await check([], [...asUser, 'env', 'PATH=/nonexistent']);
  assert.match(row('right to mount')?.found ?? '', /no fusermount3 in PATH/);
  assert.equal(row('right to mount')?.state, 'problem');
  assert.equal(row('file handles')?.state, 'note');
  assert.match(row('serving other users')?.found ?? '', /CAP_SETUID .*CAP_SETFCAP/);
  const helped = await check([], asUser);
  if (helped.row('right to mount')?.state === 'problem') return t.skip('no fusermount3 here');
  assert.match(helped.row('right to mount')?.found ?? '', /^by \/.*fusermount3?$/);
});

test('limits that are too low', BOUND, async () => {
  const { code, row } = await check([], ['prlimit', '--nofile=127:127', '--memlock=65536:65536']);
  assert.equal(code, 1);
  assert.equal(row('open files')?.state, 'problem');
  assert.match(row('open files')?.change ?? '', /LimitNOFILE=/);
  assert.equal(row('locked memory')?.state, 'note');
  const small = await check([], ['prlimit', '--nofile=1000:1000']);
  assert.equal(small.row('open files')?.state, 'note');
});

test('fusectl and user_allow_other are looked for', rootOnly, async () => {
  const script =
    'umount -l /sys/fs/fuse/connections 2>/dev/null || true; mount -t tmpfs none /etc; echo user_allow_other > /etc/fuse.conf; unset NODE_EXTRA_CA_CERTS';
  const unprivileged = ['setpriv', '--bounding-set', '-sys_admin'];
  const { row } = await check([], [...unshared(script), ...unprivileged]);
  assert.equal(row('fusectl')?.state, 'note');
  assert.equal(row('allow_other')?.found, 'user_allow_other is in /etc/fuse.conf');
});

test('a source: what its file system can do, with nothing left in it', rootOnly, async () => {
  const base = await tempDir();
  await shell('mkdir "$1/tmpfs" "$1/proc"', [base]);
  const script = `mount -t tmpfs none ${base}/tmpfs; mount -t proc none ${base}/proc`;
  const tmpfs = await check([join(base, 'tmpfs')], unshared(script));
  assert.equal(tmpfs.row('source')?.found, join(base, 'tmpfs'));
  assert.equal(tmpfs.row('file system')?.found, `tmpfs, mounted on ${base}/tmpfs`);
  assert.equal(tmpfs.row('its file handles')?.state, 'ok');
  const proc = await check([join(base, 'proc')], unshared(script));
  assert.match(proc.row('file system')?.found ?? '', /^proc, .*every request goes to a lane/);
  assert.equal(proc.row('its file handles')?.state, 'note');
  assert.equal(proc.row('extended attributes')?.state, 'note');
  await check([base]);
  assert.deepEqual(readdirSync(base).sort(), ['proc', 'tmpfs']);
});

test('a source that cannot be served is a problem', BOUND, async () => {
  const { code, row } = await check(['/none']);
  assert.equal(code, 1);
  assert.equal(row('source')?.found, 'source /none does not exist');
  assert.equal(row('source')?.change, 'create it or correct the path');
});

test('versions are compared as numbers', () => {
  assert.equal(isAtLeast('5.9.0', 5, 10), false);
  assert.equal(isAtLeast('5.10', 5, 10), true);
  assert.equal(isAtLeast('6.1.0-13-amd64', 5, 10), true);
  assert.equal(isAtLeast('10.0', 6, 9), true);
  assert.equal(isAtLeast('4.19', 5, 10), false);
});
