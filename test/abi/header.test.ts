/**
 * Compares the tables with <linux/fuse.h> of this machine, by a C program that prints sizeof,
 * offsetof and the values of names. What the header is too old to know is compared with literal
 * numbers.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import * as flags from '../../src/shared/abi/flags.ts';
import { OPCODES } from '../../src/shared/abi/opcodes.ts';
import * as structs from '../../src/shared/abi/structs.ts';
import { run } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';

type StructName = keyof typeof structs;

interface Source {
  /** The structure's name in the header. */
  readonly c: string;
  /** The first minor version whose header has it. */
  readonly since?: number;
  /** Fields younger than the structure: the first minor version of each. */
  readonly fieldsSince?: Readonly<Record<string, number>>;
  /** Fields that the header calls otherwise. */
  readonly fieldNames?: Readonly<Record<string, string>>;
}

const FIRST_MINOR = 31;

const sources: Readonly<Record<StructName, Source>> = {
  IN_HEADER: { c: 'fuse_in_header', fieldsSince: { total_extlen: 38 } },
  OUT_HEADER: { c: 'fuse_out_header' },
  ATTR: { c: 'fuse_attr', fieldsSince: { flags: 32 } },
  ENTRY_OUT: { c: 'fuse_entry_out' },
  ATTR_OUT: { c: 'fuse_attr_out' },
  STATX_IN: { c: 'fuse_statx_in', since: 39 },
  STATX_OUT: { c: 'fuse_statx_out', since: 39 },
  FUSE_STATX: { c: 'fuse_statx', since: 39 },
  GETATTR_IN: { c: 'fuse_getattr_in' },
  SETATTR_IN: { c: 'fuse_setattr_in' },
  FORGET_IN: { c: 'fuse_forget_in' },
  BATCH_FORGET_IN: { c: 'fuse_batch_forget_in' },
  FORGET_ONE: { c: 'fuse_forget_one' },
  MKNOD_IN: { c: 'fuse_mknod_in' },
  MKDIR_IN: { c: 'fuse_mkdir_in' },
  RENAME_IN: { c: 'fuse_rename_in' },
  RENAME2_IN: { c: 'fuse_rename2_in' },
  LINK_IN: { c: 'fuse_link_in' },
  OPEN_IN: { c: 'fuse_open_in', fieldsSince: { open_flags: 33 } },
  OPEN_OUT: { c: 'fuse_open_out', fieldsSince: { backing_id: 40 } },
  CREATE_IN: { c: 'fuse_create_in', fieldsSince: { open_flags: 33 } },
  RELEASE_IN: { c: 'fuse_release_in' },
  FLUSH_IN: { c: 'fuse_flush_in' },
  READ_IN: { c: 'fuse_read_in' },
  WRITE_IN: { c: 'fuse_write_in' },
  WRITE_OUT: { c: 'fuse_write_out' },
  KSTATFS: { c: 'fuse_kstatfs' },
  FSYNC_IN: { c: 'fuse_fsync_in' },
  SETXATTR_IN: { c: 'fuse_setxattr_in', since: 33 },
  GETXATTR_IN: { c: 'fuse_getxattr_in' },
  GETXATTR_OUT: { c: 'fuse_getxattr_out' },
  LK_IN: {
    c: 'fuse_lk_in',
    fieldNames: { start: 'lk.start', end: 'lk.end', type: 'lk.type', pid: 'lk.pid' },
  },
  LK_OUT: {
    c: 'fuse_lk_out',
    fieldNames: { start: 'lk.start', end: 'lk.end', type: 'lk.type', pid: 'lk.pid' },
  },
  ACCESS_IN: { c: 'fuse_access_in' },
  INIT_IN: { c: 'fuse_init_in', since: 36 },
  INIT_OUT: {
    c: 'fuse_init_out',
    fieldsSince: { flags2: 36, max_stack_depth: 40, request_timeout: 43 },
  },
  BACKING_MAP: { c: 'fuse_backing_map', since: 40 },
  INTERRUPT_IN: { c: 'fuse_interrupt_in' },
  BMAP_IN: { c: 'fuse_bmap_in' },
  IOCTL_IN: { c: 'fuse_ioctl_in' },
  IOCTL_OUT: { c: 'fuse_ioctl_out' },
  POLL_IN: { c: 'fuse_poll_in' },
  NOTIFY_INVAL_INODE_OUT: { c: 'fuse_notify_inval_inode_out' },
  NOTIFY_RETRIEVE_OUT: { c: 'fuse_notify_retrieve_out' },
  NOTIFY_RETRIEVE_IN: { c: 'fuse_notify_retrieve_in' },
  FALLOCATE_IN: { c: 'fuse_fallocate_in' },
  LSEEK_IN: { c: 'fuse_lseek_in' },
  LSEEK_OUT: { c: 'fuse_lseek_out' },
  COPY_FILE_RANGE_IN: { c: 'fuse_copy_file_range_in' },
  COPY_FILE_RANGE_OUT: { c: 'fuse_copy_file_range_out', since: 45 },
  SYNCFS_IN: { c: 'fuse_syncfs_in', since: 34 },
  DIRENT: { c: 'fuse_dirent' },
  DIRENTPLUS: { c: 'fuse_direntplus', fieldNames: { entry: 'entry_out' } },
  EXT_HEADER: { c: 'fuse_ext_header', since: 38 },
  SECCTX_HEADER: { c: 'fuse_secctx_header', since: 36 },
  SECCTX: { c: 'fuse_secctx', since: 36 },
  // Some headers of 7.38 lack it.
  SUPP_GROUPS: { c: 'fuse_supp_groups', since: 39 },
};

