/**
 * Capabilities of files. Whatever changes a file takes its security.capability, and the host sees
 * to that by itself; but not where --xattrmap has given the attribute another name.
 */
import { ERRNO } from '../abi/errno.ts';
import { S_IFREG } from '../sys/constants.ts';
import { getxattr, removexattr } from '../sys/libc.ts';
import { type Context, DEFER } from './context.ts';
import { procPathFromHere } from './inode-access.ts';

/**
 * Takes the capabilities of a file that is about to change.
 * @param fd any descriptor of it
 * @returns 0, -errno, or DEFER where only a lane may do it
 */
export function dropFileCapability(ctx: Context, fd: number, slot: number): number {
  const { capabilityName } = ctx;
  if (capabilityName === undefined) return 0;
  if (ctx.tables.inodes.fileType(slot) !== S_IFREG) return 0;
  if (!ctx.mayBlock) return DEFER;
  const path = procPathFromHere(ctx, fd);
  // Asked first: of an append-only file nothing can be removed, be it there or not.
  const size = getxattr(path, capabilityName.address, 0, 0);
  if (size === -ERRNO.ENODATA || size === -ERRNO.EOPNOTSUPP) return 0;
  return size < 0 ? size : removexattr(path, capabilityName.address);
}
