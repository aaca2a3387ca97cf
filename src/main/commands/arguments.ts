/** From a command line to {@link MountArguments}: its operands, flags and `-o` lists. */
import { isDeepStrictEqual } from 'node:util';
import { Command, CommanderError, Option } from 'commander';
import { oneLine, SluiceError } from '../../shared/errors.ts';
import {
  describeDefault,
  describeDomain,
  IGNORED_OPTIONS,
  OPTION_KEYS,
  OPTIONS,
  type OptionKey,
  type OptionRow,
  parseOptionText,
  REFUSED_OPTIONS,
  refusedOption,
  rowOf,
  TRACE_TO_STDERR,
  unknownOption,
} from '../../shared/options.ts';
import type { Setting, SettingKey, Settings } from '../config/settings.ts';
import type { MountArguments } from '../config/sources.ts';

/** One option as it was written. */
interface Assignment {
  readonly key: OptionKey;
  /** For messages: `--entry-timeout` or `-o entry_timeout`. */
  readonly spelt: string;
  readonly text: string;
}

/** What the parser has met so far, in the order it stands on the command line. */
interface Collected {
  readonly lists: Assignment[];
  readonly flags: Assignment[];
  /** The configuration file as a list and as a flag names it. */
  listedConfig: string | undefined;
  flaggedConfig: string | undefined;
  isPrinting: boolean;
}

function nothingCollected(): Collected {
  return {
    lists: [],
    flags: [],
    listedConfig: undefined,
    flaggedConfig: undefined,
    isPrinting: false,
  };
}

const PLACEHOLDERS = {
  bool: 'bool',
  mountFlag: 'bool',
  duration: 'seconds',
  count: 'number',
  size: 'size',
  string: 'text',
  path: 'file',
  rules: 'rule',
  trace: 'file',
} as const;

/** The flag of a row: `--entry-timeout`. */
export function flagOf(row: OptionRow): string {
  return `--${row.name.replaceAll('_', '-')}`;
}

/** Booleans named no_x have no second negation. */
export function isNegatable(row: OptionRow): boolean {
  return row.kind === 'bool' || row.kind === 'mountFlag' || row.kind === 'trace'
    ? !row.name.startsWith('no_')
    : false;
}

function placeholderOf(row: OptionRow): string {
  return row.kind === 'enum' ? row.values.join('|') : PLACEHOLDERS[row.kind];
}

/** A row's flag as the help shows it: `--[no-]xattr`, `--trace[=file]`, `--lanes <number>`. */
export function flagTerm(row: OptionRow): string {
  const flag = flagOf(row);
  switch (row.kind) {
    case 'bool':
    case 'mountFlag':
      return isNegatable(row) ? flag.replace('--', '--[no-]') : flag;
    case 'trace':
      return `${flag}[=${placeholderOf(row)}]`;
    default:
      return `${flag} <${placeholderOf(row)}>`;
  }
}

/** What a flag means when it stands alone; undefined when it must have a value. */
function bareText(row: OptionRow): string | undefined {
  if (row.kind === 'trace') {
    return TRACE_TO_STDERR;
  }
  return row.kind === 'bool' || row.kind === 'mountFlag' ? 'true' : undefined;
}

const GENERAL = 'General:';
const CONFIG_FLAG = '--config';
/** Flags besides those of the table that the next argument belongs to. */
const VALUED_FLAGS: ReadonlySet<string> = new Set(['-o', CONFIG_FLAG]);

const ROWS_BY_FLAG: ReadonlyMap<string, OptionRow> = new Map(
  Object.values(OPTIONS).map((row) => [flagOf(row), row]),
);
const REFUSED_FLAGS = [...REFUSED_OPTIONS.keys()].map((name) => `--${name.replaceAll('_', '-')}`);

/**
 * Spells flags the way the parser knows them: `_` in names becomes `-`, and a flag that may stand
 * alone gets its value, so that it never takes the operand behind it for one.
 */
export function spellFlags(argv: readonly string[]): string[] {
  const spelt: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? '';
    if (argument === '--') {
      return [...spelt, ...argv.slice(index)];
    }
    const isFlag = argument.startsWith('--');
    const end = argument.indexOf('=');
    const name = end < 0 ? argument : argument.slice(0, end);
    const flag = isFlag ? name.replaceAll('_', '-') : name;
    const row = ROWS_BY_FLAG.get(flag);
    const bare = end < 0 && row !== undefined ? bareText(row) : undefined;
    spelt.push(bare === undefined ? flag + argument.slice(name.length) : `${flag}=${bare}`);
    const isValued = VALUED_FLAGS.has(flag) || (row !== undefined && bare === undefined);
    const takesNext = end < 0 && isValued;
    if (takesNext && index + 1 < argv.length) {
      index++;
      spelt.push(argv[index] ?? '');
    }
  }
  return spelt;
}

/** Splits an `-o` list at commas; a backslash takes the next character as it is. */
function splitList(list: string): string[] {
  const items = [''];
  for (let index = 0; index < list.length; index++) {
    if (list[index] === ',') {
      items.push('');
      continue;
    }
    if (list[index] === '\\' && index + 1 < list.length) {
      index++;
    }
    items[items.length - 1] += list[index];
  }
  return items.filter((item) => item !== '');
}

