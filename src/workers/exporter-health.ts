/**
 * Whether the mount is ready and the daemon alive, told from memory that threads share and from
 * /proc: nothing here asks main, or touches the mount.
 */
import { ROW_BY_OPCODE } from '../shared/abi/opcodes.ts';
import { nowUs } from '../shared/clock.ts';
import type { SessionFacts } from '../shared/exporter-messages.ts';
import type { SharedMemory, ThreadTables } from '../shared/memory/shared-memory.ts';
import { laneThread, MAIN_THREAD, queueThread } from '../shared/memory/thread-journal.ts';
import { EXTRA, NEGOTIATED } from '../shared/passthrough/config.ts';
import { STAT } from '../shared/stats-layout.ts';
import { readMountInfo } from '../shared/sys/mountinfo.ts';

const FUSE_TYPE = /^fuse(blk)?(\.|$)/;

export class Health {
  /** What FUSE_INIT told; undefined before. */
  session: SessionFacts | undefined;
  readonly #tables: ThreadTables;
  readonly #maxLanes: number;
  readonly #queueThreads: number;
  readonly #stuckTimeoutMs: number;
  readonly #flags: Int32Array;

  constructor(tables: ThreadTables, memory: SharedMemory, stuckTimeoutMs: number) {
    this.#tables = tables;
    this.#maxLanes = memory.geometry.maxLanes;
    this.#queueThreads = memory.geometry.ringEntries.threads;
    this.#stuckTimeoutMs = stuckTimeoutMs;
    this.#flags = new Int32Array(memory.extra, 0, 1);
  }

  /** Why the daemon is not alive; undefined when it is. */
  whyNotLive(): string | undefined {
    const heartbeatAgeMs = this.heartbeatAgeMs();
    if (heartbeatAgeMs > this.#stuckTimeoutMs) {
      return `main has not turned for ${seconds(heartbeatAgeMs)} s${this.#whatOf(MAIN_THREAD)}`;
    }
    for (let lane = 0; lane < this.#maxLanes; lane++) {
      const reason = this.#whyStuck(`lane ${lane}`, laneThread(lane));
      if (reason !== undefined) return reason;
    }
    for (let queue = 0; queue < this.#queueThreads; queue++) {
      const name = `the thread ${queue} of io_uring's queues`;
      const reason = this.#whyStuck(name, queueThread(this.#maxLanes, queue));
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  #whyStuck(name: string, thread: number): string | undefined {
    const busyMs = this.busyMs(thread);
    if (busyMs <= this.#stuckTimeoutMs) return undefined;
    return `${name} has been stuck for ${seconds(busyMs)} s${this.#whatOf(thread)}`;
  }

  /** The longest that main, or a thread that answers in its place, has been at a request, milliseconds. */
  receiversBusyMs(): number {
    let longestMs = this.busyMs(MAIN_THREAD);
    for (let queue = 0; queue < this.#queueThreads; queue++) {
      longestMs = Math.max(longestMs, this.busyMs(queueThread(this.#maxLanes, queue)));
    }
    return longestMs;
  }

  /** Why the mount cannot be used; undefined when it can. */
  whyNotReady(): string | undefined {
    // Pairs with the stores in Context.setNegotiated().
    const flags = Atomics.load(this.#flags, EXTRA.NEGOTIATED);
    if (this.session === undefined || (flags & NEGOTIATED.INITIALISED) === 0) {
      return 'FUSE_INIT is not answered yet';
    }
    const { connection } = this.session;
    // Mounted by somebody else, maybe where it cannot be seen from here.
    if (connection === undefined) return undefined;
    return isMounted(connection) ? undefined : 'nothing is mounted any more';
  }

  /** Milliseconds since main's loop last turned. */
  heartbeatAgeMs(): number {
    const beatMs = this.#tables.stats.of(MAIN_THREAD, STAT.HEARTBEAT_MS);
    return Math.max(0, nowUs() / 1000 - beatMs);
  }

  /** How long a thread has been at one request, milliseconds; 0 when it is at none. */
  busyMs(thread: number): number {
    const sinceMs = this.#tables.stats.of(thread, STAT.BUSY_SINCE_MS);
    return sinceMs === 0 ? 0 : Math.max(0, nowUs() / 1000 - sinceMs);
  }

  isStuck(thread: number): boolean {
    return this.busyMs(thread) > this.#stuckTimeoutMs;
  }

  #whatOf(thread: number): string {
    const { stats } = this.#tables;
    if (stats.of(thread, STAT.BUSY_SINCE_MS) === 0) return '';
    const opcode = stats.of(thread, STAT.BUSY_OPCODE);
    if (opcode === 0) return ', in the close of a descriptor';
    const name = ROW_BY_OPCODE[opcode]?.name ?? `opcode ${opcode}`;
    const nodeHi = stats.of(thread, STAT.BUSY_NODE_HI);
    return `, in ${name} of node ${nodeHi * 2 ** 32 + stats.of(thread, STAT.BUSY_NODE_LO)}`;
  }
}

/** Whether the connection's mount is in this process's tree. */
function isMounted(connection: number): boolean {
  return readMountInfo().some(
    ({ devMajor, devMinor, fsType }) =>
      devMajor === 0 && devMinor === connection && FUSE_TYPE.test(fsType),
  );
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
