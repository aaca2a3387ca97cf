import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as flags from '../../src/shared/abi/flags.ts';
import { OP, OPCODES, ROW_BY_OPCODE } from '../../src/shared/abi/opcodes.ts';
import * as s from '../../src/shared/abi/structs.ts';
import { bytesOf, decode, textAt, u64At } from './hex.ts';

type Fields = Readonly<Record<string, number | bigint>>;

/** The header of all dumps below, but for length and opcode. */
const COMMON: Fields = {
  unique: 0x0102_0304_0506_0708n,
  nodeid: 0x0000_0003_0000_0011n,
  uid: 1000,
  gid: 100,
  pid: 4242,
};

const TAIL = `
  08 07 06 05 04 03 02 01 | unique
  11 00 00 00 03 00 00 00 | nodeid: slot 17, epoch 3
  e8 03 00 00             | uid 1000
  64 00 00 00             | gid 100
  92 10 00 00             | pid 4242
  00 00                   | total_extlen
  00 00                   | padding
`;

interface Golden {
  readonly name: keyof typeof OP;
  readonly dump: string;
  readonly offsets: Readonly<Record<string, number>>;
  readonly fields: Fields;
  readonly texts?: readonly string[];
  /** Where the names begin behind the header; default: behind the fixed part of the table. */
  readonly namesAt?: number;
}

