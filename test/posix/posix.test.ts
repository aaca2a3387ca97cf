/**
 * The behaviours of a POSIX file system, first on a plain directory, then on the mount, on every
 * file system and in a pairwise choice of configurations.
 *
 * SLUICE_POSIX=full takes every configuration; SLUICE_POSIX_RESULTS names a file for the results,
 * of which docs/conformance.md is made; SLUICE_POSIX_PATTERN chooses behaviours by their names.
 */
import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { seconds } from '../harness/seconds.ts';
import { SETS } from './behaviours.ts';
import { type Judgement, judge } from './judge.ts';
import { configurations } from './matrix.ts';
import { Results } from './results.ts';
import { type Trial, tryAll } from './trial.ts';

const PATTERN = process.env['SLUICE_POSIX_PATTERN'] ?? '';
const IS_FULL = process.env['SLUICE_POSIX'] === 'full';
const MOST_SHOWN = 25;
/** Of all configurations of one file system. */
const TIMEOUT_MS = IS_FULL ? 4 * 3600_000 : 900_000;

const results = new Results(IS_FULL);
/** The behaviours some backing has. */
const held = new Set<string>();
let backings = 0;

function show(failures: readonly Judgement[]): string {
  const shown = failures.slice(0, MOST_SHOWN).map(({ detail }) => detail);
  const rest = failures.slice(MOST_SHOWN).map(({ name }) => name);
  return [...shown, ...(rest.length > 0 ? ['and', ...rest] : [])].join('\n');
}

suite('the mount behaves like the directory behind it', { timeout: 4 * TIMEOUT_MS }, () => {
  after(() => results.write());

  for (const [kind, choices] of configurations(IS_FULL)) {
    test(kind, { timeout: TIMEOUT_MS }, async (t) => {
      const made = await makeFileSystem(kind);
      if ('skip' in made) {
        results.notRun(kind, made.skip);
        t.skip(made.skip);
        return;
      }
      const [plainRoot, backing] = [`${made.path}/plain`, `${made.path}/backing`];
      await shell('mkdir "$1" "$2"', [plainRoot, backing]);
      const plain = await tryAll(plainRoot, PATTERN);
      backings += 1;
      for (const { name, unmet, notHere } of plain) {
        if (unmet === undefined && notHere === undefined) held.add(name);
      }
      t.diagnostic(`plain: ${summary(plain)}`);
      for (const { flags } of choices) {
        await t.test(flags.join(' ') || 'defaults', async (t) => {
          const mount = await startMount({ source: backing, flags });
          const judgements = judge(plain, await tryAll(mount.mountpoint, PATTERN), [
            kind,
            ...flags,
          ]);
          results.add(kind, flags, judgements);
          const failures = judgements.filter(({ verdict }) => verdict === 'fails');
          t.diagnostic(`${judgements.length} tried, ${failures.length} failed`);
          await mount.stop();
          if (failures.length > 0) assert.fail(`\n${show(failures)}`);
        });
      }
    });
  }

  test('every behaviour holds on some backing', (t) => {
    if (backings < 4) {
      t.skip('not all file systems were there');
      return;
    }
    const never = SETS.general
      .map(({ name }) => name)
      .filter((name) => name.includes(PATTERN) && !held.has(name));
    assert.deepEqual(
      never.filter((name) => !results.isExcused(name)),
      [],
    );
  });
});

function summary(trials: readonly Trial[]): string {
  const unmet = trials.filter((trial) => trial.unmet !== undefined);
  const elapsedMs = trials.reduce((sum, trial) => sum + trial.elapsedMs, 0);
  return `${trials.length} behaviours in ${seconds(elapsedMs)}, ${unmet.length} not met:\n${unmet
    .map(({ name, unmet }) => `${name}: ${unmet}`)
    .join('\n')}`;
}
