/** The path of a Unix socket to listen at: checked, and free of what an earlier daemon left there. */
import { lstatSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { isDeadSocket, MAX_SOCKET_PATH_BYTES } from '../shared/socket-path.ts';

/** Why a path cannot be listened at, and what to do. */
export class SocketPathError extends Error {}

/**
 * Makes way for a socket at this path: a socket nobody listens at goes.
 * @throws SocketPathError
 */
export async function clearSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new SocketPathError(
      `${path} has ${bytes} bytes and a socket's path ${MAX_SOCKET_PATH_BYTES} at the most; choose a shorter one`,
    );
  }
  const found = look(path);
  if (found === undefined) {
    requireDirectory(dirname(path));
    return;
  }
  if (!found.isSocket()) {
    throw new SocketPathError(`${path} is there and no socket; choose another path`);
  }
  if (!(await isDeadSocket(path))) {
    throw new SocketPathError(
      `${path} is in use by a daemon that runs; choose another path, or stop that one`,
    );
  }
  // Somebody else may have made way, and listen there by now.
  if (look(path)?.ino === found.ino) remove(path);
}

/** libuv says EACCES where bind(2) says ENOENT. */
function requireDirectory(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new SocketPathError(`${path} is no directory; create it or give a path elsewhere`);
}

function look(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw new SocketPathError(`${path} cannot be looked at (${String(error)})`);
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw new SocketPathError(
      `${path} was left by another daemon and cannot be removed (${String(error)})`,
    );
  }
}
