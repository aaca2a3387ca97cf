/** The passthrough file system without a mount, as methods: to try layers on, and to build on. */

import { mistakeText } from '../../shared/layers/mistake.ts';
import { PassthroughBelow } from '../../shared/layers/passthrough-below.ts';
import { stackLayers } from '../../shared/layers/stack.ts';
import type { FileSystem, Layer } from '../../shared/layers/types.ts';
import { type LayerOptions, PassthroughLayer } from '../layer.ts';

/** The options of a mount that do not need one. */
export type PassthroughOptions = LayerOptions;

/**
 * A file system of one directory. Its answers count as the kernel's would: each entry counts one
 * lookup until forget(), what is opened stays open until release() or releasedir().
 */
export interface OpenFileSystem {
  /** By operation; the root is nodeid 1. */
  readonly fs: FileSystem;
  /** Gives lookups of a nodeid back. */
  forget(nodeid: number, lookups: number): void;
  /** Closes what is open. Nothing may be asked after that. */
  close(): void;
}

const EPOCH_UNIT = 0x100000000;

/**
 * Opens a directory as a file system on the calling thread; its operations may wait for the disk.
 * @param onReport gets what a mount would log
 * @throws SluiceError when the directory cannot be served
 */
export function openPassthrough(
  directory: string,
  options: PassthroughOptions = {},
  onReport: (message: string) => void = () => undefined,
): OpenFileSystem {
  const layer = new PassthroughLayer(directory, options, onReport);
  layer.fs.importRoot();
  const { ctx } = layer.fs;
  const { at, bytes } = layer.messageArea();
  const below = new PassthroughBelow(ctx, at, bytes, () => ctx.tables.journal.effectNone());
  return {
    fs: below as unknown as FileSystem,
    forget: (nodeid, lookups) => ctx.forget(nodeid | 0, Math.floor(nodeid / EPOCH_UNIT), lookups),
    close: () => layer.fs.close(),
  };
}

/**
 * Puts layers on a file system, the first one outermost, as a mount does in its lanes.
 * @param onMistake gets what a mount would log of a layer that throws, or answers what is no answer
 */
export function withLayers(
  base: FileSystem,
  layers: readonly Layer[],
  onMistake: (message: string) => void = () => undefined,
): FileSystem {
  return stackLayers(base, layers, {
    onEnter: () => undefined,
    onMistake: (layer, operation, error) => onMistake(mistakeText(layer, operation, error)),
  });
}
