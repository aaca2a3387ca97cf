import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defer } from '../harness/cleanup.ts';
import { runCli } from '../harness/mount.ts';
import { forceUnmount, readMounts } from '../harness/mountinfo.ts';
import { run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const PARENT = fileURLToPath(new URL('./given-fd-parent.js', import.meta.url));
const TIMEOUT_MS = 40_000;

suite('a descriptor of a mount that a parent made: /dev/fd/N', () => {
  test('is served, and left mounted when SIGTERM ends the daemon', {
    skip: process.getuid?.() === 0 ? false : 'mounting needs root',
  }, async () => {
    const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
    defer(async () => {
      for (const left of readMounts().filter((m) => m.mountpoint === mountpoint)) {
        forceUnmount(left);
      }
    });
    writeFileSync(`${source}/f`, 'served');
    const ran = await run(process.execPath, [PARENT, source, mountpoint], {
      timeoutMs: TIMEOUT_MS,
    });
    assert.equal(ran.code, 0, ran.stderr);
    const [work, end] = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.match(work.ready, /is mounted on \/dev\/fd\/3/);
    assert.deepEqual([work.stdout, work.code, work.isMounted], ['servedd\nf\n', 0, true]);
    assert.deepEqual(end, { isMounted: false }, 'the parent unmounts');
    assert.equal(readFileSync(`${source}/d/g`, 'utf8'), 'written\n');
  });

  test('that is none is refused with the cure', async () => {
    const [source] = (await tempDirs('source')) as [string];
    for (const fd of [0, 987]) {
      const ran = await runCli(['mount', source, `/dev/fd/${fd}`], { timeoutMs: TIMEOUT_MS });
      assert.equal(ran.code, 32);
      assert.match(ran.stderr, /is not an open \/dev\/fuse; the parent must open it/);
    }
  });
});
