/**
 * One file under random operations, in every cache policy on every file system, against a model of
 * it.
 *
 * SLUICE_FSX_SEED repeats a run. SLUICE_TEST_LONG=1 makes a million operations for each policy.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { run, shell } from '../harness/run.ts';
import { isLongRun } from '../harness/seconds.ts';
import type { Outcome } from './tester.ts';

const PROGRAM = fileURLToPath(new URL('./run.js', import.meta.url));
const SEED = Number(process.env['SLUICE_FSX_SEED'] ?? Date.now() % 2 ** 31);
const KINDS: readonly FileSystemKind[] = ['ext4', 'xfs', 'btrfs', 'tmpfs'];
const POLICIES = {
  'cache=never': ['--cache=never'],
  'cache=metadata': ['--cache=metadata', '--no-kernel-passthrough'],
  'cache=auto': ['--cache=auto', '--no-kernel-passthrough'],
  'cache=always': ['--cache=always', '--no-kernel-passthrough'],
  'kernel passthrough': ['--cache=auto'],
  writeback: ['--writeback'],
};
/** A million for a policy, or what a few seconds hold. */
const OPERATIONS = isLongRun ? 1_000_000 / KINDS.length : 1_000_000;
const SECONDS = isLongRun ? 800 : 2.5;
const START_LIMIT_MS = 30_000;

interface Place {
  readonly path: string;
  readonly backing: string;
}

/** Runs the tester in a process of its own. */
async function fsx(place: Place, args: readonly string[]): Promise<Outcome> {
  const ran = await run(
    process.execPath,
    [PROGRAM, '--path', place.path, '--backing', place.backing, ...args],
    { timeoutMs: SECONDS * 1000 + START_LIMIT_MS },
  );
  assert.ok(ran.code === 0 || ran.code === 1, `the tester ended with ${ran.code}: ${ran.stderr}`);
  return JSON.parse(ran.stdout) as Outcome;
}

function describe({ seed, operations, finding }: Outcome): string {
  const last = finding?.last.map((line) => `  ${line}`).join('\n');
  return `${finding?.message}\nseed ${seed}, operation ${operations}; the last were\n${last}`;
}

/** Every operation has been done, as often as the time allowed. */
function assertSound(t: TestContext, outcome: Outcome): void {
  const { seed, operations, counts, finding } = outcome;
  t.diagnostic(`seed ${seed}: ${operations} operations, ${JSON.stringify(counts)}`);
  assert.ok(finding === undefined, describe(outcome));
  assert.ok(operations > 0);
}

async function placeOn(t: TestContext, kind: FileSystemKind): Promise<string | undefined> {
  const made = await makeFileSystem(kind);
  if ('path' in made) return made.path;
  t.skip(made.skip);
  return undefined;
}

suite('the single-file tester itself', () => {
  for (const kind of KINDS) {
    test(`finds nothing on a plain ${kind}`, async (t) => {
      const directory = await placeOn(t, kind);
      if (directory === undefined) return;
      const file = join(directory, 'f');
      const limits = ['--seed', String(SEED), '--seconds', '2', '--operations', '100000'];
      assertSound(t, await fsx({ path: file, backing: file }, limits));
    });
  }

  for (const policy of [undefined, 'cache=auto', 'kernel passthrough', 'writeback'] as const) {
    test(`finds bytes that change ${policy === undefined ? 'in a plain file' : `behind ${policy}`}`, async (t) => {
      const directory = await placeOn(t, 'tmpfs');
      if (directory === undefined) return;
      const backing = join(directory, 'f');
      const mount = policy && (await startMount({ source: directory, flags: POLICIES[policy] }));
      const place = { path: mount ? join(mount.mountpoint, 'f') : backing, backing };
      const args = ['--seed', String(SEED), '--seconds', '20', '--operations', '5000'];
      if (policy === 'writeback') args.push('--writeback');
      args.push('--corrupt-at', '600');
      const outcome = await fsx(place, args);
      t.diagnostic(outcome.finding ? describe(outcome) : 'nothing');
      assert.match(outcome.finding?.message ?? '', /differs from \d+ to \d+ of \d+: read/);
      assert.ok(outcome.operations > 600 && outcome.operations < 2000);
      assert.deepEqual(await fsx(place, args), outcome, 'the seed decides everything');
      await mount?.stop();
    });
  }
});

for (const [policy, flags] of Object.entries(POLICIES)) {
  suite(`one file under random operations, ${policy}`, () => {
    for (const [index, kind] of KINDS.entries()) {
      test(`on ${kind}`, async (t) => {
        const directory = await placeOn(t, kind);
        if (directory === undefined) return;
        const source = join(directory, 'source');
        await shell('mkdir "$1"', [source]);
        const mount = await startMount({ source, flags });
        const place = { path: join(mount.mountpoint, 'f'), backing: join(source, 'f') };
        const args = ['--seed', String(SEED + index), '--operations', String(OPERATIONS)];
        args.push('--seconds', String(SECONDS));
        if (policy === 'writeback') args.push('--writeback');
        const outcome = await fsx(place, args);
        assertSound(t, outcome);
        if (isLongRun) assert.equal(outcome.operations, OPERATIONS, 'the time was too short');
        await mount.stop();
      });
    }
  });
}
