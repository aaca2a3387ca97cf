/** What every call that takes a path answers to paths that lead nowhere. */
import {
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import type { Actor } from '../actor.ts';
import { family } from '../behaviour.ts';
import type { Reply, Stage } from '../stage.ts';

type PathCall = (actor: Actor, path: string) => Reply;

/** Calls on what exists. */
const ON_EXISTING: Readonly<Record<string, PathCall>> = {
  stat: (actor, path) => actor.tryStat(path),
  lstat: (actor, path) => actor.tryLstat(path),
  chmod: (actor, path) => actor.chmod(path, 0o644),
  chown: (actor, path) => actor.chown(path, actor.uid, actor.gid),
  lchown: (actor, path) => actor.lchown(path, actor.uid, actor.gid),
  truncate: (actor, path) => actor.truncate(path, 1),
  utimensat: (actor, path) => actor.utimens(path, 'now', 'now'),
  access: (actor, path) => actor.access(path, 4),
  open: (actor, path) => actor.tryOpen(path, O_RDONLY),
  'open for writing': (actor, path) => actor.tryOpen(path, O_RDWR),
  'open without following': (actor, path) => actor.tryOpen(path, O_RDONLY | O_NOFOLLOW),
  unlink: (actor, path) => actor.unlink(path),
  'link from': (actor, path) => actor.link(path, 'linked'),
  'rename from': (actor, path) => actor.rename(path, 'renamed'),
  setxattr: (actor, path) => actor.setxattr(path, 'user.x', 'x'),
  getxattr: (actor, path) => actor.getxattr(path, 'user.x'),
  listxattr: (actor, path) => actor.listxattr(path),
  removexattr: (actor, path) => actor.removexattr(path, 'user.x'),
  readlink: (actor, path) => actor.readlink(path),
  rmdir: (actor, path) => actor.rmdir(path),
  chdir: (actor, path) => actor.chdir(path),
  'open of a directory': (actor, path) => actor.tryOpen(path, O_RDONLY | O_DIRECTORY),
};

/** Calls that make a name; `source` exists. */
const MAKING: Readonly<Record<string, PathCall>> = {
  mkdir: (actor, path) => actor.mkdir(path),
  mkfifo: (actor, path) => actor.mkfifo(path),
  mknod: (actor, path) => actor.mknod(path, 0o140644),
  create: (actor, path) => actor.create(path),
  'open with O_CREAT': (actor, path) => actor.tryOpen(path, O_CREAT | O_WRONLY, 0o644),
  symlink: (actor, path) => actor.symlink('x', path),
  'link to': (actor, path) => actor.link('source', path),
  'rename to': (actor, path) => actor.rename('source', path),
};

const CALLS: readonly (readonly [string, PathCall])[] = [
  ...Object.entries(ON_EXISTING),
  ...Object.entries(MAKING),
];
const MAKES = new Set(Object.keys(MAKING));

function deepPath(lengthBytes: number, last: string): string {
  const room = lengthBytes - last.length;
  return `${'./'.repeat(Math.floor(room / 2))}${room % 2 === 1 ? '/' : ''}${last}`;
}

type Trouble = (stage: Stage, call: PathCall, name: string) => void;

const TROUBLES: Readonly<Record<string, Trouble>> = {
  'ENOENT when a directory of the path is missing': (stage, call) =>
    void call(stage.root, 'none/x').is('ENOENT'),
  'ENOENT for a dangling symlink in the path': (stage, call) => {
    stage.root.symlink('none', 'dangling').ok();
    call(stage.root, 'dangling/x').is('ENOENT');
  },
  'ENOENT for the empty path': (stage, call) => void call(stage.root, '').is('ENOENT'),
  'ENOTDIR when a file stands for a directory': (stage, call) => {
    stage.root.create('file').ok();
    call(stage.root, 'file/x').is('ENOTDIR');
  },
  'ENOTDIR when a fifo stands for a directory': (stage, call) => {
    stage.root.mkfifo('fifo').ok();
    call(stage.root, 'fifo/x').is('ENOTDIR');
  },
  'ENAMETOOLONG for a name of 256 bytes': (stage, call) =>
    void call(stage.root, 'n'.repeat(256)).is('ENAMETOOLONG'),
  'ENAMETOOLONG for a directory name of 256 bytes': (stage, call) =>
    void call(stage.root, `${'n'.repeat(256)}/x`).is('ENAMETOOLONG'),
  'ENAMETOOLONG for a path of 4096 bytes': (stage, call) =>
    void call(stage.root, deepPath(4096, 'x')).is('ENAMETOOLONG'),
  'ELOOP for symlinks in a circle': (stage, call) => {
    stage.root.symlink('b', 'a').ok();
    stage.root.symlink('a', 'b').ok();
    call(stage.root, 'a/x').is('ELOOP');
    call(stage.root, 'b/x').is('ELOOP');
  },
  'EACCES when a directory may not be searched': (stage, call) => {
    stage.root.mkdir('open', 0o777).ok();
    stage.alice.mkdir('open/closed', 0o700).ok();
    stage.alice.file('open/closed/x', 'x', 0o666);
    stage.alice.file('source', 'x', 0o666);
    stage.root.chmod('open/closed', 0o644).ok();
    call(stage.alice, 'open/closed/x').is('EACCES');
    call(stage.bob, 'open/closed/x').is('EACCES');
    call(stage.bob, 'open/closed/sub/x').is('EACCES');
  },
};

/** Paths at their limit lead to the thing. */
function atTheLimit(stage: Stage, name: string, call: PathCall): void {
  const path = deepPath(4095, 'x');
  const longest = 'n'.repeat(255);
  if (MAKES.has(name)) {
    call(stage.root, path).ok();
    stage.root.tryLstat('x').ok();
    stage.root.remove('x', name === 'mkdir').ok();
    if (name === 'rename to') stage.root.create('source').ok();
    call(stage.root, longest).ok();
    stage.equal('names', stage.root.names('.').includes(longest), true);
    return;
  }
  stage.root.create('x').ok();
  stage.root.create(longest).ok();
  stage.root.mkdir('d').ok();
  call(stage.root, longest);
  call(stage.root, path);
  call(stage.root, 'd');
  stage.note('names', stage.root.names('.').length);
}

/** A trailing slash asks for a directory. */
function withSlash(stage: Stage, call: PathCall): void {
  stage.root.create('file').ok();
  stage.root.symlink('file', 'tofile').ok();
  stage.root.mkdir('dir').ok();
  stage.root.symlink('dir', 'todir').ok();
  for (const path of ['file/', 'tofile/', 'none/', 'todir/', 'dir/', 'dir/.', 'dir/..', './']) {
    call(stage.root, path);
  }
}

/** Whoever makes a name needs to write and search the directory. */
function needsWrite(stage: Stage, call: PathCall): void {
  stage.root.mkdir('d', 0o755).ok();
  stage.root.chown('d', stage.alice.uid, stage.alice.gid).ok();
  stage.alice.chmod('d', 0o555).ok();
  call(stage.alice, 'd/x').is('EACCES');
  call(stage.bob, 'd/x').is('EACCES');
  stage.root.chmod('d', 0o666).ok();
  call(stage.alice, 'd/x').is('EACCES');
  stage.equal('names', stage.root.names('d'), []);
}

/** Whoever makes a name finds it taken, whatever stands there. */
function isTaken(stage: Stage, call: PathCall): void {
  for (const type of ['regular', 'dir', 'fifo', 'block', 'char', 'socket', 'symlink'] as const) {
    stage.make(type, type);
    call(stage.root, type).is('EEXIST');
    stage.root.has(type, { type });
  }
}

/** Calls see a file whose last name is a symlink, or the symlink. */
function throughSymlink(stage: Stage, call: PathCall): void {
  stage.root.mkdir('real').ok();
  stage.root.create('real/x').ok();
  stage.root.symlink('real', 'way').ok();
  stage.root.symlink('real/x', 'tox').ok();
  stage.root.symlink('tox', 'totox').ok();
  call(stage.root, 'way/x');
  call(stage.root, 'totox');
  for (const path of ['real', 'way', 'tox']) stage.root.facts(path);
  stage.root.tryLstat('totox');
  stage.note('names', stage.root.names('real'));
  stage.note('all', stage.root.names('.'));
}

function prepared(run: (stage: Stage) => void): (stage: Stage) => void {
  return (stage) => {
    stage.root.chmod('.', 0o777).ok();
    run(stage);
  };
}

export const paths = family('paths', [
  ...Object.entries(TROUBLES).flatMap(([trouble, run]) =>
    CALLS.map(
      ([name, call]) =>
        [
          `${trouble}: ${name}`,
          prepared((stage) => {
            if (!trouble.startsWith('EACCES')) stage.root.file('source', 'x');
            run(stage, call, name);
          }),
        ] as const,
    ),
  ),
  ...CALLS.map(
    ([name, call]) =>
      [
        `a path of 4095 and a name of 255 bytes work: ${name}`,
        (stage: Stage) => {
          stage.root.file('source', 'x');
          atTheLimit(stage, name, call);
        },
      ] as const,
  ),
  ...CALLS.map(
    ([name, call]) =>
      [
        `a slash at the end asks for a directory: ${name}`,
        (stage: Stage) => {
          stage.root.file('source', 'x');
          withSlash(stage, call);
        },
      ] as const,
  ),
  ...CALLS.map(
    ([name, call]) =>
      [
        `symlinks lead on: ${name}`,
        (stage: Stage) => {
          stage.root.file('source', 'x');
          throughSymlink(stage, call);
        },
      ] as const,
  ),
  ...Object.entries(MAKING).map(
    ([name, call]) =>
      [
        `EACCES where nobody may write: ${name}`,
        prepared((stage) => {
          stage.alice.file('source', 'x', 0o666);
          needsWrite(stage, call);
        }),
      ] as const,
  ),
  ...Object.entries(MAKING)
    .filter(([name]) => name !== 'rename to' && name !== 'open with O_CREAT')
    .map(
      ([name, call]) =>
        [
          `EEXIST for a name that is taken: ${name}`,
          (stage: Stage) => {
            stage.root.file('source', 'x');
            isTaken(stage, call);
          },
        ] as const,
    ),
]);
