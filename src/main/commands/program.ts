/** The `sluice` command: its subcommands, and how it ends. */
import { Command } from 'commander';
import { EXIT, type ExitCode } from '../../shared/errors.ts';
import { packageVersion } from '../../shared/version.ts';
import { takeParent } from './background.ts';
import type { StartDaemon } from './mount.ts';
import { quiet } from './parser.ts';
import { reportFailure } from './report-failure.ts';
import { addTools, toolNamed } from './tools.ts';

/** What the process around the command gives it. */
export interface ProgramContext {
  /** `startDaemon`, or a stand-in. */
  readonly start: StartDaemon;
  /** Called before a thread is started that may hang in a system call to the end. */
  onThreads(): void;
}

/** Tools that are about the other commands. */
const NEEDS_ALL: readonly string[] = ['completion'];

/**
 * Runs the command.
 *
 * @param argv the arguments behind the script
 * @returns the exit status; what there was to say is on stdout and stderr
 * @throws what loading the rest of the program throws
 */
export async function runProgram(
  argv: readonly string[],
  { start, onThreads }: ProgramContext,
): Promise<ExitCode> {
  const tellParent = takeParent();
  let exitCode: ExitCode = EXIT.ok;
  const finish = (code: ExitCode): void => {
    exitCode = code;
  };
  // Without the options of a mount a tool starts twice as fast.
  const tool = toolNamed(argv[0]);
  const isAboutMounts = tool === undefined || NEEDS_ALL.includes(tool);
  const serving = isAboutMounts ? await import('./serving.ts') : undefined;
  const program = quiet(new Command('sluice'))
    .description('Serves a directory tree at another place, through FUSE.')
    .version(packageVersion());
  try {
    serving?.addServing(program, { argv, start, tellParent }, finish);
    addTools(program, { finish, onThreads });
    await program.parseAsync(serving?.spellFlags(argv) ?? argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    return reportFailure(error, tellParent, tool);
  }
}
