import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { assertOpenFiles, openFilesOf, settle } from '../faults/settle.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { runOk } from '../harness/run.ts';
import { isLongRun } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const churnPath = fileURLToPath(new URL('./churn.js', import.meta.url));
const FLAT_KIB = 24 * 1024;

function residentKiB(mount: Mount): number {
  const status = readFileSync(`/proc/${mount.pid}/status`, 'latin1');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

test('lookups and forgets through the kernel leave memory flat', { timeout: 90_000 }, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('dropping caches needs root');
  const [source] = (await tempDirs('source')) as [string];
  const names = 500;
  for (let i = 0; i < names; i++) writeFileSync(join(source, `file-${i}`), '');
  const mount = await startMount({ source, flags: ['--lanes=2'] });
  const start = await mount.status();
  const files = openFilesOf(mount);
  const churn = (rounds: number): Promise<unknown> =>
    runOk(process.execPath, [churnPath, mount.mountpoint, `${names}`, `${rounds}`]);
  await churn(8);
  const before = residentKiB(mount);
  const forgetsBefore = (await mount.status())['forgets'] as number;
  const rounds = isLongRun ? 400 : 30;
  await churn(rounds);
  const grown = residentKiB(mount) - before;
  const end = await settle(mount, start);
  const forgets = (end['forgets'] as number) - forgetsBefore;
  t.diagnostic(`${forgets} forgets, resident memory grew by ${grown} KiB`);
  assert.ok(forgets > (names * rounds) / 2, 'the kernel forgot too little for a test');
  assert.ok(grown < FLAT_KIB, `resident memory grew by ${grown} KiB`);
  await assertOpenFiles(mount, files);
  await mount.stop();
});

test('a tree of many files is served with 1024 descriptors', { timeout: 600_000 }, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('dropping caches needs root');
  const count = isLongRun ? 1_000_000 : 100_000;
  const perDirectory = 1000;
  const [source] = (await tempDirs('source')) as [string];
  for (let d = 0; d < count / perDirectory; d++) mkdirSync(join(source, `d${d}`));
  await runOk(
    'sh',
    ['-c', 'cd "$1"; for d in d*; do (cd $d; seq 1 1000 | xargs touch); done', 'sh', source],
    {
      timeoutMs: 300_000,
    },
  );
  const mount = await startMount({ source, nofile: 1024, flags: ['--lanes=2'] });
  const start = await mount.status();
  const timeoutMs = 300_000;
  const walk = await runOk(
    'sh',
    ['-c', 'find "$1" -type f -printf "%s\\n" | wc -l', 'sh', mount.mountpoint],
    {
      timeoutMs,
    },
  );
  assert.equal(Number(walk.stdout), count);
  const known = await mount.status();
  assert.ok((known['inodes'] as number) > 2000, 'the kernel kept nothing: no test');
  // Each again by name and handle, the descriptors of most being gone.
  const read = await runOk(
    'sh',
    ['-c', 'find "$1"/d1 "$1"/d2 -type f -exec cat {} + | wc -c', 'sh', mount.mountpoint],
    {
      timeoutMs,
    },
  );
  assert.equal(Number(read.stdout), 0);
  const during = await mount.status();
  assert.ok((during['fdsUsed'] as number) <= (during['fdBudget'] as number));
  assert.equal(during['fdExhausted'], 0);
  t.diagnostic(
    `${known['inodes']} inodes known, ${during['fdEvictions']} evictions, budget ${during['fdBudget']}`,
  );
  await settle(mount, start, 60_000);
  await mount.stop();
});
