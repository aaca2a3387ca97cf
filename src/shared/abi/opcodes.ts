import * as s from './structs.ts';

/**
 * Where an operation may run.
 *  - `control`: the main thread, always; it touches the tables only.
 *  - `cached`: may be answered in place when the kernel can say that nothing blocks.
 *  - `blocking`: may wait for a disk, so a lane runs it.
 *  - `absent`: never served; answered ENOSYS, by which the kernel stops asking.
 */
export type OpcodeClass = 'control' | 'cached' | 'blocking' | 'absent';

/** How the trace prints a field of the fixed part: `x32` and `o32` in base 16 and 8. */
export type FieldKind = 'u32' | 'x32' | 'o32' | 'u64' | 'x64';

export interface OpcodeField {
  readonly name: string;
  readonly offset: number;
  readonly kind: FieldKind;
}

export interface OpcodeRow {
  /** The kernel's name without the FUSE_ prefix. */
  readonly name: string;
  readonly opcode: number;
  /** Bytes of the fixed part behind the header. */
  readonly inSizeBytes: number;
  /** Bytes of the reply body; -1 where its length varies, 0 where it has none. */
  readonly outSizeBytes: number;
  /** NUL-terminated names behind the fixed part. */
  readonly names: 0 | 1 | 2;
  readonly hasReply: boolean;
  readonly class: OpcodeClass;
  /** The row of this operation in the stats block: its place in OPCODES. */
  readonly statsIndex: number;
  /** Fields of the fixed part, for the trace. */
  readonly fields: readonly OpcodeField[];
}

type Kinds = Readonly<Record<string, FieldKind>>;

/** Takes the numeric members of an offset table in the order of `kinds`. */
function fields(offsets: Readonly<Record<string, number>>, kinds: Kinds): OpcodeField[] {
  return Object.entries(kinds).map(([name, kind]) => {
    const offset = offsets[name];
    if (offset === undefined) throw new Error(`no field ${name} in this structure`);
    return { name, offset, kind };
  });
}

type Draft = Omit<OpcodeRow, 'statsIndex'>;

function row(
  name: string,
  opcode: number,
  opClass: OpcodeClass,
  inSizeBytes: number,
  outSizeBytes: number,
  names: 0 | 1 | 2 = 0,
  traced: OpcodeField[] = [],
): Draft {
  return {
    name,
    opcode,
    inSizeBytes,
    outSizeBytes,
    names,
    hasReply: true,
    class: opClass,
    fields: traced,
  };
}

function silent(
  name: string,
  opcode: number,
  inSizeBytes: number,
  traced: OpcodeField[] = [],
): Draft {
  return { ...row(name, opcode, 'control', inSizeBytes, 0, 0, traced), hasReply: false };
}

const createFields = fields(s.CREATE_IN, {
  flags: 'x32',
  mode: 'o32',
  umask: 'o32',
  open_flags: 'x32',
});
const ioFields = fields(s.READ_IN, { fh: 'u64', offset: 'u64', size: 'u32', flags: 'x32' });
const fsyncFields = fields(s.FSYNC_IN, { fh: 'u64', fsync_flags: 'x32' });
const openFields = fields(s.OPEN_IN, { flags: 'x32', open_flags: 'x32' });
const releaseFields = fields(s.RELEASE_IN, { fh: 'u64', flags: 'x32', release_flags: 'x32' });
const lockFields = fields(s.LK_IN, {
  fh: 'u64',
  owner: 'x64',
  start: 'u64',
  end: 'u64',
  type: 'u32',
  pid: 'u32',
  lk_flags: 'x32',
});
const copyFields = fields(s.COPY_FILE_RANGE_IN, {
  fh_in: 'u64',
  off_in: 'u64',
  nodeid_out: 'x64',
  fh_out: 'u64',
  off_out: 'u64',
  len: 'u64',
});

