/** What the kernel has to be told without having asked. */
import { IN_HEADER, NOTIFY_INVAL_INODE_OUT, OUT_HEADER } from '../abi/structs.ts';
import { write } from '../sys/libc.ts';
import { type Context, SCRATCH } from './context.ts';

/** enum fuse_notify_code; it stands where a reply has its error. */
const FUSE_NOTIFY_INVAL_INODE = 2;
const LENGTH = OUT_HEADER.SIZE + NOTIFY_INVAL_INODE_OUT.SIZE;

/**
 * Makes the kernel ask for the attributes and ACLs of the request's inode before it relies on them
 * again. With a negative offset it leaves the pages alone: only so it waits for no lock that the
 * request at hand may hold (fuse_reverse_inval_inode). An error says that the kernel does not know
 * the inode any more.
 */
export function invalidateAttributes(ctx: Context, fuseFd: number): void {
  const at = (ctx.scratch + SCRATCH.NOTIFICATION) >> 2;
  const body = at + (OUT_HEADER.SIZE >> 2);
  const node = (ctx.message + IN_HEADER.nodeid) >> 2;
  ctx.i32.fill(0, at, at + (LENGTH >> 2));
  ctx.i32[at] = LENGTH;
  ctx.i32[at + (OUT_HEADER.error >> 2)] = FUSE_NOTIFY_INVAL_INODE;
  ctx.i32[body] = ctx.i32[node];
  ctx.i32[body + 1] = ctx.i32[node + 1];
  ctx.i32[body + (NOTIFY_INVAL_INODE_OUT.off >> 2)] = -1;
  ctx.i32[body + (NOTIFY_INVAL_INODE_OUT.off >> 2) + 1] = -1;
  write(fuseFd, ctx.base + ctx.scratch + SCRATCH.NOTIFICATION, LENGTH);
}
