/** Mounts whose requests come by io_uring, where the machine can. */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { type Mount, type MountOptions, startMount } from '../harness/mount.ts';

export const ENABLE_URING = '/sys/module/fuse/parameters/enable_uring';

/** Why there is no FUSE over io_uring here; undefined if there is. It is switched off again after the test. */
export function switchOn(): string | undefined {
  try {
    const before = readFileSync(ENABLE_URING, 'latin1').trim();
    if (before === 'Y') return undefined;
    writeFileSync(ENABLE_URING, 'Y');
    defer(async () => writeFileSync(ENABLE_URING, before));
    return undefined;
  } catch (error) {
    return `FUSE over io_uring cannot be switched on: ${(error as Error).message}`;
  }
}

/** @throws when requests come another way */
export async function startUring(options: MountOptions): Promise<Mount> {
  const mount = await startMount({
    ...options,
    flags: ['--engine=uring', ...(options.flags ?? [])],
  });
  if (!mount.logs.some(({ msg }) => msg === 'requests come by io_uring')) {
    throw new Error(`requests do not come by io_uring\n${mount.logTail()}`);
  }
  return mount;
}

/** The status once nobody has anything open: to mount is looked at, and what that opened is given back later. */
export async function idleStatus(mount: Mount): ReturnType<Mount['status']> {
  for (;;) {
    const status = await mount.status();
    if (status['handles'] === 0 && status['slotsInUse'] === 0) return status;
    await sleep(20);
  }
}
