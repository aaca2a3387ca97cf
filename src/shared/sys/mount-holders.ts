/** Who keeps a mount busy. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const MAX_HOLDERS = 5;

/**
 * A few of the processes that keep a mount busy, as `name[pid]`: by working directory, root or an
 * open file. Their links are read as text, which asks the mount nothing.
 */
export function findHolders(mountpoint: string): string[] {
  const holders: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (holders.length < MAX_HOLDERS && isHolder(pid, mountpoint)) {
      holders.push(`${commandName(pid)}[${pid}]`);
    }
  }
  return holders;
}

function isHolder(pid: string, mountpoint: string): boolean {
  const links = [`/proc/${pid}/cwd`, `/proc/${pid}/root`];
  return (
    links.some((link) => leadsInto(link, mountpoint)) ||
    openFiles(pid).some((fd) => leadsInto(`/proc/${pid}/fd/${fd}`, mountpoint))
  );
}

function openFiles(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

function leadsInto(link: string, mountpoint: string): boolean {
  try {
    const target = readlinkSync(link);
    return target === mountpoint || target.startsWith(`${mountpoint}/`);
  } catch {
    return false;
  }
}

function commandName(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '?';
  }
}
