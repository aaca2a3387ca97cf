/** Threads for what waits for a mount's own answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';

/** A pool of one thread for the calls of workers/unmount-task.ts. */
export function makeUnmountPool(): Piscina {
  return new Piscina({
    filename: fileURLToPath(new URL('../../workers/unmount-task.js', import.meta.url)),
    minThreads: 1,
    maxThreads: 1,
    atomics: 'disabled',
    recordTiming: false,
  });
}

/** What the promise gives, or undefined when that takes longer. */
export async function within<T>(timeoutMs: number, promise: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      promise,
      sleep(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined),
    ]);
  } finally {
    timer.abort();
  }
}
