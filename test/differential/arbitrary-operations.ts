/** Arbitrary operations. */
import fc from 'fast-check';
import { acls } from './arbitrary-acls.ts';
import {
  allocateMode,
  chunk,
  handle,
  inodeFlags,
  mode,
  nodeMode,
  offset,
  openFlags,
  rdev,
  renameFlags,
  seed,
  size,
  time,
  umask,
  xattrFlags,
  xattrName,
  xattrRoom,
  xattrSize,
} from './arbitrary-values.ts';
import type { Operation, Target } from './operations.ts';

/** What the operations of one company are about. */
export interface Words {
  /** Paths that lead to the actor's own things. */
  readonly path: fc.Arbitrary<string>;
  readonly anyPath: fc.Arbitrary<string>;
  /** Paths at which mostly files are. */
  readonly filePath: fc.Arbitrary<string>;
  readonly linkTarget: fc.Arbitrary<string>;
  /** Directories that are read, and that are read while they are emptied. */
  readonly listed: fc.Arbitrary<Target>;
  readonly emptied: fc.Arbitrary<string>;
  readonly uid: fc.Arbitrary<number>;
  readonly gid: fc.Arbitrary<number>;
}

const KEEP_ID = -1;

type Weighted = [weight: number, arbitrary: fc.Arbitrary<Operation>];

/** A path, or an open file. */
export function targets(path: fc.Arbitrary<string>): fc.Arbitrary<Target> {
  return fc.oneof<fc.WeightedArbitrary<Target>[]>(
    { weight: 3, arbitrary: path },
    { weight: 1, arbitrary: handle },
  );
}

/** `never` for a field that holds the operation's name. */
export function op<Name extends Operation['op']>(
  kind: Name,
  fields: {
    [K in keyof Omit<Operation & { op: Name }, 'op'>]: fc.Arbitrary<(Operation & { op: Name })[K]>;
  },
): fc.Arbitrary<Operation> {
  return fc.record({ op: fc.constant(kind), ...fields }) as unknown as fc.Arbitrary<Operation>;
}

const follow = fc.boolean();

/**
 * With neither a user nor a group it is still a change, of set-id files by their owner. FUSE sends
 * the same for it as for a write, see clearSetIds(), and what comes of it depends on who has the
 * file open.
 */
function chowns(
  on: fc.Arbitrary<Target>,
  uid: fc.Arbitrary<number>,
  gid: fc.Arbitrary<number>,
): fc.Arbitrary<Operation> {
  const ids = fc.tuple(uid, gid).filter(([user, group]) => user !== KEEP_ID || group !== KEEP_ID);
  return fc
    .record({ on, ids, follow })
    .map(({ ids: [user, group], ...rest }) => ({ op: 'chown', uid: user, gid: group, ...rest }));
}

function onData({ path, anyPath, filePath }: Words): Weighted[] {
  return [
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
    [
      4,
      op('seek', { handle, offset, whence: fc.constantFrom('SET', 'CUR', 'END', 'DATA', 'HOLE') }),
    ],
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
}

function onNames(words: Words): Weighted[] {
  const { anyPath, linkTarget } = words;
  return [
    [6, op('mkdir', { path: anyPath, mode })],
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
        mode: nodeMode,
        rdev,
      }),
    ],
    [3, op('list', { on: words.listed, chunk })],
    [
      1,
      op('unlinkWhileListing', {
        path: words.emptied,
        chunk,
        keepEvery: fc.constantFrom(1, 2, 3),
      }),
    ],
  ];
}

function onAttributes({ anyPath, uid, gid }: Words): Weighted[] {
  const target = targets(anyPath);
  return [
    [10, op('stat', { on: target, follow })],
    [3, op('chmod', { on: target, mode })],
    [3, chowns(target, uid, gid)],
    [4, op('utimens', { on: target, atime: time, mtime: time, follow })],
    [2, op('access', { path: anyPath, mode: fc.nat(7) })],
    [4, op('setxattr', { on: target, name: xattrName, size: xattrSize, seed, flags: xattrFlags })],
    [3, op('getxattr', { on: target, name: xattrName, size: xattrRoom })],
    [2, op('listxattr', { on: target, size: xattrRoom })],
    [2, op('removexattr', { on: target, name: xattrName })],
    [
      3,
      op('setacl', { on: target, kind: fc.constantFrom('access', 'default'), acl: acls(uid, gid) }),
    ],
    [1, op('setcap', { on: target })],
    [2, op('flags', { on: target, set: inodeFlags })],
    [1, op('umask', { mask: umask })],
  ];
}

/** Any operation; `more` are those that only this company has. */
export function operations(words: Words, more: readonly Weighted[] = []): fc.Arbitrary<Operation> {
  const all = [...onData(words), ...onNames(words), ...onAttributes(words), ...more];
  return fc.oneof(...all.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}
