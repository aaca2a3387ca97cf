/** Layers from their modules. */
import { oneLine, SluiceError } from '../errors.ts';
import { OPERATION_NAMES } from './operation-table.ts';
import type { Layer, LayerEnvironment, LayerFactory } from './types.ts';
import { describe } from './wire.ts';

/** A module whose default export is a layer or makes one. */
export interface ModuleToLoad {
  /** A file: URL. */
  readonly url: string;
  readonly options: unknown;
}

/** Members of a layer besides operations. */
const OTHER_MEMBERS = ['name', 'otherwise', 'forget'];

/**
 * Checks that a value can be a layer: a name, and methods that are operations.
 * @param what names it in the error
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export function checkLayer(what: string, value: unknown): asserts value is { name: string } {
  const fail = (reason: string): never => {
    throw new SluiceError('ERR_SLUICE_OPTION', `${what}: ${reason}`);
  };
  if (typeof value !== 'object' || value === null) {
    return fail(`it is ${describe(value)}; give an object with a name and methods`);
  }
  const layer = value as Record<string, unknown>;
  const { name } = layer;
  if (typeof name !== 'string' || name === '') fail('it has no name; give it one for the log');
  for (const operation of [...OPERATION_NAMES, 'otherwise', 'forget']) {
    const method = layer[operation];
    if (method !== undefined && typeof method !== 'function') {
      fail(`${operation} is ${describe(method)}, and has to be a function`);
    }
  }
  const known = [...OPERATION_NAMES, ...OTHER_MEMBERS] as string[];
  const methods = Object.entries(layer).filter(([, member]) => typeof member === 'function');
  const odd = methods.find(([member]) => !known.includes(member) && !member.startsWith('_'));
  if (odd !== undefined) {
    fail(`${odd[0]} is no operation; name helpers with a _ in front, or keep them outside`);
  }
}

/**
 * Loads a module and makes its layer.
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export async function loadLayer(
  { url, options }: ModuleToLoad,
  environment: LayerEnvironment,
): Promise<Layer> {
  const what = `layer ${url}`;
  let layer: unknown;
  try {
    const { default: exported } = (await import(url)) as { default?: unknown };
    layer =
      typeof exported === 'function' ? (exported as LayerFactory)(options, environment) : exported;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SluiceError(
      'ERR_SLUICE_OPTION',
      oneLine(
        `${what}: it cannot be loaded (${reason}); give a module whose default export is a layer`,
      ),
      { cause },
    );
  }
  checkLayer(what, layer);
  return layer as Layer;
}
