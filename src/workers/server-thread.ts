/** What a thread does before it acts for callers: lanes, and the threads that serve queues of io_uring. */
import { errnoName } from '../shared/abi/errno.ts';
import type { Context } from '../shared/passthrough/context.ts';
import { CLONE_FS } from '../shared/sys/constants.ts';
import { fchdir, umask, unshare } from '../shared/sys/libc.ts';

/**
 * Gives the thread a working directory and umask of its own: "<fd>" then names what /proc/self/fd/<fd>
 * does, and files get the mode the kernel asked for.
 */
export function becomeServer(procSelfFd: number): void {
  const error = unshare(CLONE_FS);
  // Going on would set them for the whole process, and threads would overwrite each other's umask.
  if (error < 0)
    throw new Error(`unshare(CLONE_FS): ${errnoName(error)}; allow it in the seccomp profile`);
  umask(0);
  fchdir(procSelfFd);
}

/** The daemon's own groups must not help a caller. */
export function dropOwnGroups(ctx: Context): void {
  const error = ctx.credentials.dropGroups();
  if (error < 0) throw new Error(`setgroups: ${errnoName(error)}; allow it in the seccomp profile`);
}
