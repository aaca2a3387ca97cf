/**
 * FUSE_INIT: what is agreed with the kernel, feature by feature.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_MIN_MINOR_VERSION,
  INIT_FLAG,
  type InitFlagName,
} from '../../shared/abi/flags.ts';
import { INIT_IN, INIT_OUT } from '../../shared/abi/structs.ts';

/** What of the options is negotiated. */
export interface InitWishes {
  readonly cache: 'never' | 'metadata' | 'auto' | 'always';
  readonly writeback: boolean;
  readonly noOpen: boolean;
  readonly noOpendir: boolean;
  readonly noReaddir: boolean;
  readonly killprivV2: boolean;
  /** Whether this process can act as the user who creates something. */
  readonly canSwitchUser: boolean;
  /** Whether this process can drop CAP_FSETID, or has none: without that bits would not be cleared. */
  readonly canKillPrivileges: boolean;
  readonly posixLock: boolean;
  readonly flock: boolean;
  readonly xattr: boolean;
  readonly posixAcl: boolean;
  /** Whether clients may use the attributes of ACLs at all. */
  readonly hasAcls: boolean;
  readonly securityLabel: boolean;
  readonly allowIdmap: boolean;
  readonly defaultPermissions: boolean;
  readonly kernelPassthrough: boolean;
  /** Whether the source is itself stacked on another file system. */
  readonly isStackedSource: boolean;
  /** Whether queues of io_uring are ready to be registered. */
  readonly overIoUring: boolean;
  readonly maxWriteBytes: number;
  readonly maxBackground: number;
}

/** The outcome: protocol version and the features both sides have. */
export interface Negotiated {
  readonly minor: number;
  readonly features: ReadonlySet<InitFlagName>;
  readonly maxWriteBytes: number;
  readonly maxBackground: number;
  readonly maxReadaheadBytes: number;
  /** How high file systems may be stacked up to this mount, where it passes data through; else 0. */
  readonly maxStackDepth: number;
}

/** Whether the kernel is to check ACLs, which it reads as extended attributes, and to set them. */
function wantsAcls(w: InitWishes): boolean {
  return w.xattr && w.posixAcl && w.defaultPermissions && w.hasAcls;
}

/**
 * ACLs are had all together or not at all: the umask does not apply below a directory with a default
 * ACL, which the host alone can say, and a new ACL may have to clear the set-group-id bit.
 */
const ACL_FEATURES: readonly InitFlagName[] = ['POSIX_ACL', 'DONT_MASK', 'SETXATTR_EXT'];

/** When a feature is wanted. What is not listed is never asked for. */
const WANTED: readonly (readonly [InitFlagName, (w: InitWishes) => boolean])[] = [
  ['ASYNC_READ', () => true],
  ['POSIX_LOCKS', (w) => w.posixLock],
  // Zero-message opens leave nobody to truncate, so the kernel then sends a SETATTR.
  ['ATOMIC_O_TRUNC', (w) => !w.noOpen],
  ['BIG_WRITES', () => true],
  ['DONT_MASK', wantsAcls],
  ['FLOCK_LOCKS', (w) => w.flock],
  ['HAS_IOCTL_DIR', () => true],
  ['AUTO_INVAL_DATA', (w) => w.cache === 'auto'],
  ['DO_READDIRPLUS', (w) => !w.noReaddir],
  ['READDIRPLUS_AUTO', (w) => !w.noReaddir],
  ['ASYNC_DIO', () => true],
  ['WRITEBACK_CACHE', (w) => w.writeback],
  ['NO_OPEN_SUPPORT', (w) => w.noOpen],
  ['PARALLEL_DIROPS', () => true],
  ['POSIX_ACL', wantsAcls],
  ['ABORT_ERROR', () => true],
  ['MAX_PAGES', () => true],
  ['CACHE_SYMLINKS', (w) => w.cache !== 'never'],
  ['NO_OPENDIR_SUPPORT', (w) => w.noOpendir],
  ['SUBMOUNTS', () => true],
  ['HANDLE_KILLPRIV_V2', (w) => w.killprivV2 && w.canKillPrivileges],
  ['SETXATTR_EXT', () => true],
  ['INIT_EXT', () => true],
  ['SECURITY_CTX', (w) => w.securityLabel && w.xattr],
  ['CREATE_SUPP_GROUP', (w) => w.canSwitchUser],
  ['DIRECT_IO_ALLOW_MMAP', (w) => w.cache === 'never' || w.cache === 'metadata'],
  ['PASSTHROUGH', (w) => w.kernelPassthrough],
  ['NO_EXPORT_SUPPORT', () => true],
  // Without default_permissions it makes FUSE_INIT fail.
  ['ALLOW_IDMAP', (w) => w.allowIdmap && w.defaultPermissions],
  ['OVER_IO_URING', (w) => w.overIoUring],
];

/** Linux 5.14. Before 5.13 the flags of inodes could be changed by whoever had opened the file. */
export const CHECKED_IOCTLS_MINOR = 34;
/** Before it the header did not say where the extensions of a request begin. */
const EXTENSIONS_MINOR_VERSION = 38;

const PAGE = 4096;
/** Without MAX_PAGES the kernel sends no more than 32 pages (fs/fuse/fuse_i.h). */
const DEFAULT_MAX_PAGES = 32;

