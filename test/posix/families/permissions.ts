/** Who may do what to objects of which mode: the classes owner, group and others. */
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../../src/shared/sys/constants.ts';
import type { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { R_OK, W_OK, X_OK } from '../numbers.ts';
import type { Stage } from '../stage.ts';
import { TEAM_GID } from '../user.ts';

/** In which class alice stands to the object. */
type Standing = 'owner' | 'group' | 'supplementary group' | 'others';

const SHIFT: Readonly<Record<Standing, number>> = {
  owner: 6,
  group: 3,
  'supplementary group': 3,
  others: 0,
};
const STANDINGS = Object.keys(SHIFT) as Standing[];
const BITS = [0, 1, 2, 3, 4, 5, 6, 7];

/** The bits for alice's class; the other classes get those she has not, so that a mix-up shows. */
function modeFor(standing: Standing, bits: number): number {
  const others = ~bits & 7;
  const all = (others << 6) | (others << 3) | others;
  return (all & ~(7 << SHIFT[standing])) | (bits << SHIFT[standing]);
}

function place(stage: Stage, path: string, standing: Standing, mode: number): void {
  const uid = standing === 'owner' ? 65531 : 65533;
  const gid = { owner: 65533, group: 65531, 'supplementary group': TEAM_GID, others: 65533 };
  stage.root.chown(path, uid, gid[standing]).ok();
  stage.root.chmod(path, mode).ok();
}

function refusedUnless(isAllowed: boolean): string | number {
  return isAllowed ? 0 : 'EACCES';
}

function onFiles(stage: Stage, standing: Standing): void {
  const { alice } = stage;
  for (const bits of BITS) {
    const path = `f${bits}`;
    stage.root.create(path).ok();
    place(stage, path, standing, modeFor(standing, bits));
    const [mayRead, mayWrite, mayRun] = [(bits & 4) !== 0, (bits & 2) !== 0, (bits & 1) !== 0];
    alice.tryOpen(path, O_RDONLY).is(refusedUnless(mayRead));
    alice.tryOpen(path, O_WRONLY).is(refusedUnless(mayWrite));
    alice.tryOpen(path, O_RDWR).is(refusedUnless(mayRead && mayWrite));
    alice.tryOpen(path, O_RDONLY | O_TRUNC).is(refusedUnless(mayRead && mayWrite));
    alice.tryOpen(path, O_CREAT | O_RDONLY, 0o666).is(refusedUnless(mayRead));
    alice.truncate(path, 0).is(refusedUnless(mayWrite));
    alice.access(path, R_OK).is(refusedUnless(mayRead));
    alice.access(path, W_OK).is(refusedUnless(mayWrite));
    alice.access(path, X_OK).is(refusedUnless(mayRun));
    alice.access(path, R_OK | W_OK | X_OK).is(refusedUnless(bits === 7));
    alice.setxattr(path, 'user.x', 'x').is(refusedUnless(mayWrite));
    alice.getxattr(path, 'user.y').is(mayRead ? 'ENODATA' : 'EACCES');
    alice.utimens(path, 'now', 'now').is(refusedUnless(mayWrite || standing === 'owner'));
  }
}

function onDirectories(stage: Stage, standing: Standing): void {
  const { alice, root } = stage;
  for (const bits of BITS) {
    const path = `d${bits}`;
    root.mkdir(path).ok();
    root.create(`${path}/in`, 0o666).ok();
    root.mkdir(`${path}/sub`, 0o777).ok();
    place(stage, path, standing, modeFor(standing, bits));
    const maySearch = (bits & 1) !== 0;
    const mayChange = maySearch && (bits & 2) !== 0;
    alice.tryOpen(path, O_RDONLY).is(refusedUnless((bits & 4) !== 0));
    alice.chdir(path).is(refusedUnless(maySearch));
    alice.tryStat(`${path}/in`).is(refusedUnless(maySearch));
    alice.tryOpen(`${path}/in`, O_RDWR).is(refusedUnless(maySearch));
    alice.tryLstat(`${path}/none`).is(maySearch ? 'ENOENT' : 'EACCES');
    alice.access(path, W_OK).is(refusedUnless((bits & 2) !== 0));
    changesNames(alice, path, refusedUnless(mayChange));
  }
}

function changesNames(alice: Actor, path: string, must: string | number): void {
  alice.create(`${path}/new`).is(must);
  alice.mkdir(`${path}/newdir`).is(must);
  alice.symlink('x', `${path}/newlink`).is(must);
  alice.mkfifo(`${path}/newfifo`).is(must);
  alice.rename(`${path}/in`, `${path}/out`).is(must);
  alice.rmdir(`${path}/sub`).is(must);
  alice.unlink(must === 0 ? `${path}/out` : `${path}/in`).is(must);
}

function rootMayAll(stage: Stage): void {
  stage.root.create('f', 0o000).ok();
  stage.root.mkdir('d', 0o000).ok();
  stage.root.lchown('f', 65531, 65531).ok();
  stage.root.lchown('d', 65531, 65531).ok();
  stage.root.tryOpen('f', O_RDWR | O_TRUNC).ok();
  stage.root.access('f', R_OK | W_OK).ok();
  stage.root.access('f', X_OK).is('EACCES');
  stage.root.access('d', R_OK | W_OK | X_OK).ok();
  stage.root.create('d/x').ok();
}

type Attempt = (actor: Actor) => { result: string | number };

/** What only the owner and root may do, and what others get. */
const OWNERS_ONLY: Readonly<Record<string, Attempt>> = {
  chmod: (actor) => actor.chmod('o/f', 0o640),
  'chmod of a directory': (actor) => actor.chmod('o/d', 0o755),
  'chown to oneself': (actor) => actor.chown('o/f', actor.uid, actor.gid),
  'chgrp to a common group': (actor) => actor.chown('o/f', -1, TEAM_GID),
  'setting times': (actor) => actor.utimens('o/f', [1, 0], [2, 0]),
  'setting one time': (actor) => actor.utimens('o/f', [1, 0], 'omit'),
  'one time to now': (actor) => actor.utimens('o/f', 'now', 'omit'),
  'open with O_NOATIME': (actor) => actor.tryOpen('o/f', 0o1000000),
  'setting an ACL': (actor) => actor.setxattr('o/f', 'system.posix_acl_access', MINIMAL_ACL),
};

/** user::rw-, group::r--, other::r-- */
const MINIMAL_ACL = Buffer.from('0200000001000600ffffffff04000400ffffffff20000400ffffffff', 'hex');

function onlyTheOwner(stage: Stage, what: string): void {
  stage.root.mkdir('o', 0o777).ok();
  stage.alice.create('o/f', 0o666).ok();
  stage.alice.mkdir('o/d', 0o777).ok();
  const attempt = OWNERS_ONLY[what] as Attempt;
  for (const actor of [stage.bob, stage.carol]) {
    stage.equal(actor.user.name, attempt(actor).result, 'EPERM');
  }
  stage.root.has('o/f', { uid: 65531, gid: 65531, mode: 0o666 });
  if (!what.includes('oneself')) stage.equal('alice', attempt(stage.alice).result, 0);
}

export const permissions = family('permissions', [
  ...each('files are opened by their mode, as', STANDINGS, onFiles),
  ...each('directories are used by their mode, as', STANDINGS, onDirectories),
  ...each('only the owner may', Object.keys(OWNERS_ONLY), onlyTheOwner),
  ['root may do all but run what nobody may run', rootMayAll],
  [
    'a mode that changes counts at once',
    (stage) => {
      stage.root.mkdir('d', 0o755).ok();
      stage.root.create('d/f', 0o644).ok();
      for (let round = 0; round < 3; round += 1) {
        stage.alice.tryOpen('d/f', O_RDONLY).ok();
        stage.root.chmod('d/f', 0o600).ok();
        stage.alice.tryOpen('d/f', O_RDONLY).is('EACCES');
        stage.root.chmod('d/f', 0o644).ok();
        stage.root.chmod('d', 0o700).ok();
        stage.alice.tryStat('d/f').is('EACCES');
        stage.root.chmod('d', 0o755).ok();
      }
    },
  ],
  [
    'an open descriptor outlives its permission',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      const fd = stage.alice.open('d/f', O_CREAT | O_RDWR, 0o600).ok();
      stage.root.chown('d/f', 0, 0).ok();
      stage.root.chmod('d', 0o700).ok();
      stage.alice.write(fd, 'still').is(5);
      stage.equal('content', stage.alice.read(fd, 9, 0), 'still');
      stage.alice.ftruncate(fd, 2).ok();
    },
  ],
]);
