/** Extended attributes: namespaces, sizes, lists, and who may. */
import { each, family } from '../behaviour.ts';
import { XATTR_CREATE, XATTR_REPLACE } from '../numbers.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

const SIZES = [0, 1, 2, 255, 256, 1000, 2000, 3000, 3900, 4000, 4050, 4096, 8192, 16384, 32768];
const LARGE_SIZES = [65_000, 65_535, 65_536];
const NAMESPACES = ['user', 'trusted', 'security', 'system', 'btrfs', 'unknown', ''] as const;

function pattern(sizeBytes: number): Buffer {
  return Buffer.from(Array.from({ length: sizeBytes }, (_, at) => (at * 7 + (at >> 8)) & 255));
}

/** A value the backing takes is read back whole; how much it takes is its own. */
function keeps(stage: Stage, sizeBytes: number): void {
  stage.root.create('f').ok();
  const reply = stage.root.setxattr('f', 'user.size', pattern(sizeBytes));
  if (reply.value < 0) {
    stage.root.getxattr('f', 'user.size').is('ENODATA');
    reply.is('ENOSPC', 'E2BIG');
    return;
  }
  stage.root.getxattr('f', 'user.size').is(sizeBytes);
  stage.root.getxattr('f', 'user.size', 0).is(sizeBytes);
  if (sizeBytes > 1) stage.root.getxattr('f', 'user.size', sizeBytes - 1).is('ERANGE');
  stage.root.getxattr('f', 'user.size', Math.max(sizeBytes, 1)).is(sizeBytes);
  stage.root.setxattr('f', 'user.size', 'short').ok();
  stage.equal('value', stage.root.xattr('f', 'user.size'), 'short');
  stage.root.removexattr('f', 'user.size').ok();
  stage.root.getxattr('f', 'user.size').is('ENODATA');
}

/** Which namespaces there are, and for whom: as the backing answers. */
function namespace(stage: Stage, name: string): void {
  stage.root.chmod('.', 0o777).ok();
  stage.alice.create('f', 0o644).ok();
  const full = name === '' ? 'nodot' : `${name}.sluice`;
  for (const actor of [stage.root, stage.alice, stage.bob]) {
    actor.setxattr('f', full, actor.user.name);
    actor.getxattr('f', full);
    actor.getxattr('f', full, 0);
    actor.listxattr('f');
  }
  for (const actor of [stage.bob, stage.alice, stage.root]) actor.removexattr('f', full);
  stage.root.listxattr('f');
}

function onType(stage: Stage, type: FileType): void {
  stage.make(type, 'x', 0o666, stage.alice);
  const isPlain = type === 'regular' || type === 'dir';
  stage.alice.setxattr('x', 'user.a', 'value').is(isPlain ? 0 : 'EPERM');
  stage.root.setxattr('x', 'user.a', 'value').is(isPlain ? 0 : 'EPERM');
  stage.bob.getxattr('x', 'user.a').is(isPlain ? 5 : 'ENODATA', isPlain ? 5 : 'EPERM');
  stage.root.setxattr('x', 'trusted.a', 'value');
  stage.root.getxattr('x', 'trusted.a');
  stage.root.listxattr('x');
  stage.root.removexattr('x', 'trusted.a');
  stage.root.removexattr('x', 'user.a');
}

function lists(stage: Stage): void {
  stage.root.create('f').ok();
  stage.root.listxattr('f').is(0);
  stage.root.listxattr('f', 0).is(0);
  for (let at = 0; at < 40; at += 1) stage.root.setxattr('f', `user.name${at}`, 'v').ok();
  const size = stage.root.listxattr('f', 0).ok();
  stage.root.listxattr('f', size).is(size);
  stage.root.listxattr('f', size - 1).is('ERANGE');
  stage.root.listxattr('f', 1).is('ERANGE');
  for (let at = 0; at < 40; at += 2) stage.root.removexattr('f', `user.name${at}`).ok();
  stage.root.listxattr('f').ok();
}

/** As many as the backing takes; it says when it is full. */
function many(stage: Stage): void {
  stage.root.create('f').ok();
  const value = 'v'.repeat(200);
  let count = 0;
  while (
    count < 400 &&
    stage.root.setxattr('f', `user.${'n'.repeat(100)}${count}`, value).value === 0
  ) {
    count += 1;
  }
  stage.note('count', count);
  stage.root.listxattr('f');
  stage.root.listxattr('f', 0);
}