/** What the oldest headers in use do not have, and what no header has. */
const literals: Readonly<Record<string, number>> = {
  'STATX_IN.SIZE': 24,
  'STATX_IN.getattr_flags': 0,
  'STATX_IN.fh': 8,
  'STATX_IN.sx_flags': 16,
  'STATX_IN.sx_mask': 20,
  'STATX_OUT.SIZE': 288,
  'STATX_OUT.attr_valid': 0,
  'STATX_OUT.attr_valid_nsec': 8,
  'STATX_OUT.flags': 12,
  'STATX_OUT.stat': 32,
  'FUSE_STATX.SIZE': 256,
  'IN_HEADER.total_extlen': 36,
  'ATTR.flags': 84,
  'OPEN_IN.open_flags': 4,
  'OPEN_OUT.backing_id': 12,
  'CREATE_IN.open_flags': 12,
  'SETXATTR_IN.SIZE': 16,
  'SETXATTR_IN.COMPAT_SIZE': 8,
  'SETXATTR_IN.size': 0,
  'SETXATTR_IN.flags': 4,
  'SETXATTR_IN.setxattr_flags': 8,
  'INIT_IN.SIZE': 64,
  'INIT_IN.COMPAT_SIZE': 16,
  'INIT_IN.major': 0,
  'INIT_IN.minor': 4,
  'INIT_IN.max_readahead': 8,
  'INIT_IN.flags': 12,
  'INIT_IN.flags2': 16,
  'INIT_OUT.flags2': 32,
  'INIT_OUT.max_stack_depth': 36,
  'INIT_OUT.request_timeout': 40,
  'BACKING_MAP.SIZE': 16,
  'BACKING_MAP.fd': 0,
  'BACKING_MAP.flags': 4,
  'BACKING_MAP.padding': 8,
  'COPY_FILE_RANGE_OUT.SIZE': 8,
  'COPY_FILE_RANGE_OUT.bytes_copied': 0,
  'SYNCFS_IN.SIZE': 8,
  'EXT_HEADER.SIZE': 8,
  'EXT_HEADER.size': 0,
  'EXT_HEADER.type': 4,
  'SECCTX_HEADER.SIZE': 8,
  'SECCTX_HEADER.size': 0,
  'SECCTX_HEADER.nr_secctx': 4,
  'SECCTX.SIZE': 8,
  'SECCTX.size': 0,
  'SUPP_GROUPS.SIZE': 4,
  'SUPP_GROUPS.nr_groups': 0,
  'SUPP_GROUPS.groups': 4,
  'OPCODE.SYNCFS': 50,
  'OPCODE.TMPFILE': 51,
  'OPCODE.STATX': 52,
  'OPCODE.COPY_FILE_RANGE_64': 53,
  'INIT_FLAG.SUBMOUNTS': 27,
  'INIT_FLAG.HANDLE_KILLPRIV_V2': 28,
  'INIT_FLAG.SETXATTR_EXT': 29,
  'INIT_FLAG.INIT_EXT': 30,
  'INIT_FLAG.INIT_RESERVED': 31,
  'INIT_FLAG.SECURITY_CTX': 32,
  'INIT_FLAG.HAS_INODE_DAX': 33,
  'INIT_FLAG.CREATE_SUPP_GROUP': 34,
  'INIT_FLAG.HAS_EXPIRE_ONLY': 35,
  'INIT_FLAG.DIRECT_IO_ALLOW_MMAP': 36,
  'INIT_FLAG.PASSTHROUGH': 37,
  'INIT_FLAG.NO_EXPORT_SUPPORT': 38,
  'INIT_FLAG.HAS_RESEND': 39,
  'INIT_FLAG.ALLOW_IDMAP': 40,
  'INIT_FLAG.OVER_IO_URING': 41,
  'INIT_FLAG.REQUEST_TIMEOUT': 42,
  FATTR_KILL_SUIDGID: 0x800,
  FOPEN_NOFLUSH: 0x20,
  FOPEN_PARALLEL_DIRECT_WRITES: 0x40,
  FOPEN_PASSTHROUGH: 0x80,
  FUSE_ATTR_SUBMOUNT: 1,
  FUSE_OPEN_KILL_SUIDGID: 1,
  FUSE_WRITE_KILL_SUIDGID: 4,
  FUSE_FSYNC_FDATASYNC: 1,
  FUSE_SETXATTR_ACL_KILL_SGID: 1,
  FUSE_MAX_NR_SECCTX: 31,
  FUSE_EXT_GROUPS: 32,
  FUSE_KERNEL_MINOR_VERSION: 45,
  FUSE_MIN_MINOR_VERSION: 31,
  FUSE_UNKNOWN_INO: 0xffffffff,
  FUSE_DEV_IOC_BACKING_OPEN: 0x4010e501,
  FUSE_DEV_IOC_BACKING_CLOSE: 0x4004e502,
};

