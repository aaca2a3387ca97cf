/** Arbitrary trials of several users, who take turns in directories that all of them can reach. */
import fc from 'fast-check';
import { operations, targets, type Words } from './arbitrary-operations.ts';
import { commonNames, paths } from './arbitrary-paths.ts';
import type { Acl, Operation, Sequence, Target, Trial, Turn } from './operations.ts';
import { CLUB, TEAM, USERS } from './users.ts';

/** Bounds of one trial. */
const TURNS_MAX = 80;
const TURN_LENGTH_MAX = 6;

/** One directory for everybody of each kind, and one for each user. */
const PLACES = ['sticky', 'team', 'acl', 'open', ...USERS.map((_, actor) => `own${actor}`)];

const place = fc.constantFrom(...PLACES);
const commonName = commonNames(['a', 'b', 'c', 'd', 'e']);
const inPlace = fc.tuple(place, paths(commonName)).map(([where, name]) => `${where}/${name}`);
/** What the furniture has, by most of its names. */
const filePath = fc
  .tuple(place, fc.constantFrom('c', 'c', 'd', 'e', 'a/c', 'a/d', 'b/c'))
  .map(([where, name]) => `${where}/${name}`);
const directoryPath = fc
  .tuple(place, fc.constantFrom('a', 'b'))
  .map(([where, name]) => `${where}/${name}`);
const path = fc.oneof(
  { weight: 14, arbitrary: inPlace },
  { weight: 12, arbitrary: filePath },
  { weight: 4, arbitrary: directoryPath },
  { weight: 2, arbitrary: place },
  { weight: 1, arbitrary: paths(commonName) },
);

/** The absolute one lies where nothing can be created. */
const linkTarget = fc.oneof(
  { weight: 4, arbitrary: commonName },
  { weight: 2, arbitrary: fc.tuple(commonName, commonName).map(([a, b]) => `${a}/${b}`) },
  { weight: 4, arbitrary: fc.tuple(place, commonName).map(([a, b]) => `../${a}/${b}`) },
  { weight: 1, arbitrary: fc.constantFrom('/proc/nonexistent', 'y'.repeat(255)) },
);

const KEEP_ID = -1;
const NOBODY = 65_534;
const uid = fc.constantFrom(KEEP_ID, NOBODY, ...USERS.map((user) => user.uid));
const gid = fc.constantFrom(KEEP_ID, NOBODY, TEAM, CLUB, ...USERS.map((user) => user.gid));

const words: Words = {
  path,
  anyPath: path,
  filePath,
  linkTarget,
  listed: fc.oneof<fc.Arbitrary<Target>[]>(targets(path), place),
  emptied: path,
  uid,
  gid,
};

const DEFAULT_ACL: Acl = {
  version: 2,
  entries: [
    [1, 7, -1],
    [2, 7, USERS[2].uid],
    [4, 5, -1],
    [8, 7, CLUB],
    [16, 7, -1],
    [32, 0, -1],
  ],
  cut: 0,
};

function makePlace(name: string, mode: number): Operation[] {
  return [
    { op: 'mkdir', path: name, mode: 0o755 },
    { op: 'chmod', on: name, mode },
  ];
}

/** Root makes the places. The mode comes last: a change of owners takes the set-id bits away. */
const PLACES_MADE: Turn = {
  actor: 0,
  sequence: [
    ...makePlace('sticky', 0o1777),
    { op: 'mkdir', path: 'team', mode: 0o755 },
    { op: 'chown', on: 'team', uid: KEEP_ID, gid: TEAM, follow: true },
    { op: 'chmod', on: 'team', mode: 0o2775 },
    ...makePlace('acl', 0o777),
    { op: 'setacl', on: 'acl', kind: 'default', acl: DEFAULT_ACL },
    ...makePlace('open', 0o777),
    ...USERS.flatMap((user, actor): Operation[] => [
      ...makePlace(`own${actor}`, 0o755),
      { op: 'chown', on: `own${actor}`, uid: user.uid, gid: user.gid, follow: true },
    ]),
  ],
};

function furnish(where: string, file: string, directory: string): Operation[] {
  return [
    { op: 'open', handle: 0, path: `${where}/${file}`, flags: 'RDWR|CREAT', mode: 0o664 },
    { op: 'write', handle: 0, size: 5000, seed: 1 },
    { op: 'mkdir', path: `${where}/${directory}`, mode: 0o775 },
    {
      op: 'open',
      handle: 1,
      path: `${where}/${directory}/${file}`,
      flags: 'RDWR|CREAT',
      mode: 0o6777,
    },
    { op: 'write', handle: 1, size: 100, seed: 2 },
  ];
}

/** Each user begins with files in most places, and with two of them open. */
const FURNITURE: readonly Sequence[] = [
  [...furnish('own0', 'c', 'a'), ...furnish('acl', 'e', 'b')],
  ...[1, 2, 3].map((actor) => {
    const [file, directory] = ['c', 'd', 'e', 'a', 'b', 'a'].filter(
      (_, at) => at % 3 === actor - 1,
    );
    return [`own${actor}`, 'team', 'acl', 'open', 'sticky'].flatMap((where) =>
      furnish(where, where.startsWith('own') ? 'c' : file, directory),
    );
  }),
];

/** Turns of any of the users, after the places are made. */
export function trialsInTurns(): fc.Arbitrary<Trial> {
  const turn = fc.record({
    // Root may do everything, which shows less.
    actor: fc.constantFrom(1, 1, 2, 2, 3, 3, 0),
    sequence: fc.array(operations(words), {
      minLength: 1,
      maxLength: TURN_LENGTH_MAX,
      size: 'max',
    }),
  });
  const furniture = FURNITURE.map((sequence, actor): Turn => ({ actor, sequence }));
  return fc
    .tuple(
      fc.constantFrom(false, true, true, true),
      fc.array(turn, { maxLength: TURNS_MAX, size: 'max' }),
    )
    .map(([furnished, turns]) => [PLACES_MADE, ...(furnished ? furniture : []), ...turns]);
}
