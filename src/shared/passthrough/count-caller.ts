import { OP } from '../abi/opcodes.ts';
import { READ_IN, WRITE_IN } from '../abi/structs.ts';
import type { CallerTable } from '../caller-table.ts';
import type { Context } from './context.ts';

/** Counts the loaded request with the thread that made it. */
export function countCaller(callers: CallerTable, ctx: Context): void {
  const pid = ctx.callerPid();
  if (ctx.opcode === OP.READ) callers.countRead(pid, ctx.arg32(READ_IN.size));
  else if (ctx.opcode === OP.WRITE) callers.countWrite(pid, ctx.arg32(WRITE_IN.size));
  else callers.count(pid);
}