/** Other spellings of mount(8), as ours. */
const LIST_ALIASES: ReadonlyMap<string, string> = new Map([
  ['rw', 'no_ro'],
  ['async', 'no_sync'],
]);

function isIgnored(name: string, text: string | undefined): boolean {
  if (name === 'subtype' && text !== 'sluice') {
    throw refusedOption('-o subtype', 'it is always sluice; leave it out');
  }
  return name === 'subtype' || /^x[-_]/i.test(name) || IGNORED_OPTIONS.includes(name);
}

/** The key a `no_x` or, for mount flags, `nox` negates. */
function negatedKey(name: string): OptionKey | undefined {
  const underscored = name.startsWith('no_') ? OPTION_KEYS.get(name.slice(3)) : undefined;
  if (underscored !== undefined) {
    return isNegatable(rowOf(underscored)) ? underscored : undefined;
  }
  const glued = name.startsWith('no') ? OPTION_KEYS.get(name.slice(2)) : undefined;
  return glued !== undefined && rowOf(glued).kind === 'mountFlag' ? glued : undefined;
}

/** One item of an `-o` list. `isSloppy`: a name that nobody knows has no meaning here. */
function readListItem(item: string, collected: Collected, isSloppy = false): void {
  const end = item.indexOf('=');
  const written = end < 0 ? item : item.slice(0, end);
  const text = end < 0 ? undefined : item.slice(end + 1);
  const spelt = `-o ${written}`;
  const plain = written.replaceAll('-', '_');
  const name = LIST_ALIASES.get(plain) ?? plain;
  const refusal = REFUSED_OPTIONS.get(name);
  if (refusal !== undefined) {
    throw refusedOption(spelt, refusal);
  }
  if (name === 'config') {
    collected.listedConfig = configPath(spelt, text);
    return;
  }
  const key = OPTION_KEYS.get(name);
  if (key !== undefined) {
    const value = text ?? bareText(rowOf(key));
    if (value === undefined) {
      throw missingValue(spelt, rowOf(key));
    }
    collected.lists.push({ key, spelt, text: value });
    return;
  }
  if (isIgnored(name, text)) {
    return;
  }
  const negated = negatedKey(name);
  if (negated === undefined) {
    if (isSloppy) return;
    throw unknownOption(spelt, name, [...OPTION_KEYS.keys(), 'config']);
  }
  if (text !== undefined) {
    throw new SluiceError('ERR_SLUICE_OPTION', `${spelt}: takes no value; leave "=${text}" out`);
  }
  collected.lists.push({ key: negated, spelt, text: 'false' });
}

function configPath(spelt: string, text: string | undefined): string {
  if (text === undefined || text === '') {
    throw new SluiceError('ERR_SLUICE_OPTION', `${spelt}: its file is missing; name one in TOML`);
  }
  return text;
}

function missingValue(spelt: string, row: OptionRow): SluiceError {
  return new SluiceError(
    'ERR_SLUICE_OPTION',
    `${spelt}: its value is missing; give ${describeDomain(row)}`,
  );
}

/** The last assignment of each key wins, as with mount(8), but rules add up. */
function settle(assignments: readonly Assignment[], warnings: string[]): Settings {
  const settings = new Map<SettingKey, Setting>();
  for (const { key, spelt, text } of assignments) {
    const value = parseOptionText(key, spelt, text);
    const before = settings.get(key)?.value;
    if (Array.isArray(value)) {
      const rules = [...((before as string[] | undefined) ?? []), ...value];
      settings.set(key, { value: rules, origin: spelt });
      continue;
    }
    if (before !== undefined && before !== value) {
      warnings.push(oneLine(`${rowOf(key).name} is given twice: the last, ${value}, is used`));
    }
    settings.set(key, { value, origin: spelt });
  }
  return settings;
}

/** A flag over the same option in a list, said where they differ. */
function warnOfOverruled(listed: Settings, flagged: Settings, warnings: string[]): void {
  for (const [key, { value, origin }] of flagged) {
    const other = listed.get(key);
    if (other !== undefined && !isDeepStrictEqual(other.value, value)) {
      warnings.push(oneLine(`${other.origin} is overruled by ${origin}`));
    }
  }
}

function settleArguments(operands: readonly string[], collected: Collected): MountArguments {
  const warnings: string[] = [];
  const listed = settle(collected.lists, warnings);
  const flagged = settle(collected.flags, warnings);
  warnOfOverruled(listed, flagged, warnings);
  const { isPrinting } = collected;
  const configFile = collected.flaggedConfig ?? collected.listedConfig;
  return { operands, listed, flagged, configFile, isPrinting, warnings };
}

function describeRow(row: OptionRow): string {
  const hasDomain =
    row.kind === 'duration' || row.kind === 'count' || row.kind === 'size' || row.kind === 'rules';
  const domain = hasDomain ? `; ${describeDomain(row)}` : '';
  return `${row.help}${domain} (default: ${describeDefault(row)})`;
}

