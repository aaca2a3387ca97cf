/**
 * The blocking steps of an unmount. They wait for the daemon's own answers, so they run on a thread
 * that serves nothing.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { MNT_DETACH, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../shared/sys/constants.ts';
import { CString, close, open, syncfs, umount2 } from '../shared/sys/libc.ts';

/** umount2(2): do not follow a symbolic link that took the mount point's place. */
const UMOUNT_NOFOLLOW = 8;
const MAX_HOLDERS = 5;

/** Answers when the thread has loaded all it needs. */
export function loaded(): void {}

/** Unmounts after the kernel has written dirty pages back; 0 or `-errno`. */
export function unmountPlainly(mountpoint: string): number {
  return umount2(new CString(mountpoint).address, UMOUNT_NOFOLLOW);
}

/** Takes the mount out of the tree; it ends when its last user leaves. 0 or `-errno`. */
export function detach(mountpoint: string): number {
  return umount2(new CString(mountpoint).address, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/** Has the kernel write the mount's dirty pages back; 0 or `-errno`. */
export function flush(mountpoint: string): number {
  const fd = open(new CString(mountpoint).address, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return fd;
  }
  const synced = syncfs(fd);
  close(fd);
  return synced;
}

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
