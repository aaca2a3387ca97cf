import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { COPY_FIELDS, differences, VIEW_FIELDS } from './compare.ts';
import { type FileSystemKind, makeFileSystem } from './file-systems.ts';
import { startMount } from './mount.ts';
import { missingTool, run, runOk, shell } from './run.ts';
import { tempDirs } from './temp-dir.ts';

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('run tells code, outputs and signal of a child', async () => {
  const ended = await run('sh', ['-c', 'cat; echo err >&2; exit 3'], { input: 'in' });
  assert.deepEqual(
    [ended.code, ended.signal, ended.stdout, ended.stderr, ended.timedOut],
    [3, null, 'in', 'err\n', false],
  );
  await assert.rejects(runOk('sh', ['-c', 'echo why >&2; exit 3']), /ended with 3\nwhy/);
  await assert.rejects(run('/nonexistent/command'), { code: 'ENOENT' });
});

test('run kills a late child and what it has started', async () => {
  const late = await run('sh', ['-c', 'sleep 300 & echo $!; wait'], { timeoutMs: 300 });
  assert.equal(late.timedOut, true);
  assert.equal(late.signal, 'SIGKILL');
  assert.equal(isAlive(Number(late.stdout)), false);
  assert.ok(late.elapsedMs < 5000);
});

const MAKE = `mkdir -p "$1/dir"; cd "$1"
  echo one > a; ln a b; echo two > dir/c; ln -s a link; mkfifo fifo
  setfattr -n user.x -v 1 a; touch -h -d @1000000000.000000001 a dir/c link fifo dir .`;

const KEEP_TIMES = 'touch -h -d @1000000000.000000001 a dir/c link fifo dir .';

/** What is done to a second tree, and the one line that has to tell it. */
const changes: readonly (readonly [script: string, told: RegExp])[] = [
  ['chmod 600 dir/c', /^dir\/c: mode 644 and 600$/],
  ['touch -d @1000000000.000000002 dir/c', /^dir\/c: mtimeNs 1000000000000000001 and \d+2$/],
  [`printf 'twO\\n' > dir/c; ${KEEP_TIMES}`, /^dir\/c: content /],
  [`ln -sf b link; ${KEEP_TIMES}`, /^link: content a and b$/],
  ['setfattr -n user.y -v 2 dir', /^dir: xattrs /],
  [`mkdir more; ${KEEP_TIMES}`, /^\.: nlink 3 and 4|^more: only in /],
  [
    `rm fifo; ${KEEP_TIMES} || true; rm -f fifo; touch -d @1000000000.000000001 .`,
    /^fifo: only in /,
  ],
  ['chown 1 dir/c', /^dir\/c: uid 0 and 1$/],
];

test('the comparer finds every kind of difference, and none where there is none', async (t) => {
  const missing = await missingTool('getfattr', 'setfattr');
  if (missing !== undefined) return t.skip(missing);
  if (process.getuid?.() !== 0) return t.skip('changing owners needs root');
  const [base] = (await tempDirs('base')) as [string];
  const left = join(base, 'left');
  await shell(MAKE, [left]);
  assert.deepEqual((await differences(left, left, { fields: VIEW_FIELDS })).lines, []);
  for (const [index, [script, told]] of changes.entries()) {
    const right = join(base, `right-${index}`);
    await shell(MAKE, [right]);
    assert.deepEqual((await differences(left, right, { fields: COPY_FIELDS })).lines, []);
    await shell(`cd "$1"; ${script}`, [right]);
    const { lines } = await differences(left, right, { fields: COPY_FIELDS });
    assert.ok(lines.length > 0, `not found: ${script}`);
    for (const line of lines) assert.match(line, told);
  }
  const unlinked = join(base, 'unlinked');
  await shell(MAKE, [unlinked]);
  await shell(`cd "$1"; cp -p a n; mv n b; setfattr -n user.x -v 1 b; ${KEEP_TIMES}`, [unlinked]);
  const { lines } = await differences(left, unlinked, { fields: COPY_FIELDS });
  assert.ok(lines.includes('b: linkedTo a and b'), lines.join('\n'));
});

const kinds: readonly (readonly [FileSystemKind, string])[] = [
  ['ext4', 'ext2/ext3'],
  ['xfs', 'xfs'],
  ['btrfs', 'btrfs'],
  ['tmpfs', 'tmpfs'],
];

for (const [kind, name] of kinds) {
  test(`a file system of kind ${kind} can be made`, async (t) => {
    const made = await makeFileSystem(kind);
    if ('skip' in made) return t.skip(made.skip);
    const type = await runOk('stat', ['-f', '-c', '%T', made.path]);
    assert.equal(type.stdout.trim(), name);
    await shell('echo text > "$1/file"', [made.path]);
  });
}

test('a mount comes, answers, and goes by stop() and by kill()', { timeout: 120_000 }, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  await shell('echo text > "$1/file"', [source]);
  const file = join(mountpoint, 'file');

  const first = await startMount({ source, mountpoint, nofile: 4096 });
  assert.equal((await runOk('cat', [file])).stdout, 'text\n');
  const limits = readFileSync(`/proc/${first.pid}/limits`, 'utf8');
  assert.match(limits, /^Max open files +4096 +4096 /m);
  assert.equal(typeof (await first.status())['inodes'], 'number');
  await first.stop();
  assert.equal(first.exitCode, 0);
  assert.notEqual((await run('cat', [file])).code, 0);

  const second = await startMount({ source, mountpoint });
  assert.equal((await runOk('cat', [file])).stdout, 'text\n');
  second.kill();
  await second.exited(10_000);
  assert.equal((await runOk('ls', ['-A', mountpoint])).stdout, '');
});

test('a start that fails says why', { timeout: 60_000 }, async () => {
  const [mountpoint] = (await tempDirs('mnt')) as [string];
  await assert.rejects(
    startMount({ source: '/nonexistent/source', mountpoint }),
    /the daemon ended with [1-9]\d*\nits last log lines:\n.*nonexistent/,
  );
});