const drafts: Draft[] = [
  row('LOOKUP', 1, 'cached', 0, s.ENTRY_OUT.SIZE, 1),
  silent('FORGET', 2, s.FORGET_IN.SIZE, fields(s.FORGET_IN, { nlookup: 'u64' })),
  row(
    'GETATTR',
    3,
    'cached',
    s.GETATTR_IN.SIZE,
    s.ATTR_OUT.SIZE,
    0,
    fields(s.GETATTR_IN, { getattr_flags: 'x32', fh: 'u64' }),
  ),
  row(
    'SETATTR',
    4,
    'blocking',
    s.SETATTR_IN.SIZE,
    s.ATTR_OUT.SIZE,
    0,
    fields(s.SETATTR_IN, {
      valid: 'x32',
      fh: 'u64',
      size: 'u64',
      mode: 'o32',
      uid: 'u32',
      gid: 'u32',
    }),
  ),
  row('READLINK', 5, 'blocking', 0, -1),
  row('SYMLINK', 6, 'blocking', 0, s.ENTRY_OUT.SIZE, 2),
  row(
    'MKNOD',
    8,
    'blocking',
    s.MKNOD_IN.SIZE,
    s.ENTRY_OUT.SIZE,
    1,
    fields(s.MKNOD_IN, { mode: 'o32', rdev: 'x32', umask: 'o32' }),
  ),
  row(
    'MKDIR',
    9,
    'blocking',
    s.MKDIR_IN.SIZE,
    s.ENTRY_OUT.SIZE,
    1,
    fields(s.MKDIR_IN, { mode: 'o32', umask: 'o32' }),
  ),
  row('UNLINK', 10, 'blocking', 0, 0, 1),
  row('RMDIR', 11, 'blocking', 0, 0, 1),
  row('RENAME', 12, 'blocking', s.RENAME_IN.SIZE, 0, 2, fields(s.RENAME_IN, { newdir: 'x64' })),
  row(
    'LINK',
    13,
    'blocking',
    s.LINK_IN.SIZE,
    s.ENTRY_OUT.SIZE,
    1,
    fields(s.LINK_IN, { oldnodeid: 'x64' }),
  ),
  row('OPEN', 14, 'blocking', s.OPEN_IN.SIZE, s.OPEN_OUT.SIZE, 0, openFields),
  row('READ', 15, 'cached', s.READ_IN.SIZE, -1, 0, ioFields),
  row('WRITE', 16, 'cached', s.WRITE_IN.SIZE, s.WRITE_OUT.SIZE, 0, ioFields),
  row('STATFS', 17, 'blocking', 0, s.KSTATFS.SIZE),
  row('RELEASE', 18, 'blocking', s.RELEASE_IN.SIZE, 0, 0, releaseFields),
  row('FSYNC', 20, 'blocking', s.FSYNC_IN.SIZE, 0, 0, fsyncFields),
  row(
    'SETXATTR',
    21,
    'blocking',
    s.SETXATTR_IN.COMPAT_SIZE,
    0,
    0,
    fields(s.SETXATTR_IN, { size: 'u32', flags: 'x32' }),
  ),
  row(
    'GETXATTR',
    22,
    'blocking',
    s.GETXATTR_IN.SIZE,
    -1,
    1,
    fields(s.GETXATTR_IN, { size: 'u32' }),
  ),
  row(
    'LISTXATTR',
    23,
    'blocking',
    s.GETXATTR_IN.SIZE,
    -1,
    0,
    fields(s.GETXATTR_IN, { size: 'u32' }),
  ),
  row('REMOVEXATTR', 24, 'blocking', 0, 0, 1),
  row(
    'FLUSH',
    25,
    'cached',
    s.FLUSH_IN.SIZE,
    0,
    0,
    fields(s.FLUSH_IN, { fh: 'u64', lock_owner: 'x64' }),
  ),
  row(
    'INIT',
    26,
    'control',
    s.INIT_IN.COMPAT_SIZE,
    s.INIT_OUT.SIZE,
    0,
    fields(s.INIT_IN, { major: 'u32', minor: 'u32', max_readahead: 'u32', flags: 'x32' }),
  ),
  row('OPENDIR', 27, 'blocking', s.OPEN_IN.SIZE, s.OPEN_OUT.SIZE, 0, openFields),
  row('READDIR', 28, 'blocking', s.READ_IN.SIZE, -1, 0, ioFields),
  row('RELEASEDIR', 29, 'blocking', s.RELEASE_IN.SIZE, 0, 0, releaseFields),
  row('FSYNCDIR', 30, 'blocking', s.FSYNC_IN.SIZE, 0, 0, fsyncFields),
  row('GETLK', 31, 'blocking', s.LK_IN.SIZE, s.LK_OUT.SIZE, 0, lockFields),
  row('SETLK', 32, 'blocking', s.LK_IN.SIZE, 0, 0, lockFields),
  row('SETLKW', 33, 'blocking', s.LK_IN.SIZE, 0, 0, lockFields),
  row('ACCESS', 34, 'blocking', s.ACCESS_IN.SIZE, 0, 0, fields(s.ACCESS_IN, { mask: 'o32' })),
  row(
    'CREATE',
    35,
    'blocking',
    s.CREATE_IN.SIZE,
    s.ENTRY_OUT.SIZE + s.OPEN_OUT.SIZE,
    1,
    createFields,
  ),
  row(
    'INTERRUPT',
    36,
    'control',
    s.INTERRUPT_IN.SIZE,
    0,
    0,
    fields(s.INTERRUPT_IN, { unique: 'u64' }),
  ),
  row('BMAP', 37, 'absent', s.BMAP_IN.SIZE, 0),
  row('DESTROY', 38, 'control', 0, 0),
  row(
    'IOCTL',
    39,
    'blocking',
    s.IOCTL_IN.SIZE,
    -1,
    0,
    fields(s.IOCTL_IN, { fh: 'u64', flags: 'x32', cmd: 'x32' }),
  ),
  row('POLL', 40, 'absent', s.POLL_IN.SIZE, 0),
  silent('NOTIFY_REPLY', 41, s.NOTIFY_RETRIEVE_IN.SIZE),
  silent('BATCH_FORGET', 42, s.BATCH_FORGET_IN.SIZE, fields(s.BATCH_FORGET_IN, { count: 'u32' })),
  row(
    'FALLOCATE',
    43,
    'blocking',
    s.FALLOCATE_IN.SIZE,
    0,
    0,
    fields(s.FALLOCATE_IN, { fh: 'u64', offset: 'u64', length: 'u64', mode: 'x32' }),
  ),
  row('READDIRPLUS', 44, 'blocking', s.READ_IN.SIZE, -1, 0, ioFields),
  row(
    'RENAME2',
    45,
    'blocking',
    s.RENAME2_IN.SIZE,
    0,
    2,
    fields(s.RENAME2_IN, { newdir: 'x64', flags: 'x32' }),
  ),
  row(
    'LSEEK',
    46,
    'blocking',
    s.LSEEK_IN.SIZE,
    s.LSEEK_OUT.SIZE,
    0,
    fields(s.LSEEK_IN, { fh: 'u64', offset: 'u64', whence: 'u32' }),
  ),
  row(
    'COPY_FILE_RANGE',
    47,
    'blocking',
    s.COPY_FILE_RANGE_IN.SIZE,
    s.WRITE_OUT.SIZE,
    0,
    copyFields,
  ),
  row('SETUPMAPPING', 48, 'absent', 0, 0),
  row('REMOVEMAPPING', 49, 'absent', 0, 0),
  row('SYNCFS', 50, 'blocking', s.SYNCFS_IN.SIZE, 0),
  row(
    'TMPFILE',
    51,
    'blocking',
    s.CREATE_IN.SIZE,
    s.ENTRY_OUT.SIZE + s.OPEN_OUT.SIZE,
    1,
    createFields,
  ),
  row(
    'STATX',
    52,
    'cached',
    s.STATX_IN.SIZE,
    s.STATX_OUT.SIZE,
    0,
    fields(s.STATX_IN, { getattr_flags: 'x32', fh: 'u64', sx_mask: 'x32' }),
  ),
  row(
    'COPY_FILE_RANGE_64',
    53,
    'blocking',
    s.COPY_FILE_RANGE_IN.SIZE,
    s.COPY_FILE_RANGE_OUT.SIZE,
    0,
    copyFields,
  ),
];

