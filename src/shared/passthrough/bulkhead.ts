import { MOUNT_CAPACITY, type MountTable } from '../memory/mount-table.ts';
import type { Context } from './context.ts';

/**
 * How many lanes one backing mount may occupy. Alone it has them all; with others beside it one is
 * left to them, so that a mount that hangs does not stop the rest.
 */
export function laneLimit(mounts: MountTable, lanes: number): number {
  return mounts.count() > 1 ? Math.max(1, lanes - 1) : lanes;
}

/** The backing mount of the loaded request's inode: its bulkhead. */
export function backingMountOf(ctx: Context): number {
  const { inodes } = ctx.tables;
  const slot = ctx.nodeLo;
  const mount = slot > 0 && slot <= inodes.capacity ? inodes.mount(slot) : 0;
  return mount >= 0 && mount < MOUNT_CAPACITY ? mount : 0;
}
