/** What /proc/PID/mountinfo says, and the two ways to get rid of a mount whose daemon is dead. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export interface MountLine {
  readonly mountpoint: string;
  /** For example `fuse.sluice`. */
  readonly type: string;
  /** Of the device number: the name of the connection below /sys/fs/fuse/connections. */
  readonly minor: number;
}

const CONNECTIONS = '/sys/fs/fuse/connections';
const UNMOUNT_TIMEOUT_MS = 10_000;

/** Mountinfo writes blank, tab, newline and backslash as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** The mounts a process sees; none when it is gone. */
export function readMounts(pid: number | 'self' = 'self'): MountLine[] {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [front, back] = line.split(' - ');
      const fields = (front as string).split(' ');
      return {
        mountpoint: unescapeOctal(fields[4] as string),
        type: (back as string).split(' ')[0] as string,
        minor: Number((fields[2] as string).split(':')[1]),
      };
    });
}

/** Ends a FUSE connection: every request that waits, and all that come, fail. */
export function abortConnection(minor: number): void {
  const connection = `${CONNECTIONS}/${minor}`;
  // Containers often come without the control file system.
  if (!existsSync(connection)) spawnSync('mount', ['-t', 'fusectl', 'fusectl', CONNECTIONS]);
  try {
    writeFileSync(`${connection}/abort`, '1');
  } catch {
    // It is gone already, or belongs to another user.
  }
}

/** Whether a daemon serves it through /dev/fuse. */
export function isFuse(mount: MountLine): boolean {
  return mount.type === 'fuse' || mount.type.startsWith('fuse.');
}

/**
 * Takes a mount out of the tree without asking its daemon, and aborts its connection if it has one.
 * Other file systems' minor numbers say nothing about FUSE connections.
 */
export function forceUnmount(mount: MountLine): void {
  if (isFuse(mount)) abortConnection(mount.minor);
  spawnSync('umount', ['-l', mount.mountpoint], { timeout: UNMOUNT_TIMEOUT_MS });
}
