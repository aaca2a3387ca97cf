/**
 * The mount against a plain directory, under random operations of several actors at once.
 *
 * SLUICE_DIFF_SECONDS is the time all configurations share; SLUICE_DIFF_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { Arena } from './arena.ts';
import { describeFinding, explore } from './explore.ts';

const SECONDS = Number(process.env['SLUICE_DIFF_SECONDS'] ?? 45);
const SEED = Number(process.env['SLUICE_DIFF_SEED'] ?? Date.now() % 2 ** 31);
const SHRINK_MS = 20_000;

interface Configuration {
  readonly flags: readonly string[];
  readonly fileSystem: 'temporary directory' | 'tmpfs';
}

const CONFIGURATIONS: readonly Configuration[] = [
  { flags: [], fileSystem: 'temporary directory' },
  { flags: [], fileSystem: 'tmpfs' },
  { flags: ['--inode-file-handles=never'], fileSystem: 'temporary directory' },
  { flags: ['--cache=never'], fileSystem: 'temporary directory' },
  { flags: ['--cache=always'], fileSystem: 'temporary directory' },
  { flags: ['--writeback'], fileSystem: 'temporary directory' },
  { flags: ['--lanes=1'], fileSystem: 'tmpfs' },
  { flags: ['--fd-budget=64'], fileSystem: 'temporary directory' },
];

suite('random operations give the same on the mount as on a plain directory', () => {
  for (const [index, { flags, fileSystem }] of CONFIGURATIONS.entries()) {
    test(`${flags.join(' ') || 'defaults'}, ${fileSystem}`, async (t) => {
      const made =
        fileSystem === 'tmpfs' ? await makeFileSystem('tmpfs') : { path: await tempDir() };
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      const [plain, backing] = [`${made.path}/plain`, `${made.path}/backing`];
      await shell('mkdir "$1" "$2"', [plain, backing]);
      const mount = await startMount({ source: backing, flags });
      const arena = new Arena({ plain, mounted: mount.mountpoint, backing }, flags);
      const seed = SEED + index * 1_000_000;
      const budget = {
        searchMs: (SECONDS * 1000) / CONFIGURATIONS.length,
        shrinkMs: SHRINK_MS,
      };
      const exploration = await explore((s) => arena.trial(s), seed, budget).finally(() =>
        arena.stop(),
      );
      const { trials, operations, finding } = exploration;
      t.diagnostic(`seed ${seed}: ${trials} trials, ${operations} operations`);
      assert.equal(finding && `${describeFinding(finding)}\n${mount.logTail()}`, undefined);
      assert.ok(trials > 0);
      await mount.stop();
    });
  }
});