/** A value to compare: its key, ours, the C expression, and when the header has it. */
interface Value {
  readonly key: string;
  readonly ours: number;
  readonly expression?: string;
  /** A preprocessor condition. */
  readonly when: string;
}

function atLeast(minor: number): string {
  return `FUSE_KERNEL_MINOR_VERSION >= ${minor}`;
}

function structValues(): Value[] {
  return Object.entries(structs).flatMap(([name, offsets]) => {
    const source = sources[name as StructName];
    assert.ok(source, `test/abi knows no C structure for ${name}`);
    return Object.entries(offsets as Readonly<Record<string, number>>).map(([field, ours]) => {
      const key = `${name}.${field}`;
      if (field === 'COMPAT_SIZE') return { key, ours, when: '0' };
      const expression =
        field === 'SIZE'
          ? `sizeof(struct ${source.c})`
          : `offsetof(struct ${source.c}, ${source.fieldNames?.[field] ?? field})`;
      const minor = Math.max(source.since ?? FIRST_MINOR, source.fieldsSince?.[field] ?? 0);
      return { key, ours, expression, when: atLeast(minor) };
    });
  });
}

/** The first minor version that has an opcode, for the young ones. */
const opcodesSince: Readonly<Record<string, number>> = {
  SYNCFS: 34,
  TMPFILE: 37,
  STATX: 39,
  COPY_FILE_RANGE_64: 45,
};

