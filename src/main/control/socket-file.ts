/**
 * The socket's place in the file system: made before anything is mounted, never touched while the
 * mount is served.
 */
import { lstatSync, mkdirSync, readdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isDeadSocket, MAX_SOCKET_PATH_BYTES } from '../../shared/socket-path.ts';
import { isHidden } from '../session/hidden.ts';
import { isSocketName, socketPath } from './runtime-dir.ts';

/** Why there can be no socket, with the cure. */
export class SocketFileError extends Error {}

const OTHERS_MAY_WRITE = 0o022;
const STICKY = 0o1000;
/** A younger socket may be bound and not listening yet. */
const LEAST_AGE_MS = 10_000;
const MAX_PROBES = 256;

/**
 * The path of a mount's socket, in a directory that is there and that nobody else may write to.
 *
 * @param mountpoint real path of the mount point, or `/dev/fd/N`
 * @throws SocketFileError
 */
export function prepareSocketPath(runtimeDir: string, id: string, mountpoint: string): string {
  const path = socketPath(runtimeDir, id);
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new SocketFileError(
      `${runtimeDir}: the path of the socket in it has ${bytes} bytes, and a socket's may have ${MAX_SOCKET_PATH_BYTES}; give a directory with a shorter path`,
    );
  }
  refuseHidden(mountpoint, runtimeDir);
  makeDirectory(runtimeDir);
  refuseHidden(mountpoint, runtimeDir);
  refuseForeignHands(runtimeDir);
  return path;
}

/** Under the mount the socket would be out of reach, and removing it would wait for ourselves. */
function refuseHidden(mountpoint: string, path: string): void {
  if (!isHidden(mountpoint, path)) return;
  throw new SocketFileError(
    `${path} lies below the mount point, which hides it; give a directory elsewhere`,
  );
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST' && isDirectory(path)) return;
    throw unusable(path, error);
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Whoever may write to the directory could put another socket in the place of ours. */
function refuseForeignHands(path: string): void {
  const { mode, uid } = statSync(path);
  const isOurs = uid === 0 || uid === process.geteuid?.();
  const isClosed = (mode & OTHERS_MAY_WRITE) === 0 || (mode & STICKY) !== 0;
  if (isOurs && isClosed) return;
  const reason = isOurs ? 'may be written to by others' : `belongs to uid ${uid}`;
  throw new SocketFileError(`${path} ${reason}; give a directory of your own with mode 700`);
}

/** The error for a directory in which nothing can be made. */
export function unusable(path: string, error: unknown): SocketFileError {
  const reason = (error as NodeJS.ErrnoException).code ?? String(error);
  return new SocketFileError(
    `no socket can be made in ${path} (${reason}); give a directory that you may write to`,
  );
}

/** Removes the sockets in a directory that dead daemons have left. */
export async function removeDeadSockets(runtimeDir: string): Promise<void> {
  const names = readdirSync(runtimeDir).filter(isSocketName).slice(0, MAX_PROBES);
  await Promise.all(
    names.map(async (name) => {
      const path = join(runtimeDir, name);
      if (isOldSocket(path) && (await isDeadSocket(path))) unlinkIfThere(path);
    }),
  );
}

function isOldSocket(path: string): boolean {
  const status = lstatSync(path, { throwIfNoEntry: false });
  return status?.isSocket() === true && Date.now() - status.mtimeMs > LEAST_AGE_MS;
}

/** Removes a file that another may have removed already. */
export function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else cleans up here, too.
  }
}
