/** Settings: what was asked for, and where it was said. */
import { OPTION_KEYS, type OptionKey } from '../../shared/options.ts';

/** What stands as operands on a command line, and under these names in a file and the environment. */
export const PLACES = ['source', 'mountpoint'] as const;

export type SettingKey = OptionKey | (typeof PLACES)[number];

/** A value that has passed the checks of its row, and its origin in words. */
export interface Setting {
  readonly value: unknown;
  /** A file and line, a variable, `-o name` or a flag; shown by `--print-config`. */
  readonly origin: string;
}

/** The settings of one source, or of several together; what is not there takes its default. */
export type Settings = ReadonlyMap<SettingKey, Setting>;

/** Every name a file or the environment may use. */
export const SETTING_NAMES: ReadonlyMap<string, SettingKey> = new Map<string, SettingKey>([
  ...PLACES.map((place) => [place, place] as const),
  ...OPTION_KEYS,
]);

export function isPlace(key: SettingKey): key is (typeof PLACES)[number] {
  return (PLACES as readonly string[]).includes(key);
}

/** Several sources as one: a setting of a later one replaces the same one before it, rules too. */
export function mergeSettings(...sources: readonly Settings[]): Settings {
  return new Map(sources.flatMap((settings) => [...settings]));
}
