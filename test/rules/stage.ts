/** A directory, a layer over it, and the kernel's side of that layer. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type LayerOptions, PassthroughLayer } from '../../src/main/layer.ts';
import { defer } from '../harness/cleanup.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { Client } from './messages.ts';

export const ROOT = 1;

export interface Stage {
  /** The source directory. */
  readonly dir: string;
  readonly layer: PassthroughLayer;
  readonly client: Client;
  /** What the layer had to say. */
  readonly reports: string[];
  /** The host's path of a name in the source. */
  at(name: string): string;
  /** Lookups the kernel owes. */
  lookups(): number;
  /** Inodes besides the root. */
  inodes(): number;
}

/** A layer that is imported and not initialised; it is closed when the test ends. */
export async function stage(options: LayerOptions = {}, source?: string): Promise<Stage> {
  const dir = source ?? ((await tempDirs('source')) as [string])[0];
  const reports: string[] = [];
  const layer = new PassthroughLayer(dir, { fdBudget: 64, ...options }, (m) => reports.push(m));
  defer(async () => layer.fs.close());
  layer.fs.importRoot();
  const { inodes } = layer.fs.ctx.tables;
  return {
    dir,
    layer,
    client: new Client(layer),
    reports,
    at: (name) => join(dir, name),
    lookups: () => inodes.countLookups(),
    inodes: () => inodes.count() - 1,
  };
}

/** Descriptors this process has open. */
export function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}
