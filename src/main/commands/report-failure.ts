/** How a command that failed says so. */
import { describeFailure, EXIT, type ExitCode } from '../../shared/errors.ts';
import type { TellParent } from './background.ts';
import { fromParserFailure } from './parser.ts';

/**
 * Says on stderr, or to the waiting parent, why a command failed.
 *
 * @param command whose help is named where the command line is wrong
 * @returns its exit status; 0 for help and version, which the parser also ends by an error
 */
export function reportFailure(
  error: unknown,
  tellParent: TellParent | undefined,
  command?: string,
): ExitCode {
  const failure = fromParserFailure(error, command);
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

/** A defect is reported with where it happened. */
function stackOf(failure: unknown, exitCode: ExitCode): string {
  return exitCode === EXIT.bug && failure instanceof Error ? `${failure.stack}\n` : '';
}
