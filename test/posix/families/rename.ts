/** rename and its flags: what replaces what, which times and counts change, who may. */
import { O_CREAT, O_RDONLY, O_RDWR } from '../../../src/shared/sys/constants.ts';
import { each, family } from '../behaviour.ts';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../numbers.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

const PAIRS = FILE_TYPES.flatMap((from) => FILE_TYPES.map((to) => [from, to] as const));
const showPair = ([from, to]: readonly [FileType, FileType]): string => `${from} and ${to}`;

/** What rename(2) says to an object over another. */
function overExpected(from: FileType, to: FileType): string | number {
  if (from === 'dir' && to !== 'dir') return 'ENOTDIR';
  return from !== 'dir' && to === 'dir' ? 'EISDIR' : 0;
}

function replaces(stage: Stage, from: FileType, to: FileType): void {
  stage.root.mkdir('d').ok();
  stage.make(from, 'a', 0o640);
  stage.make(to, 'd/b');
  const must = overExpected(from, to);
  const ino = stage.root.ino('a');
  const run = () => void stage.root.rename('a', 'd/b').is(must);
  stage.touches('d', must === 0 ? 'mtime ctime' : '', run);
  stage.equal('the same inode', stage.root.ino(must === 0 ? 'd/b' : 'a') === ino, true);
  stage.root.has('d/b', { type: must === 0 ? from : to });
  stage.equal('names', stage.root.names('.'), must === 0 ? ['d'] : ['a', 'd']);
}

function exchanges(stage: Stage, from: FileType, to: FileType): void {
  stage.root.mkdir('d').ok();
  stage.make(from, 'a');
  stage.make(to, 'd/b');
  const [first, second] = [stage.root.ino('a'), stage.root.ino('d/b')];
  stage.root.rename('a', 'd/b', RENAME_EXCHANGE).ok();
  stage.equal('swapped', stage.root.ino('a') === second && stage.root.ino('d/b') === first, true);
  stage.root.has('a', { type: to });
  stage.root.has('d/b', { type: from });
  stage.root.facts('d');
  stage.root.rename('d/b', 'a', RENAME_EXCHANGE).ok();
  stage.root.has('a', { type: from });
}

function keepsWhatIsThere(stage: Stage, from: FileType, to: FileType): void {
  stage.make(from, 'a');
  stage.make(to, 'b');
  stage.root.rename('a', 'b', RENAME_NOREPLACE).is('EEXIST');
  stage.root.has('a', { type: from });
  stage.root.has('b', { type: to });
  stage.root.rename('a', 'c', RENAME_NOREPLACE).ok();
  stage.root.has('c', { type: from });
  stage.root.tryLstat('a').is('ENOENT');
}

function moves(stage: Stage, type: FileType): void {
  stage.root.mkdir('from').ok();
  stage.root.mkdir('to').ok();
  stage.make(type, 'from/x', 0o640, stage.alice);
  const before = stage.root.facts('from/x');
  const old = stage.root.times('from/x');
  stage.touches('from', 'mtime ctime', () => void stage.root.rename('from/x', 'from/y').ok());
  stage.touches('to', 'mtime ctime', () => void stage.root.rename('from/y', 'to/x').ok());
  stage.equal('facts', stage.root.facts('to/x'), before);
  const now = stage.root.times('to/x');
  stage.note('mtime is kept', now.mtime === old.mtime);
  stage.note('ctime moves', now.ctime !== old.ctime);
  stage.equal('names', stage.root.names('from'), []);
}

function parentLinks(stage: Stage): void {
  for (const path of ['from', 'to', 'from/d', 'to/e']) stage.root.mkdir(path).ok();
  stage.root.facts('from');
  stage.root.rename('from/d', 'to/d').ok();
  stage.root.facts('from');
  stage.root.facts('to');
  stage.root.rename('to/d', 'to/e').ok();
  stage.root.facts('to');
  const up = stage.root.ino('to/e/..');
  stage.equal('.. leads to the new parent', up === stage.root.ino('to'), true);
}

