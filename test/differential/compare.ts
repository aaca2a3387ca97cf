/** Finds where two runs of the same sequences differ. */
import { isDeepStrictEqual } from 'node:util';
import type { Json, Operation, Outcome, TreeEntry, Trial, Turn } from './operations.ts';

/** What one trial gave on one side: an outcome list per turn, and the tree at the end. */
export interface SideResult {
  readonly outcomes: readonly (readonly Outcome[])[];
  readonly tree: readonly TreeEntry[];
}

/** A difference that every FUSE mount with this flag shows, and why. */
interface KnownDeviation {
  readonly reason: string;
  /** The flag without which there is no such difference. */
  readonly flag: string | undefined;
  matches(operation: Operation, plain: Outcome, mounted: Outcome): boolean;
}

const WRITEBACK = '--writeback';
const CACHE_ALWAYS = '--cache=always';
/** Not one of the mount's flags: where the directories lie. */
const ON_XFS = 'on xfs';

/** Whether two seeks for data or a hole differ by whole pages: data begins and ends with those. */
function differsByPages(plain: Outcome, mounted: Outcome): boolean {
  const here = plain['result'];
  const there = mounted['result'];
  if (here === 'ENXIO') return typeof there === 'number' && there % PAGE === 0;
  if (typeof here !== 'number') return false;
  if (there === 'ENXIO') return true;
  return typeof there === 'number' && there % PAGE === 0 && Math.abs(there - here) > 1;
}

/** Whether the mount takes for data what is none in the plain directory, and not the other way round. */
function isMoreData(operation: Operation, plain: Outcome, mounted: Outcome): boolean {
  if (operation.op !== 'seek' || typeof mounted['result'] !== 'number') return false;
  const here = plain['result'];
  if (operation.whence === 'HOLE') return typeof here === 'number' && mounted['result'] > here;
  if (operation.whence !== 'DATA' || mounted['result'] !== operation.offset) return false;
  return here === 'ENXIO' || (typeof here === 'number' && here > mounted['result']);
}

/** What ext4 can keep: its 34-bit seconds begin in 1901. The edges lose their nanoseconds. */
const HOST_SECONDS_MIN = -(2 ** 31);
const HOST_SECONDS_MAX = 2 ** 34 - 2 ** 31 - 1;

function isBeyondHost(time: Json): boolean {
  const seconds = Math.trunc(Number(time));
  return seconds <= HOST_SECONDS_MIN || seconds >= HOST_SECONDS_MAX;
}

/** Blocks of a file that hold no data, in units of 512 bytes: two of the file system's. */
const METADATA_BLOCKS = 16;
const BLOCK_UNITS = 8;
const PAGE = 4096;

const KNOWN_DEVIATIONS: readonly KnownDeviation[] = [
  {
    reason:
      'ext4 counts blocks of the extent tree and of attributes, which depend on how its free space lies',
    flag: undefined,
    matches: (operation, plain, mounted) => {
      const more = Math.abs(Number(plain['blocks']) - Number(mounted['blocks']));
      return (
        operation.op === 'blocks' &&
        isDeepStrictEqual({ ...plain, blocks: null }, { ...mounted, blocks: null }) &&
        more <= METADATA_BLOCKS &&
        more % BLOCK_UNITS === 0
      );
    },
  },
  {
    reason:
      'ext4 takes an allocated, unwritten range for data as far as its pages are cached, and the mount reads ahead and drops pages at other times',
    flag: undefined,
    matches: (operation, plain, mounted) =>
      operation.op === 'seek' &&
      (operation.whence === 'DATA' || operation.whence === 'HOLE') &&
      differsByPages(plain, mounted),
  },
  {
    reason:
      'xfs reserves blocks beyond the end of a file by how the writes come, and the mount passes on pages',
    flag: ON_XFS,
    matches: (operation, plain, mounted) =>
      operation.op === 'blocks' &&
      isDeepStrictEqual({ ...plain, blocks: null }, { ...mounted, blocks: null }),
  },
  {
    reason:
      'with its writeback cache the kernel answers st_blocks from its own attributes, which fsync does not renew: those of before the write, until they expire',
    flag: WRITEBACK,
    matches: (operation, plain, mounted) =>
      operation.op === 'blocks' &&
      isDeepStrictEqual({ ...plain, blocks: null }, { ...mounted, blocks: null }),
  },
  {
    reason:
      'with the writeback cache the host does not know where data is, so that all of a file counts as data',
    flag: WRITEBACK,
    matches: (operation, _plain, mounted) =>
      operation.op === 'seek' &&
      (operation.whence === 'HOLE' || operation.whence === 'DATA') &&
      typeof mounted.result === 'number',
  },
  {
    reason:
      'where the kernel keeps pages from one open to the next, the host does not know what a map has stored in a file that is open for that: it counts as data',
    flag: CACHE_ALWAYS,
    matches: isMoreData,
  },
  {
    reason:
      'with the writeback cache the kernel moves mtime before a fallocate that the host then refuses, and atime when it reads the rest of a page for a write',
    flag: WRITEBACK,
    matches: (operation, plain, mounted) => {
      const moved = ['mtime', 'atime'].filter((field) => mounted[field] === 'recent');
      const known = Object.fromEntries(moved.map((field) => [field, null]));
      return (
        operation.op === 'stat' && sameOutcome({ ...plain, ...known }, { ...mounted, ...known })
      );
    },
  },
  {
    reason:
      'with the writeback cache the kernel keeps times as they were set, also those that the host cannot',
    flag: WRITEBACK,
    matches: (operation, plain, mounted) =>
      operation.op === 'stat' &&
      isBeyondHost(mounted['mtime']) &&
      sameOutcome({ ...plain, mtime: null }, { ...mounted, mtime: null }),
  },
];

