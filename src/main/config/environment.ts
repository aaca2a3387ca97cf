/** Options from the environment. */
import {
  checkedPath,
  checkRules,
  parseOptionText,
  REFUSED_OPTIONS,
  refusedOption,
  rowOf,
  unknownOption,
} from '../../shared/options.ts';
import {
  isPlace,
  SETTING_NAMES,
  type Setting,
  type SettingKey,
  type Settings,
} from './settings.ts';
import { VARIABLE_PREFIX, variableOf } from './variables.ts';

const CONFIG_VARIABLE = variableOf('config');

const KEYS_BY_VARIABLE: ReadonlyMap<string, SettingKey> = new Map(
  [...SETTING_NAMES].map(([name, key]) => [variableOf(name), key]),
);

/** The configuration file that the environment names. */
export function configFileOf(environment: NodeJS.ProcessEnv): string | undefined {
  return environment[CONFIG_VARIABLE] || undefined;
}

/**
 * The settings of an environment. A variable that is empty counts as not set.
 *
 * @throws SluiceError ERR_SLUICE_OPTION naming the variable, the reason and the cure
 */
export function environmentSettings(environment: NodeJS.ProcessEnv): Settings {
  const settings = new Map<SettingKey, Setting>();
  for (const [variable, text = ''] of Object.entries(environment)) {
    if (!variable.startsWith(VARIABLE_PREFIX) || text === '' || variable === CONFIG_VARIABLE)
      continue;
    const key = keyOf(variable);
    settings.set(key, { value: textValue(key, variable, text), origin: variable });
  }
  return settings;
}

function keyOf(variable: string): SettingKey {
  const name = variable.slice(VARIABLE_PREFIX.length).toLowerCase();
  const refusal = REFUSED_OPTIONS.get(name);
  if (refusal !== undefined) throw refusedOption(variable, refusal);
  const key = KEYS_BY_VARIABLE.get(variable);
  if (key === undefined) throw unknownOption(variable, name, SETTING_NAMES.keys(), variableOf);
  return key;
}

function textValue(key: SettingKey, variable: string, text: string): unknown {
  if (isPlace(key)) return checkedPath(variable, text);
  if (rowOf(key).kind !== 'rules') return parseOptionText(key, variable, text);
  // One variable holds all rules, one on each line.
  const rules = text.split('\n').filter((line) => line.trim() !== '');
  const value = rules.flatMap((rule) => parseOptionText(key, variable, rule) as string[]);
  checkRules(key, value, `${variable}: `);
  return value;
}
