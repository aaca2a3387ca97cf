/**
 * The configuration file: TOML with the options of the table at the top level.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parse, TomlDate, TomlError } from 'smol-toml';
import { SluiceError } from '../../shared/errors.ts';
import {
  absolutePath,
  checkedPath,
  checkRules,
  checkValue,
  type OptionKey,
  optionError,
  parseOptionText,
  REFUSED_OPTIONS,
  refusedOption,
  rowOf,
  TRACE_TO_STDERR,
  unknownOption,
} from '../../shared/options.ts';
import {
  isPlace,
  SETTING_NAMES,
  type Setting,
  type SettingKey,
  type Settings,
} from './settings.ts';

/** More than any configuration needs; they bound the time a reload may take. */
const MAX_FILE_BYTES = 65_536;
const MAX_LINES = 2000;
/** What an error shows of a name. */
const LONGEST_NAME = 64;

/**
 * Reads a configuration file.
 *
 * Asynchronously, since a reload happens while the mount is served: where the file lies on the
 * mount itself, or on a server that hangs, only the reload waits.
 *
 * @param path absolute
 * @throws SluiceError ERR_SLUICE_OPTION naming the file, the line, the key, the reason and the cure
 */
export async function readConfigFile(path: string): Promise<Settings> {
  let bytes: Buffer;
  try {
    // A FIFO without a writer is not waited for.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    bytes = await readLimited(file, path).finally(() => file.close());
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `config: ${path} cannot be read (${reason}); give a file that you may read`;
    throw new SluiceError('ERR_SLUICE_OPTION', message, { cause });
  }
  return parseConfig(decoded(bytes, path), path);
}

async function readLimited(file: FileHandle, path: string): Promise<Buffer> {
  if (!(await file.stat()).isFile()) {
    throw optionError(`config: ${path} is no regular file; give a file in TOML`);
  }
  const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  if (length > MAX_FILE_BYTES) {
    throw optionError(
      `config: ${path} is longer than ${MAX_FILE_BYTES} bytes; is it a configuration of sluice?`,
    );
  }
  return buffer.subarray(0, length);
}

function decoded(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw optionError(`config: ${path} is not in UTF-8; save it as UTF-8`);
  }
}

/**
 * The settings of a configuration.
 *
 * @param path of the file, for messages and as the base of relative paths
 * @throws SluiceError as {@link readConfigFile}
 */
export function parseConfig(text: string, path: string): Settings {
  const document = parsedToml(text, path);
  const lineOf = keyLines(text);
  const settings = new Map<SettingKey, Setting>();
  for (const [written, value] of Object.entries(document)) {
    const line = lineOf.get(written);
    const origin = line === undefined ? path : `${path}:${line}`;
    const spelt = `${origin}: ${shortened(written)}`;
    const key = namedKey(written, value, spelt);
    if (settings.has(key)) {
      throw optionError(`${spelt} is there twice; leave one of them out`);
    }
    const checked = settingValue(key, value, spelt, dirname(path));
    if (Array.isArray(checked)) checkRules(key as OptionKey, checked, `${origin}: `);
    settings.set(key, { value: checked, origin });
  }
  return settings;
}

function parsedToml(text: string, path: string): Readonly<Record<string, unknown>> {
  if (text.split('\n', MAX_LINES + 1).length > MAX_LINES) {
    throw optionError(
      `config: ${path} has more than ${MAX_LINES} lines; is it a configuration of sluice?`,
    );
  }
  try {
    return parse(text);
  } catch (error) {
    throw notToml(error, path);
  }
}

/** The parser's message, without the excerpt of several lines that stands behind it. */
function notToml(error: unknown, path: string): SluiceError {
  const message = error instanceof Error ? error.message : String(error);
  const reason = (message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
  const at = error instanceof TomlError ? `${path}:${error.line}:${error.column}` : path;
  const cure = 'write name = value, with texts and sizes like "4K" in quotes';
  return optionError(`${at}: no valid TOML: ${reason}; ${cure}`);
}

/**
 * The line each key of the top level begins on; the parser tells none. A document without tables is
 * one statement after the other, each on lines of its own: lines are gathered until they parse.
 */
function keyLines(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n');
  const lineOf = new Map<string, number>();
  let first = 0;
  for (let end = 1; end <= lines.length; end++) {
    const keys = keysOf(`${lines.slice(first, end).join('\n')}\n`);
    if (keys === undefined) continue;
    for (const key of keys) {
      if (!lineOf.has(key)) lineOf.set(key, first + 1);
    }
    first = end;
  }
  return lineOf;
}

/** undefined in the middle of a value. */
function keysOf(text: string): readonly string[] | undefined {
  try {
    return Object.keys(parse(text));
  } catch {
    return undefined;
  }
}

function shortened(name: string): string {
  return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}...` : name;
}

function namedKey(written: string, value: unknown, spelt: string): SettingKey {
  const name = written.replaceAll('-', '_');
  const refusal = REFUSED_OPTIONS.get(name);
  if (refusal !== undefined) throw refusedOption(spelt, refusal);
  if (name === 'config') {
    throw optionError(`${spelt}: a file cannot name another one; leave it out`);
  }
  if (isTable(value)) {
    throw optionError(`${spelt} is a table; write the options at the top level, as name = value`);
  }
  const key = SETTING_NAMES.get(name);
  if (key === undefined) throw unknownOption(spelt, name, SETTING_NAMES.keys());
  return key;
}

function isTable(value: unknown): boolean {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof TomlDate);
}

/** @param spelt file, line and name, for messages @param folder base of relative paths */
function settingValue(key: SettingKey, value: unknown, spelt: string, folder: string): unknown {
  if (isPlace(key)) return absolutePath(checkedPath(spelt, value), folder);
  const checked = checkedOption(key, value, spelt);
  const { kind } = rowOf(key);
  const isPath = kind === 'path' || (kind === 'trace' && checked !== TRACE_TO_STDERR);
  return isPath && typeof checked === 'string' ? absolutePath(checked, folder) : checked;
}

/** Numbers may be written as on a command line, in quotes: "4K". */
function checkedOption(key: OptionKey, value: unknown, spelt: string): unknown {
  const { kind } = rowOf(key);
  const isScaled = (kind === 'count' || kind === 'size') && typeof value === 'string';
  return isScaled ? parseOptionText(key, spelt, value) : checkValue(key, spelt, value);
}
