/**
 * Undoing the mount while it is being served. The kernel writes dirty pages back through the daemon
 * before umount2(2) returns, so the main thread never calls it: a pool of its own does, and the
 * caller must keep serving until the promise settles.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Piscina } from 'piscina';
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { SluiceError } from '../../shared/errors.ts';
import { addressOf, poll, read } from '../../shared/sys/libc.ts';
import { findMountByPoint, type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { requireFusermount, unmountByHelper } from './fusermount.ts';
import { FS_TYPE, type MountedDevice, type SessionLog } from './mount.ts';
import { makeUnmountPool, within } from './unmount-pool.ts';

const RETRY_MS = 100;
/** How much of the time goes into waiting for users to leave; the rest is for flushing. */
const RETRY_SHARE = 2 / 3;
/** How long the flush may take that ends an unmount which was not to be lazy. */
const FLUSH_MS = 3000;
/** Detaching waits for nobody unless the mount has become idle meanwhile. */
const DETACH_MS = 2000;
const POOL_CLOSE_MS = 1000;
/** poll(2) says this of a descriptor whose connection is over, or of none. */
const POLLERR_OR_NVAL = 0x08 | 0x20;
/** The kernel refuses a read(2) with less room than the largest request. */
const REQUEST_BYTES = (1 << 20) + 8192;

/**
 * How it ended: `unmounted` cleanly; `lazy`, out of the tree but in use or still being flushed, so
 * that requests may go on to arrive; `gone`, it was not mounted by us any more; `busy`, it is still
 * mounted, where that was preferred to `lazy`.
 */
export type UnmountOutcome = 'unmounted' | 'lazy' | 'gone' | 'busy';

export interface UnmountRequest {
  readonly timeoutMs: number;
  /** Whether a mount that is still busy then stays; else it is taken out of the tree. */
  readonly keepsBusy?: boolean;
  readonly log: SessionLog;
}

/**
 * Unmounts what `mountFuse` mounted: plainly, again while busy, and after `timeoutMs` lazily, which
 * is warned about, unless `keepsBusy`. It takes up to three seconds longer when nobody answers. After `lazy` a thread
 * may still wait for the mount: the process exits only once every descriptor of the connection is
 * closed. `fuseFd` must still be open: it tells our mount from a later one with the same numbers. A
 * given descriptor is left alone. Rejects with SluiceError ERR_SLUICE_MOUNT when the mount could
 * not be taken out of the tree.
 */
export async function unmount(
  device: MountedDevice,
  { timeoutMs, keepsBusy = false, log }: UnmountRequest,
): Promise<UnmountOutcome> {
  if (!device.ownsMount) {
    return 'gone';
  }
  // The second one detaches while the first is stuck in a flush nobody answers.
  const pools = [makeUnmountPool(), makeUnmountPool()] as const;
  try {
    // A thread that is ended while it loads koffi takes the whole process with it.
    await Promise.all(pools.map((pool) => pool.run(undefined, { name: 'loaded' })));
    const unmounting = new Unmounting(device, pools[0], pools[1], log);
    return await (keepsBusy ? unmounting.runPlainly(timeoutMs) : unmounting.run(timeoutMs));
  } finally {
    await within(POOL_CLOSE_MS, Promise.all(pools.map((pool) => pool.destroy())));
  }
}

type Visibility = 'topmost' | 'covered' | 'absent';

class Unmounting {
  readonly #device: MountedDevice;
  readonly #pool: Piscina;
  readonly #detachPool: Piscina;
  readonly #log: SessionLog;
  #deadlineMs = 0;
  #retryUntilMs = 0;
  #delayWasLogged = false;

  constructor(device: MountedDevice, pool: Piscina, detachPool: Piscina, log: SessionLog) {
    this.#device = device;
    this.#pool = pool;
    this.#detachPool = detachPool;
    this.#log = log;
  }

  async run(timeoutMs: number): Promise<UnmountOutcome> {
    const startMs = performance.now();
    this.#deadlineMs = startMs + timeoutMs;
    this.#retryUntilMs = startMs + timeoutMs * RETRY_SHARE;
    return (await this.#untilIdle()) ?? (await this.#lazily());
  }

  async runPlainly(timeoutMs: number): Promise<UnmountOutcome> {
    this.#retryUntilMs = performance.now() + timeoutMs;
    this.#deadlineMs = this.#retryUntilMs + FLUSH_MS;
    return (await this.#untilIdle()) ?? 'busy';
  }

  /** Tries until it works or the time for it is over, then undefined. */
  async #untilIdle(): Promise<UnmountOutcome | undefined> {
    for (;;) {
      const outcome = await this.#attempt();
      if (outcome !== undefined || performance.now() + RETRY_MS > this.#retryUntilMs) {
        return outcome;
      }
      await sleep(RETRY_MS);
    }
  }

  async #attempt(): Promise<UnmountOutcome | undefined> {
    const visibility = this.#visibility();
    if (visibility === 'absent') {
      return this.#gone();
    }
    if (visibility === 'covered') {
      this.#logDelay('another mount lies on top of it');
      return undefined;
    }
    const errno = await within(this.#remainingMs(), this.#unmountPlainly());
    if (errno === undefined) {
      return this.#visibility() === 'absent' ? this.#leftFlushing() : undefined;
    }
    if (errno === -ERRNO.EBUSY) {
      await this.#logHolders();
      return undefined;
    }
    return this.#outcomeOf(errno, 'unmounted');
  }

  async #lazily(): Promise<UnmountOutcome> {
    if (this.#visibility() === 'topmost') {
      await this.#flush();
    }
    const visibility = this.#visibility();
    if (visibility === 'absent') {
      return this.#gone();
    }
    if (visibility === 'covered') {
      throw this.#failure('another mount lies on top of it; unmount that one first');
    }
    const errno = await within(DETACH_MS, this.#detach());
    if (errno === undefined) {
      if (this.#visibility() === 'absent') {
        return this.#leftFlushing();
      }
      throw this.#failure('detaching does not return');
    }
    const outcome = this.#outcomeOf(errno, 'lazy');
    if (outcome === 'lazy') {
      this.#warn(
        'still busy at the deadline: detached lazily; whoever still uses it gets ENOTCONN from now on',
      );
    }
    return outcome;
  }

