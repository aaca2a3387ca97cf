/**
 * Values of options: read from text, checked, and described in help and messages.
 */
import { inspect } from 'node:util';
import { z } from 'zod';
import { SluiceError } from './errors.ts';
import {
  type EnumRow,
  GIB,
  IF_ROOT,
  KIB,
  MIB,
  type OptionKey,
  type OptionRow,
  REFUSED_OPTIONS,
  rowOf,
} from './option-table.ts';

const SUFFIXES: Readonly<Record<string, number>> = { '': 1, K: KIB, M: MIB, G: GIB };
/** A whole number as text: "4K". */
export const SCALED = /^(\d{1,15})([KMGkmg]?)$/;

function scaledNumber(text: string): number {
  const [, digits = '', suffix = ''] = SCALED.exec(text) ?? [];
  return Number(digits) * (SUFFIXES[suffix.toUpperCase()] ?? Number.NaN);
}

/** A number as the user would write it: 1048576 is 1M. */
export function scaledText(value: number): string {
  for (const suffix of ['G', 'M', 'K']) {
    const unit = SUFFIXES[suffix] ?? 1;
    if (value >= unit && value % unit === 0) {
      return `${value / unit}${suffix}`;
    }
  }
  return String(value);
}

export const plainText = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'));

const rulesSchema = z.array(plainText);

function enumSchema(row: EnumRow): z.ZodType {
  const canonical = (value: unknown): unknown => {
    const text = typeof value === 'string' ? value.toLowerCase() : value;
    return typeof text === 'string' ? (row.aliases?.[text] ?? text) : text;
  };
  return z.preprocess(canonical, z.enum(row.values as [string, ...string[]]));
}

/** Checks a value a program gives. */
export function valueSchema(row: OptionRow): z.ZodType {
  switch (row.kind) {
    case 'bool':
    case 'mountFlag':
      return z.boolean();
    case 'duration':
      return z.number().min(row.min).max(row.max);
    case 'count':
    case 'size':
      return z
        .int()
        .min(row.min)
        .max(row.max)
        .multipleOf(row.step ?? 1);
    case 'enum':
      return enumSchema(row);
    case 'string':
    case 'path':
      return plainText;
    case 'rules':
      return z.preprocess((value) => (typeof value === 'string' ? [value] : value), rulesSchema);
    case 'trace':
      return z.union([z.boolean(), plainText]);
  }
}

const truth = z.stringbool({
  truthy: ['true', 'yes', 'on', '1'],
  falsy: ['false', 'no', 'off', '0'],
});
const seconds = z
  .string()
  .regex(/^(\d+(\.\d*)?|\.\d+)$/)
  .transform(Number);
const scaled = z.string().regex(SCALED).transform(scaledNumber);
const traceText = z
  .string()
  .transform((text) => (text === 'true' || text === 'false' ? text === 'true' : text));

/** Turns what is written on a command line into what {@link valueSchema} checks. */
function textSchema(row: OptionRow): z.ZodType {
  switch (row.kind) {
    case 'bool':
    case 'mountFlag':
      return truth;
    case 'duration':
      return seconds;
    case 'count':
    case 'size':
      return scaled;
    case 'trace':
      return traceText;
    default:
      return z.string();
  }
}

/** What a row accepts, in words: for errors, the help and the documentation. */
export function describeDomain(row: OptionRow): string {
  switch (row.kind) {
    case 'bool':
    case 'mountFlag':
      return 'true or false';
    case 'duration':
      return `seconds from ${row.min} to ${row.max}, fractions allowed`;
    case 'count':
      return `a whole number from ${scaledText(row.min)} to ${scaledText(row.max)}`;
    case 'size': {
      const steps = row.step === undefined ? '' : `, a multiple of ${scaledText(row.step)}`;
      return `a size from ${scaledText(row.min)} to ${scaledText(row.max)}${steps}`;
    }
    case 'enum':
      return `one of ${row.values.join(', ')}`;
    case 'string':
      return 'a text that is not empty';
    case 'path':
      return 'the path of a file';
    case 'rules':
      return `${row.form}; may be given several times`;
    case 'trace':
      return 'nothing, or the path of a file';
  }
}

/** The default of a row, in words. */
export function describeDefault(row: OptionRow): string {
  if (row.default === undefined) {
    return 'derived' in row && row.derived !== undefined ? row.derived : 'none';
  }
  if (row.default === IF_ROOT) {
    return 'on for root, else off';
  }
  if (typeof row.default === 'boolean') {
    return row.default ? 'on' : 'off';
  }
  return row.kind === 'count' || row.kind === 'size'
    ? scaledText(row.default)
    : String(row.default);
}

function check(schema: z.ZodType, row: OptionRow, spelt: string, value: unknown): unknown {
  const result = schema.safeParse(value);
  if (!result.success) {
    const shown = showValue(value);
    throw optionError(`${spelt}: ${shown} is not valid; give ${describeDomain(row)}`);
  }
  return result.data;
}

const LONGEST_SHOWN = 200;

/** A value of any kind, for a message of one line; a long one is cut. */
export function showValue(value: unknown): string {
  const text =
    typeof value === 'string'
      ? `"${value}"`
      : inspect(value, { breakLength: Number.POSITIVE_INFINITY });
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}...` : text;
}

export function optionError(message: string): SluiceError {
  return new SluiceError('ERR_SLUICE_OPTION', message);
}

/**
 * Checks a value that is no text, as a program or a file gives it.
 *
 * @param spelt how the user wrote the option; named in the error
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export function checkValue(key: OptionKey, spelt: string, value: unknown): unknown {
  const row = rowOf(key);
  return check(valueSchema(row), row, spelt, value);
}

/**
 * Reads the text of an option.
 *
 * @param spelt how the user wrote the option; named in the error
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export function parseOptionText(key: OptionKey, spelt: string, text: string): unknown {
  const row = rowOf(key);
  return checkValue(key, spelt, check(textSchema(row), row, spelt, text));
}

/**
 * The error for a name that is in no table, with the nearest one that is.
 *
 * @param spell how that one is to be written where the other stands
 */
export function unknownOption(
  spelt: string,
  name: string,
  known: Iterable<string>,
  spell = (nearest: string): string => nearest,
): SluiceError {
  const nearest = nearestName(name, known);
  const cure =
    nearest === undefined
      ? 'sluice mount --help lists the options'
      : `did you mean ${spell(nearest)}?`;
  return optionError(`${spelt}: unknown option; ${cure}`);
}

/** The error for a name in {@link REFUSED_OPTIONS}. */
export function refusedOption(spelt: string, reason: string): SluiceError {
  return optionError(`${spelt}: not supported: ${reason}`);
}

function nearestName(name: string, known: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  let least = Math.max(2, Math.floor(name.length * 0.4)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

const LONGEST_NAME = 64;

function editDistance(a: string, b: string): number {
  if (a.length > LONGEST_NAME) {
    return a.length;
  }
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
