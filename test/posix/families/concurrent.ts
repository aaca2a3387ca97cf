/** Several users at the same time, and users of many groups: nobody gets another's credentials. */
import { spawnSync } from 'node:child_process';
import { O_RDONLY, O_RDWR } from '../../../src/shared/sys/constants.ts';
import { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { Stage } from '../stage.ts';
import { ALICE, BOB, CAROL, type Identity, inGroups, TEAM_GID } from '../user.ts';

const COMMAND_TIMEOUT_MS = 50_000;
const ROUNDS = 30;
const USERS: readonly Identity[] = [
  ALICE,
  BOB,
  CAROL,
  { name: 'root', uid: 0, gid: 0, groups: [] },
];

function prefix({ uid, gid, groups }: Identity): string {
  const supplementary = groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`;
  return `setpriv --reuid=${uid} --regid=${gid} ${supplementary}`;
}

/** Runs a script as every user at once; `$w` is the user's name. */
function together(stage: Stage, script: string): void {
  const lines = USERS.map((user) => `w=${user.name} ${prefix(user)} sh -c '${script}' &`);
  const done = spawnSync('sh', ['-c', `${lines.join('\n')}\nwait`], {
    timeout: COMMAND_TIMEOUT_MS,
    encoding: 'utf8',
  });
  stage.equal('all is done', [done.status, done.stderr.slice(0, 200)], [0, '']);
}

/** What each user made must be his, and all of it there. */
function ownsWhatHeMade(
  stage: Stage,
  directory: string,
  groupOf: (user: Identity) => number,
): void {
  const silent = new Stage();
  const names = silent.root.names(directory);
  const wrong: string[] = [];
  const counts = USERS.map((user) => {
    const own = names.filter((name) => name.startsWith(`${user.name}-`));
    for (const name of own) {
      const { uid, gid } = silent.root.facts(`${directory}/${name}`);
      if (uid !== user.uid || gid !== groupOf(user)) wrong.push(`${name} ${uid}:${gid}`);
    }
    return own.length;
  });
  stage.equal('not his who made it', wrong, []);
  stage.equal(
    'made by each',
    counts,
    USERS.map(() => ROUNDS * 4),
  );
}

const MAKE = `
  i=0
  while [ $i -lt ${ROUNDS} ]; do
    echo $w > d/$w-f$i; mkdir d/$w-d$i; ln -s $w d/$w-l$i; mkfifo d/$w-p$i
    i=$((i+1))
  done`;

function makesAtOnce(stage: Stage, mode: number): void {
  stage.root.mkdir('d', 0o777).ok();
  stage.root.chown('d', 0, TEAM_GID).ok();
  stage.root.chmod('d', mode).ok();
  together(stage, MAKE);
  ownsWhatHeMade(stage, 'd', ({ gid }) => ((mode & 0o2000) === 0 ? gid : TEAM_GID));
}

/** Each tries what only the others may: not one attempt goes through while others work. */
function staysOut(stage: Stage): void {
  stage.root.mkdir('d', 0o777).ok();
  for (const user of USERS) {
    stage.root.mkdir(`d/${user.name}`, 0o700).ok();
    stage.root.chown(`d/${user.name}`, user.uid, user.gid).ok();
  }
  together(
    stage,
    `i=0
     while [ $i -lt ${ROUNDS} ]; do
       echo $i > d/$w/f$i
       for o in alice bob carol root; do
         [ $o = $w ] || [ $w = root ] || { true > d/$o/by-$w-$i; } 2>/dev/null && true
       done
       i=$((i+1))
     done`,
  );
  for (const user of USERS) {
    stage.equal(user.name, stage.root.names(`d/${user.name}`).length, ROUNDS);
  }
}

function ofManyGroups(stage: Stage, count: number): void {
  const groups = Array.from({ length: count }, (_, at) => 70_000 + at);
  const member = new Actor(stage, inGroups('member', groups));
  stage.root.mkdir('d', 0o777).ok();
  for (const gid of new Set([groups[0], groups[count >> 1], groups[count - 1], 70_000 + count])) {
    const directory = `d/${gid}`;
    stage.root.mkdir(directory, 0o777).ok();
    stage.root.chown(directory, 0, gid).ok();
    stage.root.chmod(directory, 0o2777).ok();
    const isMember = gid < 70_000 + count;
    member.create(`${directory}/f`, 0o2775).ok();
    stage.root.has(`${directory}/f`, { uid: 65530, gid, mode: isMember ? 0o2775 : 0o775 });
    member.chmod(`${directory}/f`, 0o2755).ok();
    stage.root.has(`${directory}/f`, { mode: isMember ? 0o2755 : 0o755 });
    stage.root.create(`${directory}/g`, 0o060).ok();
    stage.root.chmod(`${directory}/g`, 0o060).ok();
    member.tryOpen(`${directory}/g`, O_RDWR).is(isMember ? 0 : 'EACCES');
    member.chown(`${directory}/f`, -1, 65530).ok();
    member.chown(`${directory}/f`, -1, gid).is(isMember ? 0 : 'EPERM');
    member.tryOpen(`${directory}/f`, O_RDONLY).ok();
  }
}

export const concurrent = family('concurrent', [
  ...each(
    'users who make at once own what they made, in a directory of mode',
    [0o777, 0o2777, 0o1777],
    makesAtOnce,
    (mode) => mode.toString(8),
  ),
  ['users stay out of what is not theirs', staysOut],
  ...each('groups count, of', [1, 16, 32, 33, 64, 300, 1000], ofManyGroups),
]);