/** Whether a bit of the 64 is offered. */
function isOffered(flags: number, flags2: number, bit: number): boolean {
  return bit < 32 ? ((flags >>> bit) & 1) === 1 : ((flags2 >>> (bit - 32)) & 1) === 1;
}

function offeredFlags(
  words: Uint32Array,
  at: number,
  lengthBytes: number,
): { flags: number; flags2: number } {
  const flags = words[at + (INIT_IN.flags >> 2)];
  const hasFlags2 = lengthBytes >= INIT_IN.flags2 + 4 && isOffered(flags, 0, INIT_FLAG.INIT_EXT);
  return { flags, flags2: hasFlags2 ? words[at + (INIT_IN.flags2 >> 2)] : 0 };
}

/**
 * Agrees on the features.
 * @param at word index of fuse_init_in in `words`
 * @param lengthBytes bytes of it that the kernel sent
 * @returns the outcome; -EPROTO if the kernel is too old; 0 if it is newer by a major version and has
 * to be told ours first
 */
export function negotiate(
  words: Uint32Array,
  at: number,
  lengthBytes: number,
  wishes: InitWishes,
): Negotiated | number {
  const major = words[at + (INIT_IN.major >> 2)];
  const minor = words[at + (INIT_IN.minor >> 2)];
  if (major > FUSE_KERNEL_VERSION) return 0;
  if (major < FUSE_KERNEL_VERSION || minor < FUSE_MIN_MINOR_VERSION) return -ERRNO.EPROTO;
  const { flags, flags2 } = offeredFlags(words, at, lengthBytes);
  const features = new Set<InitFlagName>();
  for (const [name, isWanted] of WANTED) {
    if (isOffered(flags, flags2, INIT_FLAG[name]) && isWanted(wishes)) features.add(name);
  }
  if (!ACL_FEATURES.every((name) => features.has(name))) {
    features.delete('POSIX_ACL');
    features.delete('DONT_MASK');
  }
  if (minor < EXTENSIONS_MINOR_VERSION) features.delete('SECURITY_CTX');
  // What clears set-id bits before the kernel's own writes.
  if (!features.has('HANDLE_KILLPRIV_V2')) features.delete('PASSTHROUGH');
  const pages = features.has('MAX_PAGES') ? wishes.maxWriteBytes / PAGE : DEFAULT_MAX_PAGES;
  return {
    minor: Math.min(minor, FUSE_KERNEL_MINOR_VERSION),
    features,
    maxWriteBytes: Math.min(wishes.maxWriteBytes, pages * PAGE),
    maxBackground: wishes.maxBackground,
    maxReadaheadBytes: words[at + (INIT_IN.max_readahead >> 2)],
    maxStackDepth: features.has('PASSTHROUGH') ? (wishes.isStackedSource ? 2 : 1) : 0,
  };
}

/** Every known feature the kernel offers, for a debug message. @param at as in negotiate() */
export function offeredFeatures(
  words: Uint32Array,
  at: number,
  lengthBytes: number,
): InitFlagName[] {
  const { flags, flags2 } = offeredFlags(words, at, lengthBytes);
  const names = Object.keys(INIT_FLAG) as InitFlagName[];
  return names.filter((name) => isOffered(flags, flags2, INIT_FLAG[name]));
}

/** Writes fuse_init_out at byte `at` of the reply memory. @returns its length */
export function putInitOut(bytes: Uint8Array, at: number, n: Negotiated): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, INIT_OUT.SIZE);
  bytes.fill(0, at, at + INIT_OUT.SIZE);
  view.setUint32(INIT_OUT.major, FUSE_KERNEL_VERSION, true);
  view.setUint32(INIT_OUT.minor, n.minor, true);
  view.setUint32(INIT_OUT.max_readahead, n.maxReadaheadBytes, true);
  view.setUint32(INIT_OUT.flags, flagWord(n.features, 0), true);
  view.setUint16(INIT_OUT.max_background, n.maxBackground, true);
  view.setUint16(
    INIT_OUT.congestion_threshold,
    Math.max(1, Math.floor(n.maxBackground * 0.75)),
    true,
  );
  view.setUint32(INIT_OUT.max_write, n.maxWriteBytes, true);
  view.setUint32(INIT_OUT.time_gran, 1, true);
  view.setUint16(INIT_OUT.max_pages, n.maxWriteBytes / PAGE, true);
  view.setUint32(INIT_OUT.max_stack_depth, n.maxStackDepth, true);
  view.setUint32(INIT_OUT.flags2, flagWord(n.features, 1), true);
  return INIT_OUT.SIZE;
}

/** The answer to a newer major version: ours alone, after which the kernel asks again. */
export function putMajorVersion(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, INIT_OUT.SIZE);
  bytes.fill(0, at, at + INIT_OUT.SIZE);
  view.setUint32(INIT_OUT.major, FUSE_KERNEL_VERSION, true);
  view.setUint32(INIT_OUT.minor, FUSE_KERNEL_MINOR_VERSION, true);
  return INIT_OUT.SIZE;
}

function flagWord(features: ReadonlySet<InitFlagName>, word: number): number {
  let bits = 0;
  for (const name of features) {
    const bit = INIT_FLAG[name];
    if (bit >> 5 === word) bits |= 1 << (bit & 31);
  }
  return bits >>> 0;
}
