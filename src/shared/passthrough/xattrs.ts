/**
 * SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR. The calls of the f- family refuse O_PATH descriptors,
 * so they go by "<fd>" below /proc/self/fd, which is every lane's working directory.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_SETXATTR_ACL_KILL_SGID } from '../abi/flags.ts';
import { GETXATTR_IN, GETXATTR_OUT, SETXATTR_IN } from '../abi/structs.ts';
import { CAP_SYS_ADMIN, FS_MAGIC } from '../sys/constants.ts';
import { getxattr, listxattr, removexattr, setxattr } from '../sys/libc.ts';
import { mapAclIds } from './acl-ids.ts';
import { callerHas, createAsCaller, takeNoGroups } from './caller.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, SCRATCH } from './context.ts';
import { FORBIDDEN_ID } from './id-map.ts';
import { inodeFd, procPathFromHere } from './inode-access.ts';
import { endSetIdKill } from './set-ids.ts';
import { mapClientName, mapServerList } from './xattr-map.ts';

/** XATTR_SIZE_MAX and XATTR_LIST_MAX (include/uapi/linux/limits.h). */
const XATTR_MAX_BYTES = 65536;
const TRUSTED = Buffer.from('trusted.');

const SYSTEM = Buffer.from('system.');
/** What the names of ACLs begin with. */
const ACLS = Buffer.from('system.posix_acl_');
const ACL_NAMES = [
  Buffer.from('system.posix_acl_access\0'),
  Buffer.from('system.posix_acl_default\0'),
];

/**
 * Whether clients have ACLs. Those that nobody checks they have not: a kernel that leaves ACLs to us
 * does not ask whose file it is.
 */
function hasAcls(ctx: Context): boolean {
  const { posixAcl, defaultPermissions } = ctx.config;
  return posixAcl && (!defaultPermissions || ctx.has(NEGOTIATED.DONT_MASK));
}

/**
 * The host's name for the one at this offset, which has a NUL behind it.
 * @returns its offset, or -errno
 */
export function hostXattrName(ctx: Context, at: number, length: number): number {
  const { xattrMap } = ctx.config;
  if (!hasAcls(ctx) && startsWith(ctx, at, ACLS)) return -ERRNO.EOPNOTSUPP;
  if (xattrMap === undefined) return at;
  // As the host answers an empty name, which a prefix would make another one of.
  if (length === 0) return -ERRNO.ERANGE;
  return mapClientName(xattrMap, ctx.u8, at, length, ctx.scratch + SCRATCH.XATTR_NAME);
}

/** Whether ids are translated and the value of this attribute of the client has some. */
function hasAclIds(ctx: Context, name: number): boolean {
  const { uidMap, gidMap } = ctx.config;
  if (uidMap === undefined && gidMap === undefined) return false;
  return startsWith(ctx, name, ACL_NAMES[0]) || startsWith(ctx, name, ACL_NAMES[1]);
}

/** The path of the request's inode, or -errno. */
function inodePath(ctx: Context): number {
  // ENOSYS makes the kernel stop asking, which is what the option is for.
  if (!ctx.config.xattr) return -ERRNO.ENOSYS;
  const slot = ctx.pinNode();
  if (slot < 0) return slot;
  const fd = inodeFd(ctx, slot);
  return fd < 0 ? fd : procPathFromHere(ctx, fd);
}

/** SETXATTR: name, NUL, value. */
export function setXattr(ctx: Context): number {
  const path = inodePath(ctx);
  if (path < 0) return path;
  const name = ctx.body + ctx.setxattrInBytes();
  const length = ctx.nameLength(name);
  if (length < 0) return -ERRNO.EINVAL;
  const size = ctx.arg32(SETXATTR_IN.size);
  const value = name + length + 1;
  if (size > XATTR_MAX_BYTES) return -ERRNO.E2BIG;
  if (value + size > ctx.message + ctx.lengthBytes) return -ERRNO.EINVAL;
  const hostName = hostXattrName(ctx, name, length);
  if (hostName < 0) return hostName;
  const { uidMap, gidMap } = ctx.config;
  if (
    hasAclIds(ctx, name) &&
    mapAclIds(ctx.u8, value, size, uidMap?.toHost, gidMap?.toHost) === FORBIDDEN_ID
  ) {
    return -ERRNO.EPERM;
  }
  // An ACL of a group the caller is not in: the kernel wants the set-group-id bit gone.
  const kill =
    ctx.has(NEGOTIATED.SETXATTR_EXT) &&
    (ctx.arg32(SETXATTR_IN.setxattr_flags) & FUSE_SETXATTR_ACL_KILL_SGID) !== 0;
  if (kill) takeNoGroups(ctx);
  const error = isHostsAffair(ctx, name)
    ? createAsCaller(ctx, store, path, ctx.address(hostName))
    : store(ctx, path, ctx.address(hostName));
  if (kill) endSetIdKill(ctx);
  return error;
}

