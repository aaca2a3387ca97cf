/** Which requests change nothing. */
import { OP, OPCODE_LIMIT } from '../abi/opcodes.ts';
import { OPEN_IN } from '../abi/structs.ts';
import { O_TRUNC } from '../sys/constants.ts';
import type { Context } from './context.ts';

const READING = [
  OP.LOOKUP,
  OP.GETATTR,
  OP.STATX,
  OP.READLINK,
  OP.OPEN,
  OP.READ,
  OP.STATFS,
  OP.GETXATTR,
  OP.LISTXATTR,
  OP.OPENDIR,
  OP.READDIR,
  OP.READDIRPLUS,
  OP.GETLK,
  OP.ACCESS,
  OP.LSEEK,
];

/** By opcode: 1 for what only reads. */
const IS_READING = new Uint8Array(OPCODE_LIMIT);
for (const opcode of READING) IS_READING[opcode] = 1;

/** @param openFlags of an OPEN; anything for other operations */
export function onlyReads(opcode: number, openFlags: number): boolean {
  return IS_READING[opcode] === 1 && (opcode !== OP.OPEN || (openFlags & O_TRUNC) === 0);
}

/** The same for the loaded request. */
export function requestOnlyReads(ctx: Context): boolean {
  return onlyReads(ctx.opcode, ctx.opcode === OP.OPEN ? ctx.arg32(OPEN_IN.flags) : 0);
}
