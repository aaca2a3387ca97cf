/**
 * From what the kernel leaves in an entry of io_uring to a request as it comes from /dev/fuse, and from
 * a reply to what it expects there.
 */
import { IN_HEADER, OUT_HEADER } from '../abi/structs.ts';
import { URING_ENTRY, URING_HEADER } from '../abi/uring.ts';
import type { Context } from './context.ts';

/** Header and first argument: the longest is that of SETATTR. */
const MAX_LEAD_BYTES = IN_HEADER.SIZE + (URING_HEADER.entry - URING_HEADER.op_in);

/**
 * Puts the request of an entry together, in front of its payload: header and first argument are copied,
 * 128 bytes at the most; the payload stays where it is.
 * @returns where the message is, or -1 if the kernel's lengths make no sense
 */
export function takeEntryMessage(ctx: Context, entry: number): number {
  const { entries } = ctx.tables;
  const { u32 } = ctx;
  const header = entries.headerAt(entry);
  const lead = u32[header >> 2] - u32[(header + URING_HEADER.entry + URING_ENTRY.payload_sz) >> 2];
  const makesSense = lead >= IN_HEADER.SIZE && lead <= MAX_LEAD_BYTES && (lead & 7) === 0;
  entries.setLead(entry, makesSense ? lead : 0);
  if (!makesSense) return -1;
  const message = entries.payloadAt(entry) - lead;
  const to = message >> 2;
  for (let word = 0; word < IN_HEADER.SIZE >> 2; word++) u32[to + word] = u32[(header >> 2) + word];
  const argument = ((header + URING_HEADER.op_in) >> 2) - (IN_HEADER.SIZE >> 2);
  for (let word = IN_HEADER.SIZE >> 2; word < lead >> 2; word++) {
    u32[to + word] = u32[argument + word];
  }
  return message;
}

/** Writes the reply of the loaded request: fuse_out_header, the body, and its length. */
export function putEntryReply(ctx: Context, result: number): void {
  const { entries } = ctx.tables;
  const bodyBytes = Math.max(result, 0);
  const payload = entries.payloadAt(ctx.entry);
  if (bodyBytes > 0 && ctx.out !== payload) {
    ctx.u8.copyWithin(payload, ctx.out, ctx.out + bodyBytes);
  }
  putEntryHeader(ctx, ctx.entry, Math.min(result, 0), bodyBytes);
}

/** The number of the request stays where the kernel left it. */
export function putEntryHeader(
  ctx: Context,
  entry: number,
  error: number,
  bodyBytes: number,
): void {
  const header = ctx.tables.entries.headerAt(entry);
  ctx.u32[header >> 2] = OUT_HEADER.SIZE + bodyBytes;
  ctx.i32[(header + OUT_HEADER.error) >> 2] = error;
  ctx.u32[(header + URING_HEADER.entry + URING_ENTRY.payload_sz) >> 2] = bodyBytes;
}
