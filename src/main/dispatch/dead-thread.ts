/** What a dead thread held, as its journal tells: for lanes, and for threads that serve queues. */
import { existsSync } from 'node:fs';
import { EFFECT, type ThreadJournal } from '../../shared/memory/thread-journal.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { closeBacking } from '../../shared/passthrough/kernel-passthrough.ts';

/** A descriptor that has its inode or its handle already is not the request's any more. */
export function settleOwnership(ctx: Context, journal: ThreadJournal): void {
  const { inodes, handles } = ctx.tables;
  const settle = (fd: number): void => {
    if (fd < 0 || !journal.hasFd(fd)) return;
    journal.dropFd(fd);
    if (journal.reserved() > 0) journal.addReserved(-1);
  };
  journal.forEachPin((slot) => settle(inodes.fd(slot)));
  if ((journal.effect() & EFFECT.LOOKUP) !== 0) settle(inodes.fd(journal.effectSlot()));
  if ((journal.effect() & EFFECT.HANDLE) === 0) return;
  const handle = journal.effectHandleIndex();
  settle(handles.fd(handle));
  if (handles.backing(handle) === journal.backing()) journal.dropBacking();
}

/** Main has waited long for a lock: if its owner is dead, and only its end is not heard of yet. */
export function breakLocksOfDead(ctx: Context, thread: number, journal: ThreadJournal): void {
  const id = journal.threadId();
  if (id === 0 || existsSync(`/proc/self/task/${id}`)) return;
  const { inodes, mounts, handles, backings, locks } = ctx.tables;
  inodes.recoverOwner(thread);
  backings.recoverOwner(thread, (backing) => closeBacking(ctx, backing));
  locks.recoverOwner(thread);
  mounts.recoverOwner(thread);
  handles.recoverOwner(thread, journal.directory());
}
