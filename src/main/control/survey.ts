/**
 * The sluice mounts of this mount namespace and the daemons behind them: the kernel says what is
 * mounted, each daemon tells the rest. No mount is touched, so none can hang who asks.
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SluiceError } from '../../shared/errors.ts';
import { type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { FS_TYPE } from '../session/fs-type.ts';
import { ControlClient, NoAnswerError } from './client.ts';
import { ControlError, type StatusReport } from './protocol.ts';
import { isSocketName, ownRuntimeDir, runtimeDirOfUser } from './runtime-dir.ts';

/** How long a daemon may take to answer. */
export const ANSWER_MS = 2000;
const MAX_SOCKETS = 256;

/** A daemon that answered. */
export interface KnownDaemon {
  readonly socket: string;
  readonly status: StatusReport;
}

/** A socket behind which nobody answered, and why. */
export interface SilentSocket {
  readonly socket: string;
  readonly reason: string;
}

export interface Survey {
  /** Every sluice mount of the namespace, in the kernel's order. */
  readonly mounts: readonly { readonly row: MountRow; readonly daemon: KnownDaemon | undefined }[];
  /** Daemons whose mounts are not seen from here. */
  readonly elsewhere: readonly KnownDaemon[];
  /** Sockets of daemons that hang. Those of dead ones are left out. */
  readonly silent: readonly SilentSocket[];
}

/** The uid that a FUSE mount belongs to; undefined when the kernel does not say. */
export function ownerOf(row: MountRow): number | undefined {
  const digits = /(?:^|,)user_id=(\d+)(?:,|$)/.exec(row.superOptions)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * Asks every daemon whose socket is found.
 *
 * @param runtimeDir where to look; without it, where the daemons of this user are, and for root
 * those of the owners of the mounts as well
 */
export async function surveyMounts(runtimeDir: string | undefined): Promise<Survey> {
  const rows = readMountInfo().filter((row) => row.fsType === FS_TYPE);
  const sockets =
    runtimeDir === undefined
      ? likelyDirectories(rows).flatMap(socketsIn)
      : socketsInGiven(runtimeDir);
  const answers = await Promise.all(sockets.slice(0, MAX_SOCKETS).map(askStatus));
  const daemons = answers.filter((answer) => 'status' in answer);
  const mounts = rows.map((row) => ({
    row,
    daemon: daemons.find(
      ({ socket, status }) =>
        status.connection === row.devMinor &&
        (runtimeDir !== undefined || mayServe(dirname(socket), row)),
    ),
  }));
  return {
    mounts,
    elsewhere: daemons.filter((daemon) => !mounts.some((mount) => mount.daemon === daemon)),
    silent: answers.filter(
      (answer) => 'reason' in answer && !DEAD.has(answer.reason),
    ) as SilentSocket[],
  };
}

/**
 * Whether a daemon with its socket in this directory may be taken for that of a mount. What answers in
 * another user's directory may say anything, and is believed about that user's mounts alone.
 */
export function mayServe(directory: string, row: MountRow): boolean {
  if (directory === ownRuntimeDir()) return true;
  const owner = ownerOf(row);
  return owner !== undefined && directory === runtimeDirOfUser(owner);
}

/** What connect(2) says where a daemon was, and where none ever was. */
const DEAD = new Set(['ECONNREFUSED', 'ENOENT']);

function likelyDirectories(rows: readonly MountRow[]): string[] {
  const isRoot = process.geteuid?.() === 0;
  const owners = isRoot ? rows.map(ownerOf).filter((uid) => uid !== undefined) : [];
  // A user can mount a file system of his own there, and have it hang whoever looks.
  const mounted = readMountInfo().map((row) => row.mountPoint);
  const ofOwners = owners.map(runtimeDirOfUser).filter((path) => !mounted.includes(path));
  return [...new Set([ownRuntimeDir(), ...ofOwners])];
}

function socketsIn(directory: string): string[] {
  try {
    return readSockets(directory);
  } catch {
    // Not there, or not ours to read: no daemon of ours is behind it.
    return [];
  }
}

function socketsInGiven(directory: string): string[] {
  try {
    return readSockets(directory);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const message = `--runtime-dir: ${directory} cannot be read (${code}); give the directory that the daemon was given`;
    throw new SluiceError('ERR_SLUICE_USAGE', message, { cause });
  }
}

function readSockets(directory: string): string[] {
  return readdirSync(directory)
    .filter(isSocketName)
    .map((name) => join(directory, name));
}

async function askStatus(socket: string): Promise<KnownDaemon | SilentSocket> {
  const client = new ControlClient(socket);
  try {
    const status = await client.ask({ op: 'status' }, ANSWER_MS);
    return isStatus(status) ? { socket, status } : { socket, reason: 'it is no sluice daemon' };
  } catch (error) {
    if (error instanceof NoAnswerError) return { socket, reason: error.reason };
    if (error instanceof ControlError) return { socket, reason: error.message };
    throw error;
  } finally {
    client.close();
  }
}

/** The socket may be another user's, and behind it anything. */
function isStatus(status: StatusReport | null): status is StatusReport {
  return (
    typeof status?.pid === 'number' &&
    typeof status.mountpoint === 'string' &&
    typeof status.source === 'string' &&
    (status.operations === null || Array.isArray(status.operations?.each))
  );
}
