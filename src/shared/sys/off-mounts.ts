/**
 * Paths resolved without asking any mount point: one whose server hangs would hang us. Paths are
 * latin1 strings, one character per byte, so that any name survives.
 */
import { readlinkSync } from 'node:fs';
import { findMountByPoint, type MountRow } from './mountinfo.ts';

const MAX_SYMLINKS = 40;

/** The path goes through more symbolic links than Linux follows. */
export class TooManyLinksError extends Error {}

/** The mount that is seen at a real path. */
export function mountAt(mounts: readonly MountRow[], path: string): MountRow | undefined {
  return findMountByPoint(mounts, Buffer.from(path, 'latin1'));
}

/**
 * realpath(3) that does not look at mount points: they are never symbolic links.
 *
 * @param isOpaque mounts in which nothing is looked at either: what is below them is taken as text
 * @throws TooManyLinksError, and what readlink(2) throws
 */
export function resolveOffMounts(
  path: string,
  mounts: readonly MountRow[],
  isOpaque: (mount: MountRow) => boolean = () => false,
): string {
  const bytes = Buffer.from(path).toString('latin1');
  const pending = bytes.split('/').reverse();
  let resolved = bytes.startsWith('/') ? '' : linkTarget('/proc/self/cwd');
  let followed = 0;
  while (pending.length > 0) {
    const name = pending.pop();
    if (name === undefined || name === '' || name === '.') {
      continue;
    }
    if (name === '..') {
      resolved = resolved.slice(0, Math.max(resolved.lastIndexOf('/'), 0));
      continue;
    }
    const next = resolved === '/' ? `/${name}` : `${resolved}/${name}`;
    const isText = mountAt(mounts, next) !== undefined || isWithin(resolved, mounts, isOpaque);
    const target = isText ? undefined : symlinkTarget(next);
    if (target === undefined) {
      resolved = next;
      continue;
    }
    followed += 1;
    if (followed > MAX_SYMLINKS) {
      throw new TooManyLinksError(path);
    }
    pending.push(...target.split('/').reverse());
    resolved = target.startsWith('/') ? '' : resolved;
  }
  return resolved === '' ? '/' : resolved;
}

/** Whether the mount a directory lies on is one of those. */
function isWithin(
  directory: string,
  mounts: readonly MountRow[],
  isOpaque: (mount: MountRow) => boolean,
): boolean {
  for (let at = directory; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) {
    const mount = mountAt(mounts, at);
    if (mount !== undefined) return isOpaque(mount);
  }
  return false;
}

function linkTarget(path: string): string {
  return readlinkSync(Buffer.from(path, 'latin1'), 'buffer').toString('latin1');
}

/** Where a symbolic link points to; undefined for everything that is none. */
function symlinkTarget(path: string): string | undefined {
  try {
    return linkTarget(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') {
      return undefined;
    }
    throw error;
  }
}