/** Every opcode of the protocol, in order of number: the single source for all that goes by opcode. */
export const OPCODES: readonly OpcodeRow[] = drafts.map((draft, statsIndex) => ({
  ...draft,
  statsIndex,
}));

type OpcodeName =
  | 'LOOKUP'
  | 'FORGET'
  | 'GETATTR'
  | 'SETATTR'
  | 'READLINK'
  | 'SYMLINK'
  | 'MKNOD'
  | 'MKDIR'
  | 'UNLINK'
  | 'RMDIR'
  | 'RENAME'
  | 'LINK'
  | 'OPEN'
  | 'READ'
  | 'WRITE'
  | 'STATFS'
  | 'RELEASE'
  | 'FSYNC'
  | 'SETXATTR'
  | 'GETXATTR'
  | 'LISTXATTR'
  | 'REMOVEXATTR'
  | 'FLUSH'
  | 'INIT'
  | 'OPENDIR'
  | 'READDIR'
  | 'RELEASEDIR'
  | 'FSYNCDIR'
  | 'GETLK'
  | 'SETLK'
  | 'SETLKW'
  | 'ACCESS'
  | 'CREATE'
  | 'INTERRUPT'
  | 'BMAP'
  | 'DESTROY'
  | 'IOCTL'
  | 'POLL'
  | 'NOTIFY_REPLY'
  | 'BATCH_FORGET'
  | 'FALLOCATE'
  | 'READDIRPLUS'
  | 'RENAME2'
  | 'LSEEK'
  | 'COPY_FILE_RANGE'
  | 'SETUPMAPPING'
  | 'REMOVEMAPPING'
  | 'SYNCFS'
  | 'TMPFILE'
  | 'STATX'
  | 'COPY_FILE_RANGE_64';

/** Opcode numbers by name, from the table. */
export const OP = Object.fromEntries(OPCODES.map((r) => [r.name, r.opcode])) as Readonly<
  Record<OpcodeName, number>
>;

/** One above the highest opcode: the length of arrays indexed by opcode. */
export const OPCODE_LIMIT = OPCODES.reduce((max, r) => Math.max(max, r.opcode), 0) + 1;

/** The row of an opcode by number; undefined for numbers the protocol does not have. */
export const ROW_BY_OPCODE: readonly (OpcodeRow | undefined)[] = Array.from(
  { length: OPCODE_LIMIT },
  (_, opcode) => OPCODES.find((r) => r.opcode === opcode),
);
