/** The commands that serve a mount: `mount` and `demo`. */
import type { Command } from 'commander';
import { EXIT_MEANINGS, type ExitCode } from '../../shared/errors.ts';
import { RELOADED_OPTIONS, rowOf } from '../../shared/options.ts';
import { variableOf } from '../config/variables.ts';
import { addMountOptions } from './arguments.ts';
import { runDemo } from './demo.ts';
import { type CommandContext, runMount } from './mount.ts';
import { quiet } from './parser.ts';

export { spellFlags } from './arguments.ts';

/** Adds both to the program. @param finish gets the exit status of the one that was run */
export function addServing(
  program: Command,
  context: CommandContext,
  finish: (exitCode: ExitCode) => void,
): void {
  program.addHelpText('after', exitHelp);
  const mount = addCommand(program, 'mount', '[source]', '[mountpoint]').description(
    'serve SOURCE at MOUNTPOINT until it is unmounted or a signal comes',
  );
  const mountArguments = addMountOptions(mount);
  mount.action(async () => finish(await runMount(mountArguments(), context)));
  const demo = addCommand(program, 'demo', '[source]', '[mountpoint]').description(
    'mount a small demo tree in a fresh folder; with SOURCE and MOUNTPOINT the same as mount',
  );
  const demoArguments = addMountOptions(demo);
  demo.action(async () => finish(await runDemo(demoArguments(), context)));
}

function addCommand(program: Command, name: string, ...operands: string[]): Command {
  const command = quiet(program.command(name)).addHelpText('after', mountHelp);
  for (const operand of operands) {
    command.argument(operand);
  }
  return command;
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
