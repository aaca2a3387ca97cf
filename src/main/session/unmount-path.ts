/** Unmounting what another process has mounted, or has left behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { SluiceError } from '../../shared/errors.ts';
import { hasCapability } from '../../shared/sys/capabilities.ts';
import { CAP_SYS_ADMIN } from '../../shared/sys/constants.ts';
import { findMountById, type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { findFusermount, unmountByHelper } from './fusermount.ts';
import { makeUnmountPool, within } from './unmount-pool.ts';

const RETRY_MS = 100;
/** An idle mount whose daemon lives needs a moment to be flushed. */
const LEAST_MS = 1000;

/** `stuck`: the call does not return, and the mount is still in the tree. */
export type PathOutcome = 'unmounted' | 'busy' | 'stuck';

export interface PathRequest {
  readonly lazy: boolean;
  /** How long a busy mount is waited for, if it is not taken out of the tree at once. */
  readonly timeoutMs: number;
}

/**
 * Unmounts by umount2(2) where that is allowed, else by fusermount3. A thread may still be in the
 * call afterwards.
 *
 * @throws SluiceError ERR_SLUICE_PERMISSION, ERR_SLUICE_MOUNT
 */
export async function unmountPath(
  row: MountRow,
  { lazy, timeoutMs }: PathRequest,
): Promise<PathOutcome> {
  const isPrivileged = hasCapability(CAP_SYS_ADMIN);
  const attempt = isPrivileged
    ? await ownAttempt(row.mountPoint, lazy)
    : helperAttempt(row.mountPoint, lazy);
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const errno = await within(Math.max(untilMs - performance.now(), LEAST_MS), attempt());
    const isMounted = findMountById(readMountInfo(), row.mountId) !== undefined;
    if (!isMounted) return 'unmounted';
    if (errno === undefined) return 'stuck';
    if (errno === -ERRNO.EINVAL && !isPrivileged) {
      throw notPermitted(row.mountPoint, 'fusermount3 does not find it among those of this user');
    }
    if (errno !== -ERRNO.EBUSY) throw refusal(row.mountPoint, errno);
    if (performance.now() + RETRY_MS > untilMs) return 'busy';
    await sleep(RETRY_MS);
  }
}

type Attempt = () => Promise<number>;

async function ownAttempt(mountpoint: string, lazy: boolean): Promise<Attempt> {
  const pool = makeUnmountPool();
  // A thread that is ended while it loads koffi takes the whole process with it.
  await pool.run(undefined, { name: 'loaded' });
  return () => pool.run(mountpoint, { name: lazy ? 'detach' : 'unmountPlainly' });
}

function helperAttempt(mountpoint: string, lazy: boolean): Attempt {
  const helper = findFusermount();
  if (helper === undefined) throw notPermitted(mountpoint, 'there is no fusermount3 in PATH');
  return () => unmountByHelper(helper, mountpoint, lazy);
}

function refusal(mountpoint: string, errno: number): SluiceError {
  if (errno === -ERRNO.EPERM) return notPermitted(mountpoint, 'the kernel does not allow it');
  const reason = `cannot unmount ${mountpoint}: ${errnoName(errno)}`;
  return new SluiceError('ERR_SLUICE_MOUNT', `${reason}; see sluice status`);
}

function notPermitted(mountpoint: string, reason: string): SluiceError {
  const message = `cannot unmount ${mountpoint}: ${reason}; be root, or the user who mounted it`;
  return new SluiceError('ERR_SLUICE_PERMISSION', message);
}
