/** Differences that the kernel's FUSE client makes, whatever a daemon answers. */

export interface KnownDifference {
  /** How the behaviour's name begins. */
  readonly name: string;
  /** The flags that bring it about, any of them; none: always. */
  readonly flags: readonly string[];
  readonly reason: string;
}

export const KNOWN_DIFFERENCES: readonly KnownDifference[] = [
  ...['COLLAPSE_RANGE', 'INSERT_RANGE', 'UNSHARE_RANGE', 'COLLAPSE and INSERT'].map((mode) => ({
    name: `data/fallocate: ${mode}`,
    flags: [],
    reason: 'the kernel answers EOPNOTSUPP to these modes on every FUSE mount',
  })),
  {
    name: 'acls/of many entries: 4000',
    flags: [],
    reason: 'the kernel takes ACLs of at most a page (500 entries) for a FUSE mount: E2BIG',
  },
  {
    name: 'times/are kept to the nanosecond, before 1970 and after 2038: regular',
    flags: ['--writeback'],
    reason:
      'with writeback the kernel keeps mtime itself and does not know what range the backing has',
  },
  {
    name: 'times/reading moves atime as the backing does',
    flags: ['--cache=always', '--writeback'],
    reason: 'a read answered from the page cache does not reach the daemon; FUSE keeps no atime',
  },
];

/** Why a behaviour may differ in this configuration, if it may. */
export function knownDifference(name: string, flags: readonly string[]): string | undefined {
  return KNOWN_DIFFERENCES.find(
    (known) =>
      name.startsWith(known.name) &&
      (known.flags.length === 0 || known.flags.some((flag) => flags.includes(flag))),
  )?.reason;
}