  async #flush(): Promise<void> {
    const startMs = performance.now();
    const errno = await within(this.#remainingMs(), this.#task('flush'));
    if (errno === undefined) {
      const waitedMs = Math.round(performance.now() - startMs);
      this.#warn(`dirty pages were not written back within ${waitedMs} ms: going on without`);
    } else if (errno < 0) {
      this.#warn(`dirty pages could not be written back: ${errnoName(errno)}`);
    }
  }

  /** umount2 takes the mount out of the tree first and then waits for the write-back. */
  #leftFlushing(): UnmountOutcome {
    this.#warn('out of the tree, but its dirty pages are still being written back');
    return 'lazy';
  }

  #gone(): UnmountOutcome {
    const { mountpoint } = this.#device;
    if (findMountByPoint(readMountInfo(), mountpoint)?.fsType === FS_TYPE) {
      this.#warn(
        `our connection has ended, the sluice mount there is left alone; if nothing serves it, remove it with \`umount -l ${mountpoint}\``,
      );
    }
    return 'gone';
  }

  #outcomeOf(errno: number, success: UnmountOutcome): UnmountOutcome {
    if (errno === 0) {
      return success;
    }
    if (errno === -ERRNO.EINVAL || errno === -ERRNO.ENOENT) {
      return 'gone';
    }
    throw this.#failure(errnoName(errno));
  }

  #failure(reason: string): SluiceError {
    const { mountpoint } = this.#device;
    return new SluiceError(
      'ERR_SLUICE_MOUNT',
      `cannot unmount ${mountpoint}: ${reason}; unmount it with \`umount -l ${mountpoint}\``,
    );
  }

  /** What mountinfo says of our mount: only the topmost one at its point can be unmounted by path. */
  #visibility(): Visibility {
    if (hasEnded(this.#device.fuseFd)) {
      return 'absent';
    }
    const mounts = readMountInfo();
    const { mountpoint } = this.#device;
    const top = findMountByPoint(mounts, mountpoint);
    if (top !== undefined && this.#isOurs(top)) {
      return 'topmost';
    }
    const isBelow = mounts.some((row) => row.mountPoint === mountpoint && this.#isOurs(row));
    return isBelow ? 'covered' : 'absent';
  }

  /** A device number is ours as long as our connection lasts; then the kernel gives it to others. */
  #isOurs(row: MountRow): boolean {
    return row.fsType === FS_TYPE && row.devMinor === this.#device.connection;
  }

  #remainingMs(): number {
    return Math.max(this.#deadlineMs - performance.now(), 0);
  }

  #unmountPlainly(): Promise<number> {
    return this.#device.how === 'mount'
      ? this.#task('unmountPlainly')
      : unmountByHelper(requireFusermount(), this.#device.mountpoint, false);
  }

  #detach(): Promise<number> {
    return this.#device.how === 'mount'
      ? this.#detachPool.run(this.#device.mountpoint, { name: 'detach' })
      : unmountByHelper(requireFusermount(), this.#device.mountpoint, true);
  }

  #task(name: 'unmountPlainly' | 'flush'): Promise<number> {
    return this.#pool.run(this.#device.mountpoint, { name });
  }

  async #logHolders(): Promise<void> {
    if (!this.#delayWasLogged) {
      const search = this.#pool.run(this.#device.mountpoint, { name: 'findHolders' });
      const holders: string[] = (await within(this.#remainingMs(), search)) ?? [];
      this.#logDelay(
        holders.length > 0
          ? `in use by ${holders.join(', ')}`
          : 'in use by another process or mount',
      );
    }
  }

  #logDelay(reason: string): void {
    if (!this.#delayWasLogged) {
      this.#delayWasLogged = true;
      const { mountpoint } = this.#device;
      this.#log.info({ mountpoint }, `waiting to unmount ${mountpoint}: ${reason}`);
    }
  }

  #warn(text: string): void {
    const { mountpoint } = this.#device;
    this.#log.warn({ mountpoint }, `${mountpoint}: ${text}`);
  }
}

/**
 * Whether the mount of a descriptor was unmounted. An aborted connection (ECONNABORTED, given
 * FUSE_ABORT_ERROR) is over too, but its mount is still there.
 */
export function hasEnded(fuseFd: number): boolean {
  const watched = new DataView(new SharedArrayBuffer(8));
  watched.setInt32(0, fuseFd, true);
  poll(addressOf(watched), 1, 0);
  if ((watched.getInt16(6, true) & POLLERR_OR_NVAL) === 0) {
    return false;
  }
  // A connection that is over has no requests left: this read takes none from the receiver.
  const bytes = new Uint8Array(new SharedArrayBuffer(REQUEST_BYTES));
  return read(fuseFd, addressOf(bytes), REQUEST_BYTES) !== -ERRNO.ECONNABORTED;
}
