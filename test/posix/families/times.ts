/** utimensat, atime, btime, and times far from now. */
import {
  AT_SYMLINK_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import type { Time } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

const NOT_LINKS = FILE_TYPES.filter((type) => type !== 'symlink');
const NS = 1_000_000_000n;

const MOMENTS: readonly (readonly [seconds: number, nanoseconds: number])[] = [
  [0, 0],
  [0, 1],
  [1, 999_999_999],
  [1234567890, 123_456_789],
  [-1, 0],
  [-1, 999_999_999],
  [-1_000_000_000, 5],
  [-(2 ** 31), 0],
  [-(2 ** 31) - 1, 0],
  [2 ** 31 - 1, 999_999_999],
  [2 ** 31, 0],
  [2 ** 32 - 1, 1],
  [2 ** 32, 0],
  [2 ** 33 + 7, 7],
  [15_032_385_535, 999_999_999],
  [15_032_385_536, 0],
  [2 ** 40, 0],
  [-(2 ** 40), 0],
];

function show(nanoseconds: bigint): string {
  return `${nanoseconds / NS}s ${nanoseconds % NS}ns`;
}

/** Far times are cut to what the file system keeps: the same on both sides. */
function keeps(stage: Stage, type: FileType): void {
  stage.make(type, 'x');
  for (const [index, moment] of MOMENTS.entries()) {
    const other = MOMENTS[(index + 3) % MOMENTS.length];
    stage.root.utimens('x', moment, other, AT_SYMLINK_NOFOLLOW).ok();
    const { atime, mtime } = stage.root.times('x');
    stage.note('atime', show(atime));
    stage.note('mtime', show(mtime));
    if (moment[0] >= 0 && moment[0] < 2 ** 31) {
      stage.equal('atime', show(atime), show(BigInt(moment[0]) * NS + BigInt(moment[1])));
    }
  }
}

function isNow(nanoseconds: bigint): boolean {
  return Math.abs(Date.now() - Number(nanoseconds / 1_000_000n)) < 30_000;
}

const CHOICES: readonly (readonly [Time, Time])[] = [
  ['now', 'omit'],
  ['omit', 'now'],
  ['now', 'now'],
  ['omit', 'omit'],
  [[100, 1], 'omit'],
  ['omit', [100, 1]],
  [[100, 1], 'now'],
  ['now', [100, 1]],
];

function chooses(stage: Stage, type: FileType): void {
  stage.make(type, 'x', 0o644, stage.alice);
  for (const [atime, mtime] of CHOICES) {
    stage.root.utimens('x', [50, 5], [60, 6], AT_SYMLINK_NOFOLLOW).ok();
    const old = stage.root.times('x');
    stage.tick();
    stage.alice.utimens('x', atime, mtime, AT_SYMLINK_NOFOLLOW).ok();
    const now = stage.root.times('x');
    const becomes = (choice: Time, before: bigint, after: bigint) =>
      choice === 'omit'
        ? after === before
        : choice === 'now'
          ? isNow(after)
          : after === 100n * NS + 1n;
    stage.equal('atime', becomes(atime, old.atime, now.atime), true);
    stage.equal('mtime', becomes(mtime, old.mtime, now.mtime), true);
    stage.equal('ctime moved', now.ctime !== old.ctime, atime !== 'omit' || mtime !== 'omit');
  }
}

function whoMay(stage: Stage, type: FileType): void {
  stage.make(type, 'x', 0o646, stage.alice);
  stage.alice.utimens('x', [1, 1], [2, 2]).ok();
  stage.bob.utimens('x', 'now', 'now').ok();
  stage.bob.utimens('x', [1, 1], [2, 2]).is('EPERM');
  stage.bob.utimens('x', 'now', 'omit').is('EPERM');
  stage.bob.utimens('x', 'omit', 'omit').ok();
  stage.root.chmod('x', 0o444).ok();
  stage.bob.utimens('x', 'now', 'now').is('EACCES');
  stage.bob.utimens('x', [1, 1], [2, 2]).is('EPERM');
  stage.alice.utimens('x', 'now', 'now').ok();
  stage.alice.utimens('x', [1, 1], 'omit').ok();
  stage.root.utimens('x', [3, 3], [4, 4]).ok();
}

function writingMoves(stage: Stage): void {
  stage.root.file('f', 'text');
  const fd = stage.root.open('f', O_RDWR).ok();
  stage.touches('f', 'mtime ctime', () => void stage.root.write(fd, 'x', 0).is(1));
  stage.touches('f', 'mtime ctime', () => void stage.root.write(fd, 'x', 9999).is(1));
  stage.touches('f', '', () => void stage.root.read(fd, 3, 0));
  stage.touches('f', 'mtime ctime', () => void stage.root.ftruncate(fd, 2).ok());
  stage.touches('f', 'ctime', () => void stage.root.setxattr('f', 'user.x', 'x').ok());
  stage.touches('f', 'ctime', () => void stage.root.link('f', 'g').ok());
  stage.touches('f', 'ctime', () => void stage.root.unlink('g').ok());
}

function setTimesStay(stage: Stage): void {
  stage.root.file('f', 'text');
  const fd = stage.root.open('f', O_WRONLY).ok();
  stage.root.write(fd, 'more').is(4);
  stage.root.utimens('f', [111, 1], [222, 2]).ok();
  stage.root.close(fd).ok();
  const { atime, mtime } = stage.root.times('f');
  stage.equal('times', [show(atime), show(mtime)], ['111s 1ns', '222s 2ns']);
  stage.root.chmod('f', 0o600).ok();
  stage.root.rename('f', 'g').ok();
  stage.equal('mtime', show(stage.root.times('g').mtime), '222s 2ns');
}

function readingMovesAtime(stage: Stage): void {
  stage.root.file('f', 'text');
  stage.root.mkdir('d').ok();
  stage.root.create('d/x').ok();
  for (const path of ['f', 'd']) {
    // relatime: an atime not later than mtime is moved by the next read.
    stage.root.utimens(path, [1, 0], [2, 0]).ok();
  }
  stage.tick();
  stage.root.content('f');
  stage.root.names('d');
  stage.note('atime of a file that was read is new', isNow(stage.root.times('f').atime));
  stage.note('atime of a directory that was read is new', isNow(stage.root.times('d').atime));
}

export const times = family('times', [
  ...each('are kept to the nanosecond, before 1970 and after 2038', FILE_TYPES, keeps),
  ...each('UTIME_NOW and UTIME_OMIT choose', FILE_TYPES, chooses),
  ...each('who may set them', NOT_LINKS, whoMay),
  ['writing moves mtime and ctime, reading neither', writingMoves],
  ['times that were set stay when the file is closed', setTimesStay],
  ['reading moves atime as the backing does', readingMovesAtime],
  [
    'a file is born when it is made',
    (stage) => {
      stage.root.create('f').ok();
      const { btime } = stage.root.times('f');
      if (btime === undefined) stage.skip('the backing keeps no time of birth');
      stage.equal('it is new', isNow(btime ?? 0n), true);
      stage.tick();
      stage.root.utimens('f', [1, 1], [2, 2]).ok();
      stage.root.write(stage.root.open('f', O_WRONLY).ok(), 'x');
      stage.root.rename('f', 'g').ok();
      stage.equal('it stays', stage.root.times('g').btime === btime, true);
    },
  ],
  [
    'nanoseconds out of range are EINVAL',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.utimens('f', [0, 1_000_000_000], [0, 0]).is('EINVAL');
      stage.root.utimens('f', [0, 0], [0, 0x3ffffffd]).is('EINVAL');
    },
  ],
  [
    'times through a symlink or of it',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.symlink('f', 'l').ok();
      stage.root.utimens('l', [10, 0], [20, 0]).ok();
      stage.equal('file', show(stage.root.times('f').mtime), '20s 0ns');
      stage.root.utimens('l', [30, 0], [40, 0], AT_SYMLINK_NOFOLLOW).ok();
      stage.equal('link', show(stage.root.times('l').mtime), '40s 0ns');
      stage.equal('file', show(stage.root.times('f').mtime), '20s 0ns');
    },
  ],
  [
    'a descriptor for reading sets times of what it owns',
    (stage) => {
      stage.root.chmod('.', 0o777).ok();
      stage.alice.create('f', 0o444).ok();
      const fd = stage.alice.open('f', O_RDONLY).ok();
      stage.alice.utimens(`/proc/self/fd/${fd}`, [5, 5], [6, 6]).ok();
      stage.equal('mtime', show(stage.root.times('f').mtime), '6s 6ns');
    },
  ],
]);
