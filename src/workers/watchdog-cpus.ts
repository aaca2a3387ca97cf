/**
 * CPUs are not kept awake for a main whose loop stands still, in the log it writes to or in the program
 * that it is a part of: main cannot take back what it asked for.
 */
import type { ThreadTables } from '../shared/memory/shared-memory.ts';
import { MAIN_THREAD } from '../shared/memory/thread-journal.ts';
import { STAT } from '../shared/stats-layout.ts';
import { CpuLatencyRequest } from '../shared/sys/cpu-latency.ts';

/** Looks without a turn of main's loop in between, one second together. */
const STILL_LOOKS = 4;

export class CpuWatch {
  /** By main's descriptor, which it closes when this thread has ended. */
  #request: CpuLatencyRequest | undefined;
  readonly #stats: Pick<ThreadTables['stats'], 'of'>;
  #seenBeatMs = 0;
  #looks = 0;

  constructor(stats: Pick<ThreadTables['stats'], 'of'>) {
    this.#stats = stats;
  }

  /** @param fd of CPU_LATENCY_DEVICE, -1 for none */
  watch(fd: number): void {
    this.#request = fd < 0 ? undefined : new CpuLatencyRequest(fd);
  }

  /** Called at intervals of a quarter of a second. */
  look(): void {
    const beatMs = this.#stats.of(MAIN_THREAD, STAT.HEARTBEAT_MS);
    if (beatMs !== this.#seenBeatMs) {
      this.#seenBeatMs = beatMs;
      this.#looks = 0;
    } else if (++this.#looks === STILL_LOOKS) {
      this.#request?.letSleep();
    }
  }
}
