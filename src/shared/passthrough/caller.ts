/**
 * Acting as the user who made the request. What a request creates must belong to him, and the host
 * decides by his ids and groups about set-group-id bits and quotas (credentials(7)).
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { ERRNO } from '../abi/errno.ts';
import { FUSE_EXT_GROUPS } from '../abi/flags.ts';
import { OP } from '../abi/opcodes.ts';
import { CREATE_IN, MKNOD_IN } from '../abi/structs.ts';
import {
  AT_EACCESS,
  CAP_DAC_OVERRIDE,
  CAP_FSETID,
  CAP_MKNOD,
  O_ACCMODE,
  O_RDONLY,
  S_ISGID,
  W_OK,
} from '../sys/constants.ts';
import { INVALID_ID } from '../sys/credentials.ts';
import { faccessat2 } from '../sys/libc.ts';
import { NEGOTIATED } from './config.ts';
import type { Context } from './context.ts';
import { findExtension, groupAt, groupCount } from './extensions.ts';
import { FORBIDDEN_ID } from './id-map.ts';
import { procPath } from './inode-access.ts';

/** Creates a name in a directory, by what the request at hand says. @returns 0, a descriptor, or -errno */
export type Creation = (ctx: Context, dirFd: number, name: number) => number;

const NO_GROUP = -1;
/** DEFAULT_OVERFLOWGID (include/linux/highuid.h): the group of those that have none. */
const OVERFLOW_GID = 65534;
/** Capabilities a caller without uid 0 may have that count when something is created. */
const CREATING_CAPABILITIES = (1 << CAP_DAC_OVERRIDE) | (1 << CAP_MKNOD) | (1 << CAP_FSETID);

/** Of a process: all its groups, as the host has them, and the low 32 effective capabilities. */
interface Process {
  readonly groups: readonly number[];
  /** False on an idmapped mount, where its groups are others. */
  readonly hasGroups: boolean;
  readonly capabilities: number;
}

/** What /proc tells about the thread that made the request; undefined where it cannot be seen. */
function callingProcess(ctx: Context): Process | undefined {
  const pid = ctx.callerPid();
  // 0: it lives outside our pid namespace.
  if (pid === 0) return undefined;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    // A process without groups has an empty line: the next one is not to be taken for it.
    const groups = /^Groups:[ \t]*(.*)$/m.exec(status)?.[1].match(/\d+/g) ?? [];
    const capabilities = capabilitiesOf(ctx, pid, status);
    if (ctx.has(NEGOTIATED.ALLOW_IDMAP)) return { groups: [], hasGroups: false, capabilities };
    const known = groups.map((gid) => ctx.hostGid(Number(gid)));
    const usable = known.filter((gid) => gid !== FORBIDDEN_ID);
    return { groups: usable, hasGroups: true, capabilities };
  } catch {
    return undefined;
  }
}

/**
 * The low 32 capabilities a thread acts with: none where they are not those of the request, which
 * another thread may make in its name (nfsd, io_uring), or of our user namespace, the only one that
 * means something to the file system behind.
 */
function capabilitiesOf(ctx: Context, pid: number, status: string): number {
  const fsuid = /^Uid:(?:[ \t]+\d+){3}[ \t]+(\d+)$/m.exec(status)?.[1];
  if (Number(fsuid) !== ctx.clientUid() && !ctx.has(NEGOTIATED.ALLOW_IDMAP)) return 0;
  if (!isInOurUserNamespace(pid)) return 0;
  const effective = /^CapEff:[ \t]*[0-9a-f]*([0-9a-f]{8})$/m.exec(status)?.[1] ?? '0';
  return Number.parseInt(effective, 16);
}

/** Also false without CAP_SYS_PTRACE, which it takes to look. */
function isInOurUserNamespace(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync('/proc/self/ns/user');
  } catch {
    return false;
  }
}

/**
 * Runs a creation as the caller, and comes back. Directory and name must be resolved before it.
 *
 * The kernel has checked the caller's rights by all he has; we know his ids and one group. Where the
 * host then refuses, the rest is looked up in /proc: other groups, as an ACL may name them, and
 * capabilities of callers that are not root.
 */
export function createAsCaller(
  ctx: Context,
  creation: Creation,
  dirFd: number,
  name: number,
): number {
  const { credentials } = ctx;
  const uid = ctx.callerUid();
  const gid = ctx.callerGid();
  if (uid === FORBIDDEN_ID || gid === FORBIDDEN_ID) return -ERRNO.EPERM;
  if (!credentials.differ(uid, gid)) return creation(ctx, dirFd, name);
  // No id of this user namespace: the host must not take it for "as before".
  if (uid === INVALID_ID || gid === INVALID_ID) return -ERRNO.EOVERFLOW;
  const group = supplementaryGroup(ctx);
  if (group === -ERRNO.EINVAL) return group;
  // The host takes a set-group-id bit without a word from who has no right to it.
  const needsAll = !ctx.has(NEGOTIATED.CREATE_SUPP_GROUP) || (newMode(ctx) & S_ISGID) !== 0;
  if (needsAll) return createWithAll(ctx, creation, dirFd, name);
  let result = credentials.become(uid, gid, group);
  if (result === 0) result = creation(ctx, dirFd, name);
  ctx.becomeSelf();
  if (ctx.isUnsafe) return -ERRNO.EIO;
  const isRefused = result === -ERRNO.EACCES || result === -ERRNO.EPERM;
  return isRefused ? createWithAll(ctx, creation, dirFd, name) : result;
}

