/** Unix sockets in the file system, as daemons leave and find them. Loads nothing native. */
import { createConnection } from 'node:net';

/** sun_path has room for 108 bytes, the NUL included (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;
const PROBE_MS = 1000;

/** Whether no process listens on a socket any more. One that does not answer is alive. */
export function isDeadSocket(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const settle = (dead: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(dead);
    };
    const timer = setTimeout(() => settle(false), PROBE_MS);
    socket.on('connect', () => settle(false));
    socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code === 'ECONNREFUSED'));
  });
}
