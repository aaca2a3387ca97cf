/**
 * `sync` and `dirsync`: the kernel leaves it to us that a directory is on the disk before a change of
 * its names is answered.
 */
import { OP } from '../abi/opcodes.ts';
import { RENAME_IN } from '../abi/structs.ts';
import { O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../sys/constants.ts';
import { fsync } from '../sys/libc.ts';
import type { Context } from './context.ts';
import { openInodeBriefly } from './inode-access.ts';

/** Operations that change names below the inode they are sent to. */
const CHANGES_NAMES: ReadonlySet<number> = new Set([
  OP.SYMLINK,
  OP.MKNOD,
  OP.MKDIR,
  OP.UNLINK,
  OP.RMDIR,
  OP.RENAME,
  OP.RENAME2,
  OP.LINK,
  OP.CREATE,
]);

/**
 * Writes the directories that the loaded request has changed.
 * @returns 0, or -errno
 */
export function syncDirectories(ctx: Context): number {
  if (!CHANGES_NAMES.has(ctx.opcode)) return 0;
  const error = syncDirectory(ctx, ctx.pinNode());
  if (error < 0 || (ctx.opcode !== OP.RENAME && ctx.opcode !== OP.RENAME2)) return error;
  return syncDirectory(ctx, ctx.pinInode(ctx.argLo(RENAME_IN.newdir), ctx.argHi(RENAME_IN.newdir)));
}

function syncDirectory(ctx: Context, slot: number): number {
  if (slot < 0) return slot;
  const fd = openInodeBriefly(ctx, slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? fd : fsync(fd);
}