export const xattrs = family('xattrs', [
  ...each('a value keeps its bytes, size', SIZES, keeps),
  ...each('a value keeps its bytes, size', LARGE_SIZES, keeps),
  ...each('the namespace', NAMESPACES, namespace, (name) => name || 'none'),
  ...each('on', FILE_TYPES, onType),
  ['lists are whole or ERANGE', lists],
  ['as many as the backing takes', many],
  [
    'values above 64 KiB are E2BIG, names above 255 bytes ERANGE',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.setxattr('f', 'user.big', pattern(65_537)).is('E2BIG');
      stage.root.setxattr('f', `user.${'n'.repeat(250)}`, 'v').ok();
      stage.root.getxattr('f', `user.${'n'.repeat(250)}`).is(1);
      stage.root.setxattr('f', `user.${'n'.repeat(251)}`, 'v').is('ERANGE');
      stage.root.getxattr('f', `user.${'n'.repeat(251)}`).is('ERANGE');
      stage.root.setxattr('f', '', 'v').is('ERANGE');
      stage.root.setxattr('f', 'user.', 'v').is('EINVAL', 0);
    },
  ],
  [
    'names are bytes',
    (stage) => {
      stage.root.create('f').ok();
      for (const name of ['user.a/b', 'user.\xff\xfe', 'user. ', 'user.a\nb', 'user.A', 'user.a']) {
        stage.root.setxattr('f', name, name).ok();
      }
      stage.equal('value', stage.root.xattr('f', 'user.a/b'), 'user.a/b');
      stage.equal('value', stage.root.xattr('f', 'user.A'), 'user.A');
      stage.root.listxattr('f').ok();
    },
  ],
  [
    'a value that changes its size is whole',
    (stage) => {
      stage.root.create('f').ok();
      for (const size of [10, 3000, 1, 0, 2000, 64, 3500, 5]) {
        stage.root.setxattr('f', 'user.a', pattern(size)).ok();
        stage.root.getxattr('f', 'user.a').is(size);
      }
    },
  ],
  [
    'XATTR_CREATE and XATTR_REPLACE',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.setxattr('f', 'user.a', 'v', XATTR_REPLACE).is('ENODATA');
      stage.root.setxattr('f', 'user.a', 'v', XATTR_CREATE).ok();
      stage.root.setxattr('f', 'user.a', 'w', XATTR_CREATE).is('EEXIST');
      stage.root.setxattr('f', 'user.a', 'w', XATTR_REPLACE).ok();
      stage.root.setxattr('f', 'user.a', 'w', XATTR_CREATE | XATTR_REPLACE).is('EEXIST', 'EINVAL');
      stage.root.setxattr('f', 'user.a', 'w', 4).is('EINVAL');
      stage.equal('value', stage.root.xattr('f', 'user.a'), 'w');
    },
  ],
  [
    'user attributes of a sticky directory are set by its owner',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      stage.root.chmod('d', 0o1777).ok();
      stage.alice.setxattr('d', 'user.a', 'v').is('EPERM');
      stage.root.setxattr('d', 'user.a', 'v').ok();
      stage.alice.getxattr('d', 'user.a').is(1);
    },
  ],
  [
    'trusted attributes are hidden from users',
    (stage) => {
      stage.root.create('f', 0o666).ok();
      const reply = stage.root.setxattr('f', 'trusted.secret', 'v');
      stage.root.setxattr('f', 'user.open', 'v').ok();
      stage.alice.getxattr('f', 'trusted.secret').is('ENODATA', 'EPERM');
      stage.alice.setxattr('f', 'trusted.other', 'v').is('EPERM');
      stage.alice.listxattr('f');
      stage.root.listxattr('f');
      reply.ok();
    },
  ],
  [
    'go with the file when it is renamed and linked',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.setxattr('f', 'user.a', 'v').ok();
      stage.root.link('f', 'g').ok();
      stage.root.rename('f', 'h').ok();
      stage.equal('value', stage.root.xattr('g', 'user.a'), 'v');
      stage.root.setxattr('h', 'user.a', 'w').ok();
      stage.equal('value', stage.root.xattr('g', 'user.a'), 'w');
    },
  ],
  [
    'a change moves ctime, a refused one does not',
    (stage) => {
      stage.root.create('f').ok();
      stage.touches('f', 'ctime', () => void stage.root.setxattr('f', 'user.a', 'v').ok());
      stage.touches('f', '', () => void stage.root.getxattr('f', 'user.a').is(1));
      stage.touches('f', '', () => void stage.root.removexattr('f', 'user.b').is('ENODATA'));
      stage.touches('f', 'ctime', () => void stage.root.removexattr('f', 'user.a').ok());
    },
  ],
]);
