/** The `sluice` command: its subcommands, its help, and how it ends. */
import { Command } from 'commander';
import { describeFailure, EXIT, EXIT_MEANINGS, type ExitCode } from '../../shared/errors.ts';
import { RELOADED_OPTIONS, rowOf } from '../../shared/options.ts';
import { packageVersion } from '../../shared/version.ts';
import { variableOf } from '../config/environment.ts';
import { addMountOptions, fromParserFailure, quiet, spellFlags } from './arguments.ts';
import { type TellParent, takeParent } from './background.ts';
import { runDemo } from './demo.ts';
import { runMount, type StartDaemon } from './mount.ts';

/** Loaded when a mount is wanted: help and bad options need no native code. */
export const startDaemon: StartDaemon = async (options, logger) => {
  const daemon = await import('../daemon.ts');
  return daemon.startDaemon(options, logger);
};

/**
 * Runs the command.
 *
 * @param argv the arguments behind the script
 * @param start stands in for the daemon
 * @returns the exit status; what there was to say is on stdout and stderr
 */
export async function runProgram(
  argv: readonly string[],
  start: StartDaemon = startDaemon,
): Promise<ExitCode> {
  const tellParent = takeParent();
  const context = { argv, start, tellParent };
  let exitCode: ExitCode = EXIT.ok;
  const program = quiet(new Command('sluice'))
    .description('Serves a directory tree at another place, through FUSE.')
    .version(packageVersion())
    .addHelpText('after', exitHelp);
  const mount = addCommand(program, 'mount', '[source]', '[mountpoint]').description(
    'serve SOURCE at MOUNTPOINT until it is unmounted or a signal comes',
  );
  const mountArguments = addMountOptions(mount);
  mount.action(async () => {
    exitCode = await runMount(mountArguments(), context);
  });
  const demo = addCommand(program, 'demo', '[source]', '[mountpoint]').description(
    'mount a small demo tree in a fresh folder; with SOURCE and MOUNTPOINT the same as mount',
  );
  const demoArguments = addMountOptions(demo);
  demo.action(async () => {
    exitCode = await runDemo(demoArguments(), context);
  });
  try {
    await program.parseAsync(spellFlags(argv), { from: 'user' });
    return exitCode;
  } catch (error) {
    return reportFailure(error, tellParent);
  }
}

/** Says on stderr, or to the waiting parent, why a command failed. @returns its exit status */
export function reportFailure(error: unknown, tellParent: TellParent | undefined): ExitCode {
  const failure = fromParserFailure(error);
  if (failure === undefined) {
    return EXIT.ok;
  }
  const outcome = describeFailure(failure);
  if (tellParent === undefined) {
    process.stderr.write(`${outcome.line}\n${stackOf(failure, outcome.exitCode)}`);
  } else {
    tellParent(outcome);
  }
  return outcome.exitCode;
}

function addCommand(program: Command, name: string, ...operands: string[]): Command {
  const command = quiet(program.command(name)).addHelpText('after', mountHelp);
  for (const operand of operands) {
    command.argument(operand);
  }
  return command;
}

/** A defect is reported with where it happened. */
function stackOf(failure: unknown, exitCode: ExitCode): string {
  return exitCode === EXIT.bug && failure instanceof Error ? `${failure.stack}\n` : '';
}

function exitHelp(): string {
  const lines = EXIT_MEANINGS.map(([code, meaning]) => `  ${String(code).padEnd(4)}${meaning}`);
  return `\nExit status:\n${lines.join('\n')}`;
}

const SIGNAL_INDENT = ' '.repeat(20);
const HELP_COLUMNS = 90;

/** Names in lines of the width of the rest, indented as what stands behind a signal. */
function wrapped(names: readonly string[]): string {
  const lines = [''];
  for (const [index, name] of names.entries()) {
    const item = index < names.length - 1 ? `${name},` : name;
    const longer = `${lines.at(-1)} ${item}`.trimStart();
    if (SIGNAL_INDENT.length + longer.length <= HELP_COLUMNS) lines[lines.length - 1] = longer;
    else lines.push(item);
  }
  return lines.map((line) => SIGNAL_INDENT + line).join('\n');
}

function mountHelp(): string {
  return `
Signals:
  SIGINT, SIGTERM   finish what is in flight, unmount, exit 0; a second one aborts
  SIGHUP            read the configuration file again; of a running mount this changes
${wrapped(RELOADED_OPTIONS.map((key) => rowOf(key).name))}
  SIGUSR2           log debug messages, beginning with the status; once more: not any more
${exitHelp()}

Each option may also stand in a file in TOML, which --config names (entry_timeout = 5), and in the
environment (${variableOf('entry_timeout')}=5). Of several the last counts: file, environment, -o, flag.

Paths that begin with a dash stand behind "--". Numbers may end in K, M or G (powers of 1024).
Names may be written with "_" or "-". More: docs/options.md, docs/configure.md`;
}
