/**
 * A FUSE file system of one directory whose cookies are beyond 2^63 and whose types are not told,
 * mounted on the directory of its argument. It ends when it is unmounted.
 */
import { open } from 'node:fs/promises';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  ATTR,
  ATTR_OUT,
  DIRENT,
  ENTRY_OUT,
  IN_HEADER,
  INIT_OUT,
  KSTATFS,
  OPEN_OUT,
  OUT_HEADER,
  READ_IN,
} from '../../src/shared/abi/structs.ts';
import { S_IFDIR, S_IFREG } from '../../src/shared/sys/constants.ts';
import { addressOf, CString, mount, read, write } from '../../src/shared/sys/libc.ts';
import { cookieOf, ENTRIES, nameOf } from './strange.ts';

const FIRST_NODE = 100;
const REQUEST_BYTES = 1 << 18;

function attr(body: Buffer, at: number, node: number): void {
  body.writeBigUInt64LE(BigInt(node), at + ATTR.ino);
  body.writeUInt32LE((node === 1 ? S_IFDIR : S_IFREG) | 0o755, at + ATTR.mode);
  body.writeUInt32LE(1, at + ATTR.nlink);
}

function entryOut(name: string): Buffer | number {
  const index = Number(name.slice(nameOf(0).length - 1));
  if (name !== nameOf(index) || !(index < ENTRIES)) return -ERRNO.ENOENT;
  const body = Buffer.alloc(ENTRY_OUT.SIZE);
  body.writeBigUInt64LE(BigInt(FIRST_NODE + index), ENTRY_OUT.nodeid);
  attr(body, ENTRY_OUT.attr, FIRST_NODE + index);
  return body;
}

const indexByCookie = new Map([[0n, 0]]);
for (let i = 0; i < ENTRIES; i++) indexByCookie.set(cookieOf(i), i + 1);

function listing(cookie: bigint, sizeBytes: number): Buffer | number {
  const start = indexByCookie.get(cookie);
  if (start === undefined) return -ERRNO.EINVAL;
  const records: Buffer[] = [];
  let room = sizeBytes;
  for (let i = start; i < ENTRIES; i++) {
    const name = nameOf(i);
    const record = Buffer.alloc((DIRENT.SIZE + name.length + 7) & ~7);
    room -= record.length;
    if (room < 0) break;
    record.writeBigUInt64LE(BigInt(FIRST_NODE + i), DIRENT.ino);
    record.writeBigUInt64LE(cookieOf(i), DIRENT.off);
    record.writeUInt32LE(name.length, DIRENT.namelen);
    record.write(name, DIRENT.name);
    records.push(record);
  }
  return Buffer.concat(records);
}

function answer(opcode: number, node: number, body: Buffer): Buffer | number {
  switch (opcode) {
    case OP.INIT: {
      const out = Buffer.alloc(INIT_OUT.SIZE);
      out.writeUInt32LE(7, INIT_OUT.major);
      out.writeUInt32LE(31, INIT_OUT.minor);
      out.writeUInt32LE(65536, INIT_OUT.max_write);
      return out;
    }
    case OP.LOOKUP:
      return entryOut(body.toString('latin1', 0, body.indexOf(0)));
    case OP.GETATTR: {
      const out = Buffer.alloc(ATTR_OUT.SIZE);
      attr(out, ATTR_OUT.attr, node);
      return out;
    }
    case OP.STATFS:
      return Buffer.alloc(KSTATFS.SIZE);
    case OP.OPENDIR:
      return Buffer.alloc(OPEN_OUT.SIZE);
    case OP.READDIR:
      return listing(body.readBigUInt64LE(READ_IN.offset), body.readUInt32LE(READ_IN.size));
    case OP.RELEASEDIR:
      return Buffer.alloc(0);
    default:
      return -ERRNO.ENOSYS;
  }
}

const device = await open('/dev/fuse', 'r+');
const options = `fd=${device.fd},rootmode=40000,user_id=0,group_id=0,allow_other`;
const mounted = mount(
  new CString('strange').address,
  new CString(process.argv[2] as string).address,
  new CString('fuse.strange').address,
  0,
  new CString(options).address,
);
if (mounted < 0) throw new Error(`mount: errno ${-mounted}`);
console.log('mounted');

const request = Buffer.from(new SharedArrayBuffer(REQUEST_BYTES));
for (;;) {
  const length = read(device.fd, addressOf(request), REQUEST_BYTES);
  if (length === -ERRNO.ENODEV) break;
  if (length < 0) continue;
  const opcode = request.readUInt32LE(IN_HEADER.opcode);
  if (opcode === OP.FORGET || opcode === OP.BATCH_FORGET || opcode === OP.INTERRUPT) continue;
  const node = Number(request.readBigUInt64LE(IN_HEADER.nodeid));
  const body = answer(opcode, node, request.subarray(IN_HEADER.SIZE, length));
  const data = typeof body === 'number' ? Buffer.alloc(0) : body;
  const reply = Buffer.from(new SharedArrayBuffer(OUT_HEADER.SIZE + data.length));
  reply.writeUInt32LE(reply.length, OUT_HEADER.len);
  reply.writeInt32LE(typeof body === 'number' ? body : 0, OUT_HEADER.error);
  request.copy(reply, OUT_HEADER.unique, IN_HEADER.unique, IN_HEADER.unique + 8);
  data.copy(reply, OUT_HEADER.SIZE);
  write(device.fd, addressOf(reply), reply.length);
}
