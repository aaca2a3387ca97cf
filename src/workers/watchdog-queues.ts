/**
 * Notices that a thread that serves queues of io_uring waits in a call. Nobody receives in its place:
 * the requests of its CPU that it was given wait with it. The backing mount it waits for is left to the
 * lanes from then on, so that no other of these threads goes the same way.
 */
import { nowUs } from '../shared/clock.ts';
import type { ThreadTables } from '../shared/memory/shared-memory.ts';
import { STAT } from '../shared/stats-layout.ts';
import { blockedIn, isBlocked } from './watchdog-blocked.ts';
import type { LanesOnly } from './watchdog-lanes-only.ts';
import type { LogLine } from './watchdog-log.ts';
import type { Work, WorkUnderWay } from './watchdog-work.ts';

/** What was seen of a thread. */
interface Seen {
  work: Work | undefined;
  looks: number;
  isStuck: boolean;
}

export class QueueWatch {
  readonly #tables: ThreadTables;
  readonly #work: WorkUnderWay;
  readonly #lanesOnly: LanesOnly;
  readonly #stuckLooks: number;
  readonly #log: LogLine;
  readonly #seen: readonly Seen[];

  /** @param stuckLooks a thread that is at the same request in so many looks is stuck */
  constructor(
    tables: ThreadTables,
    work: WorkUnderWay,
    lanesOnly: LanesOnly,
    stuckLooks: number,
    log: LogLine,
  ) {
    this.#tables = tables;
    this.#work = work;
    this.#lanesOnly = lanesOnly;
    this.#stuckLooks = stuckLooks;
    this.#log = log;
    const { threads } = tables.entries.geometry;
    this.#seen = Array.from({ length: threads }, () => ({
      work: undefined,
      looks: 0,
      isStuck: false,
    }));
  }

  /** Called at intervals. */
  look(): void {
    for (const [queue, seen] of this.#seen.entries()) {
      const work = this.#work.onQueue(queue);
      if (work?.key !== seen.work?.key) {
        this.#end(queue, seen);
        seen.work = work;
        seen.looks = 0;
      } else if (work !== undefined) this.#lookAgain(queue, seen, work);
    }
  }

  #lookAgain(queue: number, seen: Seen, work: Work): void {
    if (seen.isStuck) this.#lanesOnly.goesOn(this.#work.mountOf(work.nodeid), nowUs() / 1000);
    else if (++seen.looks >= this.#stuckLooks && isBlocked(work.threadId)) {
      seen.isStuck = true;
      this.#begin(queue, work);
    }
  }

  #begin(queue: number, { op, nodeid, sinceUs, threadId }: Work): void {
    const mount = this.#work.mountOf(nodeid);
    if (mount >= 0) this.#lanesOnly.begin(mount, nowUs() / 1000, true);
    this.#tables.stats.add(STAT.MAIN_STUCK, 1);
    const stuckMs = Math.round((nowUs() - sinceUs) / 1000);
    const path = this.#work.pathOf(nodeid);
    this.#log(
      'error',
      { queue, op, nodeid, path, stuckMs, ...blockedIn(threadId) },
      `the thread of a queue is stuck in ${op}; requests it was given wait; its backing mount is left to the lanes`,
    );
  }

  #end(queue: number, seen: Seen): void {
    if (!seen.isStuck || seen.work === undefined) return;
    seen.isStuck = false;
    const { op, nodeid, sinceUs } = seen.work;
    const tookMs = Math.round((nowUs() - sinceUs) / 1000);
    this.#log('warn', { queue, op, nodeid, tookMs }, `the thread of a queue goes on after ${op}`);
  }
}
