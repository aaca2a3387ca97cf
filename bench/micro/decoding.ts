/** From the bytes of a request to what it asks for, and whole operations without a kernel. */
import { bench, do_not_optimize as keep } from 'mitata';
import { newPassthroughLayer } from '../../src/main/layer.ts';
import { OP, ROW_BY_OPCODE } from '../../src/shared/abi/opcodes.ts';
import { GETATTR_IN } from '../../src/shared/abi/structs.ts';
import { countReply } from '../../src/shared/request-stats.ts';
import { message, names, struct } from '../../test/rules/messages.ts';

const ROOT = 1;

/** @param directory whose attributes are asked for */
export function decodingBenchmarks(directory: string): void {
  const layer = newPassthroughLayer(directory);
  const { ctx } = layer.fs;
  const at = ctx.tables.slots.messageAt(ctx.tables.slots.takeLarge());
  ctx.u8.set(message(OP.GETATTR, ROOT, struct(GETATTR_IN)), at);
  bench('decode: header of a request', () => {
    ctx.load(at);
    return keep(ctx.nodeLo + ctx.opcode);
  });
  bench('decode: row of its operation', () => keep(ROW_BY_OPCODE[ctx.opcode]));
  const row = ROW_BY_OPCODE[OP.GETATTR];
  bench('statistics: one reply counted', () => countReply(ctx.tables.stats, row, 0, 10));
  const getattr = message(OP.GETATTR, ROOT, struct(GETATTR_IN));
  bench('operation: GETATTR of the root', () => keep(layer.handle(getattr)));
  const lookup = message(OP.LOOKUP, ROOT, names('no-such-name'));
  bench('operation: LOOKUP of an absent name', () => keep(layer.handle(lookup)));
}
