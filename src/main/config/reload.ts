/** What a reload changes of a running mount, and what it cannot change. */
import {
  effectiveValue,
  OPTION_KEYS,
  type OptionKey,
  RELOADED_OPTIONS,
  rowOf,
  type Surroundings,
} from '../../shared/options.ts';
import { isPlace, PLACES, type SettingKey, type Settings } from './settings.ts';
import { type ResolvedMount, resolveSettings } from './sources.ts';

/** An option with its value before and after; for people. */
export interface Change {
  readonly name: string;
  readonly from: unknown;
  readonly to: unknown;
}

export interface ReloadPlan {
  /** The mount as it is after the reload. */
  readonly mount: ResolvedMount;
  readonly changed: readonly Change[];
  /** What takes effect only with another mount. */
  readonly ignored: readonly Change[];
  /** Warnings that the mount did not have before. */
  readonly warnings: readonly string[];
}

/**
 * Compares a running mount with what its sources say now. Options that a reload may not change keep
 * their values, also where others derive from them: timeouts are those of the `cache` in force.
 *
 * @throws SluiceError as resolveSettings
 */
export function planReload(
  running: ResolvedMount,
  fresh: ResolvedMount,
  surroundings: Surroundings,
): ReloadPlan {
  const settings = new Map([
    ...pick(running.settings, (key) => !isReloaded(key)),
    ...pick(fresh.settings, isReloaded),
  ]);
  const { options } = resolveSettings(settings, surroundings);
  const warnings = fresh.warnings.filter((warning) => !running.warnings.includes(warning));
  const mount = { settings, options, warnings: running.warnings };
  const isGiven = (key: SettingKey): boolean =>
    running.settings.has(key) || fresh.settings.has(key);
  const fixed = [...OPTION_KEYS.values()].filter((key) => !isReloaded(key) && isGiven(key));
  return {
    mount,
    changed: changes(running, mount, RELOADED_OPTIONS),
    ignored: changes(running, fresh, [...PLACES, ...fixed]),
    warnings,
  };
}

function isReloaded(key: SettingKey): boolean {
  return !isPlace(key) && rowOf(key).isReloaded === true;
}

function pick(settings: Settings, isWanted: (key: SettingKey) => boolean): Settings {
  return new Map([...settings].filter(([key]) => isWanted(key)));
}

function changes(
  before: ResolvedMount,
  after: ResolvedMount,
  keys: readonly SettingKey[],
): readonly Change[] {
  return keys
    .map((key) => ({
      name: isPlace(key) ? key : rowOf(key).name,
      from: effective(before, key),
      to: effective(after, key),
    }))
    .filter(({ from, to }) => JSON.stringify(from) !== JSON.stringify(to));
}

function effective({ options }: ResolvedMount, key: SettingKey): unknown {
  return isPlace(key) ? options[key] : effectiveValue(options, key as OptionKey);
}
