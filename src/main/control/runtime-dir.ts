/**
 * The runtime directory: where each daemon leaves its socket, and where commands look for it. Loads
 * nothing native, since the commands use it.
 */
import { join } from 'node:path';

/** Clients of one socket at a time. */
export const MAX_CONTROL_CONNECTIONS = 8;

const SUFFIX = '.sock';
/** A uuid, as {@link socketPath} is given. */
const SOCKET_NAME = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}\.sock$/;

/** Where a daemon that this process starts leaves its socket, unless told otherwise. */
export function ownRuntimeDir(): string {
  const uid = process.geteuid?.() ?? 0;
  const sessionDir = process.env['XDG_RUNTIME_DIR'];
  return uid !== 0 && sessionDir !== undefined && sessionDir !== ''
    ? join(sessionDir, 'sluice')
    : runtimeDirOfUser(uid);
}

/** The runtime directory of any user, where the system makes one at login. */
export function runtimeDirOfUser(uid: number): string {
  return uid === 0 ? '/run/sluice' : `/run/user/${uid}/sluice`;
}

/** The socket of a mount instance. */
export function socketPath(runtimeDir: string, id: string): string {
  return join(runtimeDir, id + SUFFIX);
}

/** Whether a name in a runtime directory, which may hold other things, is that of a mount instance's socket. */
export function isSocketName(name: string): boolean {
  return SOCKET_NAME.test(name);
}
