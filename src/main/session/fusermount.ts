/**
 * fusermount3, the setuid helper that mounts and unmounts for users without CAP_SYS_ADMIN. It opens
 * /dev/fuse, with the rights of its caller, and hands the descriptor back over a socket
 * (SCM_RIGHTS, unix(7)).
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { SluiceError } from '../../shared/errors.ts';
import {
  AF_UNIX,
  MSG_CMSG_CLOEXEC,
  SOCK_CLOEXEC,
  SOCK_STREAM,
} from '../../shared/sys/constants.ts';
import { addressOf, close, socketpair } from '../../shared/sys/libc.ts';
import { receiveDescriptor } from '../../shared/sys/unix-socket.ts';

const HELPER_TIMEOUT_MS = 10_000;
/** The number the socket gets in the helper: the first after the standard three. */
const HELPER_SOCKET_FD = 3;

/** mount(8) runs its helpers without PATH. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The path of fusermount3, or of the older fusermount, in PATH. */
export function findFusermount(): string | undefined {
  const folders = (process.env['PATH'] ?? DEFAULT_PATH)
    .split(':')
    .filter((folder) => folder !== '');
  const candidates = ['fusermount3', 'fusermount'].flatMap((name) =>
    folders.map((folder) => path.join(folder, name)),
  );
  return candidates.find(isExecutable);
}

/** The helper's path. Throws SluiceError ERR_SLUICE_PERMISSION when there is none. */
export function requireFusermount(): string {
  const program = findFusermount();
  if (program === undefined) {
    throw new SluiceError(
      'ERR_SLUICE_PERMISSION',
      'cannot mount: no CAP_SYS_ADMIN, and no fusermount3 in PATH; run as root or install the package fuse3',
    );
  }
  return program;
}

/**
 * Mounts by the helper and returns the /dev/fuse descriptor (close-on-exec). `options` is its `-o`
 * text. Throws SluiceError ERR_SLUICE_MOUNT with the helper's own words. A helper that was killed may
 * leave its mount behind.
 */
export function mountByHelper(program: string, mountpoint: string, options: string): number {
  const sockets = openSockets();
  const run = spawnSync(program, ['-o', options, '--', mountpoint], {
    stdio: ['ignore', 'ignore', 'pipe', sockets.theirs],
    env: { ...process.env, LC_ALL: 'C', _FUSE_COMMFD: String(HELPER_SOCKET_FD) },
    encoding: 'utf8',
    timeout: HELPER_TIMEOUT_MS,
  });
  // With the helper's end closed a missing descriptor reads as end of file instead of a wait.
  close(sockets.theirs);
  const fuseFd = receiveDescriptor(sockets.ours, MSG_CMSG_CLOEXEC) ?? -ERRNO.EPROTO;
  close(sockets.ours);
  if (run.status === 0 && fuseFd >= 0) {
    return fuseFd;
  }
  if (fuseFd >= 0) {
    close(fuseFd);
  }
  const reason = run.error?.message ?? joinLines(run.stderr, 'it handed over no descriptor');
  throw new SluiceError('ERR_SLUICE_MOUNT', `cannot mount on ${mountpoint}: ${reason}`, {
    cause: run.error,
  });
}

/** Takes back a mount whose descriptor is closed already. Waits for the helper. */
export function discardByHelper(program: string, mountpoint: string): void {
  spawnSync(program, ['-u', '-z', '--', mountpoint], {
    stdio: 'ignore',
    timeout: HELPER_TIMEOUT_MS,
  });
}

/**
 * Unmounts by the helper; lazily it only takes the mount out of the tree. 0, or `-EBUSY`, or
 * `-EINVAL` when nothing of ours is mounted there. Rejects with SluiceError ERR_SLUICE_MOUNT for
 * the rest.
 */
export async function unmountByHelper(
  program: string,
  mountpoint: string,
  lazily: boolean,
): Promise<number> {
  const { status, text } = await runHelper(program, [
    '-u',
    ...(lazily ? ['-z'] : []),
    '--',
    mountpoint,
  ]);
  if (status === 0) {
    return 0;
  }
  if (/busy/i.test(text)) {
    return -ERRNO.EBUSY;
  }
  if (/not found|not mounted|Invalid argument|No such file/i.test(text)) {
    return -ERRNO.EINVAL;
  }
  throw new SluiceError('ERR_SLUICE_MOUNT', `cannot unmount ${mountpoint}: ${text}`);
}

/** Escapes what separates options in fusermount's `-o` text. */
export function escapeOption(value: string): string {
  return value.replace(/[\\,]/g, '\\$&');
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function openSockets(): { ours: number; theirs: number } {
  const fds = new Int32Array(new SharedArrayBuffer(8));
  const made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, addressOf(fds));
  if (made < 0) {
    throw new SluiceError('ERR_SLUICE_SYSTEM', `cannot make a socket pair: ${errnoName(made)}`);
  }
  return { ours: fds[0] ?? -1, theirs: fds[1] ?? -1 };
}

function runHelper(program: string, args: string[]): Promise<{ status: number; text: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let text = '';
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (part: string) => {
      text += part;
    });
    child.on('error', (error) => resolve({ status: -1, text: error.message }));
    child.on('close', (status) =>
      resolve({ status: status ?? -1, text: joinLines(text, `${program} was killed`) }),
    );
  });
}

function joinLines(text: string, otherwise: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').join('; ') || otherwise;
}