function overOpenFile(stage: Stage): void {
  stage.root.file('old', 'old content');
  stage.root.file('new', 'new content');
  const fd = stage.root.open('old', O_RDWR).ok();
  stage.root.rename('new', 'old').ok();
  stage.equal('by name', stage.root.content('old'), 'new content');
  stage.equal('by descriptor', stage.root.read(fd, 50, 0), 'old content');
  stage.root.write(fd, 'OLD', 0).is(3);
  stage.equal('by descriptor', stage.root.read(fd, 50, 0), 'OLD content');
  stage.equal('by name', stage.root.content('old'), 'new content');
}

/** Whoever holds the replaced object open sees that it has no name any more. */
function replacedHasNoLinks(stage: Stage): void {
  for (const type of ['regular', 'dir'] as const) {
    stage.make(type, 'old');
    stage.make(type, 'new');
    const fd = stage.root.open('old', O_RDONLY).ok();
    stage.root.rename('new', 'old').ok();
    stage.equal('links', stage.root.fstat(fd).nlink, 0);
    stage.root.remove('old', type === 'dir').ok();
    stage.equal('links', stage.root.fstat(fd).nlink, 0);
  }
}

function whiteout(stage: Stage): void {
  stage.root.file('a', 'text');
  const reply = stage.root.rename('a', 'b', RENAME_WHITEOUT);
  if (reply.value < 0) {
    stage.root.has('a', { type: 'regular' });
    reply.ok();
  }
  stage.root.has('a', { type: 'char', rdev: '0:0' });
  stage.equal('content', stage.root.content('b'), 'text');
  stage.root.chmod('.', 0o777).ok();
  stage.alice.file('mine', 'x');
  if (stage.alice.rename('mine', 'yours', RENAME_WHITEOUT).is(0, 'EPERM').value === 0) {
    stage.root.has('mine', { type: 'char', uid: stage.alice.uid, gid: stage.alice.gid });
  }
  stage.root.rename('b', 'c', RENAME_WHITEOUT | RENAME_EXCHANGE).is('EINVAL');
  stage.root.rename('b', 'c', RENAME_NOREPLACE | RENAME_EXCHANGE).is('EINVAL');
  stage.root.rename('b', 'c', 8).is('EINVAL');
}

function needsRights(stage: Stage): void {
  stage.root.mkdir('mine', 0o777).ok();
  stage.root.mkdir('closed', 0o777).ok();
  stage.alice.create('mine/f').ok();
  stage.alice.create('closed/g').ok();
  stage.alice.mkdir('mine/d').ok();
  stage.root.chmod('closed', 0o555).ok();
  stage.alice.rename('mine/f', 'closed/f').is('EACCES');
  stage.alice.rename('closed/g', 'mine/g').is('EACCES');
  stage.alice.rename('mine/f', 'closed/g').is('EACCES');
  stage.alice.rename('mine/f', 'closed/g', RENAME_EXCHANGE).is('EACCES');
  stage.root.chmod('closed', 0o777).ok();
  stage.alice.chmod('mine/d', 0o555).ok();
  // A directory that gets another parent is written to, for `..`.
  stage.alice.rename('mine/d', 'closed/d').is('EACCES');
  stage.alice.rename('mine/d', 'mine/e').ok();
}

