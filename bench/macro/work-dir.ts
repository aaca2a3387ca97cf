/** The directory in which a run has its sources, its mounts and its logs. */
import { mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { FS_MAGIC } from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { detach } from './targets.ts';

function fileSystemOf(directory: string): string {
  const { type } = statfsSync(directory);
  const known = Object.entries(FS_MAGIC).find(([, magic]) => magic === type);
  return known?.[0].toLowerCase() ?? `0x${type.toString(16)}`;
}

/** A new directory below `dir` on the wanted file system; a tmpfs is mounted on it. */
export function makeWorkDir(fs: 'ext4' | 'tmpfs', dir: string): string {
  const workDir = mkdtempSync(join(dir, 'sluice-bench-'));
  if (fs === 'tmpfs') {
    const type = new libc.CString('tmpfs');
    const place = new libc.CString(workDir);
    const result = libc.mount(type.address, place.address, type.address, 0, 0);
    if (result < 0) throw new Error(`cannot mount a tmpfs: ${errnoName(result)}; run as root`);
  }
  const found = fileSystemOf(workDir);
  if (found === fs) return workDir;
  rmSync(workDir, { recursive: true });
  throw new Error(`${dir} is on ${found}, not on ${fs}: choose another place with --dir`);
}

/** Removes the work directory, unless something is still mounted in it. */
export function removeWorkDir(workDir: string, fs: 'ext4' | 'tmpfs'): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'latin1');
  if (mounts.includes(` ${workDir}/`)) {
    console.error(`${workDir} is left as it is: something is still mounted in it`);
    return;
  }
  if (fs === 'tmpfs') detach(workDir);
  rmSync(workDir, { recursive: true, force: true });
}