const goldens: readonly Golden[] = [
  {
    name: 'LOOKUP',
    dump: `
      2e 00 00 00             | len 46
      01 00 00 00             | opcode
      ${TAIL}
      68 65 6c 6c 6f 00       | "hello"
    `,
    offsets: {},
    fields: {},
    texts: ['hello'],
  },
  {
    name: 'SETATTR',
    dump: `
      80 00 00 00             | len 128
      04 00 00 00             | opcode
      ${TAIL}
      7f 0e 00 00             | valid: all but the two _NOW bits
      00 00 00 00             | padding
      05 00 00 00 02 00 00 00 | fh: index 5, epoch 2
      00 10 00 00 01 00 00 00 | size 4 GiB + 4096
      ef cd ab 89 67 45 23 01 | lock_owner
      80 b1 d5 5e 00 00 00 00 | atime
      ff ff ff ff ff ff ff ff | mtime -1
      82 b1 d5 5e 00 00 00 00 | ctime
      01 00 00 00             | atimensec
      ff c9 9a 3b             | mtimensec 999999999
      03 00 00 00             | ctimensec
      a4 81 00 00             | mode 0100644
      00 00 00 00             | unused4
      e9 03 00 00             | uid 1001
      65 00 00 00             | gid 101
      00 00 00 00             | unused5
    `,
    offsets: s.SETATTR_IN,
    fields: {
      valid:
        flags.FATTR_MODE |
        flags.FATTR_UID |
        flags.FATTR_GID |
        flags.FATTR_SIZE |
        flags.FATTR_ATIME |
        flags.FATTR_MTIME |
        flags.FATTR_FH |
        flags.FATTR_LOCKOWNER |
        flags.FATTR_CTIME |
        flags.FATTR_KILL_SUIDGID,
      fh: 0x2_0000_0005n,
      size: 0x1_0000_1000n,
      lock_owner: 0x0123_4567_89ab_cdefn,
      atime: 0x5ed5_b180n,
      mtime: 0xffff_ffff_ffff_ffffn,
      ctime: 0x5ed5_b182n,
      atimensec: 1,
      mtimensec: 999_999_999,
      ctimensec: 3,
      mode: 0o100644,
      uid: 1001,
      gid: 101,
    },
  },
  {
    name: 'CREATE',
    dump: `
      3e 00 00 00             | len 62
      23 00 00 00             | opcode
      ${TAIL}
      42 82 00 00             | flags O_RDWR|O_CREAT|O_TRUNC|0x8000
      b4 81 00 00             | mode 0100664
      12 00 00 00             | umask 022
      01 00 00 00             | open_flags KILL_SUIDGID
      6e 2e 74 78 74 00       | "n.txt"
    `,
    offsets: s.CREATE_IN,
    fields: {
      flags: 0x8242,
      mode: 0o100664,
      umask: 0o22,
      open_flags: flags.FUSE_OPEN_KILL_SUIDGID,
    },
    texts: ['n.txt'],
  },
  {
    name: 'WRITE',
    dump: `
      54 00 00 00             | len 84
      10 00 00 00             | opcode
      ${TAIL}
      07 00 00 00 00 00 00 00 | fh
      00 00 00 00 08 00 00 00 | offset 32 GiB
      04 00 00 00             | size
      05 00 00 00             | write_flags CACHE|KILL_SUIDGID
      01 00 00 00 00 00 00 80 | lock_owner
      01 84 00 00             | flags O_WRONLY|O_APPEND|0x8000
      00 00 00 00             | padding
      64 61 74 61             | "data"
    `,
    offsets: s.WRITE_IN,
    fields: {
      fh: 7n,
      offset: 0x8_0000_0000n,
      size: 4,
      write_flags: flags.FUSE_WRITE_CACHE | flags.FUSE_WRITE_KILL_SUIDGID,
      lock_owner: 0x8000_0000_0000_0001n,
      flags: 0x8401,
    },
  },
  {
    name: 'READ',
    dump: `
      50 00 00 00             | len 80
      0f 00 00 00             | opcode
      ${TAIL}
      ff ff ff ff ff ff 1f 00 | fh 2^53 - 1
      00 f0 ff ff ff ff ff 7f | offset: the last page below 2^63
      00 00 02 00             | size 128 KiB
      02 00 00 00             | read_flags
      10 32 54 76 98 ba dc fe | lock_owner
      00 c0 00 00             | flags O_DIRECT|0x8000
      00 00 00 00             | padding
    `,
    offsets: s.READ_IN,
    fields: {
      fh: 0x1f_ffff_ffff_ffffn,
      offset: 0x7fff_ffff_ffff_f000n,
      size: 131_072,
      read_flags: 2,
      lock_owner: 0xfedc_ba98_7654_3210n,
      flags: 0xc000,
    },
  },
  {
    name: 'RENAME2',
    dump: `
      40 00 00 00             | len 64
      2d 00 00 00             | opcode
      ${TAIL}
      12 00 00 00 04 00 00 00 | newdir
      02 00 00 00             | flags RENAME_EXCHANGE
      00 00 00 00             | padding
      6f 6c 64 00             | "old"
      6e ff 77 00             | "n\\xffw"
    `,
    offsets: s.RENAME2_IN,
    fields: { newdir: 0x4_0000_0012n, flags: 2 },
    texts: ['old', 'n\u00ffw'],
  },
  {
    name: 'BATCH_FORGET',
    dump: `
      50 00 00 00             | len 80
      2a 00 00 00             | opcode
      ${TAIL}
      02 00 00 00             | count
      00 00 00 00             | dummy
      11 00 00 00 03 00 00 00 | nodeid
      01 00 00 00 00 00 00 00 | nlookup
      12 00 00 00 04 00 00 00 | nodeid
      00 00 00 00 01 00 00 00 | nlookup 2^32
    `,
    offsets: s.BATCH_FORGET_IN,
    fields: { count: 2 },
  },
  {
    name: 'INIT',
    dump: `
      68 00 00 00             | len 104
      1a 00 00 00             | opcode
      ${TAIL}
      07 00 00 00             | major
      2d 00 00 00             | minor 45
      00 00 02 00             | max_readahead
      03 00 00 60             | flags ASYNC_READ|POSIX_LOCKS|SETXATTR_EXT|INIT_EXT
      60 00 00 00             | flags2 PASSTHROUGH|NO_EXPORT_SUPPORT
      00 00 00 00 00 00 00 00 | unused
      00 00 00 00 00 00 00 00 | unused
      00 00 00 00 00 00 00 00 | unused
      00 00 00 00 00 00 00 00 | unused
      00 00 00 00 00 00 00 00 | unused
      00 00 00 00             | unused
    `,
    offsets: s.INIT_IN,
    fields: {
      major: 7,
      minor: 45,
      max_readahead: 131_072,
      flags:
        2 ** flags.INIT_FLAG.ASYNC_READ +
        2 ** flags.INIT_FLAG.POSIX_LOCKS +
        2 ** flags.INIT_FLAG.SETXATTR_EXT +
        2 ** flags.INIT_FLAG.INIT_EXT,
      flags2:
        2 ** (flags.INIT_FLAG.PASSTHROUGH - 32) + 2 ** (flags.INIT_FLAG.NO_EXPORT_SUPPORT - 32),
    },
  },
  {
    name: 'SETXATTR',
    dump: `
      3a 00 00 00             | len 58
      15 00 00 00             | opcode
      ${TAIL}
      03 00 00 00             | size
      01 00 00 00             | flags XATTR_CREATE
      75 73 65 72 2e 61 00    | "user.a"
      31 32 33                | value
    `,
    offsets: s.SETXATTR_IN,
    fields: { size: 3, flags: 1 },
    texts: ['user.a'],
    namesAt: s.SETXATTR_IN.COMPAT_SIZE,
  },
  {
    name: 'SETXATTR',
    dump: `
      42 00 00 00             | len 66
      15 00 00 00             | opcode
      ${TAIL}
      03 00 00 00             | size
      02 00 00 00             | flags XATTR_REPLACE
      01 00 00 00             | setxattr_flags ACL_KILL_SGID
      00 00 00 00             | padding
      75 73 65 72 2e 61 00    | "user.a"
      31 32 33                | value
    `,
    offsets: s.SETXATTR_IN,
    fields: { size: 3, flags: 2, setxattr_flags: flags.FUSE_SETXATTR_ACL_KILL_SGID },
    texts: ['user.a'],
    namesAt: s.SETXATTR_IN.SIZE,
  },
  {
    name: 'COPY_FILE_RANGE',
    dump: `
      60 00 00 00             | len 96
      2f 00 00 00             | opcode
      ${TAIL}
      01 00 00 00 00 00 00 00 | fh_in
      00 10 00 00 00 00 00 00 | off_in
      12 00 00 00 04 00 00 00 | nodeid_out
      02 00 00 00 00 00 00 00 | fh_out
      00 20 00 00 01 00 00 00 | off_out
      00 00 00 00 02 00 00 00 | len 8 GiB
      00 00 00 00 00 00 00 00 | flags
    `,
    offsets: s.COPY_FILE_RANGE_IN,
    fields: {
      fh_in: 1n,
      off_in: 0x1000n,
      nodeid_out: 0x4_0000_0012n,
      fh_out: 2n,
      off_out: 0x1_0000_2000n,
      len: 0x2_0000_0000n,
      flags: 0n,
    },
  },
  {
    name: 'STATX',
    dump: `
      40 00 00 00             | len 64
      34 00 00 00             | opcode
      ${TAIL}
      01 00 00 00             | getattr_flags FH
      00 00 00 00             | reserved
      09 00 00 00 01 00 00 00 | fh
      00 60 00 00             | sx_flags AT_STATX_SYNC_TYPE
      ff 0f 00 00             | sx_mask BASIC_STATS|BTIME
    `,
    offsets: s.STATX_IN,
    fields: {
      getattr_flags: flags.FUSE_GETATTR_FH,
      fh: 0x1_0000_0009n,
      sx_flags: 0x6000,
      sx_mask: 0xfff,
    },
  },
];

