/** Sticky directories: what is in them may be removed by its owner, the directory's owner and root. */
import type { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { RENAME_EXCHANGE } from '../numbers.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

interface Situation {
  readonly directoryOwner: 'root' | 'alice' | 'bob';
  readonly fileOwner: 'alice' | 'bob';
  readonly actor: 'root' | 'alice';
}

const SITUATIONS: readonly Situation[] = (['root', 'alice', 'bob'] as const).flatMap(
  (directoryOwner) =>
    (['alice', 'bob'] as const).flatMap((fileOwner) =>
      (['root', 'alice'] as const).map((actor) => ({ directoryOwner, fileOwner, actor })),
    ),
);

function expected({ directoryOwner, fileOwner, actor }: Situation): string | number {
  return actor === 'root' || actor === directoryOwner || actor === fileOwner ? 0 : 'EPERM';
}

function prepare(stage: Stage, situation: Situation, type: FileType, mode = 0o666): Actor {
  stage.root.mkdir('sticky', 0o777).ok();
  stage.root.chown('sticky', stage[situation.directoryOwner].uid, 0).ok();
  stage.root.chmod('sticky', 0o1777).ok();
  stage.root.mkdir('open', 0o777).ok();
  stage.make(type, 'sticky/x', mode, stage[situation.fileOwner]);
  return stage[situation.actor];
}

type Removal = (stage: Stage, actor: Actor, type: FileType, expected: string | number) => void;

const REMOVALS: Readonly<Record<string, Removal>> = {
  'removing it': (_, actor, type, must) => void actor.remove('sticky/x', type === 'dir').is(must),
  'renaming it in the directory': (_, actor, _type, must) =>
    void actor.rename('sticky/x', 'sticky/y').is(must),
  'renaming over it': (stage, actor, type, must) => {
    stage.make(type === 'dir' ? 'dir' : 'regular', 'open/new', 0o666, actor);
    actor.rename('open/new', 'sticky/x').is(must);
  },
  'exchanging it': (stage, actor, type, must) => {
    stage.make(type === 'dir' ? 'dir' : 'regular', 'open/new', 0o666, actor);
    actor.rename('open/new', 'sticky/x', RENAME_EXCHANGE).is(must);
  },
};

function movingOut(stage: Stage, type: FileType, situation: Situation): void {
  const actor = prepare(stage, situation, type, 0o644);
  // A directory of another's cannot change its parent either: `..` in it would change.
  const ownsIt = situation.actor === 'root' || situation.actor === situation.fileOwner;
  const must =
    type === 'dir' && !ownsIt && expected(situation) === 0 ? 'EACCES' : expected(situation);
  actor.rename('sticky/x', 'open/x').is(must);
}

const titleOf = ({ directoryOwner, fileOwner, actor }: Situation): string =>
  `${directoryOwner}'s directory, ${fileOwner}'s object, by ${actor}`;

export const sticky = family('sticky', [
  ...Object.entries(REMOVALS).flatMap(([what, removal]) =>
    FILE_TYPES.flatMap((type) =>
      each(
        `${what}, ${type}`,
        SITUATIONS,
        (stage, situation) =>
          removal(stage, prepare(stage, situation, type), type, expected(situation)),
        titleOf,
      ),
    ),
  ),
  ...FILE_TYPES.flatMap((type) =>
    each(
      `moving it out, ${type}`,
      SITUATIONS,
      (stage, situation) => movingOut(stage, type, situation),
      titleOf,
    ),
  ),
  [
    'creating and linking are open to all',
    (stage) => {
      stage.root.mkdir('sticky', 0o777).ok();
      stage.root.chmod('sticky', 0o1777).ok();
      stage.alice.create('sticky/a').ok();
      stage.bob.mkdir('sticky/b').ok();
      stage.alice.link('sticky/a', 'sticky/a2').ok();
      stage.bob.unlink('sticky/a2').is('EPERM');
      stage.alice.unlink('sticky/a2').ok();
    },
  ],
  [
    'only the owner sets it, and on files it is allowed',
    (stage) => {
      stage.root.mkdir('open', 0o777).ok();
      stage.alice.mkdir('open/d').ok();
      stage.alice.create('open/f').ok();
      stage.alice.chmod('open/d', 0o1755).ok();
      stage.alice.chmod('open/f', 0o1644).ok();
      stage.bob.chmod('open/d', 0o755).is('EPERM');
      stage.root.has('open/d', { mode: 0o1755 });
      stage.root.has('open/f', { mode: 0o1644 });
    },
  ],
]);
