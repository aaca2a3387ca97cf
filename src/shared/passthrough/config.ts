import { OPCODE_LIMIT, OPCODES } from '../abi/opcodes.ts';
import type { IdMap } from './id-map.ts';
import { UniqueInoGenerator } from './unique-ino.ts';
import type { XattrMap } from './xattr-map.ts';

export type CachePolicyName = 'never' | 'metadata' | 'auto' | 'always';
export type FileHandleMode = 'never' | 'prefer' | 'mandatory';

/** What the operations have to know; the same on every thread, constant for a mount's life. */
export interface PassthroughConfig {
  readonly cache: CachePolicyName;
  readonly noReaddir: boolean;
  readonly sealSize: boolean;
  readonly useHostIno: boolean;
  readonly xattr: boolean;
  /** Whether clients have ACLs, which the kernel checks. */
  readonly posixAcl: boolean;
  /** Translation of the names of attributes; undefined where they are the same. */
  readonly xattrMap: XattrMap | undefined;
  /** Whether what is created gets the label that comes with the request. */
  readonly securityLabel: boolean;
  /** Translation of ids between clients and host; undefined where they are the same. */
  readonly uidMap: IdMap | undefined;
  readonly gidMap: IdMap | undefined;
  readonly allowDirectIo: boolean;
  /** Whether the kernel has checked the caller's rights before a request comes. */
  readonly defaultPermissions: boolean;
  /** Whether reading leaves access times alone. */
  readonly noAtime: boolean;
  /** Whether a change of names is on the disk before it is answered. */
  readonly syncDirectories: boolean;
  /** Whether names are validated here; false beneath a layer that has done it. */
  readonly doImport: boolean;
  readonly inodeFileHandles: FileHandleMode;
  readonly maxWriteBytes: number;
  /** Lanes that run regularly; a backing mount may not take all of them when there are others. */
  readonly lanes: number;
  /** An O_PATH descriptor of /proc/self/fd, through which O_PATH descriptors are reopened. */
  readonly procSelfFd: number;
  /** IN_PLACE by opcode: whether who receives may answer it, or a layer sees it in a lane. */
  readonly inPlace: Uint8Array;
  /** statx bit by which mounts are told apart: STATX_MNT_ID_UNIQUE, or STATX_MNT_ID before 6.8. */
  readonly mountIdMask: number;
}

/** More than this is not copied in place: it would keep other requests waiting. */
export const IN_PLACE_BYTES = 128 * 1024;

/** Who may answer an opcode. */
export const IN_PLACE = {
  /** Lanes only: layers run there. */
  NEVER: 0,
  /** Main, where it may make calls that a local disk could delay. */
  BOLDLY: 1,
  /** Whoever receives, where the kernel says that nothing blocks. */
  CACHED: 2,
} as const;

/** @param layered opcodes that layers see, see layeredOpcodes() */
export function inPlaceTable(layered: Uint8Array | undefined): Uint8Array {
  const table = new Uint8Array(OPCODE_LIMIT);
  for (const { opcode, class: opClass } of OPCODES) {
    if (layered?.[opcode] === 1) continue;
    if (opClass === 'cached') table[opcode] = IN_PLACE.CACHED;
    else if (opClass === 'blocking') table[opcode] = IN_PLACE.BOLDLY;
  }
  return table;
}

/** Bits of the cell in which main leaves the outcome of FUSE_INIT for all threads. */
export const NEGOTIATED = {
  INITIALISED: 1,
  WRITEBACK: 2,
  NO_OPEN: 4,
  NO_OPENDIR: 8,
  KILLPRIV_V2: 16,
  SETXATTR_EXT: 32,
  SUBMOUNTS: 64,
  NO_EXPORT: 128,
  /** The umask comes with the request, and the host applies it: the kernel checks ACLs. */
  DONT_MASK: 256,
  /** The caller's supplementary group that counts comes with creating requests. */
  CREATE_SUPP_GROUP: 512,
  /** VFS has checked who may do what before an ioctl on inode flags arrives. */
  CHECKED_IOCTLS: 1024,
  /** The mount may be idmapped: only creating requests carry ids, and those are not the process's. */
  ALLOW_IDMAP: 2048,
  /** fcntl locks are ours to keep. */
  POSIX_LOCKS: 4096,
  /** flock locks are. */
  FLOCK_LOCKS: 8192,
  /** The kernel may read and write files by itself. */
  PASSTHROUGH: 16384,
} as const;

/** Layout of the shared state that belongs to the file system. */
export const EXTRA = {
  /** Int32 cell: NEGOTIATED bits. Written by main at INIT; read by every thread per request. */
  NEGOTIATED: 0,
  /** The cells of Timeouts, which stand before UNIQUE_INO_AT. */
  TIMEOUTS_AT: 4,
  UNIQUE_INO_AT: 64,
  byteLength: 64 + UniqueInoGenerator.byteLength,
} as const;
