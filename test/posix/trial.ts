/** All behaviours on one directory, by a process that may hang or die on the way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SETS, type SetName } from './behaviours.ts';

const SIDE_PROGRAM = fileURLToPath(new URL('./side.js', import.meta.url));

/** A behaviour that takes longer is taken for hung. */
const BEHAVIOUR_TIMEOUT_MS = 60_000;
/** After SIGKILL a process may still hang in the kernel: it is left behind. */
const REAP_MS = 5_000;
/** So many hangs or deaths end a run: the mount is gone. */
const MOST_LOSSES = 3;

/** What came of one behaviour on one directory. */
export interface Trial {
  readonly index: number;
  readonly name: string;
  /** All that was seen on the way. */
  readonly log: readonly string[];
  readonly elapsedMs: number;
  /** What was not as the behaviour demands. */
  readonly unmet?: string;
  /** Why it cannot be tried here. */
  readonly notHere?: string;
}

interface Selection {
  readonly root: string;
  readonly pattern: string;
  readonly set: SetName;
}

function firstFrom(index: number, { pattern, set }: Selection): number {
  return SETS[set].findIndex((b, at) => at >= index && b.name.includes(pattern));
}

/** Runs from one behaviour on, until the end or a loss: how the process ended. */
async function runFrom(selection: Selection, first: number, trials: Trial[]): Promise<string> {
  const { root, pattern, set } = selection;
  const child = spawn(process.execPath, [SIDE_PROGRAM, root, pattern, String(first), set], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-2000);
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  for (;;) {
    const timer = new AbortController();
    const line = await Promise.race([
      lines.next(),
      sleep(BEHAVIOUR_TIMEOUT_MS, undefined, { signal: timer.signal }),
    ]).finally(() => timer.abort());
    if (line === undefined) break;
    if (line.done) {
      await exited;
      if (child.exitCode === 0) return 'done';
      return `the process died: ${child.signalCode ?? child.exitCode} ${complaint}`;
    }
    trials.push(JSON.parse(line.value) as Trial);
  }
  child.kill('SIGKILL');
  await Promise.race([exited, sleep(REAP_MS, undefined, { ref: false })]);
  child.stdout.destroy();
  child.stderr.destroy();
  child.unref();
  return `it hung for ${BEHAVIOUR_TIMEOUT_MS / 1000} s`;
}

/** Tries the behaviours of a set whose names contain `pattern` below `root`. */
export async function tryAll(
  root: string,
  pattern: string,
  set: SetName = 'general',
): Promise<Trial[]> {
  const selection = { root, pattern, set };
  const trials: Trial[] = [];
  let losses = 0;
  for (let next = firstFrom(0, selection); next >= 0; ) {
    const end = await runFrom(selection, next, trials);
    if (end === 'done') break;
    losses += 1;
    const lost = firstFrom(Math.max(next, (trials.at(-1)?.index ?? -1) + 1), selection);
    if (lost < 0) break;
    trials.push({
      index: lost,
      name: SETS[set][lost].name,
      log: [end],
      elapsedMs: BEHAVIOUR_TIMEOUT_MS,
      unmet: end,
    });
    next = losses < MOST_LOSSES ? firstFrom(lost + 1, selection) : -1;
  }
  return trials;
}
