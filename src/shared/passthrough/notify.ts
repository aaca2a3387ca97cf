/** What the kernel has to be told without having asked. */
import { FUSE_ROOT_ID } from '../abi/flags.ts';
import {
  IN_HEADER,
  NOTIFY_INVAL_INODE_OUT,
  NOTIFY_RETRIEVE_OUT,
  OUT_HEADER,
} from '../abi/structs.ts';
import { write } from '../sys/libc.ts';
import { type Context, SCRATCH } from './context.ts';

/** enum fuse_notify_code; it stands where a reply has its error. */
const FUSE_NOTIFY_INVAL_INODE = 2;
const FUSE_NOTIFY_RETRIEVE = 5;
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

/** Highest word of the number of such a request: the kernel's own numbers count up from 0, and are even. */
const OWN_NUMBER_HI = 0x40000000;

/**
 * Has the kernel make a request (NOTIFY_REPLY, with no data) on the CPU of the calling thread. With its
 * answer the kernel hands out what waits in the queue of io_uring there: requests that came while no entry
 * was free wait for the next answer, and are given to no entry that is registered (Linux 6.18).
 */
export function requestFromKernel(ctx: Context, fuseFd: number): void {
  const length = OUT_HEADER.SIZE + NOTIFY_RETRIEVE_OUT.SIZE;
  const at = (ctx.scratch + SCRATCH.NOTIFICATION) >> 2;
  const body = at + (OUT_HEADER.SIZE >> 2);
  ctx.i32.fill(0, at, at + (length >> 2));
  ctx.i32[at] = length;
  ctx.i32[at + (OUT_HEADER.error >> 2)] = FUSE_NOTIFY_RETRIEVE;
  // Of one CPU: two at once have different numbers.
  ctx.i32[body] = 2 * ctx.tables.thread;
  ctx.i32[body + 1] = OWN_NUMBER_HI;
  ctx.i32[body + (NOTIFY_RETRIEVE_OUT.nodeid >> 2)] = FUSE_ROOT_ID;
  write(fuseFd, ctx.base + ctx.scratch + SCRATCH.NOTIFICATION, length);
}
