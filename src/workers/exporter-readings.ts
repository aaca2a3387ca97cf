/** What is read at a scrape: the tables that threads share, the kernel's count, the process. */
import { readFileSync } from 'node:fs';
import { MOUNT_FLAG } from '../shared/memory/mount-table.ts';
import { SLOT_STATE } from '../shared/memory/request-slots.ts';
import type { SharedMemory, ThreadTables } from '../shared/memory/shared-memory.ts';
import { laneThread, ThreadJournal } from '../shared/memory/thread-journal.ts';
import type { ReadingName } from '../shared/metrics-table.ts';
import { STAT } from '../shared/stats-layout.ts';
import { RLIMIT_NOFILE } from '../shared/sys/constants.ts';
import { softLimit } from '../shared/sys/rlimit.ts';
import type { Health } from './exporter-health.ts';

/** Reads one metric, for one value of its label (empty without a label). */
export type Readings = Readonly<Record<ReadingName, (labelValue: string) => number>>;

const MICROSECONDS = 1e-6;

/** What the lanes do, counted by state. */
class LaneStates {
  readonly #tables: ThreadTables;
  readonly #journals: readonly ThreadJournal[];
  readonly #health: Health;

  constructor(tables: ThreadTables, memory: SharedMemory, health: Health) {
    this.#tables = tables;
    this.#health = health;
    this.#journals = Array.from(
      { length: memory.geometry.maxLanes },
      (_, lane) => new ThreadJournal(memory.journal, laneThread(lane)),
    );
  }

  count(state: string): number {
    if (state === 'down') {
      const running = this.#journals.filter((journal) => journal.threadId() !== 0).length;
      return Math.max(0, this.#tables.stats.sum(STAT.LANES_STARTED) - running);
    }
    return this.#journals.filter((_, lane) => this.#stateOf(lane) === state).length;
  }

  /** How long the lane that has been at one request longest has been at it, seconds. */
  longestSeconds(): number {
    const busyMs = this.#journals.map((_, lane) => this.#health.busyMs(laneThread(lane)));
    return Math.max(0, ...busyMs) / 1000;
  }

  #stateOf(lane: number): string {
    if (this.#journals[lane]?.threadId() === 0) return 'down';
    const thread = laneThread(lane);
    if (this.#health.isStuck(thread)) return 'stuck';
    return this.#health.busyMs(thread) > 0 ? 'busy' : 'idle';
  }
}

/** Depths of the rings of all backing mounts. */
function ringDepths({ rings, mounts }: ThreadTables): number[] {
  return Array.from({ length: mounts.limit() }, (_, mount) => Math.max(0, rings.depth(mount)));
}

/** Requests the kernel waits for, as fusectl tells; NaN when it does not. */
function kernelWaiting(connection: number | undefined): number {
  if (connection === undefined) return Number.NaN;
  try {
    const text = readFileSync(`/sys/fs/fuse/connections/${connection}/waiting`, 'latin1');
    return Number.parseInt(text, 10);
  } catch {
    // The mount is gone, or no fusectl is mounted there.
    return Number.NaN;
  }
}

/** Everything of the table that is read at a scrape. */
export function makeReadings(tables: ThreadTables, memory: SharedMemory, health: Health): Readings {
  const { inodes, handles, slots, fds, mounts, locks, stats } = tables;
  const lanes = new LaneStates(tables, memory, health);
  const slotsUsed = (): number => slots.inUse();
  const inFlight: Readonly<Record<string, () => number>> = {
    // Not those that were answered and still have their slots.
    queued: () => slots.countIn(SLOT_STATE.QUEUED, SLOT_STATE.HANDED),
    executing: () => slots.countIn(SLOT_STATE.EXECUTING, SLOT_STATE.REPLYING),
    parked: () => stats.sum(STAT.PARKED_NOW),
    lock_wait: () => locks.waits(),
  };
  const startTimeSeconds = Date.now() / 1000 - process.uptime();
  const maxFds = softLimit(RLIMIT_NOFILE);
  const { smallSlots, largeSlots } = memory.geometry.slots;
  return {
    requestsInFlight: (state) => inFlight[state]?.() ?? 0,
    oldestRequest: (where) =>
      where === 'main' ? health.receiversBusyMs() / 1000 : lanes.longestSeconds(),
    kernelWaiting: () => kernelWaiting(health.session?.connection),
    lanes: (state) => lanes.count(state),
    ringDepth: () => ringDepths(tables).reduce((sum, depth) => sum + depth, 0),
    deepestRing: () => Math.max(0, ...ringDepths(tables)),
    slotsUsed,
    slotsCapacity: () => smallSlots + largeSlots - 1,
    backingMounts: () => mounts.count(),
    mountsLanesOnly: () => mounts.countWith(MOUNT_FLAG.LANES_ONLY),
    inodes: () => inodes.count(),
    inodesCapacity: () => inodes.capacity,
    openHandles: (kind) => (kind === 'file' ? handles.openFiles() : handles.openDirectories()),
    lockOwners: () => locks.count(),
    fdsUsed: () => fds.used(),
    fdsBudget: () => fds.budget,
    fdEvictions: () => fds.evictions(),
    fdExhausted: () => fds.exhausted(),
    ready: () => (health.whyNotReady() === undefined ? 1 : 0),
    live: () => (health.whyNotLive() === undefined ? 1 : 0),
    heartbeat: () => (Date.now() - health.heartbeatAgeMs()) / 1000,
    cpuUser: () => process.cpuUsage().user * MICROSECONDS,
    cpuSystem: () => process.cpuUsage().system * MICROSECONDS,
    cpu: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) * MICROSECONDS;
    },
    residentMemory: () => process.memoryUsage.rss(),
    startTime: () => startTimeSeconds,
    maxFds: () => maxFds,
  };
}
