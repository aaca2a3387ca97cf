/** What programs do with a tree of files. Their start, a few milliseconds, counts. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ARCHIVE_NAME, LAYOUT, type MadeKind, madePath } from '../tree.ts';
import { type Run, runScript, timed, type Workload } from './workload.ts';

/** A script of sh: $1 is the tree, $2 what this round makes, $3 the archive. */
interface Program {
  readonly name: string;
  readonly operation: string;
  readonly script: string;
  /** Makes what the script needs if it is not there yet. */
  readonly needs?: (run: Run) => void;
  /** What $2 names. */
  readonly kind?: MadeKind;
}

function made(run: Run, kind: MadeKind): string {
  return madePath(run.root, kind, run.tag);
}

function operands(run: Run, kind: MadeKind = 'copied'): [string, string, string] {
  return [join(run.root, LAYOUT.tree), made(run, kind), join(run.workDir, ARCHIVE_NAME)];
}

const COPY = 'cp -r "$1" "$2"';
/** Without times (-m): passthrough_hp 3.14 cannot set them. */
const UNPACK = 'tar -xmf "$3" -C "$2"';
const GIT_ADD = 'git -C "$2" add -A';
const GIT_STATUS = 'git -C "$2" status --porcelain >/dev/null';

function ensureRepository(run: Run): void {
  const place = made(run, 'repository');
  if (existsSync(place)) return;
  mkdirSync(place);
  runScript(`git init -q "$2"; ${UNPACK}`, ...operands(run, 'repository'));
}

function ensureAdded(run: Run): void {
  ensureRepository(run);
  if (existsSync(join(made(run, 'repository'), '.git', 'index'))) return;
  runScript(GIT_ADD, ...operands(run, 'repository'));
}

function ensureCopy(run: Run): void {
  if (!existsSync(made(run, 'copied'))) runScript(COPY, ...operands(run, 'copied'));
}

const PROGRAMS: readonly Program[] = [
  { name: 'tar-out', operation: 'tar to a pipe', script: 'tar -cf - -C "$1" . | cat >/dev/null' },
  {
    name: 'tar-in',
    operation: 'tar from a file outside',
    script: UNPACK,
    kind: 'unpacked',
    needs: (run) => mkdirSync(made(run, 'unpacked')),
  },
  { name: 'cp-r', operation: 'cp -r', script: COPY, kind: 'copied' },
  {
    name: 'rm-rf',
    operation: 'rm -rf of what cp made',
    script: 'rm -rf "$2"',
    kind: 'copied',
    needs: ensureCopy,
  },
  {
    name: 'git-add',
    operation: 'git add of all',
    script: GIT_ADD,
    kind: 'repository',
    needs: ensureRepository,
  },
  {
    name: 'git-status',
    operation: 'git status after git add',
    script: GIT_STATUS,
    kind: 'repository',
    needs: ensureAdded,
  },
  {
    name: 'git-status-again',
    operation: 'git status once more',
    script: GIT_STATUS,
    kind: 'repository',
    needs: ensureAdded,
  },
  { name: 'find', operation: 'find -type f', script: 'find "$1" -type f >/dev/null' },
  { name: 'du', operation: 'du -s', script: 'du -s "$1" >/dev/null' },
];

function workloadOf({ name, operation, script, kind, needs }: Program): Workload {
  return {
    name,
    group: 'metadata',
    clients: 1,
    operation: `one file of a tree of 500: ${operation}`,
    ...(needs && { prepare: needs }),
    run: (run) =>
      timed(run, () => {
        runScript(script, ...operands(run, kind));
        return run.sizes.treeFiles;
      }),
  };
}

export const PROGRAM_WORKLOADS: readonly Workload[] = PROGRAMS.map(workloadOf);