for (const golden of goldens) {
  const { name, offsets, fields, texts = [] } = golden;
  const view = bytesOf(golden.dump);
  test(`${name} of ${view.byteLength} bytes is read by the tables`, () => {
    const row = ROW_BY_OPCODE[OP[name]];
    const header: Fields = { len: view.byteLength, opcode: OP[name], ...COMMON };
    assert.deepEqual(decode(view, 0, s.IN_HEADER, header), header);
    assert.equal(view.getUint16(s.IN_HEADER.total_extlen, true), 0);
    assert.deepEqual(decode(view, s.IN_HEADER.SIZE, offsets, fields), fields);
    const known = Object.keys(offsets).filter((field) => !/SIZE$/.test(field));
    if (golden.namesAt === undefined) assert.deepEqual(known.sort(), Object.keys(fields).sort());
    assert.equal(row?.name, name);
    assert.equal(row?.names ?? 0, name === 'SETXATTR' ? 0 : texts.length);
    let at = s.IN_HEADER.SIZE + (golden.namesAt ?? row?.inSizeBytes ?? 0);
    for (const text of texts) {
      assert.equal(textAt(view, at), text);
      at += text.length + 1;
    }
  });
}

test('the records of BATCH_FORGET follow its fixed part', () => {
  const golden = goldens.find((candidate) => candidate.name === 'BATCH_FORGET') as Golden;
  const view = bytesOf(golden.dump);
  const records = [0, 1].map((index) => {
    const at = s.IN_HEADER.SIZE + s.BATCH_FORGET_IN.SIZE + index * s.FORGET_ONE.SIZE;
    return [u64At(view, at + s.FORGET_ONE.nodeid), u64At(view, at + s.FORGET_ONE.nlookup)];
  });
  assert.deepEqual(records, [
    [0x3_0000_0011n, 1n],
    [0x4_0000_0012n, 0x1_0000_0000n],
  ]);
});

