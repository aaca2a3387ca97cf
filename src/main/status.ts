/**
 * Numbers of a running mount, for people and tests.
 */
import { MOUNT_FLAG } from '../shared/memory/mount-table.ts';
import type { ThreadTables } from '../shared/memory/shared-memory.ts';
import { deputyThread, laneThread } from '../shared/memory/thread-journal.ts';
import { errorsOf, requestsOf } from '../shared/request-stats.ts';
import { STAT } from '../shared/stats-layout.ts';

export interface DaemonStatus {
  readonly inodes: number;
  /** Lookups the kernel has not given back. */
  readonly lookups: number;
  /** Open files and directories. */
  readonly handles: number;
  readonly openFiles: number;
  readonly openDirectories: number;
  /** Requests in lanes' hands. */
  readonly slotsInUse: number;
  /** Requests that wait in main's memory, now and ever. */
  readonly parked: number;
  readonly parkedTotal: number;
  readonly fdsUsed: number;
  readonly fdBudget: number;
  readonly fdEvictions: number;
  /** Requests refused for want of a descriptor. */
  readonly fdExhausted: number;
  /** Owners of fcntl locks, each with a descriptor, and lock requests that wait. */
  readonly lockOwners: number;
  readonly lockWaits: number;
  /**
   * Where the kernel may read and write by itself: inodes that are open; opens whose data it moves, and
   * those whose data the daemon moves.
   */
  readonly openInodes: number;
  readonly kernelOpens: number;
  readonly daemonOpens: number;
  readonly backingMounts: number;
  /** Of these: mounts of which main runs nothing any more, having been caught in a call there. */
  readonly lanesOnlyMounts: number;
  readonly lanes: number;
  readonly laneRestarts: number;
  /** Requests dealt with, also those that have no reply. */
  readonly requests: number;
  readonly errors: number;
  /** Of the requests: answered by main, or its deputy, without a lane. */
  readonly answeredByMain: number;
  /** Requests main tried, and gave to a lane since they would have blocked. */
  readonly deferred: number;
  readonly exceptions: number;
  readonly droppedReplies: number;
  readonly interrupts: number;
  /** Operations that took longer than slow_timeout, and requests answered ETIMEDOUT. */
  readonly slowOperations: number;
  readonly timeouts: number;
  readonly forgets: number;
  /** Of the io_uring engine: reads and writes the kernel made by itself. */
  readonly uringTransfers: number;
  /** For so long idle CPUs were kept awake. */
  readonly cpusAwakeSeconds: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Shared memory of the inode table for one inode: entry, file handle and index. */
  readonly bytesPerInode: number;
}

/** All but what takes a walk over the inode table. */
export type DaemonLoad = Omit<DaemonStatus, 'lookups'>;

/** Reads the tables. Walks the inode table: not for a hot path. */
export function statusOf(tables: ThreadTables, lanes: number, parked: number): DaemonStatus {
  return { ...loadOf(tables, lanes, parked), lookups: tables.inodes.countLookups() };
}

/** Reads counters only: its time does not grow with the tables. */
export function loadOf(tables: ThreadTables, lanes: number, parked: number): DaemonLoad {
  const { inodes, handles, backings, slots, fds, mounts, locks, stats, maxLanes } = tables;
  const requests = requestsOf(stats);
  return {
    inodes: inodes.count(),
    handles: handles.openFiles() + handles.openDirectories(),
    openFiles: handles.openFiles(),
    openDirectories: handles.openDirectories(),
    slotsInUse: slots.inUse(),
    parked,
    parkedTotal: stats.sum(STAT.PARKED),
    fdsUsed: fds.used(),
    fdBudget: fds.budget,
    fdEvictions: fds.evictions(),
    fdExhausted: fds.exhausted(),
    lockOwners: locks.count(),
    lockWaits: locks.waits(),
    openInodes: backings.count(),
    kernelOpens: stats.sum(STAT.BACKING_OPENS),
    daemonOpens: stats.sum(STAT.BACKING_FALLBACKS),
    backingMounts: mounts.count(),
    lanesOnlyMounts: mounts.countWith(MOUNT_FLAG.LANES_ONLY),
    lanes,
    laneRestarts: stats.sum(STAT.LANE_RESTARTS),
    requests,
    errors: errorsOf(stats),
    answeredByMain: requests - requestsOf(stats, laneThread(0), deputyThread(maxLanes)),
    deferred: stats.sum(STAT.DEFERRED),
    exceptions: stats.sum(STAT.EXCEPTIONS),
    droppedReplies: stats.sum(STAT.DROPPED_REPLIES),
    interrupts: stats.sum(STAT.INTERRUPTS),
    slowOperations:
      stats.sum(STAT.SLOW_IN_QUEUE) + stats.sum(STAT.SLOW_IN_LANE) + stats.sum(STAT.SLOW_ON_MAIN),
    timeouts: stats.sum(STAT.TIMEOUTS),
    forgets: stats.sum(STAT.FORGETS),
    uringTransfers: stats.sum(STAT.RING_TRANSFERS),
    cpusAwakeSeconds: stats.sum(STAT.CPUS_AWAKE) / 1e6,
    readBytes: stats.sum(STAT.BYTES_READ),
    writtenBytes: stats.sum(STAT.BYTES_WRITTEN),
    bytesPerInode: inodes.bytesPerInode(),
  };
}
