/** From the layers a program gives to what main and the lanes run. */
import { isAbsolute, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { oneLine, SluiceError } from '../../shared/errors.ts';
import { checkLayer, loadLayer, type ModuleToLoad } from '../../shared/layers/load.ts';
import { DATA_OPERATIONS, handles, layeredOpcodes } from '../../shared/layers/operation-table.ts';
import type { AsyncLayer, Layer, OwnFileSystem } from '../../shared/layers/types.ts';
import { MOST_LAYERS } from '../../shared/layers/watch.ts';

/** A layer in a module of its own, which every lane loads. */
export interface LayerModule {
  /**
   * Its file: a path, relative to the working directory, or a `file:` URL such as
   * `new URL('./meter.js', import.meta.url)`. Its default export is a Layer or a LayerFactory.
   */
  readonly module: string | URL;
  /** For the factory; what structuredClone() copies, and SharedArrayBuffer, which all share. */
  readonly options?: unknown;
}

/** How a program puts layers on a mount. */
export interface LayerSettings {
  /**
   * The outermost first, which sees a request first. An AsyncLayer runs on the main thread, a module in
   * the lanes; those on the main thread come first.
   */
  readonly layers?: readonly (AsyncLayer | LayerModule)[];
  /** After so long without an answer of a layer a request gets EIO. Default 30 seconds. */
  readonly layerTimeoutMs?: number;
}

export const DEFAULT_LAYER_TIMEOUT_MS = 30_000;
const LONGEST_TIMEOUT_MS = 24 * 3600_000;

/** Layers as a mount runs them. */
export interface SettledLayers {
  readonly modules: readonly ModuleToLoad[];
  /** Of the layers in modules, outermost first. */
  readonly moduleNames: readonly string[];
  /** Opcodes that layers in lanes see; undefined where there are none. */
  readonly layered: Uint8Array | undefined;
  readonly asyncLayers: readonly AsyncLayer[];
  readonly own: OwnFileSystem | undefined;
  /** The first one that has to see what is read and written. */
  readonly dataLayer: string | undefined;
  readonly timeoutMs: number;
}

/**
 * Loads and checks layers.
 * @param own a file system in place of the passthrough, or undefined
 * @returns undefined when there is nothing but the passthrough
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export async function settleLayers(
  { layers = [], layerTimeoutMs = DEFAULT_LAYER_TIMEOUT_MS }: LayerSettings,
  own?: OwnFileSystem,
): Promise<SettledLayers | undefined> {
  checkTimeout(layerTimeoutMs);
  if (!Array.isArray(layers)) throw optionError('layers: give an array of layers');
  const modules: ModuleToLoad[] = [];
  const asyncLayers: AsyncLayer[] = [];
  for (const layer of layers as readonly (AsyncLayer | LayerModule)[]) {
    if (isModule(layer)) modules.push(moduleOf(layer));
    else {
      checkLayer(`layer ${asyncLayers.length}`, layer);
      asyncLayers.push(layer as AsyncLayer);
      if (modules.length > 0)
        throw optionError(
          `layers: ${layer.name} comes after a module; layers on the main thread come first`,
        );
    }
  }
  if (own !== undefined) checkLayer('the file system', own);
  if (own !== undefined && modules.length > 0) {
    throw optionError(
      'layers: modules run in the lanes, and a file system of your own on the main thread; give AsyncLayers',
    );
  }
  if (modules.length > MOST_LAYERS)
    throw optionError(`layers: there are more than ${MOST_LAYERS} modules`);
  if (own === undefined && layers.length === 0) return undefined;
  const loaded = await Promise.all(modules.map((module) => loadLayer(module, onlyToLook())));
  const all = [...asyncLayers, ...loaded, ...(own === undefined ? [] : [own])];
  return {
    modules,
    moduleNames: loaded.map(({ name }) => name),
    layered: loaded.length === 0 ? undefined : layeredOpcodes(loaded),
    asyncLayers,
    own,
    dataLayer: all.find((layer) => seesData(layer))?.name,
    timeoutMs: layerTimeoutMs,
  };
}

function seesData(layer: AsyncLayer | Layer | OwnFileSystem): boolean {
  return DATA_OPERATIONS.some((operation) => handles(layer, operation));
}

function isModule(layer: unknown): layer is LayerModule {
  return typeof layer === 'object' && layer !== null && 'module' in layer;
}

function moduleOf({ module, options }: LayerModule): ModuleToLoad {
  const url = urlOf(module);
  try {
    structuredClone(options);
  } catch (cause) {
    throw optionError(
      `layer ${url}: its options cannot be copied to the lanes (${(cause as Error).message}); give plain values and SharedArrayBuffer`,
    );
  }
  return { url, options };
}

function urlOf(module: string | URL): string {
  if (module instanceof URL) return module.href;
  if (typeof module !== 'string' || module === '') {
    throw optionError('layers: module is no path; give the path or file: URL of a module');
  }
  if (module.startsWith('file:')) return module;
  return pathToFileURL(isAbsolute(module) ? module : resolve(module)).href;
}

function checkTimeout(timeoutMs: number): void {
  if (Number.isFinite(timeoutMs) && timeoutMs >= 1 && timeoutMs <= LONGEST_TIMEOUT_MS) return;
  throw optionError(`layerTimeoutMs: ${timeoutMs} is no time; give milliseconds from 1 to a day`);
}

function onlyToLook() {
  return { thread: 'main', report: () => undefined };
}

function optionError(message: string): SluiceError {
  return new SluiceError('ERR_SLUICE_OPTION', oneLine(message));
}