export const rename = family('rename', [
  ...each(
    'replaces what it may',
    PAIRS,
    (stage, [from, to]) => replaces(stage, from, to),
    showPair,
  ),
  ...each('EXCHANGE swaps', PAIRS, (stage, [from, to]) => exchanges(stage, from, to), showPair),
  ...each(
    'NOREPLACE keeps what is there',
    PAIRS,
    (stage, [from, to]) => keepsWhatIsThere(stage, from, to),
    showPair,
  ),
  ...each('moves an object as it is', FILE_TYPES, moves),
  ['directories count subdirectories that come and go', parentLinks],
  ['an open file that is replaced stays what it was', overOpenFile],
  ['what is replaced has no links for whom it is open', replacedHasNoLinks],
  ['WHITEOUT leaves a whiteout, and flags that contradict are EINVAL', whiteout],
  ['needs to write both directories, and a directory that moves', needsRights],
  [
    'over another name of the same file does nothing',
    (stage) => {
      stage.root.file('a', 'x');
      stage.root.link('a', 'b').ok();
      stage.touches('.', '', () => void stage.root.rename('a', 'b').ok());
      stage.root.has('a', { nlink: 2 });
      stage.root.has('b', { nlink: 2 });
      stage.root.rename('a', 'a').ok();
      stage.root.mkdir('d').ok();
      stage.root.rename('d', 'd').ok();
    },
  ],
  [
    'a file that is replaced loses one link',
    (stage) => {
      stage.root.create('a').ok();
      stage.root.create('b').ok();
      stage.root.link('b', 'c').ok();
      stage.touches('c', 'ctime', () => void stage.root.rename('a', 'b').ok());
      stage.root.has('c', { nlink: 1 });
    },
  ],
  [
    'a directory is not moved into itself',
    (stage) => {
      stage.root.mkdir('a').ok();
      stage.root.mkdir('a/b').ok();
      stage.root.mkdir('a/b/c').ok();
      stage.root.rename('a', 'a/x').is('EINVAL');
      stage.root.rename('a', 'a/b/c').is('EINVAL');
      stage.root.rename('a', 'a/b/c/d').is('EINVAL');
      stage.root.rename('a/b/c', 'a').is('ENOTEMPTY');
      stage.root.rename('a', 'a/b', RENAME_EXCHANGE).is('EINVAL');
    },
  ],
  [
    'a directory with something in it is not replaced',
    (stage) => {
      stage.root.mkdir('a').ok();
      stage.root.mkdir('b').ok();
      stage.root.create('b/x').ok();
      stage.root.rename('a', 'b').is('ENOTEMPTY', 'EEXIST');
      stage.root.unlink('b/x').ok();
      stage.root.rename('a', 'b').ok();
    },
  ],
  [
    'a full directory replaces an empty one and keeps what is in it',
    (stage) => {
      stage.root.mkdir('a').ok();
      stage.root.mkdir('b').ok();
      stage.root.file('a/x', 'inside');
      const fd = stage.root.open('a/x', O_RDONLY).ok();
      stage.root.rename('a', 'b').ok();
      stage.equal('content', stage.root.content('b/x'), 'inside');
      stage.equal('content', stage.root.read(fd, 50, 0), 'inside');
      stage.root.tryStat('a/x').is('ENOENT');
    },
  ],
  [
    'EXCHANGE and NOREPLACE need what they need',
    (stage) => {
      stage.root.create('a').ok();
      stage.root.rename('a', 'none', RENAME_EXCHANGE).is('ENOENT');
      stage.root.rename('none', 'a', RENAME_EXCHANGE).is('ENOENT');
      stage.root.rename('none', 'b', RENAME_NOREPLACE).is('ENOENT');
      stage.root.rename('a', 'a', RENAME_NOREPLACE).is('EEXIST');
    },
  ],
  [
    'a symlink is moved, not what it points to',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.symlink('f', 'l').ok();
      stage.root.rename('l', 'm').ok();
      stage.root.has('m', { type: 'symlink' });
      stage.root.rename('f', 'm').ok();
      stage.root.has('m', { type: 'regular' });
    },
  ],
  [
    'a file is renamed and made anew while it is open',
    (stage) => {
      for (let round = 0; round < 20; round += 1) {
        const fd = stage.root.open('x', O_CREAT | O_RDWR, 0o644).ok();
        stage.root.write(fd, `${round}`, 0);
        stage.root.rename('x', `y${round}`).ok();
        stage.root.tryStat('x').is('ENOENT');
      }
      for (let round = 0; round < 20; round += 1) {
        stage.equal('content', stage.root.content(`y${round}`), `${round}`);
      }
    },
  ],
]);
