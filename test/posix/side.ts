/**
 * `node side.js ROOT PATTERN FIRST`: tries the behaviours whose names contain PATTERN, from the
 * FIRST on, each in a directory of its own below ROOT, and answers each with a line of JSON. A
 * process of its own: a mount that hangs, hangs whoever touches it.
 */
import { writeSync } from 'node:fs';
import * as libc from '../../src/shared/sys/libc.ts';
import * as sys from '../differential/syscalls.ts';
import { BEHAVIOURS } from './behaviours.ts';
import { NotHere, Stage, Unmet } from './stage.ts';
import type { Trial } from './trial.ts';

function verdictOf(error: unknown): Pick<Trial, 'unmet' | 'notHere'> {
  if (error instanceof NotHere) return { notHere: error.message };
  if (error instanceof Unmet) return { unmet: error.message };
  return { unmet: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

function attempt(root: string, index: number): Trial {
  const { name, run } = BEHAVIOURS[index];
  const home = `${root}/b${index}`;
  const started = performance.now();
  process.chdir(root);
  const stage = new Stage();
  let verdict: Pick<Trial, 'unmet' | 'notHere'> = {};
  try {
    stage.root.mkdir(home.slice(root.length + 1)).ok();
    stage.log.length = 0;
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
  const removed = sys.removeTree(home);
  if (removed < 0) stage.log.push(`removing what is left -> ${removed}`);
  return { index, name, log: stage.log, elapsedMs: performance.now() - started, ...verdict };
}

const [, , root = '', pattern = '', first = '0'] = process.argv;
libc.umask(0);
for (let index = Number(first); index < BEHAVIOURS.length; index += 1) {
  if (BEHAVIOURS[index].name.includes(pattern)) {
    writeSync(1, `${JSON.stringify(attempt(root, index))}\n`);
  }
}
