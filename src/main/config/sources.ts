/** All sources of settings together, the stronger over the weaker. */
import { SluiceError } from '../../shared/errors.ts';
import {
  absolutePath,
  type MountInput,
  type MountOptions,
  ownSurroundings,
  resolveOptions,
  type Surroundings,
} from '../../shared/options.ts';
import { readConfigFile } from './config-file.ts';
import { configFileOf, environmentSettings } from './environment.ts';
import { mergeSettings, PLACES, type SettingKey, type Settings } from './settings.ts';

/** What a command line says, still without defaults. */
export interface MountArguments {
  readonly operands: readonly string[];
  /** What `-o` lists say. */
  readonly listed: Settings;
  /** What flags say. */
  readonly flagged: Settings;
  /** The configuration file, as it is written. */
  readonly configFile: string | undefined;
  /** Whether the settings are to be printed instead of a mount. */
  readonly isPrinting: boolean;
  /** Options that were given twice with different values. */
  readonly warnings: readonly string[];
}

/** A mount as it was asked for: its settings, and the options they come to. */
export interface ResolvedMount {
  readonly settings: Settings;
  readonly options: MountOptions;
  /** What was adjusted, and why. */
  readonly warnings: readonly string[];
}

/** What the settings are read from and resolved in; the same at the start and in a reload. */
export interface Sources {
  readonly given: MountArguments;
  readonly environment: NodeJS.ProcessEnv;
  readonly surroundings: Surroundings;
}

/** The sources of this process as they are now: later it may have left its working directory. */
export function sourcesOf(given: MountArguments): Sources {
  return { given, environment: { ...process.env }, surroundings: ownSurroundings() };
}

/**
 * Reads every source: the file, the environment, the lists, the flags and operands, each stronger
 * than the ones before. No file is read unless one is named.
 *
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export async function readSettings(sources: Sources): Promise<Settings> {
  const { given, environment, surroundings } = sources;
  const named = given.configFile ?? configFileOf(environment);
  const file =
    named === undefined
      ? new Map()
      : await readConfigFile(absolutePath(named, surroundings.workingDirectory));
  const fromEnvironment = environmentSettings(environment);
  return mergeSettings(file, fromEnvironment, given.listed, given.flagged, operandsOf(given));
}

function operandsOf({ operands }: MountArguments): Settings {
  return new Map(
    operands.map((value, index) => [PLACES[index] as SettingKey, { value, origin: 'operand' }]),
  );
}

/**
 * The options that settings come to.
 *
 * @throws SluiceError ERR_SLUICE_USAGE where nobody says what to mount or where, else
 * ERR_SLUICE_OPTION
 */
export function resolveSettings(
  settings: Settings,
  surroundings: Surroundings,
): Omit<ResolvedMount, 'settings'> {
  const missing = PLACES.find((place) => !settings.has(place));
  if (missing !== undefined) {
    const cure = 'give SOURCE and MOUNTPOINT, or set them in the file of --config';
    throw new SluiceError('ERR_SLUICE_USAGE', `${missing}: missing; ${cure}`);
  }
  return resolveOptions(inputOf(settings), surroundings);
}

function inputOf(settings: Settings): MountInput {
  const values = [...settings].map(([key, { value }]) => [key, value] as const);
  return Object.fromEntries(values) as unknown as MountInput;
}

/** Reads every source and resolves what they say. @throws SluiceError */
export async function resolveMount(sources: Sources): Promise<ResolvedMount> {
  const settings = await readSettings(sources);
  const { options, warnings } = resolveSettings(settings, sources.surroundings);
  return { settings, options, warnings: [...sources.given.warnings, ...warnings] };
}
