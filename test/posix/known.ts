/** Differences that the kernel's FUSE client makes, nearly all of them whatever a daemon answers. */

export interface KnownDifference {
  /** How the behaviour's name begins. */
  readonly name: string;
  /** The flags that bring it about, or a file system, all of them together; none: always. */
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
    name: 'directories/renaming while reading comes to an end',
    flags: ['btrfs'],
    reason:
      'a listing ends at what there was at the last seek, and the kernel seeks when a buffer of the program is full: names made meanwhile come up again',
  },
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
  ...[['--cache=always'], ['--writeback']].map((flags) => ({
    name: 'times/reading moves atime as the backing does',
    flags,
    reason: 'a read answered from the page cache does not reach the daemon; FUSE keeps no atime',
  })),
  ...['data/holes are found', 'data/beyond four GiB'].flatMap((name) =>
    [
      ['--writeback'],
      ['--cache=always', '--no-kernel-passthrough'],
      ['--cache=always', '--no-killpriv-v2'],
    ].map((flags) => ({
      name,
      flags,
      reason: 'what the kernel has not written yet would look like a hole: sluice shows none',
    })),
  ),
  {
    name: 'data/at the limit of the file size',
    flags: ['--writeback'],
    reason: 'with writeback the kernel takes a write before the backing can refuse it; fsync tells',
  },
  ...['chmod', 'reading', 'rename'].map((what) => ({
    name: `special/a write takes file capabilities: ${what}`,
    flags: ['--writeback'],
    reason: 'pages reach the backing after the attribute was set there, and a write takes it',
  })),
  {
    name: 'special/an immutable file stays as it is',
    flags: ['--writeback'],
    reason:
      'the kernel writes the times it keeps before it changes a mode: EIO comes of their EPERM',
  },
  {
    name: 'special/an append-only file only grows',
    flags: ['--writeback'],
    reason: 'the kernel sends its own time for UTIME_NOW, which the backing takes for a set one',
  },
  ...['write', 'write at an offset', 'append'].map((what) => ({
    name: `opening/set-id bits go as Linux takes them: ${what}`,
    flags: ['--writeback', '--no-killpriv-v2'],
    reason: 'the kernel leaves set-group-id to files their group may not execute',
  })),
  {
    name: 'opening/set-id bits go when he writes who was given the descriptor',
    flags: ['--writeback', '--no-killpriv-v2'],
    reason: 'the kernel leaves set-group-id to files their group may not execute',
  },
  {
    name: 'attributes/chown of nothing by others leaves set-id bits: 2644',
    flags: ['--no-killpriv-v2'],
    reason: 'the kernel finds nothing to clear and answers 0 itself; the mode stays',
  },
];

/** Why a behaviour may differ in this configuration, if it may. */
export function knownDifference(name: string, flags: readonly string[]): string | undefined {
  const known = KNOWN_DIFFERENCES.find(
    (difference) =>
      name.startsWith(difference.name) && difference.flags.every((flag) => flags.includes(flag)),
  );
  if (known === undefined || known.flags.length === 0) return known?.reason;
  return `with ${known.flags.join(' ')}: ${known.reason}`;
}
