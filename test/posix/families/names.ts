/** Making, linking and removing names: mkdir, rmdir, mknod, link, symlink, unlink. */
import { AT_SYMLINK_FOLLOW, O_CREAT, O_RDONLY, O_RDWR } from '../../../src/shared/sys/constants.ts';
import { each, family } from '../behaviour.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

const NOT_DIRECTORIES = FILE_TYPES.filter((type) => type !== 'dir');

function makingMovesParent(stage: Stage, type: FileType): void {
  stage.root.mkdir('d').ok();
  stage.touches('d', 'mtime ctime', () => stage.make(type, 'd/x'));
  const { atime, mtime, ctime } = stage.root.times('d/x');
  stage.equal('new times are one', atime === mtime && mtime === ctime, true);
  const ageMs = Math.abs(Date.now() - Number(mtime / 1_000_000n));
  stage.equal('it is new', ageMs < 30_000, true);
}

function removingMovesParent(stage: Stage, type: FileType): void {
  stage.root.mkdir('d').ok();
  stage.make(type, 'd/x');
  stage.touches('d', 'mtime ctime', () => void stage.root.remove('d/x', type === 'dir').ok());
  stage.root.tryLstat('d/x').is('ENOENT');
  stage.equal('names', stage.root.names('d'), []);
}

function removingOneNameMovesCtime(stage: Stage, type: FileType): void {
  stage.make(type, 'a');
  stage.root.link('a', 'b').ok();
  stage.touches('b', 'ctime', () => void stage.root.unlink('a').ok());
  stage.root.has('b', { nlink: 1, type });
}

function linkCounts(stage: Stage, type: FileType): void {
  stage.make(type, 'a', 0o644, stage.alice);
  stage.root.mkdir('d').ok();
  stage.touches('a', 'ctime', () => void stage.root.link('a', 'b').ok());
  stage.root.has('a', { nlink: 2, type });
  stage.touches('d', 'mtime ctime', () => void stage.root.link('b', 'd/c').ok());
  stage.root.has('d/c', { nlink: 3, type, uid: 65531 });
  stage.equal('one inode', stage.root.ino('a') === stage.root.ino('d/c'), true);
  stage.root.unlink('a').ok();
  stage.root.has('b', { nlink: 2 });
  stage.root.link('b', 'a').ok();
  stage.root.has('a', { nlink: 3 });
  for (const path of ['a', 'b', 'd/c']) stage.root.unlink(path).ok();
}

function failedMakingMovesNothing(stage: Stage, type: FileType): void {
  stage.root.chmod('.', 0o777).ok();
  stage.make(type, 'x');
  stage.touches('.', '', () => {
    stage.root.mkdir('x').is('EEXIST');
    stage.root.symlink('t', 'x').is('EEXIST');
    stage.root.mkfifo('x').is('EEXIST');
    stage.root.create('x').is('EEXIST');
  });
  if (type === 'dir') stage.root.unlink('x').is('EISDIR');
  else stage.root.rmdir('x').is('ENOTDIR');
  stage.root.has('x', { type });
}

function notEmpty(stage: Stage, type: FileType): void {
  stage.root.mkdir('d').ok();
  stage.make(type, 'd/x');
  stage.touches('d', '', () => void stage.root.rmdir('d').is('ENOTEMPTY'));
  stage.root.remove('d/x', type === 'dir').ok();
  stage.root.rmdir('d').ok();
  stage.root.tryStat('d').is('ENOENT');
}

function openFileOutlives(stage: Stage): void {
  const fd = stage.root.open('f', O_CREAT | O_RDWR, 0o644).ok();
  stage.root.write(fd, 'before').is(6);
  stage.root.unlink('f').ok();
  stage.root.tryOpen('f', O_RDONLY).is('ENOENT');
  stage.root.write(fd, ' after').is(6);
  stage.equal('content', stage.root.read(fd, 50, 0), 'before after');
  stage.root.ftruncate(fd, 3).ok();
  stage.root.fchmod(fd, 0o600).ok();
  stage.root.create('f').ok();
  stage.root.has('f', { size: 0 });
  stage.equal('content', stage.root.read(fd, 50, 0), 'bef');
  stage.root.has(`/proc/self/fd/${fd}`, { type: 'symlink' });
}

function openFileCountsLinks(stage: Stage): void {
  const fd = stage.root.open('a', O_CREAT | O_RDWR, 0o644).ok();
  const links = (must: number) => stage.equal('links', stage.root.fstat(fd).nlink, must);
  links(1);
  stage.root.link('a', 'b').ok();
  links(2);
  stage.root.unlink('a').ok();
  links(1);
  stage.root.unlink('b').ok();
  links(0);
  stage.root.write(fd, 'x').is(1);
  stage.equal('size', stage.root.fstat(fd).size, 1);
  stage.root.publish(fd, 'c').is('ENOENT');
}

