/** POSIX ACLs: whom they let in, what new objects inherit, how chmod and they go together. */
import {
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import { umask } from '../../../src/shared/sys/libc.ts';
import { ACCESS_ACL, acl, aclText, DEFAULT_ACL } from '../acl.ts';
import type { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { R_OK, W_OK, X_OK } from '../numbers.ts';
import type { Stage } from '../stage.ts';

function read(stage: Stage, path: string, name = ACCESS_ACL): string {
  const reply = stage.root.getxattr(path, name);
  if (reply.value < 0) return String(reply.result);
  return aclText(Buffer.from(stage.root.xattr(path, name), 'latin1'));
}

interface AccessCase {
  readonly acl: string;
  /** What alice, bob and carol may, in letters. */
  readonly alice: string;
  readonly bob: string;
  readonly carol: string;
}

/** The file is root's; TEAM_GID 65541 has alice and bob. */
const ACCESS: readonly AccessCase[] = [
  { acl: 'u:7 U:65531:6 g:0 m:7 o:0', alice: 'rw', bob: '', carol: '' },
  { acl: 'u:7 U:65531:7 g:0 m:4 o:0', alice: 'r', bob: '', carol: '' },
  { acl: 'u:7 U:65531:0 g:0 m:7 o:7', alice: '', bob: 'rwx', carol: 'rwx' },
  { acl: 'u:7 g:0 G:65541:6 m:7 o:4', alice: 'rw', bob: 'rw', carol: 'r' },
  // With an empty mask Linux asks no ACL: the mode says that its group is in the class of others.
  { acl: 'u:7 g:0 G:65541:6 m:0 o:4', alice: 'r', bob: 'r', carol: 'r' },
  { acl: 'u:7 U:65532:1 g:0 G:65541:6 m:7 o:4', alice: 'rw', bob: 'x', carol: 'r' },
  { acl: 'u:7 g:0 G:65533:2 G:65541:4 m:6 o:0', alice: 'r', bob: 'r', carol: 'w' },
  { acl: 'u:0 U:65533:5 g:7 m:7 o:2', alice: 'w', bob: 'w', carol: 'rx' },
];

function letsIn(stage: Stage, choice: AccessCase): void {
  stage.root.create('f', 0o600).ok();
  stage.root.mkdir('d').ok();
  stage.root.create('d/x', 0o666).ok();
  for (const path of ['f', 'd']) stage.root.setxattr(path, ACCESS_ACL, acl(choice.acl)).ok();
  for (const name of ['alice', 'bob', 'carol'] as const) {
    const actor: Actor = stage[name];
    const may = (letter: string) => (choice[name].includes(letter) ? 0 : 'EACCES');
    actor.access('f', R_OK).is(may('r'));
    actor.access('f', W_OK).is(may('w'));
    actor.access('f', X_OK).is(may('x'));
    actor.tryOpen('f', O_RDONLY).is(may('r'));
    actor.tryOpen('f', O_WRONLY).is(may('w'));
    actor.tryOpen('d', O_RDONLY).is(may('r'));
    actor.tryStat('d/x').is(may('x'));
    const mayMake = choice[name].includes('w') && choice[name].includes('x');
    actor.create(`d/${name}`).is(mayMake ? 0 : 'EACCES');
  }
  stage.root.facts('f');
  stage.note('acl', read(stage, 'f'));
}

const DEFAULTS = [
  'u:7 g:5 o:5',
  'u:7 g:7 o:0',
  'u:7 U:65532:7 g:5 m:7 o:0',
  'u:6 U:65532:4 g:4 m:4 o:4',
  'u:7 g:5 G:65541:7 m:7 o:5',
  'u:7 U:65532:7 g:7 G:65533:7 m:5 o:7',
  'u:0 g:0 o:0',
];

function inherits(stage: Stage, value: string): void {
  stage.root.mkdir('d', 0o777).ok();
  stage.root.setxattr('d', DEFAULT_ACL, acl(value)).ok();
  for (const mask of [0, 0o022, 0o077]) {
    const old = umask(mask);
    stage.later(() => umask(old));
    for (const mode of [0o777, 0o666, 0o640, 0o600, 0o000]) {
      const suffix = `${mask.toString(8)}-${mode.toString(8)}`;
      stage.alice.tryOpen(`d/f${suffix}`, O_CREAT | O_RDWR, mode).ok();
      stage.alice.mkdir(`d/d${suffix}`, mode).ok();
      stage.alice.mkfifo(`d/p${suffix}`, mode).ok();
      stage.alice.symlink('x', `d/l${suffix}`).ok();
      for (const kind of ['f', 'd', 'p', 'l']) {
        const path = `d/${kind}${suffix}`;
        stage.root.facts(path);
        stage.note('access', read(stage, path));
      }
      stage.equal('default', read(stage, `d/d${suffix}`, DEFAULT_ACL), value);
    }
    umask(old);
  }
}

function temporaryInherits(stage: Stage): void {
  stage.root.mkdir('d', 0o777).ok();
  stage.root.setxattr('d', DEFAULT_ACL, acl('u:7 U:65532:6 g:4 m:6 o:0')).ok();
  const old = umask(0o077);
  stage.later(() => umask(old));
  const fd = stage.alice.open('d', O_TMPFILE | O_RDWR, 0o666).ok();
  stage.alice.publish(fd, 'd/f').ok();
  stage.root.facts('d/f');
  stage.note('access', read(stage, 'd/f'));
}

function chmodMovesMask(stage: Stage): void {
  stage.root.create('f', 0o640).ok();
  stage.root.setxattr('f', ACCESS_ACL, acl('u:6 U:65531:6 g:4 m:6 o:0')).ok();
  stage.root.has('f', { mode: 0o660 });
  stage.root.chmod('f', 0o640).ok();
  stage.equal('acl', read(stage, 'f'), 'u:6 U:65531:6 g:4 m:4 o:0');
  stage.alice.tryOpen('f', O_WRONLY).is('EACCES');
  stage.alice.tryOpen('f', O_RDONLY).ok();
  stage.root.chmod('f', 0o777).ok();
  stage.equal('acl', read(stage, 'f'), 'u:7 U:65531:6 g:4 m:7 o:7');
  stage.alice.tryOpen('f', O_RDWR).ok();
}

const INVALID = [
  'u:7 g:7',
  'u:7 o:7',
  'g:7 u:7 o:7',
  'u:7 U:65531:7 g:7 o:7',
  'u:7 u:7 g:7 o:7',
  'u:9 g:7 o:7',
  'u:7 U:65531:7 U:65530:7 g:7 m:7 o:7',
  'u:7 U:65531:7 U:65531:7 g:7 m:7 o:7',
];

function refuses(stage: Stage, value: string): void {
  stage.root.create('f', 0o640).ok();
  stage.root.mkdir('d', 0o750).ok();
  stage.root.setxattr('f', ACCESS_ACL, acl(value));
  stage.root.setxattr('d', DEFAULT_ACL, acl(value));
  stage.root.facts('f');
  stage.note('acls', [read(stage, 'f'), read(stage, 'd', DEFAULT_ACL)]);
}

function setGidGoes(stage: Stage): void {
  stage.root.chmod('.', 0o777).ok();
  for (const [index, gid] of [65533, 65531, 65541].entries()) {
    stage.alice.create(`f${index}`).ok();
    stage.root.chown(`f${index}`, 65531, gid).ok();
    stage.root.chmod(`f${index}`, 0o2755).ok();
    stage.alice.setxattr(`f${index}`, ACCESS_ACL, acl('u:7 U:65532:5 g:5 m:5 o:5')).ok();
    stage.root.facts(`f${index}`);
  }
}

function many(stage: Stage, entries: number): void {
  stage.root.create('f').ok();
  const users = Array.from({ length: entries }, (_, at) => `U:${1000 + at}:5`).join(' ');
  const value = `u:7 ${users} g:5 m:7 o:5`;
  const reply = stage.root.setxattr('f', ACCESS_ACL, acl(value));
  if (reply.value === 0) stage.equal('acl is kept', read(stage, 'f') === value, true);
  stage.root.getxattr('f', ACCESS_ACL, 0);
  stage.root.getxattr('f', ACCESS_ACL, 10);
}

export const acls = family('acls', [
  ...each('let in whom they name', ACCESS, letsIn, (choice) => choice.acl),
  ...each('are inherited with the mode and without the umask', DEFAULTS, inherits),
  ...each('that are wrong are refused', INVALID, refuses),
  ...each('of many entries', [10, 100, 500, 4000], many),
  ['are inherited by files without a name', temporaryInherits],
  ['chmod changes the mask', chmodMovesMask],
  ['set-group-id goes when somebody outside the group sets one', setGidGoes],
  [
    'equal to a mode are the mode',
    (stage) => {
      stage.root.create('f', 0o600).ok();
      stage.root.setxattr('f', ACCESS_ACL, acl('u:7 g:5 o:1')).ok();
      stage.root.has('f', { mode: 0o751 });
      stage.equal('acl', read(stage, 'f'), 'ENODATA');
      stage.root.listxattr('f');
    },
  ],
  [
    'are removed and the mode stays',
    (stage) => {
      stage.root.create('f', 0o640).ok();
      stage.root.setxattr('f', ACCESS_ACL, acl('u:6 U:65531:7 g:0 m:7 o:0')).ok();
      stage.root.has('f', { mode: 0o670 });
      stage.root.listxattr('f');
      stage.root.removexattr('f', ACCESS_ACL).ok();
      stage.root.facts('f');
      stage.root.removexattr('f', ACCESS_ACL);
      stage.root.removexattr('f', DEFAULT_ACL);
    },
  ],
  [
    'by default belong to directories',
    (stage) => {
      stage.root.create('f').ok();
      stage.root.symlink('f', 'l').ok();
      stage.root.setxattr('f', DEFAULT_ACL, acl('u:7 g:5 o:5')).is('EACCES');
      stage.root.setxattr('l', ACCESS_ACL, acl('u:7 g:5 o:5')).is('EOPNOTSUPP');
      stage.root.mkdir('d').ok();
      stage.root.setxattr('d', DEFAULT_ACL, acl('u:7 g:5 o:5')).ok();
      stage.root.setxattr('d', DEFAULT_ACL, acl('')).ok();
      stage.equal('default', read(stage, 'd', DEFAULT_ACL), 'ENODATA');
    },
  ],
  [
    'are set by the owner',
    (stage) => {
      stage.root.chmod('.', 0o777).ok();
      stage.alice.create('f', 0o666).ok();
      stage.bob.setxattr('f', ACCESS_ACL, acl('u:7 g:7 o:7')).is('EPERM');
      stage.alice.setxattr('f', ACCESS_ACL, acl('u:6 U:65532:6 g:0 m:6 o:0')).ok();
      stage.bob.tryOpen('f', O_RDWR).ok();
      stage.carol.tryOpen('f', O_RDONLY).is('EACCES');
      stage.bob.removexattr('f', ACCESS_ACL).is('EPERM');
    },
  ],
  [
    'that change count at once',
    (stage) => {
      stage.root.create('f', 0o600).ok();
      for (let round = 0; round < 3; round += 1) {
        stage.root.setxattr('f', ACCESS_ACL, acl('u:6 U:65531:4 g:0 m:4 o:0')).ok();
        stage.alice.tryOpen('f', O_RDONLY).ok();
        stage.root.setxattr('f', ACCESS_ACL, acl('u:6 U:65531:0 g:0 m:4 o:0')).ok();
        stage.alice.tryOpen('f', O_RDONLY).is('EACCES');
      }
    },
  ],
  [
    'a setgid directory with a default ACL gives both',
    (stage) => {
      stage.root.mkdir('d', 0o777).ok();
      stage.root.chown('d', 0, 65541).ok();
      stage.root.chmod('d', 0o2777).ok();
      stage.root.setxattr('d', DEFAULT_ACL, acl('u:7 G:65533:7 g:7 m:7 o:0')).is('EINVAL');
      stage.root.setxattr('d', DEFAULT_ACL, acl('u:7 g:7 G:65533:7 m:7 o:0')).ok();
      stage.alice.mkdir('d/sub', 0o755).ok();
      stage.carol.create('d/file', 0o2775).ok();
      for (const path of ['d/sub', 'd/file']) {
        stage.root.facts(path);
        stage.note('access', read(stage, path));
      }
    },
  ],
]);
