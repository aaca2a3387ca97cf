/**
 * The control socket of a daemon. It lives on main's event loop and must not delay a request: it
 * makes no system call on a file system while the mount is served, and what clients can make it do
 * is bounded (see connection.ts).
 */
import { createServer, type Server, type Socket } from 'node:net';
import { SluiceError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import { isDeadSocket } from '../../shared/socket-path.ts';
import { umask } from '../../shared/sys/libc.ts';
import { Connection, type ControlTarget, compileRequests } from './connection.ts';
import { MAX_CONTROL_CONNECTIONS, ownRuntimeDir } from './runtime-dir.ts';
import {
  prepareSocketPath,
  removeDeadSockets,
  SocketFileError,
  unlinkIfThere,
  unusable,
} from './socket-file.ts';

export interface ControlSettings {
  /** The directory that was asked for; undefined for the user's own, which may fail. */
  readonly runtimeDir: string | undefined;
  /** Names the socket. */
  readonly id: string;
  /** Real path of the mount point, or `/dev/fd/N`. */
  readonly mountpoint: string;
  readonly logger: Logger;
}

const BACKLOG = 16;
/** Only the owner may connect. */
const SOCKET_UMASK = 0o177;

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  readonly #connections = new Set<Connection>();

  constructor(server: Server, path: string, target: ControlTarget, logger: Logger) {
    this.#server = server;
    this.#path = path;
    server.maxConnections = MAX_CONTROL_CONNECTIONS;
    server.on('connection', (socket) => this.#take(socket, target));
    let isReported = false;
    // accept(2) may fail for want of descriptors; libuv goes on.
    server.on('error', (error) => {
      if (!isReported) logger.warn({ err: error }, 'a client of the control socket was lost');
      isReported = true;
    });
    server.unref();
  }

  /** Tells those who wait for the daemon's end, and removes the socket. */
  close(result: unknown): void {
    this.#server.close();
    for (const connection of this.#connections) connection.end(result);
    unlinkIfThere(this.#path);
  }

  #take(socket: Socket, target: ControlTarget): void {
    socket.unref();
    const connection: Connection = new Connection(socket, target, () =>
      this.#connections.delete(connection),
    );
    this.#connections.add(connection);
  }
}

/**
 * Starts to listen. Without a directory to do so, one warning, and the mount goes without a socket;
 * if the directory was asked for, that is an error.
 *
 * @throws SluiceError ERR_SLUICE_OPTION
 */
export async function openControl(
  settings: ControlSettings,
  target: ControlTarget,
): Promise<ControlServer | undefined> {
  const { runtimeDir, id, mountpoint, logger } = settings;
  const directory = runtimeDir ?? ownRuntimeDir();
  try {
    const path = prepareSocketPath(directory, id, mountpoint);
    await removeDeadSockets(directory);
    compileRequests();
    const server = await listenAlone(directory, path);
    logger.info({ socket: path }, 'control socket');
    return new ControlServer(server, path, target, logger);
  } catch (error) {
    const reason = error instanceof SocketFileError ? error : unusable(directory, error);
    if (runtimeDir !== undefined) {
      throw new SluiceError('ERR_SLUICE_OPTION', `runtime_dir: ${reason.message}`, {
        cause: error,
      });
    }
    logger.warn(
      `no control socket, so sluice status, top and umount do not reach this daemon: ${reason.message} with --runtime-dir`,
    );
    return undefined;
  }
}

/** Listens on a path that a dead daemon may have left, and a live one may have taken. */
async function listenAlone(directory: string, path: string): Promise<Server> {
  try {
    return await listen(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw unusable(directory, error);
  }
  if (!(await isDeadSocket(path))) {
    throw new SocketFileError(
      `${path} is in use by a running daemon; give another directory, or end that daemon`,
    );
  }
  unlinkIfThere(path);
  return listen(path);
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.on('listening', () => {
      server.off('error', reject);
      resolve(server);
    });
    // The file is made before listen() returns, so the umask is nobody else's for long.
    const before = umask(SOCKET_UMASK);
    try {
      server.listen({ path, backlog: BACKLOG, exclusive: true });
    } finally {
      umask(before);
    }
  });
}
