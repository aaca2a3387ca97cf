/** What can be completed: read from the parser's program and the table of options. */
import type { Command, Option } from 'commander';
import { OPTION_KEYS, type OptionRow, rowOf } from '../../shared/options.ts';
import { CONFIG_HELP, isNegatable, ROWS_BY_FLAG } from '../commands/arguments.ts';

/** What may stand where a value or an operand is wanted. */
export type Wanted =
  | { readonly kind: 'nothing' | 'file' | 'directory' | 'text' | 'mount' | 'list' }
  | { readonly kind: 'words'; readonly words: readonly string[] };

export interface CompletedOption {
  /** `-l`, `--lazy`. */
  readonly flags: readonly string[];
  readonly help: string;
  readonly value: Wanted;
  readonly isRepeatable: boolean;
}

export interface CompletedCommand {
  readonly name: string;
  readonly help: string;
  readonly options: readonly CompletedOption[];
  readonly operands: readonly Wanted[];
}

/** An item of an `-o` list; `value` is `nothing` where it stands alone. */
export interface ListItem {
  readonly name: string;
  readonly help: string;
  readonly value: Wanted;
}

export interface CompletionModel {
  readonly commands: readonly CompletedCommand[];
  /** Options in front of a command. */
  readonly options: readonly CompletedOption[];
  readonly list: readonly ListItem[];
}

/** The model of a whole program. */
export function completionModel(program: Command): CompletionModel {
  const commands = program.commands.map((command) => ({
    name: command.name(),
    help: command.description(),
    options: optionsOf(command),
    operands: operandsOf(command),
  }));
  return { commands, options: optionsOf(program), list: listItems() };
}

function optionsOf(command: Command): CompletedOption[] {
  const shown = command.createHelp().visibleOptions(command);
  const negations = command.options.filter(({ hidden, negate }) => hidden && negate);
  return [...shown, ...negations].map((option) => completedOption(option));
}

function completedOption(option: Option): CompletedOption {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined);
  const row = ROWS_BY_FLAG.get(option.long ?? '');
  return {
    flags,
    help: option.negate ? `not ${(option.long ?? '').slice('--no-'.length)}` : helpOf(option, row),
    value: row === undefined ? wantedBy(option) : valueWanted(row),
    isRepeatable: flags.includes('-o') || row?.kind === 'rules',
  };
}

function helpOf(option: Option, row: OptionRow | undefined): string {
  return row?.help ?? option.description;
}

/** A switch may stand alone, so nothing is wanted behind it. */
function valueWanted(row: OptionRow): Wanted {
  switch (row.kind) {
    case 'enum':
      return { kind: 'words', words: row.values };
    case 'path':
      return { kind: 'file' };
    case 'directory':
      return { kind: 'directory' };
    case 'bool':
    case 'mountFlag':
    case 'trace':
      return { kind: 'nothing' };
    default:
      return { kind: 'text' };
  }
}

/** Of an option that is in no table: by its placeholder. */
function wantedBy({ flags, argChoices }: Option): Wanted {
  if (argChoices !== undefined) return { kind: 'words', words: argChoices };
  switch (/<(\w+)>/.exec(flags)?.[1]) {
    case undefined:
      return { kind: 'nothing' };
    case 'directory':
      return { kind: 'directory' };
    case 'file':
      return { kind: 'file' };
    case 'list':
      return { kind: 'list' };
    default:
      return { kind: 'text' };
  }
}

function operandsOf(command: Command): Wanted[] {
  return command.registeredArguments.map((argument): Wanted => {
    if (argument.argChoices !== undefined) return { kind: 'words', words: argument.argChoices };
    // Beside a source the mount point is still a plain directory.
    const hasSource = command.registeredArguments.some((other) => other.name() === 'source');
    return { kind: argument.name() === 'mountpoint' && !hasSource ? 'mount' : 'directory' };
  });
}

function listItems(): ListItem[] {
  const config: ListItem = { name: 'config', help: CONFIG_HELP, value: { kind: 'file' } };
  const items = [...OPTION_KEYS].flatMap(([name, key]): ListItem[] => {
    const row = rowOf(key);
    const item = { name, help: row.help, value: valueWanted(row) };
    return isNegatable(row)
      ? [item, { name: `no_${name}`, help: `not ${name}`, value: { kind: 'nothing' } }]
      : [item];
  });
  return [...items, config];
}

/** An awk(1) program that prints the sluice mounts of /proc/self/mountinfo, still escaped. */
export const MOUNTS_AWK = '/ - fuse\\.sluice /{print $5}';
