/** Arbitrary operation sequences, which fast-check shrinks. Few names and handles, so that they meet. */
import fc from 'fast-check';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  S_IFCHR,
  S_IFIFO,
  S_IFREG,
  S_IFSOCK,
} from '../../src/shared/sys/constants.ts';
import type { Operation, Sequence, Target, TimeValue } from './operations.ts';

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

const COMMON_NAMES = ['a#', 'b#', 'c#', 'd#', 'e#'];
const ODD_NAMES = [
  '.hidden',
  'two words',
  'new\nline',
  '\xc3\xa9',
  '\xff\xfe',
  '\x80',
  '..c',
  'n'.repeat(254),
  'n'.repeat(255),
  'n'.repeat(256),
  `${'\xff'.repeat(255)}`,
  `${'\xff'.repeat(256)}`,
];
const CHAIN_NAMES = ['a#', 'deep', 'x'.repeat(100)];
const CHAIN_DEPTH = 20;

const commonName = fc.oneof(
  ...COMMON_NAMES.map((text, index) => ({ weight: 6 - index, arbitrary: fc.constant(text) })),
);
const name = fc.oneof(
  { weight: 12, arbitrary: commonName },
  { weight: 1, arbitrary: fc.constantFrom(...ODD_NAMES) },
);

/** At most one `..` in a path: see ACTOR_DEPTH. */
const path = fc.oneof(
  { weight: 14, arbitrary: name },
  { weight: 8, arbitrary: fc.tuple(commonName, name).map(([a, b]) => `${a}/${b}`) },
  {
    weight: 3,
    arbitrary: fc.tuple(commonName, commonName, name).map(([a, b, c]) => `${a}/${b}/${c}`),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          './A',
          'A/',
          'A/.',
          'A/..',
          'A//B',
          'A/./B',
          'A/../B',
          '.',
          '..',
          '',
          'A/B/..',
        ),
        commonName,
        commonName,
      )
      .map(([shape, a, b]) => shape.replace('A', a).replace('B', b)),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(...CHAIN_NAMES), fc.integer({ min: 1, max: CHAIN_DEPTH }))
      .map(([link, depth]) => new Array<string>(depth).fill(link).join('/')),
  },
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

const handle = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constant(1) },
  { weight: 1, arbitrary: fc.constant(2) },
);
const seed = fc.nat(200);
const target: fc.Arbitrary<Target> = fc.oneof(
  { weight: 3, arbitrary: anyPath },
  { weight: 1, arbitrary: handle },
);

const openFlags = fc.constantFrom(
  'RDONLY',
  'WRONLY',
  'RDWR',
  'RDWR|CREAT',
  'RDWR|CREAT',
  'RDWR|CREAT',
  'RDWR|CREAT|EXCL',
  'WRONLY|CREAT|TRUNC',
  'RDWR|CREAT|APPEND',
  'WRONLY|APPEND',
  'RDONLY|CREAT',
  'RDWR|TRUNC',
  'RDONLY|TRUNC',
  'RDONLY|DIRECTORY',
  'RDWR|DIRECTORY',
  'RDWR|CREAT|DIRECTORY',
  'RDONLY|NOFOLLOW',
  'RDWR|CREAT|NOFOLLOW',
  'RDONLY|CREAT|EXCL|TRUNC',
  'PATH',
  'PATH|NOFOLLOW',
  'PATH|DIRECTORY',
  'RDONLY|NOATIME',
  'WRONLY|SYNC',
  'RDWR|DIRECT',
  'RDWR|CREAT|DIRECT',
  'WRONLY|APPEND|DIRECT',
);

/** Without privileges a directory's owner must be able to enter it, or nothing can be cleaned up. */
const OWNER_BITS = process.getuid?.() === 0 ? 0 : 0o700;
const mode = fc
  .constantFrom(0o644, 0o755, 0o600, 0o777, 0o000, 0o4755, 0o2755, 0o1777, 0o6711, 0o444)
  .map((bits) => bits | OWNER_BITS);

const size = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 1, 2, 100, 511, 512, 4095, 4096, 4097, 10000) },
  { weight: 1, arbitrary: fc.constantFrom(65536, 131071, 131072, 131073, 200000) },
  { weight: 1, arbitrary: fc.nat(20000) },
);
const offset = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 1, 100, 511, 4095, 4096, 5000, 8192, 12288) },
  { weight: 1, arbitrary: fc.constantFrom(65536, 131072, 1 << 20, -1) },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 32 + 4097, 2 ** 33 + 1) },
  { weight: 1, arbitrary: fc.nat(20000) },
);

/** The modes that FUSE carries; the kernel refuses the others before it asks the daemon. */
const allocateMode = fc.constantFrom(
  0,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
);

/** Explicit times are far from now, so that they are told from those of the clock. */
const time: fc.Arbitrary<TimeValue> = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<TimeValue>('now', 'omit') },
  {
    weight: 15,
    arbitrary: fc.tuple(
      fc.constantFrom(0, 1, -1, 1_000_000_000, 1_234_567_890, 2 ** 31, 2 ** 32),
      fc.constantFrom(0, 1, 123_456_789, 999_999_999),
    ),
  },
  { weight: 1, arbitrary: fc.constant<TimeValue>([1, 1_000_000_000]) },
);

const renameFlags = fc.oneof(
  { weight: 8, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.constantFrom(RENAME_NOREPLACE, RENAME_EXCHANGE) },
  { weight: 1, arbitrary: fc.constant(RENAME_NOREPLACE | RENAME_EXCHANGE) },
  { weight: 2, arbitrary: fc.constantFrom(RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE) },
);

