import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Mount, type Status, startMount } from '../harness/mount.ts';
import { missingTool, runOk, shell } from '../harness/run.ts';
import { isLongRun, seconds } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const FILES = 60_000;
/** With many descriptors it is easy, and enough in a short run. */
const RUNS = [
  { nofile: 20_000, files: isLongRun ? FILES : 20_000 },
  { nofile: 1024, files: FILES },
] as const;
const STEP_TIMEOUT_MS = 300_000;
const RETURN_TIMEOUT_MS = 30_000;
const DROP_INTERVAL_MS = 250;
const makeTreePath = fileURLToPath(new URL('../harness/make-tree.js', import.meta.url));

/** What has to be as it was before. */
const COUNTERS = ['inodes', 'lookups', 'handles', 'slotsInUse', 'fdsUsed'] as const;

/** All of a tree but contents and the sizes of directories; `extra` is for find's -printf. */
async function listing(root: string, extra = ''): Promise<string[]> {
  const format = `%P %y %m %U:%G %n %T@${extra}`;
  const script = `cd "$1"
    find . -type d -printf '${format}\\n' -o -printf '${format} %s %l\\n' | LC_ALL=C sort`;
  const { stdout } = await shell(script, [root], { timeoutMs: STEP_TIMEOUT_MS });
  return stdout.split('\n');
}

function assertSameListing(actual: readonly string[], expected: readonly string[]): void {
  const differing = actual.findIndex((line, index) => line !== expected[index]);
  assert.equal(actual[differing], expected[differing]);
  assert.equal(actual.length, expected.length);
}

type Counters = Readonly<Record<string, number | undefined>>;

function countersOf(status: Status): Counters {
  return Object.fromEntries(COUNTERS.map((name) => [name, status[name]]));
}

/** Drops caches until the counters are those of the start, or for the time allowed. */
async function countersAfterDrop(mount: Mount, start: Counters): Promise<Counters> {
  const deadlineMs = performance.now() + RETURN_TIMEOUT_MS;
  for (;;) {
    // Once is not enough: what was used of late only loses its mark the first time.
    await shell('sync -f "$1"; echo 2 > /proc/sys/vm/drop_caches', [mount.source]);
    const counters = countersOf(await mount.status());
    const isBack = COUNTERS.every((name) => counters[name] === start[name]);
    if (isBack || performance.now() > deadlineMs) return counters;
    await sleep(DROP_INTERVAL_MS);
  }
}

async function unpackCompareDelete(t: TestContext, nofile: number, files: number): Promise<void> {
  const missing = await missingTool('tar', 'diff', 'prlimit');
  if (missing !== undefined) return t.skip(missing);
  const [original, source, packed] = (await tempDirs('original', 'source', 'packed')) as [
    string,
    string,
    string,
  ];
  const archive = join(packed, 'tree.tar');
  await runOk(process.execPath, [makeTreePath, original, String(files)], {
    timeoutMs: STEP_TIMEOUT_MS,
  });
  await runOk('tar', ['--format=posix', '-cf', archive, '-C', original, '.']);

  const mount = await startMount({ source, nofile });
  const start = countersOf(await mount.status());
  for (const name of COUNTERS) assert.equal(typeof start[name], 'number', `status has ${name}`);
  const tree = join(mount.mountpoint, 'tree');
  await runOk('mkdir', [tree]);
  const options = { timeoutMs: STEP_TIMEOUT_MS };
  const unpack = await runOk('tar', ['-xpf', archive, '-C', tree], options);
  assertSameListing(await listing(tree), await listing(original));
  assertSameListing(await listing(tree, ' %i %b'), await listing(join(source, 'tree'), ' %i %b'));
  const compare = await runOk('diff', ['-r', '--no-dereference', original, tree], options);
  const full = countersOf(await mount.status());
  assert.ok((full['fdsUsed'] ?? 0) <= nofile, `${full['fdsUsed']} fds under a limit of ${nofile}`);
  const remove = await runOk('rm', ['-r', tree], options);
  assert.deepEqual(await listing(source), await listing(mount.mountpoint));

  if (process.getuid?.() === 0) {
    assert.deepEqual(await countersAfterDrop(mount, start), start);
  } else {
    t.diagnostic('not root: caches cannot be dropped, the counters were not compared');
  }
  t.diagnostic(
    `${files} files, RLIMIT_NOFILE ${nofile}: unpack ${seconds(unpack.elapsedMs)}, ` +
      `diff -r ${seconds(compare.elapsedMs)}, delete ${seconds(remove.elapsedMs)}; ` +
      `before delete ${JSON.stringify(full)}, at the end as at the start ${JSON.stringify(start)}`,
  );
  await mount.stop();
}

for (const { nofile, files } of RUNS) {
  test(
    `unpack, diff and delete ${files} files under RLIMIT_NOFILE ${nofile}`,
    {
      timeout: 600_000,
    },
    (t) => unpackCompareDelete(t, nofile, files),
  );
}
