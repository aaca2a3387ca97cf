/** To whom a new object belongs, and what becomes of its mode. */
import { O_CREAT, O_RDWR, O_TMPFILE } from '../../../src/shared/sys/constants.ts';
import { addressOf, umask } from '../../../src/shared/sys/libc.ts';
import { syscall } from '../../harness/native.ts';
import type { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { SYS } from '../numbers.ts';
import type { Stage } from '../stage.ts';
import { TEAM_GID } from '../user.ts';

type Maker = (actor: Actor, path: string, mode: number) => void;

/** What anybody may make. */
const MAKERS: Readonly<Record<string, Maker>> = {
  mkdir: (actor, path, mode) => void actor.mkdir(path, mode).ok(),
  mkfifo: (actor, path, mode) => void actor.mkfifo(path, mode).ok(),
  'mknod of a socket': (actor, path, mode) => void actor.mknod(path, 0o140000 | mode).ok(),
  'mknod of a file': (actor, path, mode) => void actor.mknod(path, 0o100000 | mode).ok(),
  create: (actor, path, mode) => void actor.create(path, mode).ok(),
  'open without O_EXCL': (actor, path, mode) =>
    void actor.tryOpen(path, O_CREAT | O_RDWR, mode).ok(),
  tmpfile: (actor, path, mode) => {
    const directory = path.slice(0, path.lastIndexOf('/'));
    actor.publish(actor.open(directory, O_TMPFILE | O_RDWR, mode).ok(), path).ok();
  },
};

interface Parent {
  readonly what: string;
  readonly mode: number;
  readonly gid: number;
}

const PARENTS: readonly Parent[] = [
  { what: 'a plain directory', mode: 0o777, gid: 0 },
  { what: "a setgid directory of another's group", mode: 0o2777, gid: 65533 },
  { what: 'a setgid directory of a group of his', mode: 0o2777, gid: TEAM_GID },
  { what: 'a sticky directory', mode: 0o1777, gid: 0 },
];

const MODES = [0o777, 0o644, 0o600, 0o000, 0o2755, 0o4755, 0o6711, 0o2640, 0o1666];

/** What inode_init_owner and mode_strip_sgid of fs/inode.c make of a mode. */
function expectedMode(isDirectory: boolean, parent: Parent, mode: number, actor: Actor): number {
  if ((parent.mode & 0o2000) === 0) return mode;
  if (isDirectory) return mode | 0o2000;
  const inGroup = actor.gid === parent.gid || actor.user.groups.includes(parent.gid);
  const isStripped = (mode & 0o2010) === 0o2010 && !inGroup && actor.uid !== 0;
  return isStripped ? mode & ~0o2000 : mode;
}

function ownsWhatHeMakes(stage: Stage, maker: string, parent: Parent): void {
  stage.root.mkdir('d', 0o777).ok();
  stage.root.chown('d', 0, parent.gid).ok();
  stage.root.chmod('d', parent.mode).ok();
  for (const actor of [stage.root, stage.alice, stage.carol]) {
    for (const mode of MODES) {
      // mkdir(2) takes no set-id bits from its caller.
      const given = maker === 'mkdir' ? mode & 0o1777 : mode;
      const path = `d/${actor.user.name}-${mode.toString(8)}`;
      MAKERS[maker]?.(actor, path, given);
      stage.root.has(path, {
        uid: actor.uid,
        gid: (parent.mode & 0o2000) === 0 ? actor.gid : parent.gid,
        mode: expectedMode(maker === 'mkdir', parent, given, actor),
      });
    }
  }
}

function withUmask(stage: Stage, mask: number): void {
  stage.root.mkdir('d', 0o777).ok();
  const old = umask(mask);
  stage.later(() => umask(old));
  for (const [maker, make] of Object.entries(MAKERS)) {
    const path = `d/${maker.replaceAll(' ', '-')}`;
    make(stage.bob, path, 0o777);
    stage.root.has(path, { uid: stage.bob.uid, gid: stage.bob.gid, mode: 0o777 & ~mask });
  }
}

function bindSocket(stage: Stage, actor: Actor): void {
  // struct sockaddr_un { AF_UNIX, "d/s" }
  const address = Buffer.from(new SharedArrayBuffer(110));
  address.writeUInt16LE(1);
  address.write('d/s', 2);
  const fd = actor.call('socket', () => syscall(SYS.socket, 1, 1, 0), 'fd').ok();
  stage.later(() => actor.close(fd));
  actor.call('bind', () => syscall(SYS.bind, fd, addressOf(address), 110)).ok();
}

export const ownership = family('ownership', [
  ...Object.keys(MAKERS).flatMap((maker) =>
    each(
      `${maker} makes what belongs to the caller in`,
      PARENTS,
      (stage, parent) => ownsWhatHeMakes(stage, maker, parent),
      ({ what }) => what,
    ),
  ),
  ...each('umask is taken off', [0o022, 0o077, 0o027, 0o177, 0o777, 0o002], withUmask, (mask) =>
    mask.toString(8),
  ),
  [
    'bind makes a socket of the caller',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      bindSocket(stage, stage.alice);
      stage.root.has('d/s', { uid: 65531, gid: 65531, type: 'socket' });
    },
  ],
  [
    'symlink makes what belongs to the caller',
    (stage) => {
      for (const { mode, gid } of PARENTS) {
        const directory = `d${mode.toString(8)}-${gid}`;
        stage.root.mkdir(directory, 0o777).ok();
        stage.root.chown(directory, 0, gid).ok();
        stage.root.chmod(directory, mode).ok();
        for (const actor of [stage.root, stage.alice, stage.carol]) {
          actor.symlink('target', `${directory}/${actor.user.name}`).ok();
          stage.root.has(`${directory}/${actor.user.name}`, {
            uid: actor.uid,
            gid: (mode & 0o2000) === 0 ? actor.gid : gid,
            mode: 0o777,
          });
        }
      }
    },
  ],
  [
    'only root makes devices',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      for (const type of [0o020000, 0o060000]) {
        stage.alice.mknod(`d/a${type}`, type | 0o644, 0x103).is('EPERM');
        stage.root.mknod(`d/r${type}`, type | 0o644, 0x103).ok();
        stage.root.has(`d/r${type}`, { uid: 0, gid: 0, rdev: '1:3' });
      }
    },
  ],
  [
    'a link leaves the owner',
    (stage) => {
      stage.root.mkdir('d', 0o2777).ok();
      stage.root.chown('d', 0, 65533).ok();
      stage.root.chmod('d', 0o2777).ok();
      stage.root.mkdir('e', 0o777).ok();
      stage.alice.create('e/f').ok();
      stage.alice.link('e/f', 'd/g').ok();
      stage.root.has('d/g', { uid: 65531, gid: 65531, nlink: 2 });
    },
  ],
  [
    'a renamed object keeps owner, group and mode in a setgid directory',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      stage.root.chown('d', 0, 65533).ok();
      stage.root.chmod('d', 0o2777).ok();
      stage.root.mkdir('e', 0o777).ok();
      stage.alice.mkdir('e/sub', 0o750).ok();
      stage.alice.rename('e/sub', 'd/sub').ok();
      stage.root.has('d/sub', { uid: 65531, gid: 65531, mode: 0o750 });
    },
  ],
  [
    'directories below a setgid directory are setgid all the way down',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      stage.root.chown('d', 0, TEAM_GID).ok();
      stage.root.chmod('d', 0o2777).ok();
      stage.alice.mkdir('d/a', 0o775).ok();
      stage.bob.mkdir('d/a/b', 0o755).ok();
      stage.bob.create('d/a/b/f', 0o664).ok();
      stage.root.has('d/a/b', { uid: 65532, gid: TEAM_GID, mode: 0o2755 });
      stage.root.has('d/a/b/f', { uid: 65532, gid: TEAM_GID, mode: 0o664 });
    },
  ],
  [
    'what a user made is his to use at once',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      for (const actor of [stage.alice, stage.carol]) {
        const path = `d/${actor.user.name}`;
        actor.mkdir(path, 0o700).ok();
        actor.file(`${path}/f`, 'text', 0o600);
        stage.equal('content', actor.content(`${path}/f`), 'text');
        actor.chmod(`${path}/f`, 0o400).ok();
        actor.utimens(`${path}/f`, [1, 1], [2, 2]).ok();
        actor.setxattr(path, 'user.mine', 'x').ok();
      }
      stage.bob.tryStat('d/alice/f').is('EACCES');
    },
  ],
  [
    'open of a mode without rights gives the opened descriptor all it asked for',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      const fd = stage.alice.open('d/f', O_CREAT | O_RDWR, 0o000).ok();
      stage.alice.write(fd, 'text').is(4);
      stage.equal('content', stage.alice.read(fd, 10, 0), 'text');
      stage.alice.tryOpen('d/f', O_RDWR).is('EACCES');
    },
  ],
]);
