/** Requests as values, from the bytes of FUSE messages and back into them. */
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_CTIME,
  FATTR_FH,
  FATTR_GID,
  FATTR_KILL_SUIDGID,
  FATTR_LOCKOWNER,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_FSYNC_FDATASYNC,
  FUSE_GETATTR_FH,
  FUSE_LK_FLOCK,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_SETXATTR_ACL_KILL_SGID,
} from '../abi/flags.ts';
import { OP, ROW_BY_OPCODE } from '../abi/opcodes.ts';
import * as s from '../abi/structs.ts';
import { OPCODES_OF, OPERATION_OF } from './operation-table.ts';
import type { Caller, FsRequest, OperationName, Requests, TimeToSet } from './types.ts';
import {
  checkBytes,
  checkName,
  copyOf,
  LayerMistake,
  number64,
  describe as say,
  Writer,
} from './wire.ts';

/** What depends on the connection: the length of fuse_setxattr_in. */
export interface WireForm {
  readonly setxattrInBytes: number;
}

const NS_PER_SECOND = 1_000_000_000n;
const EXTENSION_UNIT_BYTES = 8;
const XATTR_NAME_MAX_BYTES = 255;
const PATH_MAX_BYTES = 4095;
const XATTR_SIZE_MAX = 65536;
const NO_BYTES = Buffer.alloc(0);

