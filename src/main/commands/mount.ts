/** `sluice mount SOURCE MOUNTPOINT`. */
import { v7 as uuidv7 } from 'uuid';
import { EXIT, type ExitCode, oneLine, SluiceError } from '../../shared/errors.ts';
import { createLogger, type Logger } from '../../shared/log.ts';
import { type MountOptions, resolveOptions } from '../../shared/options.ts';
import type { Daemon } from '../daemon.ts';
import { connectServiceManager } from '../notify.ts';
import { type MountArguments, mountInput } from './arguments.ts';
import { startInBackground, type TellParent } from './background.ts';
import { superviseDaemon } from './supervise.ts';

/** Starts a daemon: `startDaemon`, or a stand-in. */
export type StartDaemon = (options: MountOptions, logger: Logger) => Promise<Daemon>;

/** How a command is run. */
export interface CommandContext {
  /** The arguments of the whole command, for a second run in the background. */
  readonly argv: readonly string[];
  readonly start: StartDaemon;
  /** Set when this process is the one in the background. */
  readonly tellParent: TellParent | undefined;
  /** Set when mount(8) calls. */
  readonly helper?: {
    readonly isVerbose: boolean;
    /** A mount namespace to mount in: a file below /proc/PID. */
    readonly namespace: string | undefined;
  };
}

/**
 * Mounts, says so in one line, and serves until the mount is gone.
 *
 * @returns the exit status of the process
 * @throws SluiceError when the mount does not come about
 */
export async function runMount(given: MountArguments, context: CommandContext): Promise<ExitCode> {
  const { options, warnings } = resolveMount(given);
  if (options.background && context.tellParent === undefined) {
    refuseForeignFd(options.mountpoint);
    return mountInBackground(context, warnings);
  }
  return serve(options, warnings, context.start, (line) => {
    if (context.tellParent === undefined) {
      process.stdout.write(`${line}\n`);
    } else {
      context.tellParent({ line, exitCode: EXIT.ok });
    }
  });
}

/** The settled options, with every warning on the way to them. */
export function resolveMount(given: MountArguments): {
  options: MountOptions;
  warnings: readonly string[];
} {
  const { input, warnings } = mountInput(given);
  const resolved = resolveOptions(input);
  return { options: resolved.options, warnings: [...warnings, ...resolved.warnings] };
}

/**
 * Runs the daemon in this process. Paths are absolute by now, so the working directory can be left:
 * it may be what is mounted over, and would keep its file system busy.
 */
export async function serve(
  options: MountOptions,
  warnings: readonly string[],
  start: StartDaemon,
  onReady: (line: string) => void,
): Promise<ExitCode> {
  const logger = createLogger({ ...options, mountId: uuidv7() });
  for (const warning of warnings) {
    logger.warn(warning);
  }
  const manager = connectServiceManager(process.env, logger);
  process.title = 'sluice';
  process.umask(0);
  process.chdir('/');
  return superviseDaemon(
    logger,
    manager,
    () => start(options, logger),
    () => {
      manager.ready(`serving ${options.source} on ${options.mountpoint}`);
      onReady(mountedLine(options));
    },
  );
}

function mountedLine({ source, mountpoint }: MountOptions): string {
  return oneLine(`sluice: ${source} is mounted on ${mountpoint} (pid ${process.pid})`);
}

/** Node closes what it inherits before it starts another program. */
function refuseForeignFd(mountpoint: string): void {
  if (mountpoint.startsWith('/dev/fd/')) {
    const message = `--background: ${mountpoint} belongs to this process; leave --background out`;
    throw new SluiceError('ERR_SLUICE_USAGE', message);
  }
}

/** The child resolves the same arguments again, but nobody sees its stderr. */
async function mountInBackground(
  { argv, helper }: CommandContext,
  warnings: readonly string[],
): Promise<ExitCode> {
  warn(warnings);
  const { line, exitCode } = await startInBackground(argv, helper?.namespace);
  // Of a mount that works mount(8) says nothing, unless it was asked to.
  if (exitCode !== EXIT.ok) process.stderr.write(`${line}\n`);
  else if (helper === undefined || helper.isVerbose) process.stdout.write(`${line}\n`);
  return exitCode as ExitCode;
}

/** Warnings of a command that does not serve, and so has no log. */
export function warn(warnings: readonly string[]): void {
  for (const warning of warnings) {
    process.stderr.write(`sluice: warning: ${warning}\n`);
  }
}
