/** Answers as values, from the bytes of replies and back into them. */
import { OP } from '../abi/opcodes.ts';
import * as s from '../abi/structs.ts';
import { type Errno, isErrno } from './errno.ts';
import type {
  Attr,
  Attributes,
  Created,
  Dirent,
  Entry,
  FsRequest,
  FsStatistics,
  IoctlOutcome,
  Lock,
  Opened,
  OperationName,
  Replies,
  XattrSize,
} from './types.ts';
import {
  checkBytes,
  checkName,
  copyOf,
  LayerMistake,
  number64,
  describe as say,
  Writer,
} from './wire.ts';

const NS_PER_SECOND = 1_000_000_000n;
const ERANGE = -34;
/** Longest timeout a reply carries: more is as good as for ever. */
const MOST_TIMEOUT_MS = 2 ** 52;

// ---- parts ----

/** Times: name, seconds, nanoseconds. */
const TIMES = [
  ['atimeNs', s.ATTR.atime, s.ATTR.atimensec],
  ['mtimeNs', s.ATTR.mtime, s.ATTR.mtimensec],
  ['ctimeNs', s.ATTR.ctime, s.ATTR.ctimensec],
] as const;

const ATTR_WORDS = [
  ['mode', s.ATTR.mode],
  ['nlink', s.ATTR.nlink],
  ['uid', s.ATTR.uid],
  ['gid', s.ATTR.gid],
  ['rdev', s.ATTR.rdev],
  ['blockSizeBytes', s.ATTR.blksize],
  ['flags', s.ATTR.flags],
] as const;

function decodeAttr(from: Buffer, at: number): Attr {
  const timeNs = (secondsAt: number, nsAt: number): bigint =>
    from.readBigInt64LE(at + secondsAt) * NS_PER_SECOND + BigInt(from.readUInt32LE(at + nsAt));
  return {
    ino: from.readBigUInt64LE(at + s.ATTR.ino),
    sizeBytes: number64(from, at + s.ATTR.size),
    blocks: number64(from, at + s.ATTR.blocks),
    atimeNs: timeNs(s.ATTR.atime, s.ATTR.atimensec),
    mtimeNs: timeNs(s.ATTR.mtime, s.ATTR.mtimensec),
    ctimeNs: timeNs(s.ATTR.ctime, s.ATTR.ctimensec),
    mode: from.readUInt32LE(at + s.ATTR.mode),
    nlink: from.readUInt32LE(at + s.ATTR.nlink),
    uid: from.readUInt32LE(at + s.ATTR.uid),
    gid: from.readUInt32LE(at + s.ATTR.gid),
    rdev: from.readUInt32LE(at + s.ATTR.rdev),
    blockSizeBytes: from.readUInt32LE(at + s.ATTR.blksize),
    flags: from.readUInt32LE(at + s.ATTR.flags),
  };
}

function asObject<T extends object>(w: Writer, value: T, name: string): T {
  return typeof value === 'object' && value !== null ? value : w.fail(name, value, 'an object');
}

