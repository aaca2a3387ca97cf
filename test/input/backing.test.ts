/** Names, and backing file systems, that answer with errors or go away. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { type RunResult, run, runOk, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const BOUND = { timeout: 60_000 };
const RUN_MS = 15_000;

/** Tries each script in the directory `$1`; what it said, without the directory's name. */
async function outcome(script: string, directory: string): Promise<string> {
  const result: RunResult = await run('sh', ['-c', `cd "$1"; ${script}`, 'sh', directory], {
    timeoutMs: RUN_MS,
    env: { ...process.env, LC_ALL: 'C' },
  });
  assert.equal(result.timedOut, false, script);
  return `${result.code}\n${result.stdout}${result.stderr}`.replaceAll(directory, 'DIR');
}

test('names of 255 and 256 bytes are as on the plain directory', BOUND, async () => {
  const [source, plain, mountpoint] = (await tempDirs('s', 'p', 'm')) as [string, string, string];
  const mount = await startMount({ source, mountpoint });
  for (const length of [255, 256]) {
    const name = 'n'.repeat(length);
    for (const script of [
      `mkdir ${name}`,
      `echo x > ${name}/f; cat ${name}/f`,
      `touch a; ln a ${name}x; mv a ${name}`,
      `ln -s to ${name}`,
      `stat -c %F ${name}; rm -r ${name}`,
    ]) {
      assert.equal(await outcome(script, mountpoint), await outcome(script, plain), script);
    }
  }
  assert.match(await outcome(`mkdir ${'n'.repeat(256)}`, mountpoint), /File name too long/);
  await mount.stop();
});

test('names that are not UTF-8 come and go as they are', BOUND, async () => {
  const [source, plain, mountpoint] = (await tempDirs('s', 'p', 'm')) as [string, string, string];
  const mount = await startMount({ source, mountpoint, flags: ['--trace=/dev/null'] });
  const script = `n=$(printf 'a\\377\\376 \\001\\nb'); echo text > "$n"; cat "$n"; ln -s "$n" l
    readlink l | od -c; mkdir "d$n"; mv "$n" "d$n/$n"; ls -b; ls | od -c; ls "d$n" | od -c
    setfattr -n user.k -v "$n" "d$n/$n"; getfattr -n user.k "d$n/$n" | od -c`;
  const there = await outcome(script, mountpoint);
  assert.equal(there, await outcome(script, plain));
  assert.match(there, /377 376/);
  assert.equal(await outcome('ls | od -c', source), await outcome('ls | od -c', plain));
  await mount.stop();
});

test('a full disk is ENOSPC, as on the disk itself', BOUND, async (t) => {
  for (const kind of ['tmpfs', 'ext4'] as const) {
    const disk = await makeFileSystem(kind, { sizeBytes: 4 << 20 });
    if ('skip' in disk) return t.skip(disk.skip);
    const [mountpoint] = (await tempDirs('m')) as [string];
    const mount = await startMount({ source: disk.path, mountpoint });
    const fill = 'dd if=/dev/zero of=big bs=64k count=100 conv=fsync 2>&1 | grep -o "No space.*"';
    assert.equal(await outcome(fill, mountpoint), '0\nNo space left on device\n', kind);
    const more = 'dd if=/dev/zero of=more bs=64k count=4 2>&1 | grep -o "No space.*"; rm -f more';
    assert.equal(await outcome(more, mountpoint), await outcome(more, disk.path), kind);
    assert.match(await outcome('fallocate -l 8M big', mountpoint), /No space left on device/);
    // Room again, as soon as the kernel has forgotten the file and it is closed behind: it goes on.
    const untilRoom =
      'rm big; for i in $(seq 100); do if echo x > f; then break; fi; sleep 0.05; done 2>/dev/null; cat f; rm f';
    assert.equal(await outcome(untilRoom, mountpoint), '0\nx\n', kind);
    await mount.stop();
  }
});

test('a read-only backing is EROFS, and can be read', BOUND, async (t) => {
  const disk = await makeFileSystem('ext4', { sizeBytes: 16 << 20 });
  if ('skip' in disk) return t.skip(disk.skip);
  const [mountpoint] = (await tempDirs('m')) as [string];
  await shell('echo text > "$1/f"; mkdir "$1/d"; mount -o remount,ro "$1"', [disk.path]);
  const mount = await startMount({ source: disk.path, mountpoint });
  for (const script of [
    'touch new',
    'tee -a f < /dev/null',
    'mkdir e',
    'rm f',
    'mv f g',
    'ln f g',
    'chmod 600 f',
    'truncate -s 1 f',
    'setfattr -n user.k -v v f',
  ]) {
    const there = await outcome(script, mountpoint);
    assert.match(there, /Read-only file system/, script);
    assert.equal(there, await outcome(script, disk.path), script);
  }
  assert.equal(await outcome('cat f; ls -d d f', mountpoint), '0\ntext\nd\nf\n');
  await mount.stop();
});

test('a source that is unmounted under the daemon stays what it was', BOUND, async (t) => {
  const disk = await makeFileSystem('tmpfs', { sizeBytes: 4 << 20 });
  if ('skip' in disk) return t.skip(disk.skip);
  const [mountpoint] = (await tempDirs('m')) as [string];
  const inner = join(disk.path, 'inner');
  mkdirSync(inner);
  await runOk('mount', ['-t', 'tmpfs', '-o', 'size=4M', 'inner', inner]);
  writeFileSync(join(inner, 'f'), 'text\n');
  const mount = await startMount({ source: inner, mountpoint });
  assert.equal(await outcome('cat f', mountpoint), '0\ntext\n');
  await runOk('umount', ['-l', inner]);
  // The daemon holds the root: what is below it can still be reached, or is a clear error.
  const after = await outcome('cat f; echo more > g; cat g; mkdir d; ls', mountpoint);
  assert.match(after, /^0\ntext\nmore\nd\nf\ng\n$/);
  assert.equal(mount.hasExited, false);
  await mount.stop();
});

test('a source that is deleted under the daemon', BOUND, async () => {
  const [base, mountpoint] = (await tempDirs('base', 'm')) as [string, string];
  const source = join(base, 'source');
  mkdirSync(join(source, 'd'), { recursive: true });
  writeFileSync(join(source, 'f'), 'text\n');
  const mount = await startMount({ source, mountpoint });
  assert.equal(await outcome('cat f; ls', mountpoint), '0\ntext\nd\nf\n');
  await runOk('rm', ['-rf', source]);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  assert.equal(await outcome('ls -A', mountpoint), '0\n');
  for (const script of ['cat f', 'touch new', 'mkdir e', 'ls d', 'echo x > d/new']) {
    const said = await outcome(script, mountpoint);
    assert.match(said, /No such file or directory|Stale file handle|nonexistent/, script);
  }
  assert.match(await outcome('stat -c %F .', mountpoint), /directory/);
  assert.equal(mount.hasExited, false);
  const status = await mount.status();
  assert.equal(status['exceptions'], 0);
  await mount.stop();
});
