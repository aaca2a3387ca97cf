/** What all commands share of the parser. Loads nothing but commander. */
import { type Command, CommanderError } from 'commander';
import { SluiceError } from '../../shared/errors.ts';

/** Makes a command throw instead of ending the process, and say nothing by itself. */
export function quiet(command: Command): Command {
  return command.exitOverride().configureOutput({ writeErr: () => undefined });
}

/**
 * A failure of the parser as ours; undefined for help and version, which are no failures.
 *
 * @param command whose help is named; empty for that of the whole
 */
export function fromParserFailure(error: unknown, command = 'mount'): unknown {
  if (!(error instanceof CommanderError)) {
    return error;
  }
  if (error.exitCode === 0) {
    return undefined;
  }
  if (error.code === 'commander.help') {
    return new SluiceError('ERR_SLUICE_USAGE', 'no command given; see sluice --help');
  }
  const reason = error.message
    .replace(/^error: /, '')
    .replace(/\n\(/, ' (')
    .replace(/\.$/, '');
  const of = error.code === 'commander.unknownCommand' ? '' : command;
  const help = ['sluice', of, '--help'].filter((word) => word !== '').join(' ');
  return new SluiceError('ERR_SLUICE_USAGE', `${reason}; see ${help}`);
}
