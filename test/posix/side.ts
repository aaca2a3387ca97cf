/**
 * `node side.js ROOT PATTERN FIRST SET`: tries the behaviours of a set whose names contain PATTERN,
 * from the FIRST on, and answers each with a line of JSON. General ones get a directory of their own
 * below ROOT. A process of its own: a mount that hangs, hangs whoever touches it.
 */
import { mkdirSync, writeSync } from 'node:fs';
import * as libc from '../../src/shared/sys/libc.ts';
import * as sys from '../differential/syscalls.ts';
import type { Behaviour } from './behaviour.ts';
import { SETS, type SetName } from './behaviours.ts';
import { NotHere, Stage, Unmet } from './stage.ts';
import type { Trial } from './trial.ts';

function verdictOf(error: unknown): Pick<Trial, 'unmet' | 'notHere'> {
  if (error instanceof NotHere) return { notHere: error.message };
  if (error instanceof Unmet) return { unmet: error.message };
  return { unmet: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

function attempt(home: string, { name, run }: Behaviour, index: number): Trial {
  const started = performance.now();
  const stage = new Stage();
  let verdict: Pick<Trial, 'unmet' | 'notHere'> = {};
  try {
    process.chdir(home);
    run(stage);
  } catch (error) {
    verdict = verdictOf(error);
  }
  try {
    stage.finish();
  } catch (error) {
    verdict = verdictOf(error);
  }
  process.chdir('/');
  return { index, name, log: stage.log, elapsedMs: performance.now() - started, ...verdict };
}

function attemptInOwnDirectory(root: string, behaviour: Behaviour, index: number): Trial {
  const home = `${root}/b${index}`;
  mkdirSync(home);
  const trial = attempt(home, behaviour, index);
  const removed = sys.removeTree(home);
  if (removed === 0) return trial;
  return { ...trial, log: [...trial.log, `removing what is left -> ${removed}`] };
}

const [, , root = '', pattern = '', first = '0', set = 'general'] = process.argv;
const behaviours: readonly Behaviour[] = SETS[set as SetName];
const tryOne = set === 'general' ? attemptInOwnDirectory : attempt;
libc.umask(0);
for (let index = Number(first); index < behaviours.length; index += 1) {
  if (behaviours[index].name.includes(pattern)) {
    writeSync(1, `${JSON.stringify(tryOne(root, behaviours[index], index))}\n`);
  }
}
