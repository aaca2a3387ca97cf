import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configurations } from './matrix.ts';

const flat = (isFull: boolean): string[] =>
  [...configurations(isFull)].flatMap(([kind, choices]) =>
    choices.map(({ flags }) => [kind, ...flags].join(' ')),
  );

/** A row's words and, for every flag that some row has and this one has not, its absence. */
function words(row: string): string[] {
  const [, ...flags] = row.split(' ');
  const all = new Set(flat(true).flatMap((other) => other.split(' ').slice(1)));
  return [
    row.split(' ')[0],
    ...flags,
    ...[...all].filter((flag) => !flags.includes(flag)).map((flag) => `no ${flag}`),
  ];
}

function pairs(rows: readonly string[]): Set<string> {
  return new Set(
    rows.flatMap((row) => words(row).flatMap((a) => words(row).map((b) => `${a} & ${b}`))),
  );
}

test('the pairwise choice has every pair of the full matrix', () => {
  const [full, chosen] = [pairs(flat(true)), pairs(flat(false))];
  assert.deepEqual(
    [...full].filter((pair) => !chosen.has(pair)),
    [],
  );
});

test('the pairwise choice is small, the full matrix has no row twice', () => {
  assert.ok(flat(false).length <= 20, String(flat(false).length));
  assert.equal(new Set(flat(true)).size, flat(true).length);
  assert.equal(flat(true).length, 240);
});
