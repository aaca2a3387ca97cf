/**
 * Questions to the host at the start, before there are tables.
 */
import { ERRNO } from '../abi/errno.ts';
import {
  AT_EMPTY_PATH,
  MAX_HANDLE_SIZE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  STATX,
  STATX_MNT_ID,
  STATX_MNT_ID_UNIQUE,
} from '../sys/constants.ts';
import { addressOf, CString, close, nameToHandleAt, open, statx } from '../sys/libc.ts';

const HANDLE_HEADER_BYTES = 8;
/** What ext4, xfs, btrfs and tmpfs need, with room to spare. */
const USUAL_HANDLE_BYTES = 32;

export interface SourceFacts {
  /** statx bit that tells mounts apart here: the unique id from Linux 6.8 on, which is not recycled. */
  readonly mountIdMask: number;
  /** Room an inode entry needs for a file handle of the source. */
  readonly handleRoomBytes: number;
  /** Whether the source makes file handles; 0, or -errno. */
  readonly handleError: number;
}

/**
 * Looks at the source directory. @returns -errno if it cannot be opened
 */
export function probeSource(path: string): SourceFacts | number {
  const name = new CString(path);
  const empty = new CString('');
  const fd = open(name.address, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fd;
  const words = new Uint32Array(new SharedArrayBuffer(STATX.SIZE));
  const buffer = addressOf(words);
  const wanted = STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
  const statError = statx(fd, empty.address, AT_EMPTY_PATH, wanted, buffer);
  const mask = statError < 0 ? 0 : words[STATX.mask >> 2];
  words[0] = MAX_HANDLE_SIZE;
  const mountIdAt = buffer + HANDLE_HEADER_BYTES + MAX_HANDLE_SIZE;
  const handleError = nameToHandleAt(fd, empty.address, buffer, mountIdAt, AT_EMPTY_PATH);
  const handleBytes = handleError < 0 ? 0 : words[0];
  close(fd);
  if ((mask & wanted) === 0) return -ERRNO.ENOSYS;
  return {
    mountIdMask: (mask & STATX_MNT_ID_UNIQUE) !== 0 ? STATX_MNT_ID_UNIQUE : STATX_MNT_ID,
    handleRoomBytes: Math.max(USUAL_HANDLE_BYTES, (handleBytes + 7) & ~7),
    handleError: Math.min(0, handleError),
  };
}
