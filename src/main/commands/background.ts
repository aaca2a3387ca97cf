/**
 * `--background`. Node cannot fork: the command runs itself again, detached, and hears through a
 * pipe on fd 3 whether the mount became usable.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { EXIT, SluiceError } from '../../shared/errors.ts';

const PARENT_FD = 3;
const PARENT_VARIABLE = 'SLUICE_PARENT_FD';

/** How a start ended: the line to print, and the exit status (0: mounted). */
export interface Outcome {
  readonly line: string;
  readonly exitCode: number;
}

/** Tells the waiting parent; only the first outcome counts. */
export type TellParent = (outcome: Outcome) => void;

/**
 * The way to the parent when this process is the one in the background, else undefined. The
 * variable is removed, so that no program started from here takes itself for one.
 */
export function takeParent(): TellParent | undefined {
  const isChild = process.env[PARENT_VARIABLE] === String(PARENT_FD);
  delete process.env[PARENT_VARIABLE];
  if (!isChild) {
    return undefined;
  }
  let isTold = false;
  return (outcome) => {
    if (isTold) {
      return;
    }
    isTold = true;
    try {
      writeSync(PARENT_FD, `${JSON.stringify(outcome)}\n`);
    } catch {
      // The parent was killed while it waited: the mount is wanted all the same.
    }
    closeSync(PARENT_FD);
  };
}

/**
 * Runs this command again in the background and waits until its mount is usable or has failed.
 *
 * @param argv the arguments of this command
 * @param namespace a file that names the mount namespace to run it in; undefined: this one
 * @throws SluiceError ERR_SLUICE_SYSTEM when no process can be started
 */
export async function startInBackground(
  argv: readonly string[],
  namespace?: string,
): Promise<Outcome> {
  const script = process.argv[1] ?? '';
  // A process with threads, as Node is one, cannot change its mount namespace.
  const entry = namespace === undefined ? [] : ['nsenter', `--mount=${namespace}`, '--'];
  const command = [...entry, process.execPath, ...process.execArgv, script, ...argv];
  const child = spawn(command[0] as string, command.slice(1), {
    detached: true,
    stdio: ['ignore', 'ignore', isJournal() ? 'inherit' : 'ignore', 'pipe'],
    env: { ...process.env, [PARENT_VARIABLE]: String(PARENT_FD) },
  });
  const passOn = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  process.on('SIGINT', passOn);
  process.on('SIGTERM', passOn);
  const [told, ending] = [firstLine(child.stdio[PARENT_FD] as Readable), endOf(child)];
  const line = await Promise.race([told, ending.then(() => told)]);
  process.off('SIGINT', passOn);
  process.off('SIGTERM', passOn);
  if (line === undefined) {
    return {
      line: `sluice: ${await ending}; the log file (log_file) says why`,
      exitCode: EXIT.bug,
    };
  }
  child.unref();
  return JSON.parse(line) as Outcome;
}

/** Whether stderr goes to the journal (systemd.exec(5)), where it may stay open: fstab at boot. */
function isJournal(): boolean {
  const { dev, ino } = fstatSync(2);
  return process.env['JOURNAL_STREAM'] === `${dev}:${ino}`;
}

/** The first line of a stream; undefined when it ends before one is complete. */
function firstLine(stream: Readable): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n')) {
        stream.destroy();
        resolve(text.slice(0, text.indexOf('\n')));
      }
    });
    stream.on('error', () => resolve(undefined));
    stream.on('close', () => resolve(undefined));
  });
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => {
      const message = `the background process cannot be started (${cause.message}); run it in the foreground`;
      reject(new SluiceError('ERR_SLUICE_SYSTEM', message, { cause }));
    });
    child.on('exit', (code, signal) => {
      resolve(`the background process ended before the mount was usable (${signal ?? code})`);
    });
  });
}
