#!/usr/bin/env node
/** The executable: `sluice`, and by another name mount(8)'s helper. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { EXIT, type ExitCode } from '../shared/errors.ts';
import type { StartDaemon } from './commands/mount.ts';

const ENOUGH_TO_LOAD = 128;

// A reader of stdout or stderr that goes away does not end a mount.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

/** Whether there may be threads; help, messages and most tools need neither these nor native code. */
let hasThreads = false;

/** Loads the command only now: Node opens many files for that at once, and may not be allowed to. */
async function run(): Promise<ExitCode> {
  const limit = openFilesLimit();
  const argv = process.argv.slice(2);
  try {
    return isCalledByMount(argv)
      ? await (await import('./commands/mount-helper.ts')).runMountHelper(argv, {
          start,
          onThreads,
        })
      : await (await import('./commands/program.ts')).runProgram(argv, { start, onThreads });
  } catch (error) {
    if (limit >= ENOUGH_TO_LOAD) throw error;
    process.stderr.write(
      `sluice: the limit of open files is ${limit}, too small to load the program; raise it with \`ulimit -n\` or LimitNOFILE=\n`,
    );
    return EXIT.system;
  }
}

/**
 * mount(8) runs a link named `mount.sluice` or `mount.fuse.sluice`. Without the latter, mount.fuse3(8)
 * runs `sluice SOURCE MOUNTPOINT -o LIST`, where a command should be.
 */
function isCalledByMount(argv: readonly string[]): boolean {
  const isByFuse = argv[0]?.startsWith('/') === true && argv[2] === '-o';
  return isByFuse || basename(process.argv[1] ?? '').startsWith('mount.');
}

const start: StartDaemon = async (options, logger, watchdog) => {
  onThreads();
  // A collection of main's young generation takes a third of a millisecond; with helpers it waits until those
  // have had a CPU, too.
  setFlagsFromString('--no-parallel-scavenge');
  const daemon = await import('./daemon.ts');
  return daemon.startDaemon(options, logger, { ownsProcess: true, watchdog });
};

function onThreads(): void {
  hasThreads = true;
}

/** Read as text: what asks the kernel is not loaded yet. */
function openFilesLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1');
  return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
}

/** Logs and messages are written synchronously: nothing is lost by ending at once. */
async function end(code: ExitCode): Promise<never> {
  if (hasThreads) {
    // process.exit() would wait for a thread that hangs in a system call.
    const libc = await import('../shared/sys/libc.ts').catch(() => undefined);
    libc?.exitNow(code);
  }
  process.exit(code);
}

await end(await run());
