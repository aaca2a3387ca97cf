/** What the daemon must not reach through the mount it serves: it would wait for itself. */
import { realpathSync } from 'node:fs';

/**
 * Whether a mount hides this path. To be asked before it is mounted.
 *
 * @param mountpoint real path of the mount point, or `/dev/fd/N`
 * @param path an absolute path; what does not exist of it is taken as it is written
 */
export function isHidden(mountpoint: string, path: string): boolean {
  return isAtOrBelow(mountpoint, path) || isAtOrBelow(mountpoint, realPath(path));
}

function isAtOrBelow(mountpoint: string, path: string): boolean {
  return path === mountpoint || path.startsWith(`${mountpoint}/`);
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
