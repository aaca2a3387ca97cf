/**
 * Which test files run beside which, in one place. A file that is not named here runs in the first
 * round, beside any other: its ports are free ones or left to chance, its mounts and files lie below
 * directories of its own, it looks at nobody else's, and it has no mount namespace for longer than a
 * few seconds. What cannot say that of itself is named.
 */

export interface Round {
  readonly name: string;
  /** How many files run at a time. */
  readonly atOnce: 1 | 2;
  readonly files: readonly string[];
}

const DROPS_CACHES = 'drops the caches of the host, while others count what the kernel asks';
const FREEZES = 'freezes a file system, which holds up whoever syncs the host';
const MEASURES_TIME = 'measures what is quick and what is slow';
const USES_SBIN = 'puts the helpers of mount(8) into /sbin and takes them away';
const KEEPS_MOUNTS =
  'has namespaces for long, in which the mounts of others live on when those unmount them';
const COUNTS_INODES = 'counts what the kernel keeps, and drops the caches of the host';
const SWITCHES_URING = 'switches FUSE over io_uring on and off again, as uring/uring does';
const NEEDS_CPUS = 'needs both CPUs: its threads have to meet';

/** Run after the first round, two at a time: none of them minds what the others do. */
export const SECOND: Readonly<Record<string, string>> = {
  'differential/differential.test.':
    'compares calls that sysctls (fs.protected_*) decide, which posix/posix changes',
  'faults/handles.test.': DROPS_CACHES,
  'faults/hung-backing.test.': DROPS_CACHES,
  'faults/lanes.test.': DROPS_CACHES,
  'kernel-passthrough/mount.test.': DROPS_CACHES,
  'leaks/unlinked.test.': DROPS_CACHES,
  'locks/waits.test.': DROPS_CACHES,
  'options/limits.test.': DROPS_CACHES,
  'real-work/fio.test.': DROPS_CACHES,
  'real-work/unpack.test.': DROPS_CACHES,
  'stress/stress-ng.test.': DROPS_CACHES,
  'uring/uring.test.': DROPS_CACHES,
};

/** Run last, one after the other. */
export const ALONE: Readonly<Record<string, string>> = {
  'faults/frozen.test.': FREEZES,
  'leaks/mount.test.': COUNTS_INODES,
  'memory/stress.test.': NEEDS_CPUS,
  'metrics/health.test.': FREEZES,
  'real-work/postgres.test.': KEEPS_MOUNTS,
  'service/mount-helper.test.': USES_SBIN,
  'service/systemd.test.': KEEPS_MOUNTS,
  'uring/deaths.test.': SWITCHES_URING,
  'uring/transfers.test.': SWITCHES_URING,
  'watchdog/freeze.test.': FREEZES,
  'watchdog/op-timeout.test.': MEASURES_TIME,
  'watchdog/options.test.': MEASURES_TIME,
  'watchdog/slow.test.': MEASURES_TIME,
};

/**
 * Shares the files out among the rounds, and leaves out those that have none.
 *
 * @param files - paths of test files, each in one round afterwards
 */
export function roundsOf(files: readonly string[]): Round[] {
  const named = (list: Readonly<Record<string, string>>) => (file: string) =>
    Object.keys(list).some((part) => file.includes(`/${part}`));
  const isSecond = named(SECOND);
  const isAlone = named(ALONE);
  const isFree = (file: string) => !isSecond(file) && !isAlone(file);
  const rounds: Round[] = [
    { name: 'two at a time', atOnce: 2, files: files.filter(isFree) },
    { name: 'apart from those, two at a time', atOnce: 2, files: files.filter(isSecond) },
    { name: 'alone', atOnce: 1, files: files.filter(isAlone) },
  ];
  return rounds.filter((round) => round.files.length > 0);
}
