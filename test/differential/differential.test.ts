/**
 * The mount against a plain directory, under random operations of several actors: at once, or as
 * different users who take turns.
 *
 * SLUICE_DIFF_SECONDS is the time all configurations share; SLUICE_DIFF_SEED repeats a run. For
 * longer runs of one configuration, other file systems and replays: `node
 * dist/test/differential/run.js --help`, such as `run.js --users --source-fs=xfs
 * --flags=--cache=never --seconds=3600`.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { Arena } from './arena.ts';
import { describeFinding, explore } from './explore.ts';
import type { Company } from './users.ts';

const SECONDS = Number(process.env['SLUICE_DIFF_SECONDS'] ?? 60);
const SEED = Number(process.env['SLUICE_DIFF_SEED'] ?? Date.now() % 2 ** 31);
const SHRINK_MS = 20_000;

interface Configuration {
  readonly flags: readonly string[];
  readonly fileSystem: 'temporary directory' | 'tmpfs';
  readonly company: Company;
}

function alike(fileSystem: Configuration['fileSystem'], ...flags: string[]): Configuration {
  return { flags, fileSystem, company: 'alike' };
}

function users(fileSystem: Configuration['fileSystem'], ...flags: string[]): Configuration {
  return { flags, fileSystem, company: 'users' };
}

const CONFIGURATIONS: readonly Configuration[] = [
  alike('temporary directory'),
  alike('temporary directory', '--no-kernel-passthrough'),
  alike('tmpfs', '--no-kernel-passthrough'),
  alike('temporary directory', '--inode-file-handles=never'),
  alike('temporary directory', '--cache=never'),
  alike('temporary directory', '--cache=always', '--no-kernel-passthrough'),
  alike('temporary directory', '--writeback'),
  alike('tmpfs', '--lanes=1'),
  alike('temporary directory', '--fd-budget=64'),
  users('temporary directory'),
  users('tmpfs', '--lanes=1', '--no-kernel-passthrough'),
  users('temporary directory', '--cache=always'),
  users('temporary directory', '--inode-file-handles=never', '--cache=never'),
  users('temporary directory', '--writeback'),
];

suite('random operations give the same on the mount as on a plain directory', () => {
  for (const [index, { flags, fileSystem, company }] of CONFIGURATIONS.entries()) {
    const who = company === 'users' ? ', several users' : '';
    test(`${flags.join(' ') || 'defaults'}, ${fileSystem}${who}`, async (t) => {
      if (company === 'users' && process.getuid?.() !== 0) {
        t.skip('becoming other users needs root');
        return;
      }
      const made =
        fileSystem === 'tmpfs' ? await makeFileSystem('tmpfs') : { path: await tempDir() };
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      const [plain, backing] = [`${made.path}/plain`, `${made.path}/backing`];
      await shell('mkdir "$1" "$2"', [plain, backing]);
      const mount = await startMount({ source: backing, flags });
      const arena = new Arena({ plain, mounted: mount.mountpoint, backing }, flags, company);
      const seed = SEED + index * 1_000_000;
      const budget = {
        searchMs: (SECONDS * 1000) / CONFIGURATIONS.length,
        shrinkMs: SHRINK_MS,
      };
      const exploration = await explore(
        (trial) => arena.trial(trial),
        seed,
        budget,
        company,
      ).finally(() => arena.stop());
      const { trials, operations, finding } = exploration;
      t.diagnostic(`seed ${seed}: ${trials} trials, ${operations} operations`);
      assert.equal(finding && `${describeFinding(finding)}\n${mount.logTail()}`, undefined);
      assert.ok(trials > 0);
      await mount.stop();
    });
  }
});
