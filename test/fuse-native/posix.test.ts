/**
 * The behaviours of test/posix through engine=fuse-native, as far as the daemon's own user plays them:
 * others are not let in. What cannot be the same is in a table, and has to differ.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { judge } from '../posix/judge.ts';
import { type Trial, tryAll } from '../posix/trial.ts';
import { isOf, NATIVE_DIFFERENCES, nativeDifference } from './known.ts';

/** The families in which the daemon's own user plays most. */
const FAMILIES = ['attributes', 'names', 'rename', 'opening', 'times', 'xattrs', 'data', 'special'];
const TIMEOUT_MS = 240_000;

/** Whether another user does something in it, or is asked what he may. */
function needsOthers({ log }: Trial): boolean {
  return log.some((line) => /\b(alice|bob|carol|member)\b/.test(line));
}

async function tryFamilies(root: string): Promise<Trial[]> {
  const trials: Trial[] = [];
  for (const family of FAMILIES) trials.push(...(await tryAll(root, `${family}/`)));
  return trials;
}

suite('through fuse-native the mount behaves like the directory behind it', () => {
  test('but for what is in the table', { timeout: TIMEOUT_MS }, async (t) => {
    const made = await makeFileSystem('ext4');
    if ('skip' in made) {
      t.skip(made.skip);
      return;
    }
    const [plainRoot, backing] = [`${made.path}/plain`, `${made.path}/backing`];
    await shell('mkdir "$1" "$2"', [plainRoot, backing]);
    const plain = await tryFamilies(plainRoot);
    const own = plain.filter((trial) => !needsOthers(trial));
    const mount = await startMount({ source: backing, flags: ['--engine=fuse-native'] });
    const judgements = judge(own, await tryFamilies(mount.mountpoint), ['ext4']);
    const { inodes, handles } = await mount.status();
    await mount.stop();

    const differ = judgements.filter(({ verdict }) => verdict === 'fails');
    const expected = differ.filter(({ name }) => nativeDifference(name) !== undefined);
    t.diagnostic(
      `${plain.length} behaviours: ${plain.length - own.length} need other users, whom this engine does not let in; ${expected.length} differ as the table says`,
    );
    const rest = differ.filter((judgement) => !expected.includes(judgement));
    assert.equal(rest.map(({ detail }) => detail).join('\n'), '');
    const unexpected = judgements.filter(
      ({ name, verdict }) => verdict === 'holds' && nativeDifference(name)?.isTimed === undefined,
    );
    assert.deepEqual(
      unexpected.filter(({ name }) => nativeDifference(name) !== undefined).map(({ name }) => name),
      [],
      'these hold, against what the table says',
    );
    const unused = NATIVE_DIFFERENCES.filter(
      (row) => !judgements.some(({ name }) => isOf(row, name)),
    );
    assert.deepEqual(unused, [], 'rows that no behaviour has the name of');
    assert.ok(judgements.filter(({ verdict }) => verdict === 'holds').length > 200);
    // Every lookup and open was given back.
    assert.deepEqual({ inodes, handles }, { inodes: 1, handles: 0 });
  });
});
