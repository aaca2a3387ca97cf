/** Which opcodes belong to which operation of a file system. */
import { OP, OPCODE_LIMIT } from '../abi/opcodes.ts';
import type { OperationName } from './types.ts';

/** Opcodes by operation; the first is what a request from a layer becomes, if nothing else is said. */
export const OPCODES_OF: Readonly<Record<OperationName, readonly number[]>> = {
  lookup: [OP.LOOKUP],
  getattr: [OP.GETATTR],
  setattr: [OP.SETATTR],
  readlink: [OP.READLINK],
  symlink: [OP.SYMLINK],
  mknod: [OP.MKNOD],
  mkdir: [OP.MKDIR],
  unlink: [OP.UNLINK],
  rmdir: [OP.RMDIR],
  rename: [OP.RENAME2, OP.RENAME],
  link: [OP.LINK],
  open: [OP.OPEN],
  read: [OP.READ],
  write: [OP.WRITE],
  statfs: [OP.STATFS],
  release: [OP.RELEASE],
  fsync: [OP.FSYNC],
  setxattr: [OP.SETXATTR],
  getxattr: [OP.GETXATTR],
  listxattr: [OP.LISTXATTR],
  removexattr: [OP.REMOVEXATTR],
  flush: [OP.FLUSH],
  opendir: [OP.OPENDIR],
  readdir: [OP.READDIR, OP.READDIRPLUS],
  releasedir: [OP.RELEASEDIR],
  fsyncdir: [OP.FSYNCDIR],
  getlk: [OP.GETLK],
  setlk: [OP.SETLK, OP.SETLKW],
  access: [OP.ACCESS],
  create: [OP.CREATE],
  ioctl: [OP.IOCTL],
  fallocate: [OP.FALLOCATE],
  lseek: [OP.LSEEK],
  copyFileRange: [OP.COPY_FILE_RANGE, OP.COPY_FILE_RANGE_64],
  syncfs: [OP.SYNCFS],
  tmpfile: [OP.TMPFILE],
};

export const OPERATION_NAMES = Object.keys(OPCODES_OF) as OperationName[];

/** The operation of an opcode; undefined for what layers do not see. */
export const OPERATION_OF: readonly (OperationName | undefined)[] = Array.from(
  { length: OPCODE_LIMIT },
  (_, opcode) => OPERATION_NAMES.find((name) => OPCODES_OF[name].includes(opcode)),
);

/** Operations that see the bytes of files, which kernel passthrough would keep from a layer. */
export const DATA_OPERATIONS: readonly OperationName[] = ['read', 'write'];

/** Whatever has a method for an operation, or for all that have none. */
type Handling = { readonly [O in OperationName]?: unknown } & { readonly otherwise?: unknown };

/** Whether a layer has to be asked. */
export function handles(layer: Handling, operation: OperationName): boolean {
  return layer[operation] !== undefined || layer.otherwise !== undefined;
}

/**
 * Opcodes that one of these layers has to be asked about, as 1 at their place. STATX goes with getattr:
 * answered ENOSYS, it makes the kernel send GETATTR.
 */
export function layeredOpcodes(layers: readonly Handling[]): Uint8Array {
  const layered = new Uint8Array(OPCODE_LIMIT);
  for (const operation of OPERATION_NAMES) {
    if (!layers.some((layer) => handles(layer, operation))) continue;
    for (const opcode of OPCODES_OF[operation]) layered[opcode] = 1;
    if (operation === 'getattr') layered[OP.STATX] = 1;
  }
  return layered;
}
