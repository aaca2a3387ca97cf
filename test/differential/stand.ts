/** Directories and a mount for runs by hand, of sluice or of any FUSE file system. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { forceUnmount, isFuse, readMounts } from '../harness/mountinfo.ts';
import type { ArenaPaths } from './arena.ts';

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 20;

const BASE_BY_FILE_SYSTEM: Readonly<Record<string, string>> = {
  ext4: tmpdir(),
  tmpfs: '/dev/shm',
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

/**
 * Makes the directories and mounts.
 *
 * @param command - the mount command, which stays in the foreground; without one both sides are plain
 */
export async function setUp(fileSystem: string, command: string | undefined): Promise<Stand> {
  const base = mkdtempSync(join(BASE_BY_FILE_SYSTEM[fileSystem], 'sluice-differential-'));
  chmodSync(base, 0o755);
  const [plain, backing, mountpoint] = ['plain', 'backing', 'mount'].map((name) => {
    mkdirSync(join(base, name));
    return join(base, name);
  });
  const unmount = command === undefined ? undefined : await mountBy(command, backing, mountpoint);
  return {
    paths: { plain, backing, mounted: command === undefined ? backing : mountpoint },
    async stop() {
      await unmount?.();
      rmSync(base, { recursive: true, force: true });
    },
  };
}
