/** `sluice mount [SOURCE MOUNTPOINT]`. */
import { v7 as uuidv7 } from 'uuid';
import { EXIT, type ExitCode, oneLine, SluiceError } from '../../shared/errors.ts';
import { createLogger, type Logger } from '../../shared/log.ts';
import type { MountOptions } from '../../shared/options.ts';
import type { ServiceWatchdog } from '../../shared/sys/service-manager.ts';
import { renderConfig } from '../config/print-config.ts';
import {
  type MountArguments,
  type ResolvedMount,
  readSettings,
  resolveMount,
  type Sources,
  sourcesOf,
} from '../config/sources.ts';
import type { Daemon } from '../daemon.ts';
import { connectServiceManager, servingLine } from '../notify.ts';
import { startInBackground, type TellParent } from './background.ts';
import { writeOutput } from './output.ts';
import { Reloader } from './reloader.ts';
import { superviseDaemon } from './supervise.ts';
import { Verbosity } from './verbosity.ts';

/** Starts a daemon: `startDaemon`, or a stand-in. */
export type StartDaemon = (
  options: MountOptions,
  logger: Logger,
  watchdog: ServiceWatchdog | undefined,
) => Promise<Daemon>;

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
 * Mounts, says so in one line, and serves until the mount is gone; with `--print-config` prints the
 * settings instead.
 *
 * @returns the exit status of the process
 * @throws SluiceError when the mount does not come about
 */
export async function runMount(given: MountArguments, context: CommandContext): Promise<ExitCode> {
  const sources = sourcesOf(given);
  if (given.isPrinting) {
    const settings = await readSettings(sources);
    await writeOutput(renderConfig(settings, sources.surroundings, given.warnings));
    return EXIT.ok;
  }
  const mount = await resolveMount(sources);
  if (mount.options.background && context.tellParent === undefined) {
    refuseForeignFd(mount.options.mountpoint);
    return mountInBackground(context, mount.warnings);
  }
  return serve(mount, sources, context.start, (line) => {
    if (context.tellParent === undefined) {
      process.stdout.write(`${line}\n`);
    } else {
      context.tellParent({ line, exitCode: EXIT.ok });
    }
  });
}

/**
 * Runs the daemon in this process. Paths are absolute by now, so the working directory can be left:
 * it may be what is mounted over, and would keep its file system busy.
 *
 * @param sources read again by a reload
 */
export async function serve(
  mount: ResolvedMount,
  sources: Sources,
  start: StartDaemon,
  onReady: (line: string) => void,
): Promise<ExitCode> {
  const { options, settings, warnings } = mount;
  const logger = createLogger({ ...options, mountId: uuidv7() });
  for (const warning of warnings) {
    logger.warn(warning);
  }
  logger.debug({ settings: Object.fromEntries(settings) }, 'settings that are not by default');
  const manager = connectServiceManager(process.env, logger);
  process.title = 'sluice';
  process.umask(0);
  process.chdir('/');
  const verbosity = new Verbosity(logger, options.logLevel);
  const reloader = new Reloader(sources, mount, logger, verbosity, manager);
  return superviseDaemon(
    { logger, verbosity, reloader, manager },
    () => start(options, logger, manager.watchdog),
    () => {
      manager.ready(servingLine(options));
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
