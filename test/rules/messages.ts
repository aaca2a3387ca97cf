/** FUSE messages without a kernel: builds requests, takes replies apart, and speaks to a layer. */
import assert from 'node:assert/strict';
import type { PassthroughLayer } from '../../src/main/layer.ts';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  ATTR,
  ATTR_OUT,
  CREATE_IN,
  DIRENT,
  DIRENTPLUS,
  ENTRY_OUT,
  FORGET_IN,
  IN_HEADER,
  MKDIR_IN,
  OPEN_IN,
  OPEN_OUT,
  OUT_HEADER,
  READ_IN,
  RELEASE_IN,
  SETATTR_IN,
  WRITE_IN,
  WRITE_OUT,
} from '../../src/shared/abi/structs.ts';
import { O_CREAT, O_RDWR } from '../../src/shared/sys/constants.ts';

/** A field of 32 bits as a number, of 64 bits as a BigInt. */
export type Fields = Readonly<Record<string, number | bigint>>;

/** A structure of the wire from its offset table; what is not named is zero. */
export function struct(layout: Readonly<Record<string, number>>, fields: Fields = {}): Buffer {
  const bytes = Buffer.alloc(layout['SIZE'] as number);
  for (const [name, value] of Object.entries(fields)) {
    const offset = layout[name];
    if (offset === undefined) throw new Error(`no field ${name}`);
    if (typeof value === 'bigint') bytes.writeBigUInt64LE(BigInt.asUintN(64, value), offset);
    else bytes.writeUInt32LE(value >>> 0, offset);
  }
  return bytes;
}

/** NUL-terminated names, one behind the other. */
export function names(...texts: (string | Buffer)[]): Buffer {
  return Buffer.concat(texts.map((text) => Buffer.concat([Buffer.from(text), Buffer.of(0)])));
}

let unique = 1000n;

/** A whole request. */
export function message(opcode: number, nodeid: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  unique += 2n;
  const header = struct(IN_HEADER, {
    len: IN_HEADER.SIZE + body.length,
    opcode,
    unique,
    nodeid: BigInt(nodeid),
    pid: process.pid,
  });
  return Buffer.concat([header, body]);
}

export interface Attr {
  readonly ino: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly atime: readonly [bigint, number];
  readonly mtime: readonly [bigint, number];
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
}

export interface Entry {
  readonly nodeid: number;
  readonly generation: bigint;
  readonly entryValid: number;
  readonly attrValid: number;
  readonly attr: Attr;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly ino: bigint;
  readonly offset: bigint;
  readonly type: number;
  /** Of READDIRPLUS; 0 when no lookup was counted. */
  readonly nodeid: number;
}

function attrAt(body: Buffer, at: number): Attr {
  return {
    ino: body.readBigUInt64LE(at + ATTR.ino),
    size: body.readBigUInt64LE(at + ATTR.size),
    blocks: body.readBigUInt64LE(at + ATTR.blocks),
    atime: [body.readBigInt64LE(at + ATTR.atime), body.readUInt32LE(at + ATTR.atimensec)],
    mtime: [body.readBigInt64LE(at + ATTR.mtime), body.readUInt32LE(at + ATTR.mtimensec)],
    mode: body.readUInt32LE(at + ATTR.mode),
    nlink: body.readUInt32LE(at + ATTR.nlink),
    uid: body.readUInt32LE(at + ATTR.uid),
    gid: body.readUInt32LE(at + ATTR.gid),
    rdev: body.readUInt32LE(at + ATTR.rdev),
  };
}

function validAt(body: Buffer, secondsAt: number, nanosecondsAt: number): number {
  return Number(body.readBigUInt64LE(secondsAt)) + body.readUInt32LE(nanosecondsAt) / 1e9;
}