function opcodeValues(): Value[] {
  return OPCODES.map((row) => ({
    key: `OPCODE.${row.name}`,
    ours: row.opcode,
    expression: `FUSE_${row.name}`,
    when: atLeast(opcodesSince[row.name] ?? FIRST_MINOR),
  }));
}

function flagValues(): Value[] {
  const bits = Object.entries(flags.INIT_FLAG).map(([name, ours]) => ({
    key: `INIT_FLAG.${name}`,
    ours,
    expression: `__builtin_ctzll(FUSE_${name})`,
    when: `defined(FUSE_${name})`,
  }));
  const ownVersions = ['FUSE_KERNEL_MINOR_VERSION', 'FUSE_MIN_MINOR_VERSION'];
  const others = Object.entries(flags)
    .filter((entry): entry is [keyof typeof flags & string, number] => typeof entry[1] === 'number')
    .map(([name, ours]) => {
      if (ownVersions.includes(name)) return { key: name, ours, when: '0' };
      return { key: name, ours, expression: name, when: `defined(${name})` };
    });
  return [...bits, ...others];
}

function errnoValues(): Value[] {
  return Object.entries(ERRNO).map(([name, ours]) => ({
    key: `ERRNO.${name}`,
    ours,
    expression: name,
    when: '1',
  }));
}

function programFor(values: readonly Value[]): string {
  const lines = values
    .filter((value) => value.expression !== undefined)
    .map(
      ({ key, expression, when }) =>
        `#if ${when}\n  printf("${key} %llu\\n", (unsigned long long)(${expression}));\n#endif`,
    );
  return `#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/fuse.h>
int main(void) {
  printf("header %d\\n", FUSE_KERNEL_MINOR_VERSION);
${lines.join('\n')}
  return 0;
}
`;
}

test('sizes, offsets, opcodes, flags and errors are those of <linux/fuse.h>', async (t) => {
  const directory = await tempDir('abi');
  const source = join(directory, 'abi.c');
  const program = join(directory, 'abi');
  const probe = join(directory, 'probe.c');
  await writeFile(probe, '#include <linux/fuse.h>\nint main(void) { return 0; }\n');
  const usable = await run('sh', ['-c', 'cc -o "$1" "$2"', 'sh', program, probe]);
  if (usable.code !== 0) {
    t.skip(`no C compiler with <linux/fuse.h>: ${usable.stderr.trim()}`);
    return;
  }

  const values = [...structValues(), ...opcodeValues(), ...flagValues(), ...errnoValues()];
  await writeFile(source, programFor(values));
  const compiled = await run('cc', ['-Wall', '-Werror', '-o', program, source]);
  assert.equal(compiled.code, 0, compiled.stderr);
  const printed = await run(program);
  assert.equal(printed.code, 0, printed.stderr);
  const header = new Map(
    printed.stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([key, value]) => [key as string, Number(value)]),
  );

  const expected: Record<string, number | undefined> = {};
  const ours: Record<string, number> = {};
  for (const value of values) {
    expected[value.key] = header.get(value.key) ?? literals[value.key];
    ours[value.key] = value.ours;
  }
  assert.deepEqual(ours, expected);
  const fromHeader = values.filter((value) => header.has(value.key)).length;
  t.diagnostic(
    `${fromHeader} of ${values.length} values from header 7.${header.get('header')}, the others literal`,
  );
  assert.ok(fromHeader > 200, 'most values come from the header');
});

test('the literal numbers for young names are ours', () => {
  const ours = new Map(
    [...structValues(), ...opcodeValues(), ...flagValues()].map(({ key, ours: value }) => [
      key,
      value,
    ]),
  );
  const same = Object.fromEntries(Object.keys(literals).map((key) => [key, ours.get(key)]));
  assert.deepEqual(same, literals);
});
