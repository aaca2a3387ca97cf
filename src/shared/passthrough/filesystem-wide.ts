/**
 * STATFS, SYNCFS and ACCESS.
 */
import { ERRNO } from '../abi/errno.ts';
import { KSTATFS } from '../abi/structs.ts';
import { O_CLOEXEC, O_DIRECTORY, O_RDONLY, S_IFDIR, STATFS } from '../sys/constants.ts';
import { fstatfs, syncfs } from '../sys/libc.ts';
import { type Context, SCRATCH } from './context.ts';
import { inodeFd, openInodeBriefly } from './inode-access.ts';

/** STATFS. */
export function statfs(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const fd = inodeFd(ctx, slot);
  if (fd < 0) return fd;
  const error = fstatfs(fd, ctx.scratchAddress(SCRATCH.STATFS));
  if (error < 0) return error;
  const from = (ctx.scratch + SCRATCH.STATFS) >> 2;
  const u32 = ctx.u32;
  const to = ctx.out >> 2;
  ctx.zero(0, KSTATFS.SIZE);
  for (const [wire, host] of WIDE_FIELDS) {
    u32[to + (wire >> 2)] = u32[from + (host >> 2)];
    u32[to + (wire >> 2) + 1] = u32[from + (host >> 2) + 1];
  }
  u32[to + (KSTATFS.bsize >> 2)] = u32[from + (STATFS.bsize >> 2)];
  u32[to + (KSTATFS.namelen >> 2)] = u32[from + (STATFS.namelen >> 2)];
  u32[to + (KSTATFS.frsize >> 2)] = u32[from + (STATFS.frsize >> 2)];
  return KSTATFS.SIZE;
}

/** Fields of 64 bits: where on the wire, where in struct statfs. */
const WIDE_FIELDS: readonly (readonly [number, number])[] = [
  [KSTATFS.blocks, STATFS.blocks],
  [KSTATFS.bfree, STATFS.bfree],
  [KSTATFS.bavail, STATFS.bavail],
  [KSTATFS.files, STATFS.files],
  [KSTATFS.ffree, STATFS.ffree],
];

/** SYNCFS. */
export function syncFilesystem(ctx: Context): number {
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const isDir = ctx.tables.inodes.fileType(slot) === S_IFDIR;
  const fd = openInodeBriefly(ctx, slot, O_RDONLY | O_CLOEXEC | (isDir ? O_DIRECTORY : 0));
  return fd < 0 ? fd : syncfs(fd);
}

/**
 * ACCESS comes only without default_permissions. ENOSYS makes the kernel take every answer for yes
 * and ask no more: an honest answer needs groups and ACLs of the caller, which the kernel checks
 * itself under default_permissions.
 */
export function access(): number {
  return -ERRNO.ENOSYS;
}
