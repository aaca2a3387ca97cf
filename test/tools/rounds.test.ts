import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ALONE, roundsOf, SECOND } from './rounds.ts';

const files = readdirSync(fileURLToPath(new URL('..', import.meta.url)), {
  recursive: true,
  encoding: 'utf8',
})
  .filter((path) => path.endsWith('.test.js'))
  .map((path) => `/${path}`);

test('every test file is in one round, and where it is said to be', () => {
  const rounds = roundsOf(files);
  const all = rounds.flatMap((round) => round.files);
  assert.deepEqual(all.toSorted(), files.toSorted());
  assert.deepEqual(
    rounds.map((round) => [round.atOnce, round.files.length]),
    [
      [2, files.length - Object.keys(SECOND).length - Object.keys(ALONE).length],
      [2, Object.keys(SECOND).length],
      [1, Object.keys(ALONE).length],
    ],
  );
});

test('every name stands for one file, and is in one list', () => {
  for (const name of [...Object.keys(SECOND), ...Object.keys(ALONE)]) {
    assert.equal(files.filter((file) => file.includes(`/${name}`)).length, 1, name);
  }
  const both = Object.keys(SECOND).filter((name) => name in ALONE);
  assert.deepEqual(both, []);
});