function encodeAttr(w: Writer, at: number, value: Attr): void {
  const attr = asObject(w, value, 'attr');
  w.big64(at + s.ATTR.ino, attr.ino, 'attr.ino');
  w.number64(at + s.ATTR.size, attr.sizeBytes, 'attr.sizeBytes');
  w.number64(at + s.ATTR.blocks, attr.blocks, 'attr.blocks');
  for (const [name, secondsAt, nsAt] of TIMES) {
    const timeNs = attr[name];
    if (typeof timeNs !== 'bigint') w.fail(`attr.${name}`, timeNs, 'a bigint');
    const ns = ((timeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
    w.big64(at + secondsAt, (timeNs - ns) / NS_PER_SECOND, name);
    w.u32(at + nsAt, Number(ns), name);
  }
  for (const [name, wordAt] of ATTR_WORDS) w.u32(at + wordAt, attr[name], `attr.${name}`);
}

function decodeTimeoutMs(from: Buffer, secondsAt: number, nsAt: number): number {
  const ms = Number(from.readBigUInt64LE(secondsAt)) * 1000 + from.readUInt32LE(nsAt) / 1e6;
  return Math.min(ms, MOST_TIMEOUT_MS);
}

function encodeTimeoutMs(
  w: Writer,
  secondsAt: number,
  nsAt: number,
  timeoutMs: number | undefined = 0,
): void {
  const isSound = typeof timeoutMs === 'number' && timeoutMs >= 0 && timeoutMs <= MOST_TIMEOUT_MS;
  if (!isSound) w.fail('a timeout', timeoutMs, 'a number of milliseconds');
  const seconds = Math.floor(timeoutMs / 1000);
  w.number64(secondsAt, seconds, 'a timeout');
  w.u32(nsAt, Math.min(Math.round((timeoutMs - seconds * 1000) * 1e6), 999_999_999), 'a timeout');
}

function decodeEntry(from: Buffer, at: number): Entry {
  const e = s.ENTRY_OUT;
  return {
    nodeid: number64(from, at + e.nodeid),
    generation: from.readBigUInt64LE(at + e.generation),
    attr: decodeAttr(from, at + e.attr),
    entryTimeoutMs: decodeTimeoutMs(from, at + e.entry_valid, at + e.entry_valid_nsec),
    attrTimeoutMs: decodeTimeoutMs(from, at + e.attr_valid, at + e.attr_valid_nsec),
  };
}

function encodeEntry(w: Writer, at: number, value: Entry): void {
  const e = s.ENTRY_OUT;
  const entry = asObject(w, value, 'the entry');
  w.number64(at + e.nodeid, entry.nodeid, 'nodeid');
  w.big64(at + e.generation, entry.generation ?? 0n, 'generation');
  encodeTimeoutMs(w, at + e.entry_valid, at + e.entry_valid_nsec, entry.entryTimeoutMs);
  encodeTimeoutMs(w, at + e.attr_valid, at + e.attr_valid_nsec, entry.attrTimeoutMs);
  // Of what is not there the kernel reads no attributes.
  if (entry.nodeid !== 0) encodeAttr(w, at + e.attr, entry.attr);
}

function decodeOpened(from: Buffer, at: number): Opened {
  return {
    fh: number64(from, at + s.OPEN_OUT.fh),
    openFlags: from.readUInt32LE(at + s.OPEN_OUT.open_flags),
    backingId: from.readUInt32LE(at + s.OPEN_OUT.backing_id),
  };
}

function encodeOpened(w: Writer, at: number, value: Opened): void {
  const opened = asObject(w, value, 'the answer');
  w.number64(at + s.OPEN_OUT.fh, opened.fh, 'fh');
  w.u32(at + s.OPEN_OUT.open_flags, opened.openFlags ?? 0, 'openFlags');
  w.u32(at + s.OPEN_OUT.backing_id, opened.backingId ?? 0, 'backingId');
}

// ---- directories ----

function recordBytes(withEntries: boolean, nameBytes: number): number {
  const head = withEntries ? s.DIRENTPLUS.SIZE : s.DIRENT.SIZE;
  return (head + nameBytes + 7) & ~7;
}

function decodeListing(from: Buffer, withEntries: boolean): Dirent[] {
  const entries: Dirent[] = [];
  for (let at = 0; at < from.length; ) {
    const dirent = withEntries ? at + s.DIRENTPLUS.dirent : at;
    const nameBytes = from.readUInt32LE(dirent + s.DIRENT.namelen);
    const nameAt = dirent + s.DIRENT.name;
    const hasEntry = withEntries && from.readBigUInt64LE(at + s.ENTRY_OUT.nodeid) !== 0n;
    entries.push({
      name: copyOf(from, nameAt, nameAt + nameBytes),
      ino: from.readBigUInt64LE(dirent + s.DIRENT.ino),
      cookie: from.readBigUInt64LE(dirent + s.DIRENT.off),
      type: from.readUInt32LE(dirent + s.DIRENT.type),
      ...(hasEntry ? { entry: decodeEntry(from, at) } : {}),
    });
    at += recordBytes(withEntries, nameBytes);
  }
  return entries;
}

function encodeListing(w: Writer, reply: readonly Dirent[], request: FsRequest<'readdir'>): Buffer {
  if (!Array.isArray(reply)) w.fail('the answer', reply, 'an array of entries');
  const records: Buffer[] = [];
  let room = request.sizeBytes;
  for (const dirent of reply as readonly Dirent[]) {
    const record = encodeDirent(w, dirent, request.withEntries);
    if (record.length > room) break;
    room -= record.length;
    records.push(record);
  }
  // No record is the end of the directory to the kernel.
  if (records.length === 0 && reply.length > 0)
    w.fail('an entry', reply[0], 'shorter than sizeBytes');
  return Buffer.concat(records);
}

function encodeDirent(w: Writer, value: Dirent, withEntries: boolean): Buffer {
  const dirent = asObject(w, value, 'an entry');
  const name = checkName(w, dirent.name, 'the name of an entry', true);
  const record = new Writer(recordBytes(withEntries, name.length), 'the answer of readdir');
  const at = withEntries ? s.DIRENTPLUS.dirent : 0;
  record.big64(at + s.DIRENT.ino, dirent.ino, 'ino');
  record.big64(at + s.DIRENT.off, dirent.cookie, 'cookie');
  // By it the kernel would begin the directory again, for ever.
  if (dirent.cookie === 0n) record.fail('cookie', dirent.cookie, 'that of the entry, not 0n');
  record.u32(at + s.DIRENT.namelen, name.length, 'name');
  record.u32(at + s.DIRENT.type, dirent.type, 'type');
  record.bytes.set(name, at + s.DIRENT.name);
  if (withEntries && dirent.entry !== undefined) encodeEntry(record, 0, dirent.entry);
  return record.bytes;
}

// ---- operations ----

interface Codec<O extends OperationName> {
  /** Bytes of the reply; 0 where they vary. */
  readonly sizeBytes: number;
  decode(body: Buffer, request: FsRequest<O>): Replies[O];
  /** Writes the reply, or returns it where its size varies. */
  encode(w: Writer, reply: Replies[O], request: FsRequest<O>): Uint8Array | Errno | undefined;
}

const entryReply = {
  sizeBytes: s.ENTRY_OUT.SIZE,
  decode: (body: Buffer) => decodeEntry(body, 0),
  encode: (w: Writer, reply: Entry) => {
    encodeEntry(w, 0, reply);
    return undefined;
  },
};

/** Of what is made there is always an entry. */
const madeReply = {
  ...entryReply,
  encode: (w: Writer, reply: Entry) => {
    encodeEntry(w, 0, reply);
    return reply.nodeid === 0 ? w.fail('nodeid', 0, 'that of what was made') : undefined;
  },
};

const attrReply = {
  sizeBytes: s.ATTR_OUT.SIZE,
  decode: (body: Buffer): Attributes => ({
    attr: decodeAttr(body, s.ATTR_OUT.attr),
    attrTimeoutMs: decodeTimeoutMs(body, s.ATTR_OUT.attr_valid, s.ATTR_OUT.attr_valid_nsec),
  }),
  encode: (w: Writer, value: Attributes) => {
    const reply = asObject(w, value, 'the answer');
    const { attr_valid, attr_valid_nsec } = s.ATTR_OUT;
    encodeTimeoutMs(w, attr_valid, attr_valid_nsec, reply.attrTimeoutMs);
    encodeAttr(w, s.ATTR_OUT.attr, reply.attr);
    return undefined;
  },
};

const doneReply = {
  sizeBytes: 0,
  decode: () => 0 as const,
  encode: (w: Writer, reply: 0) =>
    reply === 0 ? undefined : w.fail('the answer', reply, '0 or Errno'),
};

const openReply = {
  sizeBytes: s.OPEN_OUT.SIZE,
  decode: (body: Buffer) => decodeOpened(body, 0),
  encode: (w: Writer, reply: Opened) => {
    encodeOpened(w, 0, reply);
    return undefined;
  },
};

const createReply = {
  sizeBytes: s.ENTRY_OUT.SIZE + s.OPEN_OUT.SIZE,
  decode: (body: Buffer): Created => ({
    entry: decodeEntry(body, 0),
    ...decodeOpened(body, s.ENTRY_OUT.SIZE),
  }),
  encode: (w: Writer, reply: Created) => {
    encodeOpened(w, s.ENTRY_OUT.SIZE, reply);
    madeReply.encode(w, reply.entry);
    return undefined;
  },
};

const xattrReply = {
  sizeBytes: 0,
  decode: (body: Buffer, request: { readonly sizeBytes: number }): Uint8Array | XattrSize =>
    request.sizeBytes === 0 ? { sizeBytes: body.readUInt32LE(s.GETXATTR_OUT.size) } : copyOf(body),
  encode: (
    w: Writer,
    reply: Uint8Array | XattrSize,
    request: { readonly sizeBytes: number },
  ): Uint8Array | Errno => {
    const isWhole = reply instanceof Uint8Array;
    if (request.sizeBytes > 0) {
      const value = checkBytes(w, reply, 'the answer', Number.MAX_SAFE_INTEGER);
      return value.length <= request.sizeBytes ? value : ERANGE;
    }
    const size = isWhole ? reply.length : asObject(w, reply, 'the answer').sizeBytes;
    const out = new Writer(s.GETXATTR_OUT.SIZE, 'the size of an attribute');
    out.u32(s.GETXATTR_OUT.size, size, 'sizeBytes');
    return out.bytes;
  },
};

/** A number of bytes, or an offset. */
function countReply(most: (request: never) => number) {
  return {
    sizeBytes: 8,
    decode: (body: Buffer) => number64(body, 0),
    encode: (w: Writer, reply: number, request: never) => {
      w.number64(0, reply, 'the answer');
      const limit = most(request);
      return reply <= limit ? undefined : w.fail('the answer', reply, `${limit} at most`);
    },
  };
}

const CODECS: { readonly [O in OperationName]: Codec<O> } = {
  lookup: entryReply,
  getattr: attrReply,
  setattr: attrReply,
  readlink: {
    sizeBytes: 0,
    decode: (body) => copyOf(body),
    encode: (w, reply) => {
      const target = checkBytes(w, reply, 'the answer', 4095);
      return target.length > 0 && !target.includes(0)
        ? target
        : w.fail('the answer', reply, 'a path without NUL');
    },
  },
  symlink: madeReply,
  mknod: madeReply,
  mkdir: madeReply,
  unlink: doneReply,
  rmdir: doneReply,
  rename: doneReply,
  link: madeReply,
  open: openReply,
  read: {
    sizeBytes: 0,
    decode: (body) => copyOf(body),
    encode: (w, reply, request) => checkBytes(w, reply, 'the answer', request.sizeBytes),
  },
  write: countReply((request: FsRequest<'write'>) => request.sizeBytes),
  statfs: {
    sizeBytes: s.KSTATFS.SIZE,
    decode: (body): FsStatistics => ({
      blocks: number64(body, s.KSTATFS.blocks),
      freeBlocks: number64(body, s.KSTATFS.bfree),
      availableBlocks: number64(body, s.KSTATFS.bavail),
      files: body.readBigUInt64LE(s.KSTATFS.files),
      freeFiles: body.readBigUInt64LE(s.KSTATFS.ffree),
      blockSizeBytes: body.readUInt32LE(s.KSTATFS.bsize),
      fragmentSizeBytes: body.readUInt32LE(s.KSTATFS.frsize),
      nameMaxBytes: body.readUInt32LE(s.KSTATFS.namelen),
    }),
    encode: (w, value) => {
      const reply = asObject(w, value, 'the answer');
      w.number64(s.KSTATFS.blocks, reply.blocks, 'blocks');
      w.number64(s.KSTATFS.bfree, reply.freeBlocks, 'freeBlocks');
      w.number64(s.KSTATFS.bavail, reply.availableBlocks, 'availableBlocks');
      w.big64(s.KSTATFS.files, reply.files, 'files');
      w.big64(s.KSTATFS.ffree, reply.freeFiles, 'freeFiles');
      w.u32(s.KSTATFS.bsize, reply.blockSizeBytes, 'blockSizeBytes');
      w.u32(s.KSTATFS.frsize, reply.fragmentSizeBytes, 'fragmentSizeBytes');
      w.u32(s.KSTATFS.namelen, reply.nameMaxBytes, 'nameMaxBytes');
      return undefined;
    },
  },
  release: doneReply,
  fsync: doneReply,
  setxattr: doneReply,
  getxattr: xattrReply,
  listxattr: xattrReply,
  removexattr: doneReply,
  flush: doneReply,
  opendir: openReply,
  readdir: {
    sizeBytes: 0,
    decode: (body, request) => decodeListing(body, request.withEntries),
    encode: encodeListing,
  },
  releasedir: doneReply,
  fsyncdir: doneReply,
  getlk: {
    sizeBytes: s.LK_OUT.SIZE,
    decode: (body): Lock => ({
      start: body.readBigUInt64LE(s.LK_OUT.start),
      end: body.readBigUInt64LE(s.LK_OUT.end),
      type: body.readUInt32LE(s.LK_OUT.type),
      pid: body.readUInt32LE(s.LK_OUT.pid),
    }),
    encode: (w, value) => {
      const reply = asObject(w, value, 'the answer');
      w.big64(s.LK_OUT.start, reply.start, 'start');
      w.big64(s.LK_OUT.end, reply.end, 'end');
      w.u32(s.LK_OUT.type, reply.type, 'type');
      w.u32(s.LK_OUT.pid, reply.pid, 'pid');
      return undefined;
    },
  },
  setlk: doneReply,
  access: doneReply,
  create: createReply,
  ioctl: {
    sizeBytes: 0,
    decode: (body): IoctlOutcome => ({
      result: body.readInt32LE(s.IOCTL_OUT.result),
      data: copyOf(body, s.IOCTL_OUT.SIZE),
    }),
    encode: (w, value, request) => {
      const reply = asObject(w, value, 'the answer');
      const data = checkBytes(w, reply.data, 'data', request.outSizeBytes);
      const head = new Writer(s.IOCTL_OUT.SIZE, 'the answer of ioctl');
      head.u32(s.IOCTL_OUT.result, reply.result, 'result');
      return Buffer.concat([head.bytes, data]);
    },
  },
  fallocate: doneReply,
  lseek: countReply(() => Number.MAX_SAFE_INTEGER),
  copyFileRange: countReply((request: FsRequest<'copyFileRange'>) => request.lengthBytes),
  syncfs: doneReply,
  tmpfile: createReply,
};

/**
 * The answer in the body of a successful reply.
 * @throws InexactNumber
 */
export function decodeReply<O extends OperationName>(
  operation: O,
  body: Buffer,
  request: FsRequest<O>,
): Replies[O] {
  const codec: Codec<O> = CODECS[operation];
  return codec.decode(body, request);
}

/**
 * The body of the reply that says so, or the error.
 * @throws LayerMistake for what is no answer to this request
 */
export function encodeAnswer(request: FsRequest, answer: unknown): Uint8Array | Errno {
  if (isErrno(answer)) return answer;
  const { operation } = request;
  if (answer === undefined || (typeof answer === 'object' && answer !== null && 'then' in answer)) {
    const what = answer === undefined ? 'nothing' : 'a promise';
    throw new LayerMistake(`${operation} answered ${what}, and has to answer ${wanted(operation)}`);
  }
  if (typeof answer === 'number' && answer < 0) {
    throw new LayerMistake(`${operation} answered ${say(answer)}, which is no errno`);
  }
  const codec = CODECS[operation] as Codec<OperationName>;
  const w = new Writer(codec.sizeBytes, `the answer of ${operation}`);
  return codec.encode(w, answer as never, request as never) ?? w.bytes;
}

function wanted(operation: OperationName): string {
  return CODECS[operation].encode === (doneReply.encode as unknown) ? '0 or Errno' : 'at once';
}

/** Opcodes whose reply begins with an entry, which counts one lookup. */
export const ENTRY_OPCODES: ReadonlySet<number> = new Set([
  OP.LOOKUP,
  OP.SYMLINK,
  OP.MKNOD,
  OP.MKDIR,
  OP.LINK,
  OP.CREATE,
  OP.TMPFILE,
]);

/** Where in a reply's body the handle stands that it opens; -1 if it opens none. */
export function handleAt(opcode: number): number {
  if (opcode === OP.OPEN || opcode === OP.OPENDIR) return s.OPEN_OUT.fh;
  return opcode === OP.CREATE || opcode === OP.TMPFILE ? s.ENTRY_OUT.SIZE + s.OPEN_OUT.fh : -1;
}
