/** What `--print-config` prints: every option with its value and origin, as a configuration file. */
import { stringify } from 'smol-toml';
import { oneLine } from '../../shared/errors.ts';
import {
  describeDefault,
  effectiveValue,
  type MountOptions,
  OPTION_KEYS,
  type OptionKey,
  rowOf,
  type Surroundings,
  scaledText,
} from '../../shared/options.ts';
import { mergeSettings, PLACES, type Setting, type SettingKey, type Settings } from './settings.ts';
import { resolveSettings } from './sources.ts';

/** Where the comments begin, unless the value is longer. */
const COMMENT_COLUMN = 36;

/**
 * The settings as text that is a configuration file again: values as they are in the end, and behind
 * each where it comes from. What has no value of its own stands in a comment.
 *
 * @param warnings of the command line
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export function renderConfig(
  settings: Settings,
  surroundings: Surroundings,
  warnings: readonly string[],
): string {
  // The places may be missing here: nothing is mounted.
  const stand = new Map<SettingKey, Setting>(
    PLACES.map((place) => [place, { value: '/', origin: '' }]),
  );
  const resolved = resolveSettings(mergeSettings(stand, settings), surroundings);
  const lines = PLACES.map((place) => {
    const origin = settings.get(place)?.origin;
    return origin === undefined
      ? commented(place, 'not given')
      : assigned(place, resolved.options[place], origin);
  });
  let group: string | undefined;
  for (const [name, key] of OPTION_KEYS) {
    const row = rowOf(key);
    if (row.group !== group) lines.push('', `# ${row.group}`);
    group = row.group;
    lines.push(optionLine(name, key, resolved.options, settings.get(key)));
  }
  const said = [...warnings, ...resolved.warnings].map((warning) => `# warning: ${warning}`);
  return `${[...lines, ...(said.length > 0 ? ['', ...said] : [])].map(oneLine).join('\n')}\n`;
}

function optionLine(
  name: string,
  key: OptionKey,
  options: MountOptions,
  setting: Setting | undefined,
): string {
  const row = rowOf(key);
  const value = effectiveValue(options, key);
  const isText = row.kind === 'string' || row.kind === 'path';
  if (setting === undefined && isText) return commented(name, `default, ${describeDefault(row)}`);
  const isWeak = row.kind === 'count' && row.isWeakDefault === true;
  if (setting === undefined && isWeak) return commented(`${name} = ${value}`, 'default');
  const isDerived = row.default === undefined && row.kind === 'duration';
  const fallback = isDerived ? `default, ${describeDefault(row)}` : 'default';
  const isSwitchedOff = setting !== undefined && value === false && setting.value !== false;
  const origin = (setting?.origin ?? fallback) + (isSwitchedOff ? ', switched off' : '');
  return assigned(name, written(key, value), origin);
}

/** As a person would write it: 1048576 is "1M". */
function written(key: OptionKey, value: unknown): unknown {
  const { kind } = rowOf(key);
  if (kind !== 'size' && kind !== 'count') return value;
  const text = scaledText(value as number);
  return text === String(value) ? value : text;
}

function assigned(name: string, value: unknown, origin: string): string {
  const assignment = stringify({ [name]: value }).trimEnd();
  return `${assignment.padEnd(COMMENT_COLUMN - 1)} # ${origin}`;
}

function commented(name: string, origin: string): string {
  return `${`# ${name}`.padEnd(COMMENT_COLUMN - 1)} # ${origin}`;
}
