/**
 * Who makes a system call. A thread's credentials are its own: raw calls switch those of the main
 * thread, so that one process acts as every user and errno is exact. The real and effective ids
 * change (access(2) asks for the real ones) and the saved user id stays root's, which is the way back
 * and counts in no check of a file system. Leaving uid 0 empties the effective capabilities; coming
 * back fills them again.
 */

import { addressOf } from '../../src/shared/sys/libc.ts';
import { syscall } from '../harness/native.ts';
import { PR_SET_DUMPABLE, SYS } from './numbers.ts';

export interface Identity {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** A group that alice and bob have beside their own. */
export const TEAM_GID = 65541;

export const ROOT: Identity = { name: 'root', uid: 0, gid: 0, groups: [] };
export const ALICE: Identity = { name: 'alice', uid: 65531, gid: 65531, groups: [TEAM_GID] };
export const BOB: Identity = { name: 'bob', uid: 65532, gid: 65532, groups: [TEAM_GID] };
/** A user of many groups; the request of a FUSE client carries none of them. */
export function inGroups(name: string, groups: readonly number[]): Identity {
  return { name, uid: 65530, gid: 65530, groups };
}

export const CAROL: Identity = { name: 'carol', uid: 65533, gid: 65533, groups: [] };

/** Of one identity. */
const MOST_GROUPS = 1024;
const groupCells = new Int32Array(new SharedArrayBuffer(MOST_GROUPS * 4));
const groupAddress = addressOf(groupCells);

function check(result: number, what: string): void {
  if (result < 0) throw new Error(`${what} failed with ${result}`);
}

function become({ uid, gid, groups }: Identity): void {
  groupCells.set(groups);
  check(syscall(SYS.setgroups, groups.length, groupAddress), 'setgroups');
  check(syscall(SYS.setresgid, gid, gid, gid), 'setresgid');
  check(syscall(SYS.setresuid, uid, uid, 0), 'setresuid');
  // Else /proc/self is root's alone, and with it the way to link a file without a name.
  check(syscall(SYS.prctl, PR_SET_DUMPABLE, 1), 'prctl');
}

function becomeRoot(): void {
  check(syscall(SYS.setresuid, 0, 0, 0), 'setresuid');
  check(syscall(SYS.setresgid, 0, 0, 0), 'setresgid');
  check(syscall(SYS.setgroups, 0, groupAddress), 'setgroups');
}

/** Runs `action` with a user's credentials on this thread. */
export function as<T>(user: Identity, action: () => T): T {
  if (user.uid === 0 && user.gid === 0 && user.groups.length === 0) return action();
  become(user);
  try {
    return action();
  } finally {
    becomeRoot();
  }
}