function store(ctx: Context, path: number, name: number): number {
  const at = ctx.body + ctx.setxattrInBytes();
  const value = at + ctx.nameLength(at) + 1;
  const size = ctx.arg32(SETXATTR_IN.size);
  return setxattr(path, name, ctx.address(value), size, ctx.arg32(SETXATTR_IN.flags));
}

function drop(_: Context, path: number, name: number): number {
  return removexattr(path, name);
}

/** Whether only the host knows who may change it: of `system.` VFS checks the names of ACLs alone. */
function isHostsAffair(ctx: Context, name: number): boolean {
  return startsWith(ctx, name, SYSTEM) && !startsWith(ctx, name, ACLS);
}

/** GETXATTR: the value, or its size when the caller gave no room. */
export function getXattr(ctx: Context): number {
  const path = inodePath(ctx);
  if (path < 0) return path;
  const room = Math.min(ctx.arg32(GETXATTR_IN.size), XATTR_MAX_BYTES);
  const name = ctx.body + GETXATTR_IN.SIZE;
  const length = ctx.nameLength(name);
  if (length < 0) return -ERRNO.EINVAL;
  const hostName = hostXattrName(ctx, name, length);
  if (hostName < 0) return hostName;
  const count = getxattr(path, ctx.address(hostName), ctx.address(ctx.out), room);
  if (count > 0 && room > 0 && hasAclIds(ctx, name)) {
    const { uidMap, gidMap } = ctx.config;
    mapAclIds(ctx.u8, ctx.out, count, uidMap?.toClient, gidMap?.toClient);
  }
  return replySized(ctx, count, room);
}

/** LISTXATTR. */
export function listXattr(ctx: Context): number {
  const path = inodePath(ctx);
  if (path < 0) return path;
  const room = Math.min(ctx.arg32(GETXATTR_IN.size), XATTR_MAX_BYTES);
  const { xattrMap } = ctx.config;
  const count = listxattr(path, ctx.address(ctx.out), XATTR_MAX_BYTES);
  if (count < 0) return count;
  const mapped = xattrMap === undefined ? count : mapServerList(xattrMap, ctx.u8, ctx.out, count);
  const visible = hidesTrusted(ctx, mapped) ? dropNames(ctx, mapped, TRUSTED) : mapped;
  const shown = hasAcls(ctx) ? visible : dropNames(ctx, visible, ACLS);
  return room > 0 && shown > room ? -ERRNO.ERANGE : replySized(ctx, shown, room);
}

/**
 * Whether the host would hide names of the trusted namespace from the caller, and shows them to us:
 * it lists them to CAP_SYS_ADMIN, but btrfs to everybody.
 */
function hidesTrusted(ctx: Context, bytes: number): boolean {
  if (!hasName(ctx, bytes, TRUSTED)) return false;
  const { inodes, mounts } = ctx.tables;
  const isBtrfs = mounts.fsType(inodes.mount(ctx.nodeLo)) === FS_MAGIC.BTRFS;
  return !isBtrfs && !callerHas(ctx, CAP_SYS_ADMIN);
}

/** Whether a name in the reply's list begins so. */
function hasName(ctx: Context, bytes: number, prefix: Uint8Array): boolean {
  for (let at = 0; at < bytes; at = nextName(ctx, at)) {
    if (startsWith(ctx, ctx.out + at, prefix)) return true;
  }
  return false;
}

/** Where the name behind the one at `at` of the reply's list begins. */
function nextName(ctx: Context, at: number): number {
  return ctx.u8.indexOf(0, ctx.out + at) - ctx.out + 1;
}

/** Takes the names that begin so out of the list in the reply. @returns how many bytes are left */
function dropNames(ctx: Context, bytes: number, prefix: Uint8Array): number {
  let kept = 0;
  for (let at = 0; at < bytes; ) {
    const end = nextName(ctx, at);
    if (!startsWith(ctx, ctx.out + at, prefix)) {
      ctx.u8.copyWithin(ctx.out + kept, ctx.out + at, ctx.out + end);
      kept += end - at;
    }
    at = end;
  }
  return kept;
}

function startsWith(ctx: Context, at: number, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (ctx.u8[at + i] !== bytes[i]) return false;
  return true;
}

function replySized(ctx: Context, count: number, room: number): number {
  if (count < 0 || room > 0) return count;
  ctx.putWords(GETXATTR_OUT.size, count, 0);
  return GETXATTR_OUT.SIZE;
}

/** REMOVEXATTR. */
export function removeXattr(ctx: Context): number {
  const path = inodePath(ctx);
  if (path < 0) return path;
  const length = ctx.nameLength(ctx.body);
  if (length < 0) return -ERRNO.EINVAL;
  const hostName = hostXattrName(ctx, ctx.body, length);
  if (hostName < 0) return hostName;
  const address = ctx.address(hostName);
  return isHostsAffair(ctx, ctx.body)
    ? createAsCaller(ctx, drop, path, address)
    : drop(ctx, path, address);
}
