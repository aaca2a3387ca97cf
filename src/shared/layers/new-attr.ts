/** Helpers for file systems from scratch. */
import * as flags from '../abi/flags.ts';
import type { Attr } from './types.ts';

/** Bits of `openFlags`, as the kernel names them (FOPEN_...). */
export const OPEN_FLAG = Object.freeze({
  DIRECT_IO: flags.FOPEN_DIRECT_IO,
  KEEP_CACHE: flags.FOPEN_KEEP_CACHE,
  NONSEEKABLE: flags.FOPEN_NONSEEKABLE,
  CACHE_DIR: flags.FOPEN_CACHE_DIR,
  STREAM: flags.FOPEN_STREAM,
});

const BLOCK_BYTES = 512;
const NS_PER_MS = 1_000_000n;

/**
 * Whole attributes from what is known: the number of the inode and its mode, with the type. The rest is
 * that of an empty file of root's that was made just now.
 */
export function newAttr(known: Partial<Attr> & Pick<Attr, 'ino' | 'mode'>): Attr {
  const nowNs = BigInt(Date.now()) * NS_PER_MS;
  return {
    sizeBytes: 0,
    blocks: Math.ceil((known.sizeBytes ?? 0) / BLOCK_BYTES),
    atimeNs: nowNs,
    mtimeNs: nowNs,
    ctimeNs: nowNs,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0,
    blockSizeBytes: 4096,
    flags: 0,
    ...known,
  };
}