test('the payload of a WRITE begins at byte 80', () => {
  const golden = goldens.find((candidate) => candidate.name === 'WRITE') as Golden;
  const view = bytesOf(golden.dump);
  const at = s.IN_HEADER.SIZE + s.WRITE_IN.SIZE;
  assert.equal(at, 80);
  assert.equal(Buffer.from(view.buffer, at).toString(), 'data');
});

/** name, number, bytes of the fixed part, names, whether a reply is due (kernel 7.45). */
const PROTOCOL: readonly (readonly [string, number, number, number, boolean])[] = [
  ['LOOKUP', 1, 0, 1, true],
  ['FORGET', 2, 8, 0, false],
  ['GETATTR', 3, 16, 0, true],
  ['SETATTR', 4, 88, 0, true],
  ['READLINK', 5, 0, 0, true],
  ['SYMLINK', 6, 0, 2, true],
  ['MKNOD', 8, 16, 1, true],
  ['MKDIR', 9, 8, 1, true],
  ['UNLINK', 10, 0, 1, true],
  ['RMDIR', 11, 0, 1, true],
  ['RENAME', 12, 8, 2, true],
  ['LINK', 13, 8, 1, true],
  ['OPEN', 14, 8, 0, true],
  ['READ', 15, 40, 0, true],
  ['WRITE', 16, 40, 0, true],
  ['STATFS', 17, 0, 0, true],
  ['RELEASE', 18, 24, 0, true],
  ['FSYNC', 20, 16, 0, true],
  ['GETXATTR', 22, 8, 1, true],
  ['LISTXATTR', 23, 8, 0, true],
  ['REMOVEXATTR', 24, 0, 1, true],
  ['FLUSH', 25, 24, 0, true],
  ['OPENDIR', 27, 8, 0, true],
  ['READDIR', 28, 40, 0, true],
  ['RELEASEDIR', 29, 24, 0, true],
  ['FSYNCDIR', 30, 16, 0, true],
  ['GETLK', 31, 48, 0, true],
  ['SETLK', 32, 48, 0, true],
  ['SETLKW', 33, 48, 0, true],
  ['ACCESS', 34, 8, 0, true],
  ['CREATE', 35, 16, 1, true],
  ['BMAP', 37, 16, 0, true],
  ['IOCTL', 39, 32, 0, true],
  ['POLL', 40, 24, 0, true],
  ['NOTIFY_REPLY', 41, 40, 0, false],
  ['BATCH_FORGET', 42, 8, 0, false],
  ['FALLOCATE', 43, 32, 0, true],
  ['READDIRPLUS', 44, 40, 0, true],
  ['RENAME2', 45, 16, 2, true],
  ['LSEEK', 46, 24, 0, true],
  ['COPY_FILE_RANGE', 47, 56, 0, true],
  ['SYNCFS', 50, 8, 0, true],
  ['TMPFILE', 51, 16, 1, true],
  ['STATX', 52, 24, 0, true],
  ['COPY_FILE_RANGE_64', 53, 56, 0, true],
];

/** Rows whose fixed part depends on what was negotiated, or that no kernel sends here. */
const VARYING = ['SETXATTR', 'INIT', 'INTERRUPT', 'DESTROY', 'SETUPMAPPING', 'REMOVEMAPPING'];

test('the opcode table says of each opcode what the protocol says', () => {
  const rows = OPCODES.filter((row) => !VARYING.includes(row.name)).map((row) => [
    row.name,
    row.opcode,
    row.inSizeBytes,
    row.names,
    row.hasReply,
  ]);
  assert.deepEqual(rows, PROTOCOL);
});

test('each row stands at its own place in the statistics', () => {
  OPCODES.forEach((row, index) => {
    assert.equal(row.statsIndex, index);
    assert.equal(ROW_BY_OPCODE[row.opcode], row);
  });
});
