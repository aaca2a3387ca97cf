/**
 * One request to a mount of our own, made on a given CPU. It waits for the daemon's answer, so it runs on
 * a thread that serves nothing.
 */
import { AT_FDCWD, STATX_BASIC_STATS } from '../shared/sys/constants.ts';
import { addressOf, CString, schedSetaffinity, statx } from '../shared/sys/libc.ts';

/** Asks the file system and no cache. */
const AT_STATX_FORCE_SYNC = 0x2000;
const STATX_BYTES = 256;
const CPU_MASK_BYTES = 1024;

export interface Nudge {
  readonly mountpoint: string;
  readonly cpu: number;
}

/** Asks for the attributes of the mount's root; 0 or `-errno`. */
export default function nudge({ mountpoint, cpu }: Nudge): number {
  const mask = new Uint8Array(new SharedArrayBuffer(CPU_MASK_BYTES));
  mask[cpu >> 3] = 1 << (cpu & 7);
  const error = schedSetaffinity(addressOf(mask), CPU_MASK_BYTES);
  if (error < 0) return error;
  const buffer = new Uint8Array(new SharedArrayBuffer(STATX_BYTES));
  const path = new CString(mountpoint);
  return statx(AT_FDCWD, path.address, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, addressOf(buffer));
}