export function entryAt(body: Buffer, at = 0): Entry {
  return {
    nodeid: Number(body.readBigUInt64LE(at + ENTRY_OUT.nodeid)),
    generation: body.readBigUInt64LE(at + ENTRY_OUT.generation),
    entryValid: validAt(body, at + ENTRY_OUT.entry_valid, at + ENTRY_OUT.entry_valid_nsec),
    attrValid: validAt(body, at + ENTRY_OUT.attr_valid, at + ENTRY_OUT.attr_valid_nsec),
    attr: attrAt(body, at + ENTRY_OUT.attr),
  };
}

/** Takes a listing apart; asserts that records are whole and padded with zeros. */
export function direntsIn(body: Buffer, plus: boolean): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < body.length; ) {
    const dirent = plus ? at + DIRENTPLUS.dirent : at;
    const length = body.readUInt32LE(dirent + DIRENT.namelen);
    const nameEnd = dirent + DIRENT.name + length;
    const end = at + (((plus ? DIRENTPLUS.SIZE : DIRENT.SIZE) + length + 7) & ~7);
    assert.ok(end <= body.length, 'a record is cut off');
    assert.ok(
      body.subarray(nameEnd, end).every((byte) => byte === 0),
      'padding is not zero',
    );
    entries.push({
      name: body.toString('latin1', dirent + DIRENT.name, nameEnd),
      ino: body.readBigUInt64LE(dirent + DIRENT.ino),
      offset: body.readBigUInt64LE(dirent + DIRENT.off),
      type: body.readUInt32LE(dirent + DIRENT.type),
      nodeid: plus ? entryAt(body, at).nodeid : 0,
    });
    at = end;
  }
  return entries;
}

/** What an operation answered: the body, or the name of the error. */
export type Answer = Buffer | string;

export interface Opened {
  readonly fh: bigint;
  readonly flags: number;
}

function openedAt(body: Buffer, at = 0): Opened {
  return {
    fh: body.readBigUInt64LE(at + OPEN_OUT.fh),
    flags: body.readUInt32LE(at + OPEN_OUT.open_flags),
  };
}

/** The kernel's side of a layer. */
export class Client {
  readonly layer: PassthroughLayer;
  /** Who makes the requests; 0 stands for a process outside our pid namespace. */
  uid = 0;
  pid = process.pid;

  constructor(layer: PassthroughLayer) {
    this.layer = layer;
  }

  /** Sends one request and checks the form of its reply. */
  call(opcode: number, nodeid: number, ...parts: Buffer[]): Answer {
    const request = message(opcode, nodeid, ...parts);
    request.writeUInt32LE(this.uid, IN_HEADER.uid);
    request.writeUInt32LE(this.pid, IN_HEADER.pid);
    const raw = this.layer.handle(request);
    assert.ok(raw !== undefined, 'no reply');
    const reply = Buffer.from(raw);
    assert.equal(reply.readUInt32LE(OUT_HEADER.len), reply.length);
    assert.equal(
      reply.readBigUInt64LE(OUT_HEADER.unique),
      request.readBigUInt64LE(IN_HEADER.unique),
    );
    const error = reply.readInt32LE(OUT_HEADER.error);
    if (error === 0) return reply.subarray(OUT_HEADER.SIZE);
    assert.ok(error < 0 && error > -4096, `error ${error}`);
    assert.equal(reply.length, OUT_HEADER.SIZE);
    return errnoName(error);
  }

  /** The same for one that has to succeed. */
  ok(opcode: number, nodeid: number, ...parts: Buffer[]): Buffer {
    const answer = this.call(opcode, nodeid, ...parts);
    assert.ok(typeof answer !== 'string', `opcode ${opcode} answered ${String(answer)}`);
    return answer;
  }

  /** FORGET, which has no reply. */
  forget(nodeid: number, count = 1): void {
    const body = struct(FORGET_IN, { nlookup: BigInt(count) });
    assert.equal(this.layer.handle(message(OP.FORGET, nodeid, body)), undefined);
  }

  lookup(parent: number, name: string | Buffer): Entry {
    return entryAt(this.ok(OP.LOOKUP, parent, names(name)));
  }

