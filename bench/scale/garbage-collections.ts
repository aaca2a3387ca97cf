/** What --trace-gc prints of a daemon: every collection of every thread. */

/** Collections of one thread (one isolate of V8). */
export interface HeapHistory {
  readonly collections: number;
  readonly longestPauseMs: number;
  /** The same without the thread's first START_MS, in which it loads and compiles its code. */
  readonly longestLaterPauseMs: number;
  readonly totalPauseMs: number;
  /** MiB that were left after full collections, in the order of time. */
  readonly leftMib: readonly number[];
}

export const START_MS = 5000;

/** `[pid:0xisolate] 123 ms: Scavenge 4.3 (4.5) -> 3.9 (5.5) MB, 0.86 / 0.00 ms`. */
const LINE =
  /^\[\d+:(0x[0-9a-f]+)\]\s+(\d+) ms: (\S+)[^>]*-> ([\d.]+) \([\d.]+\) MB, (?:pooled: [\d.]+ MB, )?([\d.]+) \//;

/** By thread: the first is main, the others are in the order in which they first collected. */
export function readCollections(log: string): HeapHistory[] {
  const threads = new Map<string, { pauses: number[]; later: number[]; left: number[] }>();
  for (const line of log.split('\n')) {
    const [, isolate, atMs, kind, left, pause] = LINE.exec(line) ?? [];
    if (isolate === undefined || kind === undefined) continue;
    const thread = threads.get(isolate) ?? { pauses: [], later: [], left: [] };
    threads.set(isolate, thread);
    thread.pauses.push(Number(pause));
    if (Number(atMs) >= START_MS) thread.later.push(Number(pause));
    if (kind.startsWith('Mark')) thread.left.push(Number(left));
  }
  return [...threads.values()].map(({ pauses, later, left }) => ({
    collections: pauses.length,
    longestPauseMs: Math.max(...pauses),
    longestLaterPauseMs: Math.max(0, ...later),
    totalPauseMs: pauses.reduce((sum, pause) => sum + pause, 0),
    leftMib: left,
  }));
}
