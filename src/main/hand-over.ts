#!/usr/bin/env node
/**
 * Mounting and serving by two processes, of which only the one that mounts has privileges:
 *
 *     hand-over.js mount SOCKET MOUNTPOINT            with CAP_SYS_ADMIN; never touches the data
 *     hand-over.js serve SOCKET mount SOURCE /dev/fd/N [FLAG ...]      without; becomes `sluice`
 *
 * The descriptor of the mount goes through the Unix socket. Each server that connects gets a mount of
 * its own, in place of the one before: a connection whose server has died cannot be taken up again.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { v7 as uuidv7 } from 'uuid';
import { ERRNO, errnoName } from '../shared/abi/errno.ts';
import { describeFailure, SluiceError } from '../shared/errors.ts';
import { createLogger } from '../shared/log.ts';
import { resolveOptions } from '../shared/options.ts';
import {
  AF_UNIX,
  F_SETFD,
  MNT_DETACH,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_STREAM,
} from '../shared/sys/constants.ts';
import {
  addressOf,
  CString,
  close,
  connect,
  execv,
  exitNow,
  fcntl,
  socket,
  umount2,
} from '../shared/sys/libc.ts';
import { receiveDescriptor, sendDescriptor, unixAddress } from '../shared/sys/unix-socket.ts';
import { connectionNumber, mountFuse } from './session/mount.ts';

const CLI = join(dirname(fileURLToPath(import.meta.url)), 'cli.js');
/** What stands for the descriptor in the arguments of `serve`. */
const PLACEHOLDER = '/dev/fd/N';
/** How long a server waits for the one who mounts: its container may start later. */
const CONNECT_TIMEOUT_MS = 60_000;
const CONNECT_RETRY_MS = 200;

function say(message: string): void {
  process.stderr.write(`hand-over: ${message}\n`);
}

/** Takes a sluice mount out of the tree, whether its server lives or not. */
function discard(mountpoint: string): void {
  while (connectionNumber(mountpoint) >= 0) {
    const left = umount2(new CString(mountpoint).address, MNT_DETACH);
    if (left < 0) {
      say(`${mountpoint} cannot be unmounted: ${errnoName(left)}`);
      return;
    }
  }
}

/** Listens, and mounts for whoever connects, until a signal comes. */
function mountForServers(socketPath: string, mountpoint: string): void {
  rmSync(socketPath, { force: true });
  discard(mountpoint);
  makeMountpoint(mountpoint);
  const server = createServer({ pauseOnConnect: true }, (connection) => {
    connection.on('error', () => undefined);
    try {
      handOver(connection, mountpoint);
    } catch (error) {
      process.stderr.write(`${describeFailure(error).line}\n`);
    }
    connection.destroy();
  });
  server.on('error', (cause) => {
    const message = `${socketPath} cannot be listened at (${cause.message}); give a path in a writable directory`;
    fail(new SluiceError('ERR_SLUICE_SYSTEM', message, { cause }));
  });
  server.listen(socketPath, () => {
    // Who may enter the directory of the socket may serve the mount.
    chmodSync(socketPath, 0o666);
    say(`waiting at ${socketPath} for who serves ${mountpoint}`);
  });
  const end = (): void => {
    discard(mountpoint);
    rmSync(socketPath, { force: true });
    process.exit(0);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

/** In a volume that is empty at first. */
function makeMountpoint(mountpoint: string): void {
  try {
    mkdirSync(mountpoint, { recursive: true });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `mount point ${mountpoint} cannot be made (${reason}); give a directory`;
    throw new SluiceError('ERR_SLUICE_MOUNTPOINT', message, { cause });
  }
}

function handOver(connection: Socket, mountpoint: string): void {
  discard(mountpoint);
  // The source is known to the server alone; of the options those count that a mount has.
  const { options } = resolveOptions({
    source: '/',
    mountpoint,
    fsname: 'sluice',
    allowOther: true,
  });
  const { fuseFd } = mountFuse(options, createLogger({ ...options, mountId: uuidv7() }));
  const sent = sendDescriptor(descriptorOf(connection), fuseFd, MSG_NOSIGNAL);
  // The server's is the only one left: when it dies, users of the mount get an error and no wait.
  close(fuseFd);
  if (sent < 0) {
    discard(mountpoint);
    throw new SluiceError('ERR_SLUICE_SYSTEM', `the mount cannot be sent: ${errnoName(sent)}`);
  }
}

/** Node sends no descriptors through sockets, and tells their own only here. */
function descriptorOf(connection: Socket): number {
  return (connection as unknown as { _handle: { fd: number } })._handle.fd;
}

/** Gets the descriptor and runs `sluice` in the place of this process. */
async function serve(socketPath: string, argv: readonly string[]): Promise<never> {
  if (!argv.includes(PLACEHOLDER)) throw usage();
  const connected = await connectTo(socketPath);
  const fuseFd = receiveDescriptor(connected, 0);
  close(connected);
  if (fuseFd === undefined || fuseFd < 0) {
    const reason = fuseFd === undefined ? 'it could not mount' : errnoName(fuseFd);
    throw new SluiceError(
      'ERR_SLUICE_MOUNT',
      `no mount came from ${socketPath} (${reason}); its log says why`,
    );
  }
  const words = argv.map((word) => (word === PLACEHOLDER ? `/dev/fd/${fuseFd}` : word));
  const strings = [process.execPath, CLI, ...words].map((word) => new CString(word));
  const pointers = new BigUint64Array(new SharedArrayBuffer(8 * (strings.length + 1)));
  strings.forEach(({ address }, index) => {
    pointers[index] = BigInt(address);
  });
  // Node marks its standard streams to be closed.
  for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
  const failed = execv((strings[0] as CString).address, addressOf(pointers));
  throw new SluiceError('ERR_SLUICE_SYSTEM', `sluice cannot be run: ${errnoName(failed)}`);
}

async function connectTo(socketPath: string): Promise<number> {
  const address = unixAddress(socketPath);
  if (address === undefined) {
    throw new SluiceError('ERR_SLUICE_USAGE', `${socketPath}: give an absolute path of 107 bytes`);
  }
  const untilMs = performance.now() + CONNECT_TIMEOUT_MS;
  for (;;) {
    const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const connected = fd < 0 ? fd : connect(fd, addressOf(address.memory), address.sizeBytes);
    if (connected >= 0) return fd;
    if (fd >= 0) close(fd);
    const isTooEarly = connected === -ERRNO.ENOENT || connected === -ERRNO.ECONNREFUSED;
    if (!isTooEarly || performance.now() > untilMs) {
      throw new SluiceError(
        'ERR_SLUICE_MOUNT',
        `nobody mounts at ${socketPath} (${errnoName(connected)}); run hand-over.js mount there`,
      );
    }
    await sleep(CONNECT_RETRY_MS);
  }
}

function usage(): SluiceError {
  const message = `give: mount SOCKET MOUNTPOINT, or: serve SOCKET mount SOURCE ${PLACEHOLDER} [FLAG ...]`;
  return new SluiceError('ERR_SLUICE_USAGE', message);
}

function fail(error: unknown): never {
  const { line, exitCode } = describeFailure(error);
  process.stderr.write(`${line}\n`);
  exitNow(exitCode);
  process.exit(exitCode);
}

const [role, socketPath, ...rest] = process.argv.slice(2);
try {
  if (role === 'mount' && socketPath !== undefined && rest.length === 1) {
    mountForServers(socketPath, rest[0] as string);
  } else if (role === 'serve' && socketPath !== undefined) await serve(socketPath, rest);
  else throw usage();
} catch (error) {
  fail(error);
}
