/** Directories and a mount for runs by hand, of sluice or of any FUSE file system. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type FileSystemKind, mountNew } from '../harness/file-systems.ts';
import { forceUnmount, isFuse, readMounts } from '../harness/mountinfo.ts';
import { run } from '../harness/run.ts';
import type { ArenaPaths } from './arena.ts';

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 20;

/** Where the directories may lie: in a directory that is there, or on a new file system. */
export const PLACES: Readonly<Record<string, string | FileSystemKind>> = {
  temporary: tmpdir(),
  shm: '/dev/shm',
  ext4: 'ext4',
  xfs: 'xfs',
  btrfs: 'btrfs',
  tmpfs: 'tmpfs',
};

const CLI = fileURLToPath(new URL('../../src/main/cli.js', import.meta.url));

/** The command that mounts sluice, with `{source}` and `{mountpoint}` to be filled in. */
export function sluiceCommand(flags: string): string {
  return `${process.execPath} ${CLI} mount {source} {mountpoint} ${flags}`;
}

export interface Stand {
  readonly paths: ArenaPaths;
  /** Unmounts and removes everything. */
  stop(): Promise<void>;
}

async function mountBy(
  command: string,
  source: string,
  mountpoint: string,
): Promise<() => Promise<void>> {
  const [program, ...args] = command
    .trim()
    .split(/\s+/)
    .map((word) => word.replace('{source}', source).replace('{mountpoint}', mountpoint));
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const exited = once(child, 'exit');
  const mounted = () => readMounts().find((m) => m.mountpoint === mountpoint && isFuse(m));

  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    await Promise.race([exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    const left = mounted();
    if (left !== undefined) {
      forceUnmount(left);
    }
    child.kill('SIGKILL');
  }

  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (mounted() === undefined) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`Nothing is mounted on ${mountpoint} by: ${command}`);
    }
    await sleep(POLL_MS);
  }
  return stop;
}

/** An empty directory at one of the PLACES, and how it goes away. */
async function makeBase(place: string): Promise<{ base: string; remove: () => Promise<void> }> {
  const where = PLACES[place];
  const base = mkdtempSync(join(isAbsolute(where) ? where : tmpdir(), 'sluice-differential-'));
  chmodSync(base, 0o755);
  if (isAbsolute(where)) {
    return { base, remove: async () => rmSync(base, { recursive: true, force: true }) };
  }
  const path = join(base, 'fs');
  mkdirSync(path);
  const refused = await mountNew(where as FileSystemKind, path, join(base, 'image'), {});
  if (refused !== undefined) {
    throw new Error(refused);
  }
  return {
    base: path,
    async remove() {
      await run('umount', ['-l', path]);
      rmSync(base, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/**
 * Makes the directories and mounts.
 *
 * @param place - one of PLACES
 * @param command - the mount command, which stays in the foreground; without one both sides are plain
 */
export async function setUp(place: string, command: string | undefined): Promise<Stand> {
  const { base, remove } = await makeBase(place);
  const [plain, backing, mountpoint] = ['plain', 'backing', 'mount'].map((name) => {
    mkdirSync(join(base, name));
    return join(base, name);
  });
  const unmount = command === undefined ? undefined : await mountBy(command, backing, mountpoint);
  return {
    paths: { plain, backing, mounted: command === undefined ? backing : mountpoint },
    async stop() {
      await unmount?.();
      await remove();
    },
  };
}
