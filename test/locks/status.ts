/** Numbers of a status line that are waited for: nobody waits for the RELEASE behind a close. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Mount } from '../harness/mount.ts';

const POLL_MS = 100;
const LIMIT_MS = 20_000;

/** @throws with what the number is when it does not become what it should */
export async function statusReaches(mount: Mount, field: string, wanted: number): Promise<void> {
  const untilMs = performance.now() + LIMIT_MS;
  for (;;) {
    const value = (await mount.status())[field];
    if (value === wanted) return;
    if (performance.now() > untilMs) throw new Error(`${field} is ${value}, not ${wanted}`);
    await sleep(POLL_MS);
  }
}
