/** Arbitrary trials of actors who are all alike, each in a directory of its own. */
import fc from 'fast-check';
import { op, operations, targets, type Words } from './arbitrary-operations.ts';
import { commonNames, paths } from './arbitrary-paths.ts';
import type { Sequence, Target, Trial } from './operations.ts';
import { ACTORS } from './users.ts';

/** The most operations of one actor in one trial. */
const LENGTH_MAX = 60;
const CHAIN_NAMES = ['a#', 'deep', 'x'.repeat(100)];
const CHAIN_DEPTH = 20;

const commonName = commonNames(['a#', 'b#', 'c#', 'd#', 'e#']);
const chainPath = fc
  .tuple(fc.constantFrom(...CHAIN_NAMES), fc.integer({ min: 1, max: CHAIN_DEPTH }))
  .map(([link, depth]) => new Array<string>(depth).fill(link).join('/'));
const path = fc.oneof(
  { weight: 27, arbitrary: paths(commonName) },
  { weight: 1, arbitrary: chainPath },
);
const sharedPath = commonName.map((own) => `@/${own}`);
const anyPath = fc.oneof({ weight: 9, arbitrary: path }, { weight: 1, arbitrary: sharedPath });

const filePath = fc.constantFrom('c#', 'e#', 'a#/c#', 'a#/e#', 'b#/c#', 'b#/d#', 'd#/c#', 'd#/e#');

/**
 * No target is `.` and none leads to a name that another actor has too: a link may be moved into the
 * shared directory, and there it must not lead to what others work on. The absolute one lies where
 * nothing can be created.
 */
const linkTarget = fc.oneof(
  { weight: 8, arbitrary: commonName },
  { weight: 3, arbitrary: fc.tuple(commonName, commonName).map(([a, b]) => `${a}/${b}`) },
  { weight: 2, arbitrary: commonName.map((a) => `../${a}`) },
  { weight: 1, arbitrary: commonName.map((a) => `./${a}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('/proc/nonexistent', '', '\xff#', `${'x'.repeat(254)}#`),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(59, 255, 1000, 4094, 4095).map((n) => `${'y'.repeat(n)}#`),
  },
);

const id = fc.constantFrom(-1, 0, 1, 1000, 65534);

/** A small tree to begin with, so that the operations find something. */
const FURNITURE: Sequence = [
  { op: 'mkdir', path: 'a#', mode: 0o755 },
  { op: 'mkdir', path: 'b#', mode: 0o755 },
  { op: 'mkdir', path: 'a#/b#', mode: 0o700 },
  { op: 'open', handle: 0, path: 'c#', flags: 'RDWR|CREAT', mode: 0o644 },
  { op: 'write', handle: 0, size: 10000, seed: 1 },
  { op: 'open', handle: 1, path: 'a#/c#', flags: 'RDWR|CREAT', mode: 0o600 },
  { op: 'write', handle: 1, size: 100, seed: 2 },
  { op: 'open', handle: 2, path: 'b#/c#', flags: 'WRONLY|CREAT', mode: 0o644 },
  { op: 'symlink', target: 'a#', path: 'd#' },
  { op: 'symlink', target: '../a#/c#', path: 'b#/d#' },
  { op: 'link', from: 'c#', to: 'a#/e#', follow: false },
  { op: 'setxattr', on: 'c#', name: 'user.a', size: 100, seed: 3, flags: 0 },
];

const words: Words = {
  path,
  anyPath,
  filePath,
  linkTarget,
  listed: fc.oneof<fc.Arbitrary<Target>[]>(targets(anyPath), fc.constantFrom('.', '@/')),
  emptied: fc.oneof(path, fc.constant('.')),
  uid: id,
  gid: id,
};

const makeChain = op('mkchain', {
  name: fc.constantFrom(...CHAIN_NAMES),
  depth: fc.integer({ min: 1, max: CHAIN_DEPTH }),
});

/** One turn for each actor. */
export function trialsAtOnce(): fc.Arbitrary<Trial> {
  const operation = operations(words, [[1, makeChain]]);
  const one = fc
    .tuple(
      fc.constantFrom(false, true, true, true),
      fc.array(operation, { maxLength: LENGTH_MAX, size: 'max' }),
    )
    .map(
      ([furnished, operations]): Sequence =>
        furnished ? [...FURNITURE, ...operations] : operations,
    );
  return fc
    .tuple(...new Array<fc.Arbitrary<Sequence>>(ACTORS).fill(one))
    .map((sequences) => sequences.map((sequence, actor) => ({ actor, sequence })));
}
