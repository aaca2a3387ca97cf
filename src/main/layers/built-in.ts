/** The layers that come with the library. */
import type { LayerModule } from './settle.ts';

/** Where a trace goes, and what of it. */
export interface TraceLayerOptions {
  /** A file to append to; default: standard error. */
  readonly file?: string;
  /** Only these operations; default: all. */
  readonly operations?: readonly string[];
}

/** A line for each operation when it is answered: what was asked, by whom, the answer, and the time. */
export function traceLayer(options: TraceLayerOptions = {}): LayerModule {
  return { module: new URL('../../workers/layers/trace.js', import.meta.url), options };
}

/** Whatever would change something is answered EROFS; access times are the file system's own. */
export function readOnlyLayer(): LayerModule {
  return { module: new URL('../../workers/layers/read-only.js', import.meta.url) };
}
