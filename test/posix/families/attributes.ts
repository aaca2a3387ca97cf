/** chmod and chown: who may, what it changes, which set-id bits go, which times move. */
import { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../../../src/shared/sys/constants.ts';
import { each, family } from '../behaviour.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';
import { TEAM_GID } from '../user.ts';

const NOT_LINKS = FILE_TYPES.filter((type) => type !== 'symlink');
const SET_ID_MODES = [
  0o4755, 0o2755, 0o6755, 0o4644, 0o2644, 0o6644, 0o6711, 0o4100, 0o2010, 0o6000,
];

/** The mode after a change of owner: set-user-id goes, set-group-id goes from programs of the group. */
function afterChown(mode: number): number {
  const withoutUser = mode & ~0o4000;
  return (mode & 0o2010) === 0o2010 ? withoutUser & ~0o2000 : withoutUser;
}

function chmodSets(stage: Stage, type: FileType): void {
  stage.make(type, 'x');
  for (const mode of [0o111, 0o000, 0o777, 0o1777, 0o4711, 0o2711, 0o7777, 0o6000, 0o644]) {
    stage.root.chmod('x', mode).ok();
    stage.root.has('x', { mode, type });
  }
  stage.touches('x', 'ctime', () => void stage.root.chmod('x', 0o600).ok());
}

function chmodFollows(stage: Stage): void {
  for (const type of NOT_LINKS) {
    stage.make(type, type, 0o600);
    stage.root.symlink(type, `to-${type}`).ok();
    stage.root.chmod(`to-${type}`, 0o321).ok();
    stage.root.has(type, { mode: 0o321 });
    stage.root.has(`to-${type}`, { mode: 0o777, type: 'symlink' });
  }
}

function sgidForMembers(stage: Stage): void {
  stage.root.chmod('.', 0o777).ok();
  const cases = [
    { gid: 65531, mode: 0o2755, becomes: 0o2755 },
    { gid: TEAM_GID, mode: 0o2755, becomes: 0o2755 },
    { gid: 65533, mode: 0o2755, becomes: 0o755 },
    { gid: 65533, mode: 0o6755, becomes: 0o4755 },
    { gid: 65533, mode: 0o2644, becomes: 0o644 },
    { gid: 0, mode: 0o7777, becomes: 0o5777 },
  ];
  for (const [index, { gid, mode, becomes }] of cases.entries()) {
    for (const type of ['regular', 'dir', 'fifo'] as const) {
      stage.make(type, `${type}${index}`, 0o644, { uid: stage.alice.uid, gid });
      stage.alice.chmod(`${type}${index}`, mode).ok();
      stage.root.has(`${type}${index}`, { mode: becomes });
    }
  }
}

function failedChangeMovesNothing(stage: Stage): void {
  for (const type of NOT_LINKS) {
    stage.make(type, type, 0o644, stage.alice);
    stage.touches(type, '', () => void stage.bob.chmod(type, 0o111).is('EPERM'));
    stage.touches(type, '', () => void stage.bob.chown(type, 65532, 65532).is('EPERM'));
    stage.touches(type, '', () => void stage.bob.utimens(type, [1, 1], [1, 1]).is('EPERM'));
    stage.root.has(type, { mode: 0o644, uid: 65531, gid: 65531 });
  }
}

function chownSets(stage: Stage, type: FileType): void {
  stage.make(type, 'x');
  for (const [uid, gid] of [
    [123, 456],
    [-1, 789],
    [321, -1],
    [0, 0],
    [0x7fffffff, 0x7fffffff],
    [0xfffffffe, 0xfffffffe],
    [65531, 65533],
  ] as const) {
    const old = stage.root.facts('x');
    stage.root.lchown('x', uid, gid).ok();
    stage.root.has('x', { uid: uid < 0 ? old.uid : uid, gid: gid < 0 ? old.gid : gid });
  }
  stage.touches('x', 'ctime', () => void stage.root.lchown('x', 1, 2).ok());
}

function ownerChangesGroup(stage: Stage, type: FileType): void {
  stage.make(type, 'x', 0o644, stage.alice);
  stage.alice.lchown('x', -1, TEAM_GID).ok();
  stage.root.has('x', { uid: 65531, gid: TEAM_GID });
  stage.alice.lchown('x', 65531, 65531).ok();
  stage.alice.lchown('x', -1, -1).ok();
  stage.alice.lchown('x', 65531, -1).ok();
  stage.alice.lchown('x', -1, 65533).is('EPERM');
  stage.alice.lchown('x', 65532, -1).is('EPERM');
  stage.alice.lchown('x', 65532, TEAM_GID).is('EPERM');
  stage.bob.lchown('x', -1, TEAM_GID).is('EPERM');
  stage.bob.lchown('x', 65532, 65532).is('EPERM');
  stage.bob.lchown('x', -1, -1).is(0, 'EPERM');
  stage.root.has('x', { uid: 65531, gid: 65531 });
}

function chownClears(stage: Stage, by: 'root' | 'alice', type: FileType): void {
  stage.root.chmod('.', 0o777).ok();
  for (const mode of SET_ID_MODES) {
    const path = `f${mode.toString(8)}`;
    for (const [uid, gid] of [
      [-1, TEAM_GID],
      [65531, 65531],
      [-1, -1],
    ] as const) {
      stage.make(type, path, mode, stage.alice);
      stage.root.has(path, { mode });
      stage[by].chown(path, uid, gid).ok();
      stage.root.has(path, { mode: afterChown(mode) });
      stage.root.unlink(path).ok();
    }
  }
}

/** chown(2) of nothing clears set-id bits too: so it is not for everybody. */
function chownOfNothing(stage: Stage, mode: number): void {
  for (const type of ['regular', 'dir', 'fifo'] as const) {
    stage.make(type, type, mode, stage.alice);
    for (const actor of [stage.bob, stage.carol]) actor.chown(type, -1, -1);
    stage.root.has(type, { mode });
  }
}

function chownLeavesDirectories(stage: Stage): void {
  for (const mode of [0o4755, 0o2755, 0o6777, 0o7777]) {
    stage.make('dir', `d${mode}`, mode, stage.alice);
    stage.root.chown(`d${mode}`, 65532, 65532).ok();
    stage.root.has(`d${mode}`, { mode });
    stage.root.chown(`d${mode}`, 65531, 65531).ok();
    stage.alice.chown(`d${mode}`, -1, TEAM_GID).ok();
    stage.root.has(`d${mode}`, { mode });
  }
}

function squashed(stage: Stage): void {
  stage.root.mkdir('home', 0o700).ok();
  stage.root.chown('home', 65531, 65531).ok();
  stage.alice.file('home/f', 'mine', 0o600);
  stage.bob.tryStat('home/f').is('EACCES');
  stage.equal('root reads', stage.root.content('home/f'), 'mine');
  stage.root.chown('home/f', 65532, 65532).ok();
  stage.alice.tryOpen('home/f', O_RDONLY).is('EACCES');
  stage.alice.rename('home/f', 'home/g').ok();
  stage.alice.unlink('home/g').ok();
}

export const attributes = family('attributes', [
  ...each('chmod sets every bit and moves ctime', NOT_LINKS, chmodSets),
  ['chmod follows symlinks', chmodFollows],
  ['set-group-id is refused to owners outside the group', sgidForMembers],
  ['a refused change moves no time', failedChangeMovesNothing],
  ...each('chown sets owner and group and moves ctime', FILE_TYPES, chownSets),
  ...each('the owner may give it to his groups only', FILE_TYPES, ownerChangesGroup),
  ...(['root', 'alice'] as const).flatMap((by) =>
    each(
      `chown by ${by} clears set-id bits`,
      NOT_LINKS.filter((type) => type !== 'dir'),
      (stage, type) => chownClears(stage, by, type),
    ),
  ),
  ...each(
    'chown of nothing by others leaves set-id bits',
    [0o755, 0o4755, 0o2755, 0o6777, 0o2644],
    chownOfNothing,
    (mode) => mode.toString(8),
  ),
  ['chown leaves the bits of directories', chownLeavesDirectories],
  [
    'chown follows symlinks and lchown does not',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.symlink('f', 'l').ok();
      stage.root.chown('l', 1, 2).ok();
      stage.root.has('f', { uid: 1, gid: 2 });
      stage.root.has('l', { uid: 0, gid: 0 });
      stage.touches('f', '', () => void stage.root.lchown('l', 3, 4).ok());
      stage.root.has('l', { uid: 3, gid: 4 });
      stage.root.has('f', { uid: 1, gid: 2 });
    },
  ],
  [
    'fchmod and fchown change what is open, named or not',
    (stage) => {
      stage.root.chmod('.', 0o777).ok();
      const fd = stage.alice.open('f', O_CREAT | O_RDWR, 0o644).ok();
      stage.alice.fchmod(fd, 0o600).ok();
      stage.alice.fchown(fd, -1, TEAM_GID).ok();
      stage.bob.fchmod(fd, 0o666).is('EPERM');
      stage.bob.fchown(fd, 65532, -1).is('EPERM');
      stage.root.has('f', { mode: 0o600, gid: TEAM_GID });
      stage.alice.unlink('f').ok();
      stage.alice.fchmod(fd, 0o640).ok();
      stage.root.fchown(fd, 5, 6).ok();
      stage.alice.fchmod(fd, 0o666).is('EPERM');
    },
  ],
  [
    'a descriptor for reading may change mode and owner',
    (stage) => {
      stage.root.create('f', 0o600).ok();
      const fd = stage.root.open('f', O_RDONLY).ok();
      stage.root.fchmod(fd, 0o644).ok();
      stage.root.fchown(fd, 7, 8).ok();
      stage.root.has('f', { mode: 0o644, uid: 7, gid: 8 });
    },
  ],
  ["root sees into users' directories, and what he gives away is theirs no more", squashed],
  [
    'names of one file show the same change',
    (stage) => {
      stage.root.create('a').ok();
      stage.root.link('a', 'b').ok();
      stage.root.mkdir('d').ok();
      stage.root.link('a', 'd/c').ok();
      stage.root.chmod('b', 0o600).ok();
      stage.root.chown('d/c', 11, 12).ok();
      stage.root.truncate('a', 77).ok();
      for (const path of ['a', 'b', 'd/c']) {
        stage.root.has(path, { mode: 0o600, uid: 11, gid: 12, size: 77, nlink: 3 });
      }
    },
  ],
  [
    'a file opened for writing may be made read-only meanwhile',
    (stage) => {
      stage.root.chmod('.', 0o777).ok();
      const fd = stage.alice.open('f', O_CREAT | O_WRONLY, 0o644).ok();
      stage.alice.chmod('f', 0o444).ok();
      stage.alice.write(fd, 'x').is(1);
      stage.alice.tryOpen('f', O_WRONLY).is('EACCES');
    },
  ],
]);