/** The host gives a new file the number of one that is gone: they are not one. */
function reusedNumbers(stage: Stage): void {
  const held: number[] = [];
  for (let round = 0; round < 30; round += 1) {
    const fd = stage.root.open(`f${round}`, O_CREAT | O_RDWR, 0o600 + round).ok();
    stage.root.write(fd, `content ${round}`);
    stage.root.unlink(`f${round}`).ok();
    if (round % 2 === 0) stage.root.close(fd).ok();
    else held.push(fd);
  }
  for (const [index, fd] of held.entries()) {
    stage.equal('content', stage.root.read(fd, 50, 0), `content ${index * 2 + 1}`);
    stage.equal('mode', stage.root.fstat(fd).mode, 0o601 + index * 2);
  }
}

function openDirectoryOutlives(stage: Stage): void {
  stage.root.mkdir('d').ok();
  stage.root.open('d', O_RDONLY).ok();
  stage.root.rmdir('d').ok();
  stage.root.mkdir('d').ok();
  stage.root.create('d/new').ok();
  stage.equal('names', stage.root.names('d'), ['new']);
}

function directoryLinks(stage: Stage): void {
  stage.root.mkdir('d').ok();
  const links = () => stage.root.facts('d').nlink;
  links();
  for (const name of ['a', 'b', 'c']) {
    stage.root.mkdir(`d/${name}`).ok();
    links();
  }
  stage.root.rename('d/a', 'e').ok();
  links();
  stage.root.rmdir('d/b').ok();
  links();
  stage.root.create('d/f').ok();
  links();
}

const TARGETS = [
  ['a short one', 'x'],
  ['59 bytes', 'y'.repeat(59)],
  ['60 bytes', 'y'.repeat(60)],
  ['255 bytes', 'z'.repeat(255)],
  ['1023 bytes', 'z'.repeat(1023)],
  ['4095 bytes', 'z'.repeat(4095)],
  ['bytes that are no UTF-8', '\xff\xfe\x80'],
  ['blanks and newlines', ' a\n\tb '],
  ['an absolute path', '/tmp/../tmp'],
  ['dots', '../..'],
] as const;

function symlinkKeeps(stage: Stage, target: string): void {
  const reply = stage.root.symlink(target, 'l');
  if (reply.value < 0) {
    reply.is('ENAMETOOLONG');
    stage.equal('names', stage.root.names('.'), []);
    return;
  }
  stage.root.has('l', { type: 'symlink', size: target.length, mode: 0o777, nlink: 1 });
  stage.root.readlink('l').is(target.length);
  stage.root.readlink('l', 1).is(1);
  stage.root.readlink('l', 0).is('EINVAL');
}

function chain(stage: Stage, length: number): void {
  stage.root.file('f', 'end');
  for (let at = 0; at < length; at += 1)
    stage.root.symlink(at === 0 ? 'f' : `l${at - 1}`, `l${at}`).ok();
  const reply = stage.root.tryOpen(`l${length - 1}`, O_RDONLY);
  if (length > 40) reply.is('ELOOP');
  else reply.ok();
}

