/** `sluice umount MOUNTPOINT`. */
import { EXIT, type ExitCode, oneLine, SluiceError } from '../../shared/errors.ts';
import { findHolders } from '../../shared/sys/mount-holders.ts';
import { findMountById, type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { ControlClient, NoAnswerError } from '../control/client.ts';
import { ControlError } from '../control/protocol.ts';
import { type KnownDaemon, surveyMounts } from '../control/survey.ts';
import { findSluiceMount } from './find-mount.ts';

export interface UmountOptions {
  /** Take a mount that is still busy after the time out of the tree. */
  readonly lazy: boolean;
  /** How long a busy mount is waited for. */
  readonly timeoutMs: number;
  readonly runtimeDir: string | undefined;
  /** Called before a thread is started that may hang in a system call to the end. */
  onThreads(): void;
}

/** What a daemon may take beyond that for its flush, its last requests and its lanes. */
const ENDING_MS = 20_000;

/**
 * Unmounts: by the daemon, which finishes what is under way, and without one by itself.
 *
 * @returns 0 when the mount is gone
 * @throws SluiceError when there is none, when it is busy, and when it is not allowed
 */
export async function runUmount(path: string, options: UmountOptions): Promise<ExitCode> {
  const row = findSluiceMount(path);
  const daemon = await daemonOf(row, options.runtimeDir);
  if (daemon !== undefined) await unmountByDaemon(daemon, row, options);
  // Also after a daemon in another mount namespace has unmounted there.
  if (isMounted(row)) await unmountHere(row, options);
  return EXIT.ok;
}

function isMounted(row: MountRow): boolean {
  return findMountById(readMountInfo(), row.mountId) !== undefined;
}

/** The daemon to ask: not for a bind mount of its mount, which is not its affair. */
async function daemonOf(
  row: MountRow,
  runtimeDir: string | undefined,
): Promise<KnownDaemon | undefined> {
  const { mounts } = await surveyMounts(runtimeDir);
  const daemon = mounts.find((mount) => mount.row.mountId === row.mountId)?.daemon;
  return daemon?.status.mountpoint === row.mountPoint ? daemon : undefined;
}

/** Returns when the daemon has ended, or does not answer after all. */
async function unmountByDaemon(
  { socket, status }: KnownDaemon,
  row: MountRow,
  { lazy, timeoutMs }: UmountOptions,
): Promise<void> {
  const client = new ControlClient(socket);
  try {
    await client.ask({ op: 'unmount', lazy, timeoutMs }, timeoutMs + ENDING_MS);
  } catch (error) {
    if (error instanceof ControlError) throw fromRefusal(error, row);
    if (!(error instanceof NoAnswerError)) throw error;
    if (error.reason === 'timeout' && !isMounted(row)) warnOfRest(row, status.pid);
  } finally {
    client.close();
  }
}

function fromRefusal(error: ControlError, row: MountRow): SluiceError {
  if (error.code === 'busy') return busy(row);
  return new SluiceError('ERR_SLUICE_MOUNT', `cannot unmount ${row.mountPoint}: ${error.message}`);
}

function warnOfRest({ mountPoint }: MountRow, pid: number): void {
  const rest = `its daemon (pid ${pid}) still answers requests that are under way`;
  process.stderr.write(`${oneLine(`sluice: ${mountPoint} is out of the tree; ${rest}`)}\n`);
}

async function unmountHere(row: MountRow, { lazy, timeoutMs, onThreads }: UmountOptions) {
  // Loads native code, which a daemon that answers makes unnecessary.
  const { unmountPath } = await import('../session/unmount-path.ts');
  onThreads();
  const outcome = await unmountPath(row, { lazy, timeoutMs });
  if (outcome === 'busy') throw busy(row);
  if (outcome === 'stuck') {
    const reason = 'the kernel waits for its daemon, which does not answer';
    const cure = `\`sluice umount --lazy ${row.mountPoint}\` takes it out of the tree`;
    throw new SluiceError('ERR_SLUICE_MOUNT', `${row.mountPoint}: ${reason}; ${cure}`);
  }
}

function busy(row: MountRow): SluiceError {
  const holders = findHolders(row.mountPoint);
  const by = holders.length > 0 ? holders.join(', ') : 'a process or mount that is not seen here';
  const cure = 'end that, or use --lazy';
  return new SluiceError('ERR_SLUICE_MOUNT', `${row.mountPoint} is busy, in use by ${by}; ${cure}`);
}
