/**
 * The helper that mount(8) runs for `mount -t sluice` and for lines of fstab:
 * `mount.sluice SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.
 */
import { accessSync } from 'node:fs';
import { Command } from 'commander';
import { EXIT, type ExitCode, oneLine, SluiceError } from '../../shared/errors.ts';
import type { MountOptions } from '../../shared/options.ts';
import type { Setting, SettingKey } from '../config/settings.ts';
import { type MountArguments, resolveMount, sourcesOf } from '../config/sources.ts';
import { parseOptionLists, quiet } from './arguments.ts';
import { takeParent } from './background.ts';
import { runMount, type StartDaemon, warn } from './mount.ts';
import { reportFailure, startDaemon } from './program.ts';

interface HelperFlags {
  readonly o: readonly string[];
  readonly s?: true;
  readonly f?: true;
  readonly v?: true;
  readonly N?: string;
}

/** What mount(8) expects, unless the options say otherwise. */
const IN_BACKGROUND: [SettingKey, Setting] = ['background', { value: true, origin: 'mount(8)' }];

/**
 * Runs the helper. It serves in the background unless `no_background` is among the options, and
 * returns when the mount is usable.
 *
 * @param argv the arguments behind the script
 * @param start stands in for the daemon
 * @returns the exit status, which is mount's
 */
export async function runMountHelper(
  argv: readonly string[],
  start: StartDaemon = startDaemon,
): Promise<ExitCode> {
  const tellParent = takeParent();
  try {
    const { operands, flags } = parseHelperArguments(argv);
    const parsed = parseOptionLists(operands, flags.o, flags.s === true);
    const given = { ...parsed, listed: new Map([IN_BACKGROUND, ...parsed.listed]) };
    const isVerbose = flags.v === true;
    if (flags.f === true) {
      return await checkOnly(given, isVerbose);
    }
    // Whoever serves in the background is in the namespace already.
    const namespace = tellParent === undefined ? namespaceFile(flags.N) : undefined;
    return await runMount(given, { argv, start, tellParent, helper: { isVerbose, namespace } });
  } catch (error) {
    return reportFailure(error, tellParent);
  }
}

function parseHelperArguments(argv: readonly string[]): {
  operands: readonly string[];
  flags: HelperFlags;
} {
  const command = quiet(new Command('mount.sluice'))
    .description('The helper of mount(8): mount -t sluice SPEC DIR.')
    .argument('<spec>')
    .argument('<dir>')
    .option(
      '-o <list>',
      'options of fstab and of sluice',
      (list, lists) => [...lists, list],
      [] as string[],
    )
    .option('-s', 'ignore options that nobody knows')
    .option('-f', 'check everything, and do not mount')
    .option('-n', 'for compatibility: there is no mtab to write')
    .option('-v', 'say what is mounted')
    .option('-N <namespace>', 'mount in the mount namespace of this file or process')
    .option('-t <type>', 'for compatibility: the type is fuse.sluice');
  command.parse(argv, { from: 'user' });
  return { operands: command.args, flags: command.opts<HelperFlags>() };
}

/** mount(8) passes a file; by hand a pid is shorter. */
function namespaceFile(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const file = /^\d+$/.test(given) ? `/proc/${given}/ns/mnt` : given;
  try {
    accessSync(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `-N: no mount namespace ${given} (${reason}); give a pid or a file like /proc/PID/ns/mnt`;
    throw new SluiceError('ERR_SLUICE_USAGE', message, { cause });
  }
  return file;
}

/** `mount -f`: whatever can be known without mounting. */
async function checkOnly(given: MountArguments, isVerbose: boolean): Promise<ExitCode> {
  const { options, warnings } = await resolveMount(sourcesOf(given));
  warn([...warnings, ...(await checkPlaces(options))]);
  if (isVerbose) {
    const { source, mountpoint } = options;
    process.stdout.write(`${oneLine(`sluice: ${source} can be mounted on ${mountpoint}`)}\n`);
  }
  return EXIT.ok;
}

/** @returns warnings */
async function checkPlaces({ source, mountpoint }: MountOptions): Promise<string[]> {
  const preflight = await import('../session/preflight.ts');
  const { pathBytes } = preflight.checkSource(source);
  const { warning } = preflight.checkMountpoint(mountpoint, pathBytes);
  preflight.checkFuse();
  return warning === undefined ? [] : [warning];
}
