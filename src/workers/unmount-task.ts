/**
 * The blocking steps of an unmount. They wait for the daemon's own answers, so they run on a thread
 * that serves nothing.
 */
import { MNT_DETACH, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../shared/sys/constants.ts';
import { CString, close, open, syncfs, umount2 } from '../shared/sys/libc.ts';

/** umount2(2): do not follow a symbolic link that took the mount point's place. */
const UMOUNT_NOFOLLOW = 8;

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

export { findHolders } from '../shared/sys/mount-holders.ts';
