/** What cannot be the same through fuse-native, by the names of behaviours of test/posix. */

export interface NativeDifference {
  /** The behaviour's name, with or without the variant behind its colon. */
  readonly name: string;
  readonly reason: string;
  /** Whether it shows only while the kernel trusts attributes: a slow machine may miss it. */
  readonly isTimed?: true;
}

const NO_CALLBACK = 'libfuse 2 or fuse-native has no callback for it: EOPNOTSUPP, EINVAL or ENOTTY';
const NOT_UTF8 = 'fuse-native gives names as text: EILSEQ for what is no UTF-8';
const BY_NAME = 'to libfuse each name of a file is a file, with attributes of its own for a second';
const MILLISECONDS =
  'fuse-native carries times in whole milliseconds from 1970 on, and both or none';

export const NATIVE_DIFFERENCES: readonly NativeDifference[] = [
  ...['EXCHANGE swaps', 'NOREPLACE keeps what is there'].map((what) => ({
    name: `rename/${what}`,
    reason: NO_CALLBACK,
  })),
  ...['allocate', 'KEEP_SIZE', 'PUNCH_HOLE', 'ZERO_RANGE', 'ZERO_RANGE and KEEP_SIZE'].map(
    (mode) => ({
      name: `data/fallocate: ${mode}`,
      reason: NO_CALLBACK,
    }),
  ),
  ...['data/holes are found', 'data/beyond four GiB'].map((name) => ({
    name,
    reason: `SEEK_HOLE: ${NO_CALLBACK}`,
  })),
  {
    name: 'data/at the limit of the file size',
    reason: 'libfuse 2 tells the kernel no largest size that the backing takes',
  },
  ...[
    'an immutable file stays as it is',
    'an append-only file only grows',
    'a flagged directory',
  ].map((what) => ({
    name: `special/${what}`,
    reason: `inode flags: ${NO_CALLBACK}`,
  })),
  ...[
    'names/names are bytes',
    'names/a symlink keeps its target: bytes that are no UTF-8',
    'xattrs/names are bytes',
  ].map((name) => ({ name, reason: NOT_UTF8 })),
  ...[
    'attributes/names of one file show the same change',
    'names/one name less moves ctime',
    'names/links are counted, and are one inode',
    'names/an open file counts its names',
    'rename/a file that is replaced loses one link',
    'times/writing moves mtime and ctime, reading neither',
  ].map((name) => ({ name, reason: BY_NAME, isTimed: true as const })),
  {
    name: 'rename/what is replaced has no links for whom it is open',
    reason: 'libfuse keeps files that are removed while they are open, and not directories',
  },
  {
    name: 'attributes/chown by root clears set-id bits',
    reason: 'the kernel clears set-group-id itself, also where the group may not execute',
  },
  ...[
    'times/are kept to the nanosecond, before 1970 and after 2038',
    'times/times that were set stay when the file is closed',
  ].map((name) => ({ name, reason: MILLISECONDS })),
  { name: 'times/a file is born when it is made', reason: `statx: ${NO_CALLBACK}` },
];

export function isOf(row: NativeDifference, name: string): boolean {
  return name === row.name || name.startsWith(`${row.name}: `);
}

/** The row of a behaviour, if there is one. */
export function nativeDifference(name: string): NativeDifference | undefined {
  return NATIVE_DIFFERENCES.find((row) => isOf(row, name));
}
