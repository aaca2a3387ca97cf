/** Mount options that forbid: what a bind mount with the option does, the mount does. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { defer } from '../harness/cleanup.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { run, shell } from '../harness/run.ts';
import { PREPARE_TREE } from './families/restricted.ts';
import { judge } from './judge.ts';
import { tryAll } from './trial.ts';

suite('mount options forbid what they forbid on a bind mount', () => {
  for (const option of ['ro', 'nosuid', 'suid', 'nodev', 'noexec']) {
    test(option, async (t) => {
      const made = await makeFileSystem('ext4');
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      const [plain, backing] = [`${made.path}/plain`, `${made.path}/backing`];
      await shell('mkdir "$1" "$2"; mount --bind "$2" "$1"', [plain, backing]);
      defer(async () => {
        await run('umount', [plain]);
      });
      await shell(`cd "$1"; ${PREPARE_TREE}`, [backing]);
      await shell('mount -o "remount,bind,$2" "$1"', [plain, option]);
      const mount = await startMount({ source: backing, flags: ['-o', option] });
      const pattern = `restricted/${option}:`;
      const trials = await tryAll(plain, pattern, 'restricted');
      assert.ok(trials.length > 0);
      assert.deepEqual(
        trials.filter(({ unmet }) => unmet !== undefined).map(({ unmet }) => unmet),
        [],
      );
      const mounted = await tryAll(mount.mountpoint, pattern, 'restricted');
      const failures = judge(trials, mounted, []).filter(({ verdict }) => verdict !== 'holds');
      assert.equal(failures.map(({ detail }) => detail).join('\n'), '');
      await mount.stop();
    });
  }
});
