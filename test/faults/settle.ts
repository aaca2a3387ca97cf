/** Waits until a mount has given everything back. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Mount, Status } from '../harness/mount.ts';
import { runOk } from '../harness/run.ts';

const POLL_MS = 300;
const CLOSE_LIMIT_MS = 5000;

/** Of a status line: what comes and goes with requests and inodes. */
export const HELD_FIELDS = [
  'inodes',
  'lookups',
  'handles',
  'openInodes',
  'slotsInUse',
  'parked',
  'fdsUsed',
];

export function held(status: Status): Record<string, number> {
  return Object.fromEntries(HELD_FIELDS.map((field) => [field, status[field] as number]));
}

/** Has the kernel forget the names and inodes nobody uses: FORGET for all of them. */
export async function dropCaches(): Promise<void> {
  await runOk('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
}

/** The files below the source that the daemon has open, one line for each descriptor. */
export function openFilesOf(mount: Mount): string[] {
  const directory = `/proc/${mount.pid}/fd`;
  return readdirSync(directory)
    .map((fd) => {
      try {
        return readlinkSync(`${directory}/${fd}`);
      } catch {
        // Closed meanwhile.
        return '';
      }
    })
    .filter((path) => path.startsWith(mount.source))
    .sort();
}

/**
 * Waits for the files the daemon has open to be those of the start: a descriptor is counted as given
 * back when its close is queued for a lane, and closed a little later.
 */
export async function assertOpenFiles(mount: Mount, wanted: readonly string[]): Promise<void> {
  const untilMs = performance.now() + CLOSE_LIMIT_MS;
  while (openFilesOf(mount).length > wanted.length && performance.now() < untilMs) {
    await sleep(POLL_MS);
  }
  assert.deepEqual(openFilesOf(mount), wanted);
}

/** Whether no field is more than `spare` above what it was. */
function isSettled(status: Status, start: Status, spare: number): boolean {
  const before = held(start);
  return Object.entries(held(status)).every(([field, now]) => {
    const more = now - (before[field] as number);
    return more >= 0 && more <= spare;
  });
}

/**
 * Drops caches until the mount holds what it held at `start`.
 *
 * @param spare - how much more of each is no failure
 * @throws with what is left when that does not come about in time
 */
export async function settle(
  mount: Mount,
  start: Status,
  timeoutMs = 15_000,
  spare = 0,
): Promise<Status> {
  const untilMs = performance.now() + timeoutMs;
  const wanted = JSON.stringify(held(start));
  for (;;) {
    await dropCaches();
    const status = await mount.status();
    if (isSettled(status, start, spare)) return status;
    if (performance.now() > untilMs) {
      throw new Error(`left behind: ${JSON.stringify(held(status))}, at the start ${wanted}`);
    }
    await sleep(POLL_MS);
  }
}

/** Drops caches until the numbers stand still: submounts keep their roots. */
export async function standstill(mount: Mount): Promise<Status> {
  let before = '';
  for (let tries = 0; tries < 40; tries++) {
    await dropCaches();
    await sleep(200);
    const status = await mount.status();
    const now = JSON.stringify(held(status));
    if (now === before) return status;
    before = now;
  }
  throw new Error(`the mount does not come to rest: ${before}`);
}
