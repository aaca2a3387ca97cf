import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { EXIT } from '../../src/shared/errors.ts';
import { readMounts } from '../harness/mountinfo.ts';
import { cliPath } from '../harness/paths.ts';
import { run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

test('where no thread can be started nothing stays mounted', { timeout: 60_000 }, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const broken = join(source, '../broken.mjs');
  writeFileSync(
    broken,
    `import { isMainThread } from 'node:worker_threads';
     if (!isMainThread) throw new Error('no thread today');`,
  );
  const command = ['--import', pathToFileURL(broken).href, cliPath, 'mount', source, mountpoint];
  const done = await run(process.execPath, command, { timeoutMs: 40_000 });
  // By which of the failures the command is told first.
  assert.ok(done.code === EXIT.bug || done.code === EXIT.system, `${done.code}: ${done.stderr}`);
  assert.match(done.stderr, /no thread today/);
  assert.deepEqual(
    readMounts().filter((mount) => mount.mountpoint === mountpoint),
    [],
  );
});
