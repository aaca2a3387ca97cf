/**
 * Extensions of creating requests: the last total_extlen * 8 bytes of the message. The names before
 * them have any length, so nothing in an extension is aligned and fields are read byte by byte.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_MAX_NR_SECCTX } from '../abi/flags.ts';
import { EXT_HEADER, IN_HEADER, SECCTX, SECCTX_HEADER, SUPP_GROUPS } from '../abi/structs.ts';
import type { Context } from './context.ts';

/** total_extlen counts in these, and every extension is padded to them. */
const EXTENSION_UNIT_BYTES = 8;
const MAX_GROUPS = 32;

function read32(u8: Uint8Array, at: number): number {
  return (u8[at] | (u8[at + 1] << 8) | (u8[at + 2] << 16) | (u8[at + 3] << 24)) >>> 0;
}

/** Bytes of extensions the header promises. Kernels before 7.38 leave a zero there. */
export function extensionBytes(ctx: Context): number {
  const word = ctx.u32[(ctx.message + IN_HEADER.total_extlen) >> 2];
  return (word & 0xffff) * EXTENSION_UNIT_BYTES;
}

function messageEnd(ctx: Context): number {
  return ctx.message + ctx.lengthBytes;
}

/**
 * Whether the extensions lie behind the header and fixed part, and each ends where the next begins.
 * findExtension() may be asked only after that.
 */
export function areExtensionsSound(ctx: Context, fixedBytes: number): boolean {
  const end = messageEnd(ctx);
  let at = end - extensionBytes(ctx);
  if (at < ctx.body + fixedBytes) return false;
  while (at < end) {
    const size = read32(ctx.u8, at + EXT_HEADER.size);
    if (size < EXT_HEADER.SIZE || size % EXTENSION_UNIT_BYTES !== 0 || size > end - at)
      return false;
    at += size;
  }
  return true;
}

/**
 * Looks for an extension of the loaded request; the first one counts.
 * @param type FUSE_EXT_GROUPS, or FUSE_MAX_NR_SECCTX for the security contexts
 * @returns its offset in the request memory, or 0 if there is none
 */
export function findExtension(ctx: Context, type: number): number {
  const end = messageEnd(ctx);
  let at = end - extensionBytes(ctx);
  while (at < end) {
    const found = read32(ctx.u8, at + EXT_HEADER.type);
    // Security contexts have no type of their own: their number stands there.
    if (Math.max(found, FUSE_MAX_NR_SECCTX) === type) return at;
    at += read32(ctx.u8, at + EXT_HEADER.size);
  }
  return 0;
}

/**
 * Supplementary groups that come with the request.
 * @param at what findExtension(ctx, FUSE_EXT_GROUPS) returned; 0 has none
 * @returns how many, or -EINVAL: more than 32, or more than the extension has room for
 */
export function groupCount(ctx: Context, at: number): number {
  if (at === 0) return 0;
  const room = read32(ctx.u8, at + EXT_HEADER.size) - EXT_HEADER.SIZE - SUPP_GROUPS.SIZE;
  if (room < 0) return -ERRNO.EINVAL;
  const count = read32(ctx.u8, at + EXT_HEADER.SIZE + SUPP_GROUPS.nr_groups);
  return count <= MAX_GROUPS && count * 4 <= room ? count : -ERRNO.EINVAL;
}

/** One of the groups that groupCount() counted. */
export function groupAt(ctx: Context, at: number, index: number): number {
  return read32(ctx.u8, at + EXT_HEADER.SIZE + SUPP_GROUPS.groups + index * 4);
}

/**
 * The security context for what the request creates. The kernel sends one at the most.
 * @returns the offset of its struct fuse_secctx, 0 if there is none, or -EINVAL
 */
export function findSecurityContext(ctx: Context): number {
  const at = findExtension(ctx, FUSE_MAX_NR_SECCTX);
  if (at === 0) return 0;
  const count = read32(ctx.u8, at + SECCTX_HEADER.nr_secctx);
  if (count === 0) return 0;
  const end = at + read32(ctx.u8, at + SECCTX_HEADER.size);
  const context = at + SECCTX_HEADER.SIZE;
  if (count > 1 || end - context < SECCTX.SIZE) return -ERRNO.EINVAL;
  const name = context + SECCTX.SIZE;
  let nameEnd = name;
  while (nameEnd < end && ctx.u8[nameEnd] !== 0) nameEnd++;
  if (nameEnd === name || nameEnd === end) return -ERRNO.EINVAL;
  const size = read32(ctx.u8, context + SECCTX.size);
  return size > 0 && size <= end - nameEnd - 1 ? context : -ERRNO.EINVAL;
}

/** Offset of the attribute's name, which a NUL ends. */
export function securityName(context: number): number {
  return context + SECCTX.SIZE;
}

export function securityNameLength(ctx: Context, context: number): number {
  const name = securityName(context);
  let end = name;
  while (ctx.u8[end] !== 0) end++;
  return end - name;
}

/** Offset of the label, behind the name and its NUL. */
export function securityLabelAt(ctx: Context, context: number): number {
  return securityName(context) + securityNameLength(ctx, context) + 1;
}

/** Bytes of the label. */
export function securityLabelBytes(ctx: Context, context: number): number {
  return read32(ctx.u8, context + SECCTX.size);
}
