/** Requests and answers survive the way into values and back. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { OP, ROW_BY_OPCODE } from '../../src/shared/abi/opcodes.ts';
import * as s from '../../src/shared/abi/structs.ts';
import { isErrno } from '../../src/shared/layers/errno.ts';
import { OPCODES_OF, OPERATION_NAMES } from '../../src/shared/layers/operation-table.ts';
import { decodeReply, encodeAnswer } from '../../src/shared/layers/replies.ts';
import { decodeRequest, encodeRequest } from '../../src/shared/layers/requests.ts';
import type { FsRequest } from '../../src/shared/layers/types.ts';
import { InexactNumber } from '../../src/shared/layers/wire.ts';
import { message, names, struct } from '../rules/messages.ts';

const form = { setxattrInBytes: s.SETXATTR_IN.SIZE };
const BIG = 0xfedcba9876543210n;
const FH = 0x1000000007n;

/** A request of each opcode with every field that counts set to a number of its own. */
const MESSAGES: readonly (readonly [opcode: number, ...parts: Buffer[]])[] = [
  [OP.LOOKUP, names('..')],
  [OP.GETATTR, struct(s.GETATTR_IN, { getattr_flags: 1, fh: FH })],
  [OP.GETATTR, struct(s.GETATTR_IN)],
  [
    OP.SETATTR,
    struct(s.SETATTR_IN, {
      valid: 0xe7f,
      fh: FH,
      size: 5n,
      lock_owner: BIG,
      atime: -5n,
      mtime: 7n,
      ctime: 9n,
      atimensec: 1,
      mtimensec: 2,
      ctimensec: 3,
      mode: 0o640,
      uid: 1,
      gid: 2,
    }),
  ],
  [OP.SETATTR, struct(s.SETATTR_IN, { valid: 0x1b0 })],
  [OP.READLINK],
  [OP.SYMLINK, names('name', 'to/there')],
  [OP.MKNOD, struct(s.MKNOD_IN, { mode: 0o60644, rdev: 77, umask: 0o22 }), names('n')],
  [OP.MKDIR, struct(s.MKDIR_IN, { mode: 0o755, umask: 0o22 }), names('n')],
  [OP.UNLINK, names(Buffer.of(0xff, 0xfe))],
  [OP.RMDIR, names('n')],
  [OP.RENAME2, struct(s.RENAME2_IN, { newdir: 5n, flags: 2 }), names('from', 'to')],
  [OP.LINK, struct(s.LINK_IN, { oldnodeid: 5n }), names('n')],
  [OP.OPEN, struct(s.OPEN_IN, { flags: 0x8002, open_flags: 1 })],
  [
    OP.READ,
    struct(s.READ_IN, { fh: FH, offset: 5n, size: 6, read_flags: 2, lock_owner: BIG, flags: 7 }),
  ],
  [
    OP.WRITE,
    struct(s.WRITE_IN, { fh: FH, offset: 5n, size: 4, write_flags: 2, lock_owner: BIG, flags: 7 }),
    Buffer.from('data'),
  ],
  [OP.STATFS],
  [OP.RELEASE, struct(s.RELEASE_IN, { fh: FH, flags: 1, release_flags: 2, lock_owner: BIG })],
  [OP.FSYNC, struct(s.FSYNC_IN, { fh: FH, fsync_flags: 1 })],
  [
    OP.SETXATTR,
    struct(s.SETXATTR_IN, { size: 5, flags: 1, setxattr_flags: 1 }),
    names('user.a/b'),
    Buffer.from('value'),
  ],
  [OP.GETXATTR, struct(s.GETXATTR_IN, { size: 10 }), names('user.a')],
  [OP.LISTXATTR, struct(s.GETXATTR_IN, { size: 10 })],
  [OP.REMOVEXATTR, names('user.a')],
  [OP.FLUSH, struct(s.FLUSH_IN, { fh: FH, lock_owner: BIG })],
  [OP.OPENDIR, struct(s.OPEN_IN, { flags: 0x10000 })],
  [OP.READDIR, struct(s.READ_IN, { fh: FH, offset: BIG, size: 4096 })],
  [OP.READDIRPLUS, struct(s.READ_IN, { fh: FH, offset: BIG, size: 4096 })],
  [OP.RELEASEDIR, struct(s.RELEASE_IN, { fh: FH, flags: 1 })],
  [OP.FSYNCDIR, struct(s.FSYNC_IN, { fh: FH })],
  ...[OP.GETLK, OP.SETLK, OP.SETLKW].map(
    (opcode) =>
      [
        opcode,
        struct(s.LK_IN, { fh: FH, owner: BIG, start: 1n, end: BIG, type: 1, pid: 3, lk_flags: 1 }),
      ] as const,
  ),
  [OP.ACCESS, struct(s.ACCESS_IN, { mask: 5 })],
  [
    OP.CREATE,
    struct(s.CREATE_IN, { flags: 0x42, mode: 0o644, umask: 2, open_flags: 1 }),
    names('n'),
  ],
  [OP.TMPFILE, struct(s.CREATE_IN, { flags: 0x42, mode: 0o644 }), names('n')],
  [
    OP.IOCTL,
    struct(s.IOCTL_IN, { fh: FH, flags: 1, cmd: 2, arg: BIG, in_size: 4, out_size: 8 }),
    Buffer.from('1234'),
  ],
  [OP.FALLOCATE, struct(s.FALLOCATE_IN, { fh: FH, offset: 1n, length: 2n, mode: 3 })],
  [OP.LSEEK, struct(s.LSEEK_IN, { fh: FH, offset: -4n, whence: 3 })],
  [
    OP.COPY_FILE_RANGE,
    struct(s.COPY_FILE_RANGE_IN, {
      fh_in: FH,
      off_in: 1n,
      nodeid_out: 2n,
      fh_out: FH,
      off_out: 3n,
      len: 4n,
      flags: BIG,
    }),
  ],
  [OP.SYNCFS, struct(s.SYNCFS_IN)],
];

