/** The path of a Unix socket to listen at: checked, and free of what an earlier daemon left there. */
import { lstatSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';

/** sockaddr_un holds 108 bytes, the last one 0 (unix(7)). */
const MAX_PATH_BYTES = 107;
const CONNECT_TIMEOUT_MS = 2000;

/** Why a path cannot be listened at, and what to do. */
export class SocketPathError extends Error {}

/**
 * Makes way for a socket at this path: a socket nobody listens at goes.
 * @throws SocketPathError
 */
export async function clearSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) {
    throw new SocketPathError(
      `${path} has ${bytes} bytes and a socket's path ${MAX_PATH_BYTES} at the most; choose a shorter one`,
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
  if (await isListenedAt(path)) {
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

/** Whether somebody accepts connections; also when that cannot be told. */
function isListenedAt(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (isLive: boolean): void => {
      socket.destroy();
      resolve(isLive);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => settle(true));
    socket.once('connect', () => settle(true));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => settle(code !== 'ECONNREFUSED'));
  });
}