/** Registers every flag of the table, so that each use is collected in the order it is given. */
function addTableOptions(command: Command, { flags }: Collected): void {
  const terms = new Map<string, string>();
  const collect = (flag: string, key: OptionKey, fixedText?: string): void => {
    command.on(`option:${flag.slice(2)}`, (text: string | null) => {
      flags.push({ key, spelt: flag, text: fixedText ?? text ?? '' });
    });
  };
  for (const [name, key] of OPTION_KEYS) {
    const row = rowOf(key);
    const flag = flagOf(row);
    const option = new Option(`${flag} <${placeholderOf(row)}>`, describeRow(row));
    command.addOption(option.helpGroup(`${row.group}:`));
    terms.set(option.flags, flagTerm(row));
    collect(flag, key);
    if (isNegatable(row)) {
      const negation = `--no-${name.replaceAll('_', '-')}`;
      command.addOption(new Option(negation).hideHelp());
      collect(negation, key, 'false');
    }
  }
  command.configureHelp({ optionTerm: (option) => terms.get(option.flags) ?? option.flags });
}

function addListOption(command: Command, collected: Collected): void {
  const list = new Option(
    '-o <list>',
    'the same options as mount(8) passes them: -o ro,entry_timeout=5,no_xattr',
  );
  command.addOption(list.helpGroup(GENERAL));
  command.on('option:o', (text: string) => {
    for (const item of splitList(text)) {
      readListItem(item, collected);
    }
  });
}

function addConfigOptions(command: Command, collected: Collected): void {
  const file = new Option(`${CONFIG_FLAG} <file>`, 'take options from a file in TOML');
  command.addOption(file.helpGroup(GENERAL));
  command.on('option:config', (text: string) => {
    collected.flaggedConfig = configPath(CONFIG_FLAG, text);
  });
  const print = new Option(
    '--print-config',
    'print every option and its origin, and mount nothing',
  );
  command.addOption(print.helpGroup(GENERAL));
  command.on('option:print-config', () => {
    collected.isPrinting = true;
  });
}

/**
 * Reads `-o` lists that come without a command line of ours.
 *
 * @param isSloppy skips names that nobody knows, as `mount -s` asks for
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export function parseOptionLists(
  operands: readonly string[],
  lists: readonly string[],
  isSloppy: boolean,
): MountArguments {
  const collected = nothingCollected();
  for (const item of lists.flatMap(splitList)) readListItem(item, collected, isSloppy);
  return settleArguments(operands, collected);
}

function addRefusedOptions(command: Command): void {
  for (const flag of REFUSED_FLAGS) {
    command.addOption(new Option(`${flag} [value]`).hideHelp());
    command.on(`option:${flag.slice(2)}`, () => {
      throw refusedOption(flag, REFUSED_OPTIONS.get(flag.slice(2).replaceAll('-', '_')) ?? '');
    });
  }
}

/**
 * Gives a command every option of the table.
 *
 * @returns reads what the last parse of the command has collected
 */
export function addMountOptions(command: Command): () => MountArguments {
  const collected = nothingCollected();
  command.addHelpOption(helpEntry());
  addConfigOptions(command, collected);
  addListOption(command, collected);
  addTableOptions(command, collected);
  addRefusedOptions(command);
  return () => settleArguments(command.args, collected);
}

/** The help's own entry, beside the general options. */
function helpEntry(): Option {
  return new Option('-h, --help', 'show this').helpGroup(GENERAL);
}

/** Makes a command throw instead of ending the process, and say nothing by itself. */
export function quiet(command: Command): Command {
  return command.exitOverride().configureOutput({ writeErr: () => undefined });
}

/** A failure of the parser as ours; undefined for help and version, which are no failures. */
export function fromParserFailure(error: unknown): unknown {
  if (!(error instanceof CommanderError)) {
    return error;
  }
  if (error.exitCode === 0) {
    return undefined;
  }
  if (error.code === 'commander.help') {
    return new SluiceError('ERR_SLUICE_USAGE', 'no command given; see sluice --help');
  }
  const reason = error.message.replace(/^error: /, '').replace(/\n\(/, ' (');
  return new SluiceError('ERR_SLUICE_USAGE', `${reason}; see sluice mount --help`);
}

/**
 * Reads the arguments of `sluice mount`, which stand behind the word `mount`.
 *
 * Node decodes argv as UTF-8 before a program sees it: a path with other bytes in it cannot be
 * given; serve its parent, or make a symlink to it.
 *
 * @throws SluiceError ERR_SLUICE_OPTION or ERR_SLUICE_USAGE
 */
export function parseMountArguments(argv: readonly string[]): MountArguments {
  const command = quiet(new Command('mount')).argument('[source]').argument('[mountpoint]');
  const collected = addMountOptions(command);
  command.helpOption(false);
  try {
    command.parse(spellFlags(argv), { from: 'user' });
  } catch (error) {
    throw fromParserFailure(error);
  }
  return collected();
}