/** Bytes that make sense as the reply of any operation with a fixed layout. */
function sampleReply(sizeBytes: number): Buffer {
  const body = Buffer.alloc(sizeBytes);
  // Small words, so that each 64-bit field is exact and each count is within what was asked.
  for (let at = 0; at + 4 <= sizeBytes; at += 8) body.writeUInt32LE(1 + (at >> 3), at);
  return body;
}

suite('requests as values', () => {
  for (const [opcode, ...parts] of MESSAGES) {
    test(`${ROW_BY_OPCODE[opcode]?.name} comes back as it was`, () => {
      const bytes = message(opcode, 0x300000005, ...parts);
      bytes.writeUInt32LE(1234, s.IN_HEADER.uid);
      const request = decodeRequest(bytes, form);
      const again = encodeRequest(request.operation, request as never, form);
      bytes.fill(0, s.IN_HEADER.unique, s.IN_HEADER.unique + 8);
      assert.deepEqual(again, bytes);
      assert.ok(Object.isFrozen(request));
    });
  }

  test('each operation is among them', () => {
    const tried = new Set(MESSAGES.map(([opcode]) => opcode));
    for (const name of OPERATION_NAMES) {
      assert.ok(
        OPCODES_OF[name].some((opcode) => tried.has(opcode)),
        name,
      );
    }
  });

  test('what the kernel says of the caller besides goes along', () => {
    const bytes = message(OP.MKDIR, 1, struct(s.MKDIR_IN), names('name'), Buffer.alloc(16, 9));
    bytes.writeUInt16LE(2, s.IN_HEADER.total_extlen);
    const request = decodeRequest(bytes, form) as FsRequest<'mkdir'>;
    const again = encodeRequest('mkdir', { ...request, name: Buffer.from('other') }, form);
    assert.deepEqual(again.subarray(-16), Buffer.alloc(16, 9));
    assert.equal(again.readUInt16LE(s.IN_HEADER.total_extlen), 2);
  });

  test('numbers that are not exact are told, not rounded', () => {
    const bytes = message(OP.LSEEK, 1, struct(s.LSEEK_IN, { offset: 1n << 60n }));
    assert.throws(() => decodeRequest(bytes, form), InexactNumber);
  });

  test('bytes have a buffer of their own', () => {
    const { name } = decodeRequest(
      message(OP.LOOKUP, 1, names('abc')),
      form,
    ) as FsRequest<'lookup'>;
    assert.equal(name.buffer.byteLength, 3);
  });
});

suite('answers as values', () => {
  for (const [opcode, ...parts] of MESSAGES) {
    const size = ROW_BY_OPCODE[opcode]?.outSizeBytes ?? -1;
    if (size <= 0 || opcode === OP.GETLK) continue;
    test(`${ROW_BY_OPCODE[opcode]?.name} comes back as it was`, () => {
      const request = decodeRequest(message(opcode, 1, ...parts), form);
      const answer = decodeReply(request.operation, sampleReply(size), request as never);
      const body = encodeAnswer(request, answer);
      assert.ok(!isErrno(body));
      const again = decodeReply(request.operation, Buffer.from(body), request as never);
      assert.deepEqual(again, answer);
      assert.equal(body.length, size);
    });
  }
});

suite('answers that are none', () => {
  test('an entry of a directory with the cookie of its beginning', () => {
    const fixed = struct(s.READ_IN, { size: 4096 });
    const request = decodeRequest(message(OP.READDIR, 1, fixed), form);
    const entry = { name: Buffer.from('a'), ino: 1n, type: 4, cookie: 0n };
    assert.throws(
      () => encodeAnswer(request, [entry]),
      /cookie is 0, and has to be that of the entry/,
    );
  });
});
