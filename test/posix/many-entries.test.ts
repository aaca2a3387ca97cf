/** A directory of 200,000 entries, read through the mount whole and while entries go. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { isLongRun } from '../harness/seconds.ts';

const ENTRIES = 200_000;
const TIMEOUT_MS = 300_000;

const MAKE = `mkdir "$1"; cd "$1"; seq -f entry-%.0f ${ENTRIES} | xargs touch`;
/** How many entries, how many names, and how many of them are regular files. */
const COUNT = `cd "$1"; ls -f | wc -l; ls -f | sort -u | wc -l; find . -type f | wc -l`;
/** Every hundredth is removed by whoever reads; then all others have to be there. */
const THIN_OUT = `cd "$1"; find . -name '*55' -delete -print | sort -u | wc -l; ls -f | sort -u | wc -l`;

async function numbers(script: string, directory: string): Promise<number[]> {
  const { stdout } = await shell(script, [directory], { timeoutMs: TIMEOUT_MS });
  return stdout.trim().split('\n').map(Number);
}

const PLACES = [
  ['xfs', ['--cache=never', '--lanes=1']],
  ['tmpfs', []],
  ['btrfs', ['--cache=always']],
] as const;

suite('a directory of 200,000 entries', () => {
  for (const [kind, flags] of isLongRun ? PLACES : PLACES.slice(0, 1)) {
    test(`${kind} ${flags.join(' ')}`, async (t) => {
      const made = await makeFileSystem(kind, {
        ...(kind === 'tmpfs' ? { mountOptions: 'nr_inodes=1m' } : {}),
      });
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      await shell(MAKE, [`${made.path}/d`], { timeoutMs: TIMEOUT_MS });
      const mount = await startMount({ source: made.path, flags });
      const directory = `${mount.mountpoint}/d`;
      assert.deepEqual(await numbers(COUNT, directory), [ENTRIES + 2, ENTRIES + 2, ENTRIES]);
      const gone = ENTRIES / 100;
      assert.deepEqual(await numbers(THIN_OUT, directory), [gone, ENTRIES + 2 - gone]);
      assert.deepEqual(await numbers(COUNT, `${made.path}/d`), [
        ENTRIES + 2 - gone,
        ENTRIES + 2 - gone,
        ENTRIES - gone,
      ]);
      await mount.stop();
    });
  }
});