export const names = family('names', [
  ...each('a new name moves mtime and ctime of its directory', FILE_TYPES, makingMovesParent),
  ...each(
    'a name that goes moves mtime and ctime of its directory',
    FILE_TYPES,
    removingMovesParent,
  ),
  ...each('one name less moves ctime', NOT_DIRECTORIES, removingOneNameMovesCtime),
  ...each('links are counted, and are one inode', NOT_DIRECTORIES, linkCounts),
  ...each('a failed call moves no time', FILE_TYPES, failedMakingMovesNothing),
  ...each('rmdir of what is not empty is ENOTEMPTY', FILE_TYPES, notEmpty),
  ...each('rmdir of what is no directory is ENOTDIR', NOT_DIRECTORIES, (stage, type) => {
    stage.make(type, 'x');
    stage.root.rmdir('x').is('ENOTDIR');
  }),
  ...each(
    'a symlink keeps its target',
    TARGETS,
    (stage, [, target]) => symlinkKeeps(stage, target),
    ([what]) => what,
  ),
  ...each('symlinks in a row are followed up to forty', [1, 39, 40, 41], chain),
  ['an open file outlives its name', openFileOutlives],
  ['an open file counts its names', openFileCountsLinks],
  ['numbers that are used again are other files', reusedNumbers],
  ['an open directory outlives its name', openDirectoryOutlives],
  ['directories count their subdirectories as the backing does', directoryLinks],
  [
    'a target of 4096 bytes is ENAMETOOLONG, an empty one ENOENT',
    (stage) => {
      stage.root.symlink('t'.repeat(4096), 'l').is('ENAMETOOLONG');
      stage.root.symlink('', 'l').is('ENOENT');
    },
  ],
  [
    'dots are no names to make or remove',
    (stage) => {
      stage.root.mkdir('d').ok();
      stage.root.rmdir('d/.').is('EINVAL');
      stage.root.rmdir('d/..').is('ENOTEMPTY');
      stage.root.unlink('d/.').is('EISDIR', 'EINVAL', 'EBUSY');
      stage.root.mkdir('.').is('EEXIST');
      stage.root.mkdir('d/..').is('EEXIST');
      stage.root.rename('d', 'd/..').is('EBUSY', 'ENOTEMPTY', 'EINVAL');
      stage.root.rename('.', 'e').is('EBUSY', 'EINVAL');
    },
  ],
  [
    'directories are not linked',
    (stage) => {
      stage.root.mkdir('d').ok();
      stage.root.link('d', 'e').is('EPERM');
      stage.root.chmod('.', 0o777).ok();
      stage.alice.mkdir('a').ok();
      stage.alice.link('a', 'b').is('EPERM');
    },
  ],
  [
    'link takes the symlink, or what it points to with AT_SYMLINK_FOLLOW',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.symlink('f', 'l').ok();
      stage.root.link('l', 'l2').ok();
      stage.root.has('l2', { type: 'symlink', nlink: 2 });
      stage.root.link('l', 'f2', AT_SYMLINK_FOLLOW).ok();
      stage.root.has('f2', { type: 'regular', nlink: 2 });
      stage.root.symlink('none', 'dangling').ok();
      stage.root.link('dangling', 'd2', AT_SYMLINK_FOLLOW).is('ENOENT');
      stage.root.link('dangling', 'd3').ok();
    },
  ],
  [
    'link needs to write the directory, and with protected_hardlinks the file',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      stage.root.create('d/theirs', 0o644).ok();
      stage.root.create('d/open', 0o666).ok();
      stage.alice.link('d/open', 'd/new1').ok();
      stage.alice.link('d/theirs', 'd/new2').is('EPERM');
      stage.root.chmod('d/open', 0o4777).ok();
      stage.alice.link('d/open', 'd/new3').is('EPERM');
      stage.alice.create('d/mine').ok();
      stage.root.chmod('d', 0o755).ok();
      stage.alice.link('d/mine', 'd/new4').is('EACCES');
    },
  ],
  [
    'unlink needs to write the directory, not the file',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      stage.root.create('d/f', 0o000).ok();
      stage.root.mkdir('d/e', 0o000).ok();
      stage.alice.unlink('d/f').ok();
      stage.alice.rmdir('d/e').ok();
      stage.alice.create('d/g').ok();
      stage.root.chmod('d', 0o555).ok();
      stage.alice.unlink('d/g').is('EACCES');
    },
  ],
  [
    'names are bytes',
    (stage) => {
      const odd = [
        '\xff',
        '\x01\x02',
        'a b',
        'a\nb',
        '...',
        '-rf',
        'a\\b',
        '"',
        '\xc3\xa4',
        'A',
        'a',
      ];
      for (const name of odd) stage.root.file(name, name);
      stage.equal('names', stage.root.names('.'), [...odd].sort());
      for (const name of odd) stage.equal('content', stage.root.content(name), name);
    },
  ],
  [
    'mknod makes every type',
    (stage) => {
      for (const type of FILE_TYPES) {
        stage.make(type, type, 0o640);
        stage.root.has(type, { type, nlink: stage.root.facts(type).nlink });
      }
      stage.root.mknod('dir2', 0o040755).is('EPERM');
      stage.root.mknod('link2', 0o120777).is('EPERM', 'EINVAL');
      stage.root.mknod('odd', 0o130644).is('EINVAL', 'EPERM');
      stage.root.mknod('bare', 0o644).ok();
      stage.root.has('bare', { type: 'regular' });
    },
  ],
  [
    'device numbers are kept',
    (stage) => {
      for (const rdev of [0, 0x103, 0xff_ff, 0xfff00, 0x0fff_ffff_f]) {
        const reply = stage.root.mknod(`c${rdev}`, 0o020600, rdev);
        if (reply.value === 0) stage.root.facts(`c${rdev}`);
      }
    },
  ],
  [
    'a name may be made, removed and made anew a hundred times',
    (stage) => {
      for (let round = 0; round < 100; round += 1) {
        const type = FILE_TYPES[round % FILE_TYPES.length];
        stage.make(type, 'x', 0o600 + (round % 8));
        stage.root.has('x', { type });
        stage.root.remove('x', type === 'dir').ok();
        stage.root.tryLstat('x').is('ENOENT');
      }
    },
  ],
]);
