/** From a path on the command line to a mount, without touching any. */
import { SluiceError } from '../../shared/errors.ts';
import { findMountByPoint, type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { resolveOffMounts, TooManyLinksError } from '../../shared/sys/off-mounts.ts';
import { FS_TYPE } from '../session/fs-type.ts';

/**
 * The sluice mount at a path.
 *
 * @throws SluiceError ERR_SLUICE_MOUNTPOINT when there is none
 */
export function findSluiceMount(path: string): MountRow {
  const mounts = readMountInfo();
  const real = Buffer.from(realPath(path, mounts), 'latin1');
  const row = findMountByPoint(mounts, real);
  if (row === undefined) throw notMounted(path, real, mounts);
  if (row.fsType !== FS_TYPE) {
    const reason = `it is a mount of type ${row.fsType}, not one of sluice`;
    throw mountpointError(path, `${reason}; umount(8) unmounts it`);
  }
  return row;
}

function realPath(path: string, mounts: readonly MountRow[]): string {
  try {
    // What lies below a sluice mount is not asked: its daemon may hang.
    return resolveOffMounts(path, mounts, (mount) => mount.fsType === FS_TYPE);
  } catch (error) {
    if (error instanceof TooManyLinksError) throw mountpointError(path, 'too many symbolic links');
    const code = (error as NodeJS.ErrnoException).code;
    const reason = code === 'ENOENT' ? 'no such directory' : `it cannot be reached (${code})`;
    throw mountpointError(path, `${reason}; correct the path`);
  }
}

function notMounted(path: string, real: Buffer, mounts: readonly MountRow[]): SluiceError {
  const around = mounts.findLast(
    ({ fsType, mountPoint }) => fsType === FS_TYPE && real.toString().startsWith(`${mountPoint}/`),
  );
  const cure =
    around === undefined
      ? 'sluice status lists the mounts'
      : `it lies in the sluice mount ${around.mountPoint}`;
  return mountpointError(path, `nothing is mounted there; ${cure}`);
}

function mountpointError(path: string, reason: string): SluiceError {
  return new SluiceError('ERR_SLUICE_MOUNTPOINT', `${path}: ${reason}`);
}
