/** `sluice status`. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli, startMount } from '../harness/mount.ts';
import { cliPath } from '../harness/paths.ts';
import { runOk, shell } from '../harness/run.ts';
import { tempDir, tempDirs } from '../harness/temp-dir.ts';
import { stage } from './stage.ts';

const BOUND = { timeout: 60_000 };

interface Operation {
  readonly name: string;
  readonly requests: number;
  readonly errors: number | null;
  readonly latency: {
    readonly meanUs: number;
    readonly p50Us: number;
    readonly p99Us: number;
  } | null;
}

interface Shown {
  readonly mountpoint: string;
  readonly problem: string | null;
  readonly daemon: {
    readonly pid: number;
    readonly id: string;
    readonly source: string;
    readonly state: string;
    readonly readOnly: boolean;
    readonly uptimeSeconds: number;
    readonly negotiated: { readonly protocol: string; readonly features: string[] };
    readonly load: Record<string, number>;
    readonly operations: { readonly each: Operation[]; readonly others: Operation };
  } | null;
}

function parse(stdout: string): Shown[] {
  const { version, mounts } = JSON.parse(stdout) as { version: number; mounts: Shown[] };
  assert.equal(version, 1);
  return mounts;
}

test('says in JSON what the daemon itself says, and what it did', BOUND, async () => {
  const { mount, mnt, source, tool } = await stage({ flags: ['--ro', '--lanes=3'] });
  await shell('cat "$1/f"; for n in 1 2 3; do stat "$1/none$n" || true; done', [mnt]);
  const { code, stdout, stderr } = await tool('status', mnt, '--json');
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  const [shown, ...others] = parse(stdout);
  assert.deepEqual(others, []);
  assert.equal(shown?.mountpoint, mnt);
  assert.equal(shown?.problem, null);
  const daemon = shown?.daemon;
  assert.equal(daemon?.pid, mount.pid);
  assert.equal(daemon?.source, source);
  assert.equal(daemon?.state, 'serving');
  assert.equal(daemon?.readOnly, true);
  assert.ok((daemon?.uptimeSeconds ?? 0) > 0);
  const logged = mount.logs.find(({ msg }) => msg === 'negotiated');
  assert.equal(daemon?.id, logged?.['mount']);
  assert.equal(daemon?.negotiated.protocol, logged?.['protocol']);
  assert.equal(daemon?.negotiated.features.join(' '), logged?.['features']);
  const { requests, errors, lanes, inodes, fdBudget } = await mount.status();
  const load = daemon?.load ?? {};
  assert.deepEqual(
    [load['requests'], load['errors'], load['lanes'], load['inodes'], load['fdBudget']],
    [requests, errors, lanes, inodes, fdBudget],
  );
  assert.ok(daemon);
  const { each, others: rest } = daemon.operations;
  const lookups = each.find(({ name }) => name === 'lookup');
  assert.equal(lookups?.errors, 3);
  const { meanUs = 0, p50Us = 0, p99Us = 0 } = lookups?.latency ?? {};
  assert.ok(meanUs > 0 && p50Us > 0 && p99Us >= p50Us, JSON.stringify(lookups));
  assert.equal(
    each.reduce((sum, row) => sum + row.requests, 0),
    requests,
  );
  const shared = each.filter((row) => row.errors === null);
  assert.ok(shared.some(({ name }) => name === 'init'));
  assert.ok(shared.every(({ latency }) => latency === null));
  assert.equal(
    rest.requests,
    shared.reduce((sum, row) => sum + row.requests, 0),
  );
  assert.ok((rest.latency?.meanUs ?? 0) > 0);
  await mount.stop();
});

test('without a name it lists all mounts, also those that do not answer', BOUND, async () => {
  const { mount, mnt, source, tool } = await stage();
  const dead = await stage();
  process.kill(dead.mount.pid, 'SIGKILL');
  await dead.mount.exited(10_000);
  const { code, stdout } = await tool('status');
  assert.equal(code, 0);
  const lines = stdout.split('\n');
  assert.match(lines[0] ?? '', /^MOUNTPOINT +SOURCE +STATE +PID +UP +REQUESTS/);
  const own = lines.find((line) => line.startsWith(`${mnt} `));
  assert.match(own ?? '', new RegExp(`^${mnt} +${source} +serving +${mount.pid} +\\d+s`));
  const silent = lines.find((line) => line.startsWith(`${dead.mnt} `));
  assert.match(silent ?? '', /no answer +- +- /);
  assert.match(stdout, /^\n?.*: no answer: the daemon hangs,.*sluice umount --lazy/m);
  const named = await dead.tool('status', dead.mnt);
  assert.equal(named.code, 32);
  assert.match(named.stdout, /no answer/);
  dead.mount.kill();
  await mount.stop();
});

test('a daemon that hangs is told from one that is gone, in bounded time', BOUND, async () => {
  const { mount, mnt, tool, socket } = await stage();
  process.kill(mount.pid, 'SIGSTOP');
  const { code, stdout, stderr, elapsedMs } = await tool('status', mnt, '--json');
  process.kill(mount.pid, 'SIGCONT');
  assert.equal(code, 32);
  assert.equal(parse(stdout)[0]?.daemon, null);
  assert.equal(stderr, `sluice: the daemon behind ${socket()} does not answer: timeout\n`);
  assert.ok(elapsedMs < 10_000, String(elapsedMs));
  await mount.stop();
});

test('all about one mount, for people; a name that is a link, with blanks', BOUND, async () => {
  const [base] = (await tempDirs('base')) as [string];
  const blank = join(base, 'a mount\nhere');
  await shell('mkdir "$1"; ln -s "$1" "$2/link"', [blank, base]);
  const { mount, mnt, tool } = await stage({ mountpoint: blank });
  assert.notEqual(mnt, blank);
  const { code, stdout } = await tool('status', join(base, 'link/'));
  assert.equal(code, 0);
  assert.match(stdout, / on \S+\/a mount\\x0ahere\n/);
  assert.match(stdout, new RegExp(`^ {2}daemon +pid ${mount.pid}, up `, 'm'));
  assert.match(stdout, /^ {2}negotiated +FUSE 7\.\d+, requests up to 1\.0 MiB/m);
  assert.match(stdout, /^OPERATION +COUNT +ERRORS +MEAN +P50 +P99\ninit +1 +- +- +- +-$/m);
  assert.match(stdout, /^\(all with -\) +1 +0( +[\d.]+ (us|ms|s)){3}$/m);
  await mount.stop();
});

test('what is no sluice mount is refused in one line', BOUND, async () => {
  const { mount, mnt, tool } = await stage();
  const base = await tempDir();
  await shell('ln -s b "$1/a"; ln -s a "$1/b"', [base]);
  const cases: readonly (readonly [string, RegExp])[] = [
    [base, /nothing is mounted there; sluice status lists the mounts/],
    ['/proc', /it is a mount of type proc, not one of sluice/],
    [join(base, 'none', 'x'), /no such directory; correct the path/],
    [join(base, 'a'), /too many symbolic links/],
    [join(mnt, 'f'), new RegExp(`nothing is mounted there; it lies in the sluice mount ${mnt}`)],
  ];
  for (const [path, reason] of cases) {
    const { code, stdout, stderr } = await tool('status', path);
    assert.equal(code, 32, path);
    assert.equal(stdout, '');
    assert.match(stderr, new RegExp(`^sluice: [^\\n]*${reason.source}[^\\n]*\\n$`));
  }
  const none = await runCli(['status', '--runtime-dir', join(base, 'none')]);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /^sluice: --runtime-dir: .* cannot be read \(ENOENT\); give.*\n$/);
  await mount.stop();
});

test('nothing below a mount that hangs is touched to answer', BOUND, async () => {
  const { mount, mnt, tool } = await stage();
  process.kill(mount.pid, 'SIGSTOP');
  const { code, elapsedMs } = await tool('status', join(mnt, 'some', 'where'));
  process.kill(mount.pid, 'SIGCONT');
  assert.equal(code, 32);
  assert.ok(elapsedMs < 10_000);
  await mount.stop();
});

test('by default daemon and command meet in the same directory', BOUND, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const mount = await startMount({ source, mountpoint: mnt });
  const { stdout } = await runOk(process.execPath, [cliPath, 'status', mnt, '--json']);
  assert.equal(parse(stdout)[0]?.daemon?.pid, mount.pid);
  await mount.stop();
});

test('a daemon in another mount namespace is listed as such', BOUND, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root');
  const unshared = ['unshare', '-m', '--propagation', 'private'];
  const { mount, mnt, tool } = await stage({ prefix: unshared });
  const { stdout } = await tool('status', '--json');
  const shown = parse(stdout).find(({ mountpoint }) => mountpoint === mnt);
  assert.equal(shown?.daemon?.pid, mount.pid);
  assert.match(shown?.problem ?? '', /another mount namespace/);
  await mount.stop();
});
