/** A mount under load that a Prometheus watches. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defer } from '../harness/cleanup.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { readMounts } from '../harness/mountinfo.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { ANY_PORT, urlOf } from '../metrics/scrape.ts';
import type { PrometheusApi } from '../tools/prometheus-api.ts';
import { startPrometheus } from './prometheus.ts';

const LOAD = fileURLToPath(new URL('./load.js', import.meta.url));
const FILES = 500;
const SLOW_FILES = 6;
const SLOW_TIMEOUT_MS = 10_000;

export interface Stage {
  readonly mount: Mount;
  readonly prometheus: PrometheusApi;
  /** Host and port of the mount's metrics. */
  readonly target: string;
  /** Who serves the file system that may hang. */
  readonly slowPid: number;
}

/** Few descriptors and slots, so that they are used up; locks behind; what hangs soon counts as slow and stuck. */
const FLAGS = [
  ANY_PORT,
  '--lanes=2',
  '--fd-budget=256',
  '--request-slots=16',
  '--posix-lock',
  '--flock',
  '--stuck-timeout=1',
  '--slow-timeout=1',
];

/** A file system that hangs when its process is stopped. */
async function serveSlow(backing: string, mountpoint: string): Promise<number> {
  const server = spawn('bindfs', ['-f', backing, mountpoint], { stdio: 'ignore' });
  const end = (): void => {
    server.kill('SIGCONT');
    server.kill('SIGTERM');
  };
  defer(async () => {
    server.kill('SIGCONT');
    await run('umount', ['-l', mountpoint]);
    end();
  }, end);
  const endMs = performance.now() + SLOW_TIMEOUT_MS;
  while (!readMounts().some((mount) => mount.mountpoint === mountpoint)) {
    if (performance.now() > endMs) throw new Error('bindfs does not mount');
    await sleep(20);
  }
  return server.pid as number;
}

/** Mounts a tree, and starts a Prometheus that scrapes it. */
export async function setStage(): Promise<Stage> {
  const [source, mountpoint, backing] = (await tempDirs('source', 'mnt', 'backing')) as [
    string,
    string,
    string,
  ];
  for (const name of ['many', 'full', 'slow']) mkdirSync(join(source, name));
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, 'many', `file-${i}`), `content ${i}`);
  const full = join(source, 'full');
  await runOk('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', full]);
  defer(async () => void (await run('umount', ['-l', full])));
  for (let i = 0; i < SLOW_FILES; i++) writeFileSync(join(backing, `file-${i}`), 'content');
  const slowPid = await serveSlow(backing, join(source, 'slow'));
  const mount = await startMount({ source, mountpoint, flags: FLAGS });
  const target = new URL(urlOf(mount)).host;
  return { mount, target, slowPid, prometheus: await startPrometheus(target) };
}

/** Works in the mount for a time. */
export async function loadFor(seconds: number, { mount, slowPid }: Stage): Promise<void> {
  const args = [LOAD, mount.mountpoint, mount.source, String(seconds), String(slowPid)];
  await runOk(process.execPath, args, {
    timeoutMs: 2000 * seconds + 30_000,
  });
}
