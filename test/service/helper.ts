/** The programs that mount(8) runs for us, put where it looks for them while a test lasts. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { forceUnmount, readMounts } from '../harness/mountinfo.ts';
import { projectRoot } from '../harness/paths.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

export const INSTALL = join(projectRoot, 'deploy/mount/install-helper.sh');
const HELPERS = ['/sbin/mount.sluice', '/sbin/mount.fuse.sluice'];
const END_TIMEOUT_MS = 20_000;

/**
 * Why the helpers cannot be put into /sbin: somebody has them there for good. Those of a test run
 * that was killed are no reason, they point into a folder that is named like this one.
 */
export function helpersInUse(): string | undefined {
  const found = HELPERS.find((file) => existsSync(file) && !isOfThisCheckout(file));
  return found === undefined ? undefined : `${found} is installed on this machine and stays`;
}

function isOfThisCheckout(file: string): boolean {
  return readFileSync(file, 'utf8').includes(projectRoot);
}

/** Installs both helpers until the test ends. */
export async function installHelpers(): Promise<void> {
  await runOk('sh', [INSTALL]);
  defer(async () => {
    await runOk('sh', [INSTALL, '--remove']);
  });
}

export interface Place {
  readonly source: string;
  readonly mountpoint: string;
}

/** A source with one file, `f`, and a mountpoint; what is mounted there goes with the test. */
export async function freshPlace(): Promise<Place> {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  await runOk('sh', ['-c', 'echo content >"$1/f"', 'sh', source]);
  const clear = (): void => {
    for (const mount of mountsAt(mountpoint)) forceUnmount(mount);
  };
  defer(async () => clear(), clear);
  return { source, mountpoint };
}

export function mountsAt(mountpoint: string) {
  return readMounts().filter((mount) => mount.mountpoint === mountpoint);
}

/** Daemons that serve `source`: the command line of a daemon is only its title, its root is not. */
export async function daemonsOf({ source, mountpoint }: Place): Promise<string[]> {
  const script = 'grep -lazF "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true';
  const found = await run('sh', ['-c', script, 'sh', `SLUICE_TEST_PLACE=${source}:${mountpoint}`]);
  return found.stdout.split('\n').filter((pid) => pid !== '');
}

/** Waits until nobody serves the place any more. */
export async function untilServedByNobody(place: Place): Promise<void> {
  const untilMs = performance.now() + END_TIMEOUT_MS;
  while ((await daemonsOf(place)).length > 0) {
    if (performance.now() > untilMs) throw new Error(`${place.mountpoint}: the daemon runs on`);
    await sleep(50);
  }
}

/** The environment by which a daemon started for the place is found again. */
export function markedEnvironment({ source, mountpoint }: Place): NodeJS.ProcessEnv {
  return { ...process.env, SLUICE_TEST_PLACE: `${source}:${mountpoint}` };
}
