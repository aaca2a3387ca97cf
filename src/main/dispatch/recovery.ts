/** What a thread that died held, given back: for a lane, for main's deputy, for a queue of io_uring. On main. */
import { existsSync } from 'node:fs';
import { OP } from '../../shared/abi/opcodes.ts';
import { RequestMemory, type SharedMemory } from '../../shared/memory/shared-memory.ts';
import { EFFECT, type ThreadJournal } from '../../shared/memory/thread-journal.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { recoverLocks, recoverThread, undoEffects } from '../../shared/passthrough/operations.ts';

/** Whether the thread that a journal names is there no more; false while it is not known. */
export function isDead(journal: ThreadJournal): boolean {
  const id = journal.threadId();
  return id !== 0 && !existsSync(`/proc/self/task/${id}`);
}

/** Releases the locks of a thread if it is dead, before its end is heard of: somebody waits for one. */
export function releaseLocksIfDead(ctx: Context, thread: number, journal: ThreadJournal): void {
  if (isDead(journal)) recoverLocks(ctx, thread, journal);
}

/** Gives back all that a dead thread held, but for the request it was at and what that has changed. */
export function recoverDead(ctx: Context, thread: number, journal: ThreadJournal): void {
  settleOwnership(ctx, journal);
  recoverThread(ctx, thread, journal);
}

/**
 * Whether the loaded request, whose thread died, goes to another one: the kernel sends a release once,
 * whatever its answer. It has to be done, and can be done twice.
 */
export function hasToBeDone({ opcode }: Context): boolean {
  return opcode === OP.RELEASE || opcode === OP.RELEASEDIR;
}

/** Takes back what a dead thread's request, the loaded one, has changed, and the kernel has not heard of. */
export function undoOfDead(
  ctx: Context,
  memory: SharedMemory,
  thread: number,
  journal: ThreadJournal,
): void {
  // A listing, of which more than the journal's notes is needed, stands where its request has it.
  const replyAt = ctx.entry >= 0 ? ctx.reply : new RequestMemory(memory, thread).replyAt;
  undoEffects(ctx, journal, replyAt);
}

/** A descriptor that has its inode or its handle already is not the request's any more. */
function settleOwnership(ctx: Context, journal: ThreadJournal): void {
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
