/**
 * Looks after the other threads from one of its own: says which operations take long and what they
 * wait in, and catches main in a call. It reads memory that all threads share and /proc, and asks
 * nobody, so it works while main and the lanes hang.
 */
import { nowUs } from '../shared/clock.ts';
import { Receiver } from '../shared/memory/receiver.ts';
import type { SharedMemory, ThreadTables } from '../shared/memory/shared-memory.ts';
import { STAT } from '../shared/stats-layout.ts';
import { blockedIn } from './watchdog-blocked.ts';
import { CpuWatch } from './watchdog-cpus.ts';
import { LanesOnly } from './watchdog-lanes-only.ts';
import type { LogLine } from './watchdog-log.ts';
import { MainWatch, STUCK_LOOKS } from './watchdog-main.ts';
import { QueueWatch } from './watchdog-queues.ts';
import { type Work, WorkUnderWay } from './watchdog-work.ts';

const LOOK_MS = 250;

/** Operations that are logged one by one: so many at once, and one more in each interval. */
const LOGGED_AT_ONCE = 10;
const LOGGED_EVERY_MS = 2000;
/** What is not logged one by one is summed up this often at the most. */
const SUMMARY_EVERY_MS = 10_000;

const STAT_BY_PLACE = {
  queue: STAT.SLOW_IN_QUEUE,
  lane: STAT.SLOW_IN_LANE,
  main: STAT.SLOW_ON_MAIN,
} as const;

export interface WatchdogSettings {
  /** After so long an operation is slow; 0: none is. */
  readonly slowTimeoutMs: number;
  /** After so long main counts as stuck where it is at no request. */
  readonly stuckTimeoutMs: number;
}

export class Watchdog {
  /** After so long an operation is slow; 0: none is. */
  slowTimeoutMs: number;
  readonly cpus: CpuWatch;
  readonly #tables: ThreadTables;
  readonly #work: WorkUnderWay;
  readonly #main: MainWatch;
  readonly #queues: QueueWatch;
  readonly #log: LogLine;
  /** Slow operations under way, and whether each was logged. */
  readonly #known = new Map<string, { readonly work: Work; readonly isLogged: boolean }>();
  #allowance = LOGGED_AT_ONCE;
  #allowedMs = 0;
  #unlogged = 0;
  #summaryMs = Number.NEGATIVE_INFINITY;

  constructor(
    tables: ThreadTables,
    memory: SharedMemory,
    settings: WatchdogSettings,
    log: LogLine,
  ) {
    this.slowTimeoutMs = settings.slowTimeoutMs;
    this.#tables = tables;
    this.cpus = new CpuWatch(tables.stats);
    this.#log = log;
    this.#work = new WorkUnderWay(tables, memory);
    const receiver = new Receiver(memory.receiver);
    const lanesOnly = new LanesOnly(tables.mounts);
    const { stuckTimeoutMs } = settings;
    this.#main = new MainWatch(tables, receiver, this.#work, lanesOnly, stuckTimeoutMs, log);
    this.#queues = new QueueWatch(tables, this.#work, lanesOnly, STUCK_LOOKS, log);
  }

  /** Looks at intervals until the returned function is called. */
  start(): () => void {
    const timer = setInterval(() => this.#look(), LOOK_MS);
    return () => clearInterval(timer);
  }

  #look(): void {
    this.#main.look();
    this.#queues.look();
    this.cpus.look();
    const isOff = this.slowTimeoutMs === 0;
    if (isOff && this.#known.size === 0) return;
    const nowMs = nowUs() / 1000;
    const beforeUs = isOff ? Number.NEGATIVE_INFINITY : 1000 * (nowMs - this.slowTimeoutMs);
    // Those known to be slow are followed to their end, also when a reload has moved the limit.
    const work = this.#work.olderThan(this.#known.size > 0 ? 1000 * nowMs : beforeUs);
    this.#endOthers(work, nowMs);
    const begun = work.filter(({ key, sinceUs }) => sinceUs < beforeUs && !this.#known.has(key));
    // What runs says more than what waits for it.
    begun.sort(
      (a, b) => Number(a.where === 'queue') - Number(b.where === 'queue') || a.sinceUs - b.sinceUs,
    );
    for (const slow of begun) this.#begin(slow, nowMs);
    this.#summarise(nowMs);
  }

  #begin(work: Work, nowMs: number): void {
    this.#tables.stats.add(STAT_BY_PLACE[work.where], 1);
    // Main, or the thread of a queue, in a call has a line of its own.
    const isLogged = work.where !== 'main' && this.#mayLog(nowMs);
    this.#known.set(work.key, { work, isLogged });
    if (!isLogged) {
      if (work.where !== 'main') this.#unlogged++;
      return;
    }
    const { op, nodeid, where, lane, callerPid, entry, threadId } = work;
    const ageMs = Math.round(nowMs - work.sinceUs / 1000);
    const blocked = threadId === 0 ? {} : blockedIn(threadId);
    const path = this.#work.pathOf(nodeid);
    this.#log(
      'warn',
      { op, nodeid, path, entry, where, lane, callerPid, ageMs, ...blocked },
      where === 'queue' ? `${op} waits long for a lane` : `${op} takes long`,
    );
  }

  /** What is not among these any more has ended, within the last look. */
  #endOthers(underWay: readonly Work[], nowMs: number): void {
    if (this.#known.size === 0) return;
    const keys = new Set(underWay.map(({ key }) => key));
    for (const [key, { work, isLogged }] of this.#known) {
      if (keys.has(key)) continue;
      this.#known.delete(key);
      if (!isLogged) continue;
      const { op, nodeid, entry, callerPid } = work;
      const tookMs = Math.round(nowMs - work.sinceUs / 1000);
      this.#log('warn', { op, nodeid, entry, callerPid, tookMs }, `${op} that took long has ended`);
    }
  }

  #mayLog(nowMs: number): boolean {
    const earned = Math.floor((nowMs - this.#allowedMs) / LOGGED_EVERY_MS);
    if (earned > 0) {
      this.#allowance = Math.min(LOGGED_AT_ONCE, this.#allowance + earned);
      this.#allowedMs = nowMs;
    }
    if (this.#allowance === 0) return false;
    this.#allowance--;
    return true;
  }

  #summarise(nowMs: number): void {
    if (this.#unlogged === 0 || nowMs - this.#summaryMs < SUMMARY_EVERY_MS) return;
    this.#log(
      'warn',
      { operations: this.#unlogged, underWay: this.#known.size },
      'more operations take long than are logged one by one',
    );
    this.#unlogged = 0;
    this.#summaryMs = nowMs;
  }
}