const xattrName = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom('user.a', 'user.b', 'user.c') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'user.',
      'user',
      'trusted.t',
      'unknown.a',
      'user.\xff',
      `user.${'n'.repeat(250)}`,
      `user.${'n'.repeat(251)}`,
    ),
  },
);
const xattrSize = fc.constantFrom(0, 1, 10, 100, 1000, 3000, 4000, 4096);
const xattrRoom = fc.constantFrom(0, 0, 5, 100, 4096, 65536);
const xattrFlags = fc.constantFrom(0, 0, XATTR_CREATE, XATTR_REPLACE);
const chunk = fc.constantFrom(512, 1024, 32768);

/** `never` for a field that holds the operation's name. */
function op<Name extends Operation['op']>(
  kind: Name,
  fields: {
    [K in keyof Omit<Operation & { op: Name }, 'op'>]: fc.Arbitrary<(Operation & { op: Name })[K]>;
  },
): fc.Arbitrary<Operation> {
  return fc.record({ op: fc.constant(kind), ...fields }) as unknown as fc.Arbitrary<Operation>;
}

const id = fc.constantFrom(-1, 0, 1, 1000, 65534);
const follow = fc.boolean();

const onData: [number, fc.Arbitrary<Operation>][] = [
  [12, op('open', { handle, path: anyPath, flags: openFlags, mode })],
  // Mostly files: without enough of them open, the rest has nothing to work on.
  [6, op('open', { handle, path: filePath, flags: fc.constant('RDWR|CREAT'), mode })],
  [
    1,
    op('tmpfile', {
      handle,
      path,
      flags: fc.constantFrom('RDWR', 'WRONLY', 'RDWR|EXCL', 'RDONLY'),
      mode,
    }),
  ],
  [2, op('publish', { handle, path: anyPath })],
  [2, op('close', { handle })],
  [4, op('read', { handle, size })],
  [4, op('pread', { handle, size, offset })],
  [6, op('write', { handle, size, seed })],
  [6, op('pwrite', { handle, size, offset, seed })],
  [2, op('truncate', { path: anyPath, size: offset })],
  [3, op('ftruncate', { handle, size: offset })],
  [3, op('fallocate', { handle, mode: allocateMode, offset, size })],
  [4, op('seek', { handle, offset, whence: fc.constantFrom('SET', 'CUR', 'END', 'DATA', 'HOLE') })],
  [
    3,
    op('copy', {
      from: handle,
      to: handle,
      fromOffset: fc.option(offset),
      toOffset: fc.option(offset),
      size,
    }),
  ],
  [2, op('fsync', { handle, dataOnly: fc.boolean() })],
  [2, op('blocks', { handle })],
];

const onNames: [number, fc.Arbitrary<Operation>][] = [
  [6, op('mkdir', { path: anyPath, mode })],
  [
    1,
    op('mkchain', {
      name: fc.constantFrom(...CHAIN_NAMES),
      depth: fc.integer({ min: 1, max: CHAIN_DEPTH }),
    }),
  ],
  [3, op('rmdir', { path: anyPath })],
  [5, op('unlink', { path: anyPath })],
  [
    10,
    op('rename', {
      from: anyPath,
      to: anyPath,
      flags: renameFlags,
    }),
  ],
  [6, op('link', { from: anyPath, to: anyPath, follow })],
  [4, op('symlink', { target: linkTarget, path: anyPath })],
  [3, op('readlink', { path: anyPath, size: fc.constantFrom(1, 2, 4096) })],
  [
    1,
    op('mknod', {
      path: anyPath,
      mode: fc.constantFrom(S_IFIFO | 0o644, S_IFREG | 0o600, S_IFSOCK | 0o755, S_IFCHR | 0o600),
      // A number that no driver has: opening it fails.
      rdev: fc.constant(makeDevice(240, 17)),
    }),
  ],
  [3, op('list', { on: fc.oneof(target, fc.constantFrom<Target>('.', '@/')), chunk })],
  [
    1,
    op('unlinkWhileListing', {
      path: fc.oneof(path, fc.constant('.')),
      chunk,
      keepEvery: fc.constantFrom(1, 2, 3),
    }),
  ],
];

const onAttributes: [number, fc.Arbitrary<Operation>][] = [
  [10, op('stat', { on: target, follow })],
  [3, op('chmod', { on: target, mode })],
  [3, op('chown', { on: target, uid: id, gid: id, follow })],
  [4, op('utimens', { on: target, atime: time, mtime: time, follow })],
  [2, op('access', { path: anyPath, mode: fc.nat(7) })],
  [4, op('setxattr', { on: target, name: xattrName, size: xattrSize, seed, flags: xattrFlags })],
  [3, op('getxattr', { on: target, name: xattrName, size: xattrRoom })],
  [2, op('listxattr', { on: target, size: xattrRoom })],
  [2, op('removexattr', { on: target, name: xattrName })],
];

/** A device number as the kernel encodes it for majors below 4096 and minors below 256. */
function makeDevice(major: number, minor: number): number {
  return (major << 8) | minor;
}

const operation = fc.oneof(
  ...[...onData, ...onNames, ...onAttributes].map(([weight, arbitrary]) => ({ weight, arbitrary })),
);

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

/**
 * One sequence for each of `actors`.
 *
 * @param lengthMax - the most operations of one actor
 */
export function sequences(actors: number, lengthMax: number): fc.Arbitrary<Sequence[]> {
  const one = fc
    .tuple(
      fc.constantFrom(false, true, true, true),
      fc.array(operation, { maxLength: lengthMax, size: 'max' }),
    )
    .map(
      ([furnished, operations]): Sequence =>
        furnished ? [...FURNITURE, ...operations] : operations,
    );
  return fc.tuple(...new Array<fc.Arbitrary<Sequence>>(actors).fill(one));
}
