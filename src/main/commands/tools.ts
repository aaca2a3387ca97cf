/**
 * The commands around mounts: `status`, `top`, `umount`, `check` and `completion`. What each of them
 * needs is loaded when it is run, so that it starts fast and so do the others.
 */
import { resolve } from 'node:path';
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { EXIT, type ExitCode } from '../../shared/errors.ts';
import { variableOf } from '../config/variables.ts';
import { quiet } from './parser.ts';

/** What the tools need of the process around them. */
export interface ToolContext {
  /** Gets the exit status of the tool that was run. */
  finish(exitCode: ExitCode): void;
  /** Called before a thread is started that may hang in a system call to the end. */
  onThreads(): void;
}

const SHELLS = ['bash', 'zsh', 'fish'] as const;
const MIN_INTERVAL_SECONDS = 0.1;
const MAX_INTERVAL_SECONDS = 60;
const MAX_TIMEOUT_SECONDS = 86_400;
const MAX_COUNT = 1e9;

interface CommonOptions {
  readonly json?: true;
  readonly runtimeDir?: string;
}

const TOOLS: Readonly<Record<string, (program: Command, context: ToolContext) => void>> = {
  status: addStatus,
  top: addTop,
  umount: addUmount,
  check: addCheck,
  completion: addCompletion,
};

/** Adds all tools to the program. */
export function addTools(program: Command, context: ToolContext): void {
  for (const add of Object.values(TOOLS)) add(program, context);
}

/** The tool of this name, if there is one. */
export function toolNamed(name: string | undefined): string | undefined {
  return Object.keys(TOOLS).find((tool) => tool === name);
}

function addStatus(program: Command, { finish }: ToolContext): void {
  addTool(program, 'status', 'what is mounted, or all about one mount', [
    [EXIT.ok, 'printed'],
    [EXIT.usage, 'bad invocation'],
    [EXIT.mount, 'MOUNTPOINT is no sluice mount, or its daemon does not answer'],
  ])
    .argument('[mountpoint]')
    .addOption(jsonOption('one JSON object'))
    .addOption(runtimeDirOption())
    .action(async (mountpoint: string | undefined, given: CommonOptions) => {
      const { runStatus } = await import('./status.ts');
      finish(await runStatus(mountpoint, common(given)));
    });
}

interface TopGiven extends CommonOptions {
  readonly interval: number;
  readonly count?: number;
  readonly once?: true;
}

function addTop(program: Command, { finish }: ToolContext): void {
  addTool(program, 'top', 'what a mount is busy with, by operation and by process', [
    [EXIT.ok, 'interrupted, or COUNT samples shown'],
    [EXIT.usage, 'bad invocation, or several mounts and none named'],
    [EXIT.mount, 'no sluice mount, or its daemon does not answer, or it ended'],
  ])
    .argument('[mountpoint]')
    .option(
      '-i, --interval <seconds>',
      'time between samples',
      within(MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS),
      2,
    )
    .option('-n, --count <number>', 'end after so many samples', wholeNumber(1, MAX_COUNT))
    .option('--once', 'the same as --count 1')
    .addOption(jsonOption('a JSON object in a line for each sample'))
    .addOption(runtimeDirOption())
    .action(async (mountpoint: string | undefined, given: TopGiven) => {
      const { runTop } = await import('./top.ts');
      const count = given.once === true ? 1 : given.count;
      const intervalMs = given.interval * 1000;
      finish(await runTop(mountpoint, { ...common(given), intervalMs, count }));
    });
}

interface UmountGiven extends CommonOptions {
  readonly lazy?: true;
  readonly timeout: number;
}

function addUmount(program: Command, { finish, onThreads }: ToolContext): void {
  addTool(program, 'umount', 'unmount, and wait until the daemon has ended', [
    [EXIT.ok, 'unmounted'],
    [EXIT.usage, 'bad invocation, or not permitted'],
    [EXIT.system, 'a system limit or lack of memory'],
    [EXIT.mount, 'not mounted, not a sluice mount, busy, or its daemon hangs'],
  ])
    .argument('<mountpoint>')
    .option('-l, --lazy', 'take a mount that is still busy then out of the tree')
    .option(
      '-t, --timeout <seconds>',
      'how long a busy mount is waited for',
      within(0, MAX_TIMEOUT_SECONDS),
      10,
    )
    .addOption(runtimeDirOption())
    .action(async (mountpoint: string, given: UmountGiven) => {
      const { runUmount } = await import('./umount.ts');
      const { runtimeDir } = common(given);
      const timeoutMs = given.timeout * 1000;
      const lazy = given.lazy === true;
      finish(await runUmount(mountpoint, { lazy, timeoutMs, runtimeDir, onThreads }));
    });
}

function addCheck(program: Command, { finish }: ToolContext): void {
  addTool(program, 'check', 'whether this host can mount, and what to change', [
    [EXIT.ok, 'mounting will work'],
    [EXIT.usage, 'it will not, or bad invocation'],
  ])
    .argument('[source]', 'also say what the file system behind this directory can do')
    .addOption(jsonOption('one JSON object'))
    .action(async (source: string | undefined, given: CommonOptions) => {
      const { runCheck } = await import('./check.ts');
      finish(await runCheck(source, common(given)));
    });
}

function addCompletion(program: Command, { finish }: ToolContext): void {
  addTool(program, 'completion', 'print a script that completes sluice in a shell', [
    [EXIT.ok, 'printed'],
    [EXIT.usage, 'bad invocation'],
  ])
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText('after', COMPLETION_HELP)
    .action(async (shell: (typeof SHELLS)[number]) => {
      const { runCompletion } = await import('./completion.ts');
      finish(await runCompletion(shell, program));
    });
}

const COMPLETION_HELP = `
In bash:  source <(sluice completion bash)
In zsh:   sluice completion zsh > a file _sluice in a directory of $fpath
In fish:  sluice completion fish > ~/.config/fish/completions/sluice.fish`;

function addTool(
  program: Command,
  name: string,
  description: string,
  exits: readonly (readonly [ExitCode, string])[],
): Command {
  const lines = exits.map(([code, meaning]) => `  ${String(code).padEnd(4)}${meaning}`);
  return quiet(program.command(name))
    .description(description)
    .helpOption('-h, --help', 'show this')
    .addHelpText('after', `\nExit status:\n${lines.join('\n')}`);
}

function jsonOption(what: string): Option {
  return new Option('--json', `for programs: ${what}`);
}

function runtimeDirOption(): Option {
  const help = 'where the daemon was told to leave its socket (default: as for mount)';
  return new Option('--runtime-dir <directory>', help).env(variableOf('runtime_dir'));
}

function common({ json, runtimeDir = '' }: CommonOptions) {
  return {
    json: json === true,
    // A variable that is empty counts as not set.
    runtimeDir: runtimeDir === '' ? undefined : resolve(runtimeDir),
  };
}

/** Reads a number of seconds, fractions allowed. */
function within(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Give seconds from ${min} to ${max}, fractions allowed.`);
  };
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`);
  };
}
