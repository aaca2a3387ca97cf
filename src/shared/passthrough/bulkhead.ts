import type { MountTable } from '../memory/mount-table.ts';

/**
 * How many lanes one backing mount may occupy. Alone it has them all; with others beside it one is
 * left to them, so that a mount that hangs does not stop the rest.
 */
export function laneLimit(mounts: MountTable, lanes: number): number {
  return mounts.count() > 1 ? Math.max(1, lanes - 1) : lanes;
}
