/**
 * What whoever receives may try itself without ever waiting: the operations make sure of that by asking
 * the kernel (RESOLVE_CACHED, RWF_NOWAIT, statx on a held descriptor) and answer DEFER where it cannot
 * say so.
 */
import { OP } from '../abi/opcodes.ts';
import { READ_IN, WRITE_IN } from '../abi/structs.ts';
import { MOUNT_FLAG } from '../memory/mount-table.ts';
import { STAT } from '../stats-layout.ts';
import { IN_PLACE, IN_PLACE_BYTES } from './config.ts';
import type { Context } from './context.ts';
import { isDeferred, replyOrUndo, runOperation } from './operations.ts';

/** Whether the loaded request, of this backing mount, should be tried before a lane gets it. */
export function mayTryInPlace(ctx: Context, mount: number): boolean {
  if (ctx.config.inPlace[ctx.opcode] !== IN_PLACE.CACHED) return false;
  if (ctx.tables.mounts.hasFlag(mount, MOUNT_FLAG.LANES_ONLY)) return false;
  switch (ctx.opcode) {
    case OP.READ:
      return ctx.arg32(READ_IN.size) <= IN_PLACE_BYTES;
    case OP.WRITE:
      return ctx.arg32(WRITE_IN.size) <= IN_PLACE_BYTES;
    default:
      return true;
  }
}

/** Runs the loaded request and answers it. @returns false if a lane has to run it */
export function answerInPlace(ctx: Context): boolean {
  const result = runOperation(ctx);
  ctx.finish();
  if (isDeferred(result)) {
    ctx.tables.stats.add(STAT.DEFERRED, 1);
    return false;
  }
  replyOrUndo(ctx, ctx.fuseFd, result);
  return true;
}