function isKnown(
  operation: Operation,
  plain: Outcome,
  mounted: Outcome,
  flags: readonly string[],
): boolean {
  return KNOWN_DEVIATIONS.some(
    (known) =>
      (known.flag === undefined || flags.includes(known.flag)) &&
      known.matches(operation, plain, mounted),
  );
}

/** An atime that a read on either side may have moved says nothing. */
function withoutMovedAtime(outcome: Outcome, other: Outcome): Outcome {
  if (outcome['atime'] !== 'moved' && other['atime'] !== 'moved') {
    return outcome;
  }
  return { ...outcome, atime: null };
}

function sameOutcome(plain: Outcome, mounted: Outcome): boolean {
  return isDeepStrictEqual(withoutMovedAtime(plain, mounted), withoutMovedAtime(mounted, plain));
}

/** The first operation of a turn that went differently, in words; nothing when all are equal. */
export function compareOutcomes(
  { actor, sequence }: Turn,
  plain: readonly Outcome[],
  mounted: readonly Outcome[],
  flags: readonly string[] = [],
): string | undefined {
  for (const [index, operation] of sequence.entries()) {
    const here = plain[index];
    const there = mounted[index];
    if (!sameOutcome(here, there) && !isKnown(operation, here, there, flags)) {
      return [
        `actor ${actor}, operation ${index}: ${JSON.stringify(operation)}`,
        `  plain: ${JSON.stringify(here)}`,
        `  mount: ${JSON.stringify(there)}`,
      ].join('\n');
    }
  }
  return undefined;
}

interface TreeComparison {
  readonly leftName: string;
  readonly rightName: string;
  /** True for two views of the same files. */
  readonly sameInodes: boolean;
  /** The kernel may have moved the mtime of what is on the right: see KNOWN_DEVIATIONS. */
  readonly movesMtime?: boolean;
  /** The kernel may keep times in the mount that the host cannot. */
  readonly keepsMtime?: boolean;
}

/** The first object that two trees do not share, in words. */
export function compareTrees(
  left: readonly TreeEntry[],
  right: readonly TreeEntry[],
  { leftName, rightName, sameInodes, movesMtime = false, keepsMtime = false }: TreeComparison,
): string | undefined {
  const rightByPath = new Map(right.map((entry) => [entry.path, entry]));
  for (const entry of left) {
    const twin = rightByPath.get(entry.path);
    rightByPath.delete(entry.path);
    const mtimes = [entry.facts['mtime'] ?? null, twin?.facts['mtime'] ?? null];
    const isMoved =
      (movesMtime && mtimes[1] === 'recent') || (keepsMtime && mtimes.some(isBeyondHost));
    const known = isMoved ? { mtime: null } : {};
    const here: Json = { ...entry.facts, ...known, ino: sameInodes ? entry.ino : 0 };
    const there: Json | undefined = twin && {
      ...twin.facts,
      ...known,
      ino: sameInodes ? twin.ino : 0,
    };
    if (!isDeepStrictEqual(here, there)) {
      return [
        `tree, ${JSON.stringify(entry.path)}`,
        `  ${leftName}: ${JSON.stringify(here)}`,
        `  ${rightName}: ${JSON.stringify(there ?? 'does not exist')}`,
      ].join('\n');
    }
  }
  for (const extra of rightByPath.values()) {
    return `tree, ${JSON.stringify(extra.path)}: only in ${rightName}`;
  }
  return undefined;
}

/**
 * Compares the plain directory, the mount, and the mount's backing directory.
 *
 * @param flags - those of the mount
 * @returns the first difference in words, or nothing
 */
export function compareSides(
  trial: Trial,
  plain: SideResult,
  mounted: SideResult,
  backing: readonly TreeEntry[],
  flags: readonly string[] = [],
): string | undefined {
  for (const [index, turn] of trial.entries()) {
    const [here, there] = [plain.outcomes[index], mounted.outcomes[index]];
    const difference = compareOutcomes(turn, here, there, flags);
    if (difference !== undefined) {
      return difference;
    }
  }
  return (
    compareTrees(plain.tree, mounted.tree, {
      leftName: 'plain',
      rightName: 'mount',
      sameInodes: false,
      movesMtime: flags.includes(WRITEBACK),
      keepsMtime: flags.includes(WRITEBACK),
    }) ??
    compareTrees(mounted.tree, backing, {
      leftName: 'mount',
      rightName: 'backing',
      sameInodes: true,
      keepsMtime: flags.includes(WRITEBACK),
    })
  );
}