/** The mode asked for, of what is no directory: a directory keeps its set-group-id bit. */
function newMode(ctx: Context): number {
  switch (ctx.opcode) {
    case OP.MKNOD:
      return ctx.arg32(MKNOD_IN.mode);
    case OP.CREATE:
    case OP.TMPFILE:
      return ctx.arg32(CREATE_IN.mode);
    default:
      return 0;
  }
}

/** The group the kernel sends along: that of the directory, if the caller is in it. */
function supplementaryGroup(ctx: Context): number {
  const at = findExtension(ctx, FUSE_EXT_GROUPS);
  const count = groupCount(ctx, at);
  if (count <= 0) return count < 0 ? -ERRNO.EINVAL : NO_GROUP;
  // FORBIDDEN_ID is NO_GROUP: a group that may not be used gives no rights.
  return ctx.hostGid(groupAt(ctx, at, 0));
}

/** Runs a creation with all groups of the caller, and the capabilities he has. */
function createWithAll(ctx: Context, creation: Creation, dirFd: number, name: number): number {
  const { credentials } = ctx;
  const process = callingProcess(ctx);
  const groups = process?.groups ?? [];
  // Whose groups we cannot see, of him the kernel alone knows the rights, and it has checked them.
  const isUnseen = process?.hasGroups !== true && ctx.config.defaultPermissions;
  const unseen = isUnseen ? 1 << CAP_DAC_OVERRIDE : 0;
  const capabilities = ((process?.capabilities ?? 0) | unseen) & CREATING_CAPABILITIES;
  let result = credentials.becomeWithGroups(ctx.callerUid(), ctx.callerGid(), groups);
  if (result === 0 && capabilities !== 0) result = credentials.limitCapabilities(capabilities);
  if (result === 0) result = creation(ctx, dirFd, name);
  ctx.becomeSelf();
  return ctx.isUnsafe ? -ERRNO.EIO : result;
}

/** Has this thread act by the caller's groups and CAP_FSETID, with its own uid, until both are restored. */
export function takeCallersGroups(ctx: Context): void {
  const process = callingProcess(ctx);
  if (((process?.capabilities ?? 0) & (1 << CAP_FSETID)) === 0) ctx.dropFsetid();
  const { credentials } = ctx;
  credentials.becomeWithGroups(credentials.uid, knownGid(ctx), process?.groups ?? []);
}

/** Of a group without a number here the caller has no more rights than of one he is not in. */
function knownGid(ctx: Context): number {
  const gid = ctx.callerGid();
  return gid === FORBIDDEN_ID || gid === INVALID_ID ? OVERFLOW_GID : gid;
}

/**
 * Has this thread act by no group but the caller's first, and without CAP_FSETID, until both are
 * restored: the kernel has decided that a set-group-id bit is to go.
 */
export function takeNoGroups(ctx: Context): void {
  ctx.dropFsetid();
  const { credentials } = ctx;
  credentials.becomeWithGroups(credentials.uid, knownGid(ctx), []);
}

/** Whether the caller may write to a file, of any descriptor, as the host sees him. */
export function callerMayWrite(ctx: Context, fd: number): boolean {
  const { credentials } = ctx;
  const uid = ctx.callerUid();
  const gid = ctx.callerGid();
  const isNobody = [uid, gid].some((id) => id === INVALID_ID || id === FORBIDDEN_ID);
  if (isNobody || !credentials.canSwitch) return false;
  let result = credentials.becomeWithGroups(uid, gid, callingProcess(ctx)?.groups ?? []);
  if (result === 0) {
    result = faccessat2(ctx.config.procSelfFd, procPath(ctx, fd), W_OK, AT_EACCESS);
  }
  ctx.becomeSelf();
  return result === 0;
}

/**
 * Whether the caller has a file of this inode number open for writing, as /proc/PID/fdinfo tells; also
 * where he cannot be seen. A file of the same number elsewhere counts, too.
 */
export function callerHasOpen(ctx: Context, ino: number | bigint): boolean {
  const directory = `/proc/${ctx.callerPid()}/fdinfo`;
  try {
    return readdirSync(directory).some((fd) => isOpenForWriting(`${directory}/${fd}`, ino));
  } catch {
    return true;
  }
}

function isOpenForWriting(path: string, ino: number | bigint): boolean {
  try {
    const info = readFileSync(path, 'latin1');
    const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(info)?.[1] ?? '0', 8);
    return (flags & O_ACCMODE) !== O_RDONLY && new RegExp(`^ino:\\s*${ino}$`, 'm').test(info);
  } catch {
    // Closed meanwhile.
    return false;
  }
}

/**
 * Whether a file of this group keeps its set-group-id bit when the caller changes it: he is in the
 * group, or has CAP_FSETID (in_group_or_capable, fs/inode.c). Only asked where the group may not
 * execute, since else the bit goes in any case.
 */
export function callerKeepsSetGid(ctx: Context, gid: number): boolean {
  if (ctx.callerGid() === gid) return true;
  const process = callingProcess(ctx);
  return process?.groups.includes(gid) === true || hasCapability(ctx, process, CAP_FSETID);
}

/** Whether the caller has one of the lower 32 capabilities. */
export function callerHas(ctx: Context, capability: number): boolean {
  return hasCapability(ctx, callingProcess(ctx), capability);
}

/** Of a process that cannot be seen, root has them. */
function hasCapability(ctx: Context, process: Process | undefined, capability: number): boolean {
  if (process === undefined) return ctx.clientUid() === 0;
  return (process.capabilities & (1 << capability)) !== 0;
}