  tryLookup(parent: number, name: string | Buffer): Answer {
    return this.call(OP.LOOKUP, parent, names(name));
  }

  getattr(nodeid: number): Attr {
    return attrAt(this.ok(OP.GETATTR, nodeid, Buffer.alloc(16)), ATTR_OUT.attr);
  }

  tryGetattr(nodeid: number): Answer {
    return this.call(OP.GETATTR, nodeid, Buffer.alloc(16));
  }

  setattr(nodeid: number, valid: number, fields: Fields = {}): Attr {
    const body = struct(SETATTR_IN, { valid, ...fields });
    return attrAt(this.ok(OP.SETATTR, nodeid, body), ATTR_OUT.attr);
  }

  mkdir(parent: number, name: string, mode = 0o755): Entry {
    return entryAt(this.ok(OP.MKDIR, parent, struct(MKDIR_IN, { mode }), names(name)));
  }

  tryCreate(parent: number, name: string, flags = O_RDWR | O_CREAT, mode = 0o644): Answer {
    return this.call(OP.CREATE, parent, struct(CREATE_IN, { flags, mode }), names(name));
  }

  create(parent: number, name: string, flags?: number, mode?: number): Entry & Opened {
    const body = this.tryCreate(parent, name, flags, mode);
    assert.ok(typeof body !== 'string', `CREATE answered ${String(body)}`);
    return { ...entryAt(body), ...openedAt(body, ENTRY_OUT.SIZE) };
  }

  open(nodeid: number, flags: number): Opened {
    return openedAt(this.ok(OP.OPEN, nodeid, struct(OPEN_IN, { flags })));
  }

  opendir(nodeid: number): Opened {
    return openedAt(this.ok(OP.OPENDIR, nodeid, struct(OPEN_IN)));
  }

  release(nodeid: number, fh: bigint): Answer {
    return this.call(OP.RELEASE, nodeid, struct(RELEASE_IN, { fh }));
  }

  releasedir(nodeid: number, fh: bigint): Answer {
    return this.call(OP.RELEASEDIR, nodeid, struct(RELEASE_IN, { fh }));
  }

  read(nodeid: number, fh: bigint, offset: bigint, size: number, flags = 0): Answer {
    return this.call(OP.READ, nodeid, struct(READ_IN, { fh, offset, size, flags }));
  }

  write(
    nodeid: number,
    fh: bigint,
    offset: bigint,
    data: string | Buffer,
    fields: Fields = {},
  ): number | string {
    const payload = Buffer.from(data);
    const fixed = struct(WRITE_IN, { fh, offset, size: payload.length, ...fields });
    const answer = this.call(OP.WRITE, nodeid, fixed, payload);
    return typeof answer === 'string' ? answer : answer.readUInt32LE(WRITE_OUT.size);
  }

  list(
    nodeid: number,
    fh: bigint,
    offset: bigint,
    size: number,
    plus = false,
  ): DirectoryEntry[] | string {
    const body = struct(READ_IN, { fh, offset, size });
    const answer = this.call(plus ? OP.READDIRPLUS : OP.READDIR, nodeid, body);
    if (typeof answer === 'string') return answer;
    assert.ok(answer.length <= size, 'a listing longer than asked for');
    return direntsIn(answer, plus);
  }

  /** The whole directory, in replies of at most `size`. */
  listAll(nodeid: number, size: number, plus = false): DirectoryEntry[] {
    const { fh } = this.opendir(nodeid);
    const all: DirectoryEntry[] = [];
    for (let offset = 0n; ; ) {
      const some = this.list(nodeid, fh, offset, size, plus);
      assert.ok(typeof some !== 'string', `the listing answered ${String(some)}`);
      if (some.length === 0) break;
      all.push(...some);
      offset = (some.at(-1) as DirectoryEntry).offset;
    }
    this.releasedir(nodeid, fh);
    return all;
  }
}