/** A message as the decoders see it. */
class Message {
  readonly bytes: Buffer;
  readonly opcode: number;
  readonly form: WireForm;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, form: WireForm) {
    this.bytes = bytes;
    this.form = form;
    this.opcode = bytes.readUInt32LE(s.IN_HEADER.opcode);
    const isSetxattr = this.opcode === OP.SETXATTR;
    const fixed = isSetxattr
      ? form.setxattrInBytes
      : (ROW_BY_OPCODE[this.opcode]?.inSizeBytes ?? 0);
    this.#at = s.IN_HEADER.SIZE + fixed;
    this.#end = bytes.length - this.#extensionBytes();
  }

  #extensionBytes(): number {
    return this.bytes.readUInt16LE(s.IN_HEADER.total_extlen) * EXTENSION_UNIT_BYTES;
  }

  caller(): Caller {
    const { bytes } = this;
    const extensionBytes = this.#extensionBytes();
    return Object.freeze({
      uid: bytes.readUInt32LE(s.IN_HEADER.uid),
      gid: bytes.readUInt32LE(s.IN_HEADER.gid),
      pid: bytes.readUInt32LE(s.IN_HEADER.pid),
      ...(extensionBytes > 0 ? { extensions: copyOf(bytes, this.#end) } : {}),
    });
  }

  u32(offset: number): number {
    return this.bytes.readUInt32LE(s.IN_HEADER.SIZE + offset);
  }

  n64(offset: number): number {
    return number64(this.bytes, s.IN_HEADER.SIZE + offset);
  }

  big(offset: number): bigint {
    return this.bytes.readBigUInt64LE(s.IN_HEADER.SIZE + offset);
  }

  /** The next of the names behind the fixed part. @throws RangeError when there is none */
  name(): Buffer {
    const from = this.#at;
    const end = this.bytes.indexOf(0, from);
    if (end < from || end >= this.#end) throw new RangeError('a name of the request does not end');
    this.#at = end + 1;
    return copyOf(this.bytes, from, end);
  }

  /** So many bytes behind what was taken. @throws RangeError when there are not so many */
  data(length: number): Buffer {
    const from = this.#at;
    if (from + length > this.#end) throw new RangeError('the request is shorter than it says');
    return copyOf(this.bytes, from, from + length);
  }
}

type Body<O extends OperationName> = Omit<Requests[O], 'nodeid' | 'caller'>;

interface Codec<O extends OperationName> {
  /** Of the opcodes an operation has; the first by default. */
  opcode?(request: Requests[O], form: WireForm): number;
  decode(message: Message): Body<O>;
  /** Writes the fixed part. @returns what stands behind it */
  encode(fixed: Writer, request: Requests[O]): Uint8Array[];
}

const NUL = Buffer.alloc(1);

function nameOf(writer: Writer, name: unknown, field = 'name'): Uint8Array[] {
  return [checkName(writer, name, field, false), NUL];
}

/** Files: names alone. */
const nameOnly = {
  decode: (m: Message) => ({ name: m.name() }),
  encode: (w: Writer, r: { readonly name: Buffer }) => nameOf(w, r.name),
};

const nothing = { decode: () => ({}), encode: () => [] };

const opening = {
  decode: (m: Message) => ({
    flags: m.u32(s.OPEN_IN.flags),
    killsSetIds: (m.u32(s.OPEN_IN.open_flags) & FUSE_OPEN_KILL_SUIDGID) !== 0,
  }),
  encode: (w: Writer, r: Requests['open']) => {
    w.u32(s.OPEN_IN.flags, r.flags, 'flags');
    w.u32(s.OPEN_IN.open_flags, r.killsSetIds ? FUSE_OPEN_KILL_SUIDGID : 0, 'killsSetIds');
    return [];
  },
};

const releasing = {
  decode: (m: Message) => ({
    fh: m.n64(s.RELEASE_IN.fh),
    flags: m.u32(s.RELEASE_IN.flags),
    releaseFlags: m.u32(s.RELEASE_IN.release_flags),
    lockOwner: m.big(s.RELEASE_IN.lock_owner),
  }),
  encode: (w: Writer, r: Requests['release']) => {
    w.number64(s.RELEASE_IN.fh, r.fh, 'fh');
    w.u32(s.RELEASE_IN.flags, r.flags, 'flags');
    w.u32(s.RELEASE_IN.release_flags, r.releaseFlags, 'releaseFlags');
    w.big64(s.RELEASE_IN.lock_owner, r.lockOwner, 'lockOwner');
    return [];
  },
};

const syncing = {
  decode: (m: Message) => ({
    fh: m.n64(s.FSYNC_IN.fh),
    isDataOnly: (m.u32(s.FSYNC_IN.fsync_flags) & FUSE_FSYNC_FDATASYNC) !== 0,
  }),
  encode: (w: Writer, r: Requests['fsync']) => {
    w.number64(s.FSYNC_IN.fh, r.fh, 'fh');
    w.u32(s.FSYNC_IN.fsync_flags, r.isDataOnly ? FUSE_FSYNC_FDATASYNC : 0, 'isDataOnly');
    return [];
  },
};

const creating = {
  decode: (m: Message) => ({
    name: m.name(),
    flags: m.u32(s.CREATE_IN.flags),
    mode: m.u32(s.CREATE_IN.mode),
    umask: m.u32(s.CREATE_IN.umask),
    killsSetIds: (m.u32(s.CREATE_IN.open_flags) & FUSE_OPEN_KILL_SUIDGID) !== 0,
  }),
  encode: (w: Writer, r: Requests['create']) => {
    w.u32(s.CREATE_IN.flags, r.flags, 'flags');
    w.u32(s.CREATE_IN.mode, r.mode, 'mode');
    w.u32(s.CREATE_IN.umask, r.umask, 'umask');
    w.u32(s.CREATE_IN.open_flags, r.killsSetIds ? FUSE_OPEN_KILL_SUIDGID : 0, 'killsSetIds');
    return nameOf(w, r.name);
  },
};

const locking = {
  decode: (m: Message) => ({
    fh: m.n64(s.LK_IN.fh),
    owner: m.big(s.LK_IN.owner),
    start: m.big(s.LK_IN.start),
    end: m.big(s.LK_IN.end),
    type: m.u32(s.LK_IN.type),
    pid: m.u32(s.LK_IN.pid),
    isFlock: (m.u32(s.LK_IN.lk_flags) & FUSE_LK_FLOCK) !== 0,
    isWaiting: m.opcode === OP.SETLKW,
  }),
  encode: (w: Writer, r: Requests['getlk']) => {
    w.number64(s.LK_IN.fh, r.fh, 'fh');
    w.big64(s.LK_IN.owner, r.owner, 'owner');
    w.big64(s.LK_IN.start, r.start, 'start');
    w.big64(s.LK_IN.end, r.end, 'end');
    w.u32(s.LK_IN.type, r.type, 'type');
    w.u32(s.LK_IN.pid, r.pid, 'pid');
    w.u32(s.LK_IN.lk_flags, r.isFlock ? FUSE_LK_FLOCK : 0, 'isFlock');
    return [];
  },
};

const xattrSize = {
  decode: (m: Message) => ({ sizeBytes: m.u32(s.GETXATTR_IN.size) }),
  encode: (w: Writer, r: { readonly sizeBytes: number }): Uint8Array[] => {
    w.u32(s.GETXATTR_IN.size, r.sizeBytes, 'sizeBytes');
    return [];
  },
};

/** A name of an extended attribute may have a slash. */
function xattrName(w: Writer, name: unknown): Uint8Array[] {
  const bytes = checkBytes(w, name, 'name', XATTR_NAME_MAX_BYTES);
  if (bytes.length === 0 || bytes.includes(0)) w.fail('name', name, 'a name without NUL');
  return [bytes, NUL];
}

/** Times of a SETATTR: where they stand, and the bits that say that they are set. */
const TIMES = [
  ['atime', s.SETATTR_IN.atime, s.SETATTR_IN.atimensec, FATTR_ATIME, FATTR_ATIME_NOW],
  ['mtime', s.SETATTR_IN.mtime, s.SETATTR_IN.mtimensec, FATTR_MTIME, FATTR_MTIME_NOW],
  ['ctime', s.SETATTR_IN.ctime, s.SETATTR_IN.ctimensec, FATTR_CTIME, 0],
] as const;

const IDS = [
  ['mode', s.SETATTR_IN.mode, FATTR_MODE],
  ['uid', s.SETATTR_IN.uid, FATTR_UID],
  ['gid', s.SETATTR_IN.gid, FATTR_GID],
] as const;

function decodeSetattr(m: Message): Body<'setattr'> {
  const valid = m.u32(s.SETATTR_IN.valid);
  const body: Record<string, unknown> = { killsSetIds: (valid & FATTR_KILL_SUIDGID) !== 0 };
  for (const [name, at, bit] of IDS) if ((valid & bit) !== 0) body[name] = m.u32(at);
  for (const [name, at, nsAt, bit, nowBit] of TIMES) {
    if ((valid & nowBit) !== 0) body[name] = 'now';
    else if ((valid & bit) !== 0) {
      body[name] = BigInt.asIntN(64, m.big(at)) * NS_PER_SECOND + BigInt(m.u32(nsAt));
    }
  }
  if ((valid & FATTR_SIZE) !== 0) body['sizeBytes'] = m.n64(s.SETATTR_IN.size);
  if ((valid & FATTR_FH) !== 0) body['fh'] = m.n64(s.SETATTR_IN.fh);
  if ((valid & FATTR_LOCKOWNER) !== 0) body['lockOwner'] = m.big(s.SETATTR_IN.lock_owner);
  return body as unknown as Body<'setattr'>;
}

function encodeTime(w: Writer, value: TimeToSet, at: number, nsAt: number, name: string): void {
  if (value === 'now') return;
  if (typeof value !== 'bigint') w.fail(name, value, "a bigint of nanoseconds or 'now'");
  const ns = ((value % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  w.big64(at, (value - ns) / NS_PER_SECOND, name);
  w.u32(nsAt, Number(ns), name);
}

function encodeSetattr(w: Writer, r: Requests['setattr']): Uint8Array[] {
  let valid = r.killsSetIds ? FATTR_KILL_SUIDGID : 0;
  for (const [name, at, bit] of IDS) {
    const value = r[name];
    if (value === undefined) continue;
    valid |= bit;
    w.u32(at, value, name);
  }
  for (const [name, at, nsAt, bit, nowBit] of TIMES) {
    const value = r[name];
    if (value === undefined) continue;
    valid |= value === 'now' ? bit | nowBit : bit;
    encodeTime(w, value, at, nsAt, name);
  }
  if (r.sizeBytes !== undefined) w.number64(s.SETATTR_IN.size, r.sizeBytes, 'sizeBytes');
  if (r.fh !== undefined) w.number64(s.SETATTR_IN.fh, r.fh, 'fh');
  if (r.lockOwner !== undefined) w.big64(s.SETATTR_IN.lock_owner, r.lockOwner, 'lockOwner');
  valid |= r.sizeBytes === undefined ? 0 : FATTR_SIZE;
  valid |= r.fh === undefined ? 0 : FATTR_FH;
  valid |= r.lockOwner === undefined ? 0 : FATTR_LOCKOWNER;
  w.u32(s.SETATTR_IN.valid, valid, 'valid');
  return [];
}

/** The payload is copied when somebody asks for it; its memory is the next request's after that. */
function decodeWrite(m: Message): Body<'write'> {
  const sizeBytes = m.u32(s.WRITE_IN.size);
  let isOver = false;
  let copy: Buffer | undefined;
  const body = {
    fh: m.n64(s.WRITE_IN.fh),
    offset: m.n64(s.WRITE_IN.offset),
    sizeBytes,
    writeFlags: m.u32(s.WRITE_IN.write_flags),
    lockOwner: m.big(s.WRITE_IN.lock_owner),
    flags: m.u32(s.WRITE_IN.flags),
    get data(): Uint8Array {
      if (copy === undefined && isOver) {
        throw new LayerMistake('`data` of a write was first asked for after its answer');
      }
      copy ??= m.data(sizeBytes);
      return copy;
    },
  };
  endings.set(body, () => {
    isOver = true;
  });
  return body;
}

/** By body of a write: to be called when its message is gone. */
const endings = new WeakMap<object, () => void>();

const CODECS: { readonly [O in OperationName]: Codec<O> } = {
  lookup: {
    decode: (m) => ({ name: m.name() }),
    encode: (w, r) => [checkName(w, r.name, 'name', true), NUL],
  },
  getattr: {
    decode: (m) =>
      (m.u32(s.GETATTR_IN.getattr_flags) & FUSE_GETATTR_FH) === 0
        ? {}
        : { fh: m.n64(s.GETATTR_IN.fh) },
    encode: (w, r) => {
      if (r.fh !== undefined) {
        w.u32(s.GETATTR_IN.getattr_flags, FUSE_GETATTR_FH, 'fh');
        w.number64(s.GETATTR_IN.fh, r.fh, 'fh');
      }
      return [];
    },
  },
  setattr: { decode: decodeSetattr, encode: encodeSetattr },
  readlink: nothing,
  symlink: {
    decode: (m) => ({ name: m.name(), target: m.name() }),
    encode: (w, r) => {
      const target = checkBytes(w, r.target, 'target', PATH_MAX_BYTES);
      if (target.includes(0)) w.fail('target', target, 'a path without NUL');
      return [...nameOf(w, r.name), target, NUL];
    },
  },
  mknod: {
    decode: (m) => ({
      name: m.name(),
      mode: m.u32(s.MKNOD_IN.mode),
      rdev: m.u32(s.MKNOD_IN.rdev),
      umask: m.u32(s.MKNOD_IN.umask),
    }),
    encode: (w, r) => {
      w.u32(s.MKNOD_IN.mode, r.mode, 'mode');
      w.u32(s.MKNOD_IN.rdev, r.rdev, 'rdev');
      w.u32(s.MKNOD_IN.umask, r.umask, 'umask');
      return nameOf(w, r.name);
    },
  },
  mkdir: {
    decode: (m) => ({
      name: m.name(),
      mode: m.u32(s.MKDIR_IN.mode),
      umask: m.u32(s.MKDIR_IN.umask),
    }),
    encode: (w, r) => {
      w.u32(s.MKDIR_IN.mode, r.mode, 'mode');
      w.u32(s.MKDIR_IN.umask, r.umask, 'umask');
      return nameOf(w, r.name);
    },
  },
  unlink: nameOnly,
  rmdir: nameOnly,
  rename: {
    decode: (m) => ({
      newParent: m.n64(s.RENAME_IN.newdir),
      flags: m.opcode === OP.RENAME2 ? m.u32(s.RENAME2_IN.flags) : 0,
      name: m.name(),
      newName: m.name(),
    }),
    encode: (w, r) => {
      w.number64(s.RENAME2_IN.newdir, r.newParent, 'newParent');
      w.u32(s.RENAME2_IN.flags, r.flags, 'flags');
      return [...nameOf(w, r.name), ...nameOf(w, r.newName, 'newName')];
    },
  },
  link: {
    decode: (m) => ({ target: m.n64(s.LINK_IN.oldnodeid), name: m.name() }),
    encode: (w, r) => {
      w.number64(s.LINK_IN.oldnodeid, r.target, 'target');
      return nameOf(w, r.name);
    },
  },
  open: opening,
  read: {
    decode: (m) => ({
      fh: m.n64(s.READ_IN.fh),
      offset: m.n64(s.READ_IN.offset),
      sizeBytes: m.u32(s.READ_IN.size),
      readFlags: m.u32(s.READ_IN.read_flags),
      lockOwner: m.big(s.READ_IN.lock_owner),
      flags: m.u32(s.READ_IN.flags),
    }),
    encode: (w, r) => {
      w.number64(s.READ_IN.fh, r.fh, 'fh');
      w.number64(s.READ_IN.offset, r.offset, 'offset');
      w.u32(s.READ_IN.size, r.sizeBytes, 'sizeBytes');
      w.u32(s.READ_IN.read_flags, r.readFlags, 'readFlags');
      w.big64(s.READ_IN.lock_owner, r.lockOwner, 'lockOwner');
      w.u32(s.READ_IN.flags, r.flags, 'flags');
      return [];
    },
  },
  write: {
    decode: decodeWrite,
    encode: (w, r) => {
      const data = checkBytes(w, r.data, 'data', Number.MAX_SAFE_INTEGER);
      w.number64(s.WRITE_IN.fh, r.fh, 'fh');
      w.number64(s.WRITE_IN.offset, r.offset, 'offset');
      w.u32(s.WRITE_IN.size, data.length, 'data');
      w.u32(s.WRITE_IN.write_flags, r.writeFlags, 'writeFlags');
      w.big64(s.WRITE_IN.lock_owner, r.lockOwner, 'lockOwner');
      w.u32(s.WRITE_IN.flags, r.flags, 'flags');
      return [data];
    },
  },
  statfs: nothing,
  release: releasing,
  fsync: syncing,
  setxattr: {
    decode: (m) => {
      const hasFlags = m.form.setxattrInBytes === s.SETXATTR_IN.SIZE;
      const setxattrFlags = hasFlags ? m.u32(s.SETXATTR_IN.setxattr_flags) : 0;
      const name = m.name();
      return {
        name,
        value: m.data(m.u32(s.SETXATTR_IN.size)),
        flags: m.u32(s.SETXATTR_IN.flags),
        killsSetGid: (setxattrFlags & FUSE_SETXATTR_ACL_KILL_SGID) !== 0,
      };
    },
    encode: (w, r) => {
      const value = checkBytes(w, r.value, 'value', XATTR_SIZE_MAX);
      w.u32(s.SETXATTR_IN.size, value.length, 'value');
      w.u32(s.SETXATTR_IN.flags, r.flags, 'flags');
      if (w.bytes.length === s.SETXATTR_IN.SIZE) {
        const flag = r.killsSetGid ? FUSE_SETXATTR_ACL_KILL_SGID : 0;
        w.u32(s.SETXATTR_IN.setxattr_flags, flag, 'killsSetGid');
      }
      return [...xattrName(w, r.name), value];
    },
  },
  getxattr: {
    decode: (m) => ({ ...xattrSize.decode(m), name: m.name() }),
    encode: (w, r) => {
      xattrSize.encode(w, r);
      return xattrName(w, r.name);
    },
  },
  listxattr: xattrSize,
  removexattr: {
    decode: (m) => ({ name: m.name() }),
    encode: (w, r) => xattrName(w, r.name),
  },
  flush: {
    decode: (m) => ({ fh: m.n64(s.FLUSH_IN.fh), lockOwner: m.big(s.FLUSH_IN.lock_owner) }),
    encode: (w, r) => {
      w.number64(s.FLUSH_IN.fh, r.fh, 'fh');
      w.big64(s.FLUSH_IN.lock_owner, r.lockOwner, 'lockOwner');
      return [];
    },
  },
  opendir: opening,
  readdir: {
    opcode: (r) => (r.withEntries ? OP.READDIRPLUS : OP.READDIR),
    decode: (m) => ({
      fh: m.n64(s.READ_IN.fh),
      cookie: m.big(s.READ_IN.offset),
      sizeBytes: m.u32(s.READ_IN.size),
      withEntries: m.opcode === OP.READDIRPLUS,
    }),
    encode: (w, r) => {
      w.number64(s.READ_IN.fh, r.fh, 'fh');
      w.big64(s.READ_IN.offset, r.cookie, 'cookie');
      w.u32(s.READ_IN.size, r.sizeBytes, 'sizeBytes');
      return [];
    },
  },
  releasedir: releasing,
  fsyncdir: syncing,
  getlk: locking,
  setlk: { ...locking, opcode: (r) => (r.isWaiting ? OP.SETLKW : OP.SETLK) },
  access: {
    decode: (m) => ({ mask: m.u32(s.ACCESS_IN.mask) }),
    encode: (w, r) => {
      w.u32(s.ACCESS_IN.mask, r.mask, 'mask');
      return [];
    },
  },
  create: creating,
  ioctl: {
    decode: (m) => ({
      fh: m.n64(s.IOCTL_IN.fh),
      flags: m.u32(s.IOCTL_IN.flags),
      command: m.u32(s.IOCTL_IN.cmd),
      argument: m.big(s.IOCTL_IN.arg),
      data: m.data(m.u32(s.IOCTL_IN.in_size)),
      outSizeBytes: m.u32(s.IOCTL_IN.out_size),
    }),
    encode: (w, r) => {
      const data = checkBytes(w, r.data, 'data', XATTR_SIZE_MAX);
      w.number64(s.IOCTL_IN.fh, r.fh, 'fh');
      w.u32(s.IOCTL_IN.flags, r.flags, 'flags');
      w.u32(s.IOCTL_IN.cmd, r.command, 'command');
      w.big64(s.IOCTL_IN.arg, r.argument, 'argument');
      w.u32(s.IOCTL_IN.in_size, data.length, 'data');
      w.u32(s.IOCTL_IN.out_size, r.outSizeBytes, 'outSizeBytes');
      return [data];
    },
  },
  fallocate: {
    decode: (m) => ({
      fh: m.n64(s.FALLOCATE_IN.fh),
      offset: m.n64(s.FALLOCATE_IN.offset),
      lengthBytes: m.n64(s.FALLOCATE_IN.length),
      mode: m.u32(s.FALLOCATE_IN.mode),
    }),
    encode: (w, r) => {
      w.number64(s.FALLOCATE_IN.fh, r.fh, 'fh');
      w.number64(s.FALLOCATE_IN.offset, r.offset, 'offset');
      w.number64(s.FALLOCATE_IN.length, r.lengthBytes, 'lengthBytes');
      w.u32(s.FALLOCATE_IN.mode, r.mode, 'mode');
      return [];
    },
  },
  lseek: {
    decode: (m) => ({
      fh: m.n64(s.LSEEK_IN.fh),
      offset: m.n64(s.LSEEK_IN.offset),
      whence: m.u32(s.LSEEK_IN.whence),
    }),
    encode: (w, r) => {
      w.number64(s.LSEEK_IN.fh, r.fh, 'fh');
      w.number64(s.LSEEK_IN.offset, r.offset, 'offset', Number.MIN_SAFE_INTEGER);
      w.u32(s.LSEEK_IN.whence, r.whence, 'whence');
      return [];
    },
  },
  copyFileRange: {
    decode: (m) => ({
      fh: m.n64(s.COPY_FILE_RANGE_IN.fh_in),
      offset: m.n64(s.COPY_FILE_RANGE_IN.off_in),
      outNodeid: m.n64(s.COPY_FILE_RANGE_IN.nodeid_out),
      outFh: m.n64(s.COPY_FILE_RANGE_IN.fh_out),
      outOffset: m.n64(s.COPY_FILE_RANGE_IN.off_out),
      lengthBytes: m.n64(s.COPY_FILE_RANGE_IN.len),
      flags: m.big(s.COPY_FILE_RANGE_IN.flags),
    }),
    encode: (w, r) => {
      w.number64(s.COPY_FILE_RANGE_IN.fh_in, r.fh, 'fh');
      w.number64(s.COPY_FILE_RANGE_IN.off_in, r.offset, 'offset');
      w.number64(s.COPY_FILE_RANGE_IN.nodeid_out, r.outNodeid, 'outNodeid');
      w.number64(s.COPY_FILE_RANGE_IN.fh_out, r.outFh, 'outFh');
      w.number64(s.COPY_FILE_RANGE_IN.off_out, r.outOffset, 'outOffset');
      w.number64(s.COPY_FILE_RANGE_IN.len, r.lengthBytes, 'lengthBytes');
      w.big64(s.COPY_FILE_RANGE_IN.flags, r.flags, 'flags');
      return [];
    },
  },
  syncfs: nothing,
  tmpfile: creating,
};

/**
 * The request in a whole message of sound size.
 * @throws InexactNumber, or RangeError when it is not what it says
 */
export function decodeRequest(bytes: Buffer, form: WireForm): FsRequest {
  const message = new Message(bytes, form);
  const operation = OPERATION_OF[message.opcode];
  if (operation === undefined) throw new RangeError('no operation of a file system');
  const body = CODECS[operation].decode(message) as object;
  const nodeid = number64(bytes, s.IN_HEADER.nodeid);
  const own = { operation, nodeid, caller: message.caller() };
  // Not by spreading: that would ask for the payload of a write.
  const request = Object.freeze(
    Object.defineProperties(body, Object.getOwnPropertyDescriptors(own)),
  );
  return request as FsRequest;
}

/** The message behind a request is gone: `data` that was not asked for cannot be had any more. */
export function endRequest(request: FsRequest): void {
  endings.get(request)?.();
}

/**
 * The message of a request from a layer, with the unique id 0.
 * @throws LayerMistake for values that cannot be
 */
export function encodeRequest<O extends OperationName>(
  operation: O,
  request: Requests[O],
  form: WireForm,
): Buffer {
  if (typeof request !== 'object' || request === null) {
    throw new LayerMistake(`the request to ${operation} is ${say(request)}, not an object`);
  }
  const codec: Codec<O> = CODECS[operation];
  const opcode = codec.opcode?.(request, form) ?? (OPCODES_OF[operation][0] as number);
  const isSetxattr = operation === 'setxattr';
  const fixedBytes = isSetxattr ? form.setxattrInBytes : (ROW_BY_OPCODE[opcode]?.inSizeBytes ?? 0);
  const fixed = new Writer(fixedBytes, `the request to ${operation}`);
  const rest = codec.encode(fixed, request);
  const header = headerOf(operation, opcode, request);
  const extensions = request.caller?.extensions ?? NO_BYTES;
  const message = Buffer.concat([header, fixed.bytes, ...rest, extensions]);
  message.writeUInt32LE(message.length, s.IN_HEADER.len);
  return message;
}

function headerOf(
  operation: string,
  opcode: number,
  { nodeid, caller }: { readonly nodeid: number; readonly caller: Caller },
): Buffer {
  const header = new Writer(s.IN_HEADER.SIZE, `the request to ${operation}`);
  if (typeof caller !== 'object' || caller === null) {
    header.fail('caller', caller, 'that of the request at hand');
  }
  const { extensions = NO_BYTES } = caller;
  checkBytes(header, extensions, 'caller.extensions', 0xffff * EXTENSION_UNIT_BYTES);
  header.u32(s.IN_HEADER.opcode, opcode, 'operation');
  header.number64(s.IN_HEADER.nodeid, nodeid, 'nodeid');
  header.u32(s.IN_HEADER.uid, caller.uid, 'caller.uid');
  header.u32(s.IN_HEADER.gid, caller.gid, 'caller.gid');
  header.u32(s.IN_HEADER.pid, caller.pid, 'caller.pid');
  const units = extensions.length / EXTENSION_UNIT_BYTES;
  header.u32(s.IN_HEADER.total_extlen, units, 'caller.extensions');
  return header.bytes;
}
