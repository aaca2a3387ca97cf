/** What the kernel is told of an entry of io_uring, as requests of a ring. */
import {
  URING_COMMAND,
  URING_COMMIT_AND_FETCH,
  URING_ENTRY,
  URING_HEADER,
  URING_REGISTER,
} from '../abi/uring.ts';
import { ENTRY_STATE } from '../memory/ring-entries.ts';
import { IORING_OP_URING_CMD, putAddress, type Ring, SQE } from '../sys/io-uring.ts';
import type { Context } from './context.ts';

// An entry is KERNEL only while a request of a ring has it: pushed before, and taken back after. Where
// the thread dies in between, main finds it among what was not handed in; the other way round it would
// wait for a completion that never comes.

/** Gives the kernel an entry it does not know. */
export function pushRegister(ctx: Context, ring: Ring, fuseFd: number, entry: number): void {
  const { i32, base, tables } = ctx;
  const { entries } = tables;
  const iovecs = entries.iovecsAt(entry) >> 2;
  putAddress(i32, iovecs, base + entries.headerAt(entry));
  i32[iovecs + 2] = URING_HEADER.SIZE;
  i32[iovecs + 3] = 0;
  putAddress(i32, iovecs + 4, base + entries.payloadAt(entry));
  i32[iovecs + 6] = entries.geometry.payloadBytes;
  i32[iovecs + 7] = 0;
  const sqe = beginCommand(ctx, ring, fuseFd, entry, URING_REGISTER);
  putAddress(i32, sqe + (SQE.addr >> 2), base + 4 * iovecs);
  i32[sqe + (SQE.len >> 2)] = 2;
  ring.push();
  entries.setState(entry, ENTRY_STATE.KERNEL);
}

/** Hands in the reply in an entry, and asks for the next request. */
export function pushCommit(ctx: Context, ring: Ring, fuseFd: number, entry: number): void {
  const { i32, tables } = ctx;
  const { entries } = tables;
  const commitId = (entries.headerAt(entry) + URING_HEADER.entry + URING_ENTRY.commit_id) >> 2;
  const sqe = beginCommand(ctx, ring, fuseFd, entry, URING_COMMIT_AND_FETCH);
  const to = sqe + ((SQE.cmd + URING_COMMAND.commit_id) >> 2);
  i32[to] = i32[commitId];
  i32[to + 1] = i32[commitId + 1];
  ring.push();
  entries.setState(entry, ENTRY_STATE.KERNEL);
}

function beginCommand(
  ctx: Context,
  ring: Ring,
  fuseFd: number,
  entry: number,
  command: number,
): number {
  const { i32, tables } = ctx;
  const sqe = ring.nextSqe();
  i32[sqe] = IORING_OP_URING_CMD;
  i32[sqe + (SQE.fd >> 2)] = fuseFd;
  i32[sqe + (SQE.cmd_op >> 2)] = command;
  i32[sqe + (SQE.user_data >> 2)] = entry;
  i32[sqe + ((SQE.cmd + URING_COMMAND.qid) >> 2)] = tables.entries.queue(entry);
  return sqe;
}
