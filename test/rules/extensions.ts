/** Builds the extensions that the kernel puts behind creating requests. */
import { FUSE_EXT_GROUPS } from '../../src/shared/abi/flags.ts';
import { EXT_HEADER, IN_HEADER } from '../../src/shared/abi/structs.ts';

/** 32-bit words as bytes. */
export function u32s(...words: number[]): Buffer {
  const bytes = Buffer.alloc(words.length * 4);
  for (const [i, word] of words.entries()) bytes.writeUInt32LE(word, i * 4);
  return bytes;
}

/** An extension with its header, padded to 8 bytes. */
export function extension(type: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const size = (EXT_HEADER.SIZE + body.length + 7) & ~7;
  return Buffer.concat([u32s(size, type), body], size);
}

/** One security context. */
export function secctx(name: string, label: Buffer): Buffer {
  return extension(1, u32s(label.length, 0), Buffer.from(`${name}\0`), label);
}

export function suppGroups(groups: readonly number[]): Buffer {
  return extension(FUSE_EXT_GROUPS, u32s(groups.length, ...groups));
}

/** The request with these at its end, and its lengths set. */
export function withExtensions(request: Buffer, ...extensions: Buffer[]): Buffer {
  const all = Buffer.concat([request, ...extensions]);
  all.writeUInt32LE(all.length, IN_HEADER.len);
  all.writeUInt16LE((all.length - request.length) / 8, IN_HEADER.total_extlen);
  return all;
}
