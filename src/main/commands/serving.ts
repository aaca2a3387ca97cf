/** The commands that serve a mount: `mount` and `demo`. */
import type { Command } from 'commander';
import { EXIT_MEANINGS, type ExitCode } from '../../shared/errors.ts';
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
  const mount = addCommand(program, 'mount', '<source>', '<mountpoint>').description(
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

function mountHelp(): string {
  return `
Signals:
  SIGINT, SIGTERM   finish what is in flight, unmount, exit 0; a second one aborts
  SIGUSR2           log the status
  SIGHUP            nothing
${exitHelp()}

Paths that begin with a dash stand behind "--". Numbers may end in K, M or G (powers of 1024).
Names may be written with "_" or "-". More: docs/options.md`;
}
