/**
 * Notices that main waits in a call. It makes only those that should be short: what the kernel says
 * cannot block, and, with a deputy, what a local disk has answered soon so far. The backing mount it
 * waits for is left to the lanes from then on, see LanesOnly.
 */
import { nowUs } from '../shared/clock.ts';
import type { Receiver } from '../shared/memory/receiver.ts';
import type { ThreadTables } from '../shared/memory/shared-memory.ts';
import { MAIN_THREAD } from '../shared/memory/thread-journal.ts';
import { STAT } from '../shared/stats-layout.ts';
import { blockedIn, isBlocked } from './watchdog-blocked.ts';
import type { LanesOnly } from './watchdog-lanes-only.ts';
import type { LogLine } from './watchdog-log.ts';
import type { Work, WorkUnderWay } from './watchdog-work.ts';

/**
 * Looks at which main was at the same request, one second together. Looks and not time: where the
 * whole process was stopped, nobody looked.
 */
export const STUCK_LOOKS = 4;

export class MainWatch {
  readonly #tables: ThreadTables;
  readonly #receiver: Receiver;
  readonly #work: WorkUnderWay;
  readonly #lanesOnly: LanesOnly;
  readonly #log: LogLine;
  /** For how long its loop may not turn when it is at no request. */
  readonly #loopTimeoutMs: number;
  #seen: Work | undefined;
  #looks = 0;
  #isStuck = false;
  /** The mount it is stuck in, -1 when that is not known. */
  #stuckIn = -1;
  #seenBeatMs = 0;
  #isLoopStuck = false;

  constructor(
    tables: ThreadTables,
    receiver: Receiver,
    work: WorkUnderWay,
    lanesOnly: LanesOnly,
    loopTimeoutMs: number,
    log: LogLine,
  ) {
    this.#tables = tables;
    this.#receiver = receiver;
    this.#work = work;
    this.#lanesOnly = lanesOnly;
    this.#loopTimeoutMs = loopTimeoutMs;
    this.#log = log;
  }

  /** Called at intervals of a quarter of a second. */
  look(): void {
    const work = this.#work.onMain();
    if (work?.key !== this.#seen?.key) {
      this.#end();
      this.#seen = work;
      this.#looks = 0;
    } else if (work !== undefined && !this.#isStuck && ++this.#looks >= STUCK_LOOKS) {
      // One that computes is slow, and not the fault of the mount.
      if (isBlocked(this.#work.mainId)) this.#begin(work);
    }
    this.#lookAtLoop(work);
    if (this.#isStuck) return;
    for (const mount of this.#lanesOnly.end(nowUs() / 1000)) {
      this.#log('warn', { backingMount: mount }, 'main serves a backing mount again that it left');
    }
  }

  #begin(work: Work): void {
    this.#isStuck = true;
    const { op, nodeid, sinceUs } = work;
    const mount = this.#work.mountOf(nodeid);
    this.#stuckIn = mount;
    const hasDeputy = this.#receiver.isDeputyReceiving();
    const consequence = mount < 0 ? '' : this.#leaveToLanes(mount, hasDeputy);
    this.#tables.stats.add(STAT.MAIN_STUCK, 1);
    const stuckMs = Math.round((nowUs() - sinceUs) / 1000);
    const path = this.#work.pathOf(nodeid);
    const meanwhile = hasDeputy ? '; its deputy reads requests' : ' and reads no requests';
    this.#log(
      hasDeputy ? 'warn' : 'error',
      { op, nodeid, path, stuckMs, ...blockedIn(this.#work.mainId) },
      `main is stuck in ${op}${meanwhile}${consequence}`,
    );
  }

  #leaveToLanes(mount: number, hasDeputy: boolean): string {
    const minutes = this.#lanesOnly.begin(mount, nowUs() / 1000, hasDeputy) / 60_000;
    const until = Number.isFinite(minutes) ? `for ${minutes} minutes` : 'until it is mounted anew';
    return `; its backing mount is left to the lanes ${until}`;
  }

  #end(): void {
    if (!this.#isStuck || this.#seen === undefined) return;
    this.#isStuck = false;
    this.#lanesOnly.goesOn(this.#stuckIn, nowUs() / 1000);
    const { op, nodeid, sinceUs } = this.#seen;
    const tookMs = Math.round((nowUs() - sinceUs) / 1000);
    this.#log('warn', { op, nodeid, tookMs }, `main goes on after ${op}`);
  }

  /** Stuck in something that is no request: the log it writes to, say. */
  #lookAtLoop(work: Work | undefined): void {
    const { stats } = this.#tables;
    const beatMs = stats.of(MAIN_THREAD, STAT.HEARTBEAT_MS);
    if (beatMs !== this.#seenBeatMs || work !== undefined) {
      this.#seenBeatMs = beatMs;
      this.#isLoopStuck = false;
      return;
    }
    const stuckMs = Math.round(nowUs() / 1000 - beatMs);
    if (this.#isLoopStuck || stuckMs < this.#loopTimeoutMs) return;
    this.#isLoopStuck = true;
    stats.add(STAT.MAIN_STUCK, 1);
    const blocked = blockedIn(this.#work.mainId);
    this.#log('error', { stuckMs, ...blocked }, 'main is stuck in something that is no request');
  }
}
