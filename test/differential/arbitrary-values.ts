/** Arbitrary values of what operations take, but for names. */
import fc from 'fast-check';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFREG,
  S_IFSOCK,
} from '../../src/shared/sys/constants.ts';
import type { TimeValue } from './operations.ts';

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

export const handle = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constant(1) },
  { weight: 1, arbitrary: fc.constant(2) },
);
export const seed = fc.nat(200);
export const openFlags = fc.constantFrom(
  'RDONLY',
  'WRONLY',
  'RDWR',
  'RDWR|CREAT',
  'RDWR|CREAT',
  'RDWR|CREAT',
  'RDWR|CREAT|EXCL',
  'WRONLY|CREAT|TRUNC',
  'RDWR|CREAT|APPEND',
  'WRONLY|APPEND',
  'RDONLY|CREAT',
  'RDWR|TRUNC',
  'RDONLY|TRUNC',
  'RDONLY|DIRECTORY',
  'RDWR|DIRECTORY',
  'RDWR|CREAT|DIRECTORY',
  'RDONLY|NOFOLLOW',
  'RDWR|CREAT|NOFOLLOW',
  'RDONLY|CREAT|EXCL|TRUNC',
  'PATH',
  'PATH|NOFOLLOW',
  'PATH|DIRECTORY',
  'RDONLY|NOATIME',
  'WRONLY|SYNC',
  'RDWR|DIRECT',
  'RDWR|CREAT|DIRECT',
  'WRONLY|APPEND|DIRECT',
);

/** Without privileges a directory's owner must be able to enter it, or nothing can be cleaned up. */
const OWNER_BITS = process.getuid?.() === 0 ? 0 : 0o700;
/** Those in which the owner, the group and the others may do different things. */
const SHARED_MODES = [0o664, 0o2775, 0o2644, 0o770, 0o070, 0o007, 0o640, 0o3777, 0o6777];
export const mode = fc
  .constantFrom(
    0o644,
    0o755,
    0o600,
    0o777,
    0o000,
    0o4755,
    0o2755,
    0o1777,
    0o6711,
    0o444,
    ...SHARED_MODES,
  )
  .map((bits) => bits | OWNER_BITS);

export const size = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 1, 2, 100, 511, 512, 4095, 4096, 4097, 10000) },
  { weight: 1, arbitrary: fc.constantFrom(65536, 131071, 131072, 131073, 200000) },
  { weight: 1, arbitrary: fc.nat(20000) },
);
export const offset = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 1, 100, 511, 4095, 4096, 5000, 8192, 12288) },
  { weight: 1, arbitrary: fc.constantFrom(65536, 131072, 1 << 20, -1) },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 32 + 4097, 2 ** 33 + 1) },
  { weight: 1, arbitrary: fc.nat(20000) },
);

/** The modes that FUSE carries; the kernel refuses the others before it asks the daemon. */
export const allocateMode = fc.constantFrom(
  0,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
);

/** At the edges of what file systems can keep, and beyond them. */
const FAR_SECONDS = [
  -(2 ** 31),
  -(2 ** 31) - 1,
  2 ** 34 - 2 ** 31 - 1,
  2 ** 34,
  2 ** 40,
  -(2 ** 40),
];

/** Explicit times are far from now, so that they are told from those of the clock. */
export const time: fc.Arbitrary<TimeValue> = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<TimeValue>('now', 'omit') },
  {
    weight: 15,
    arbitrary: fc.tuple(
      fc.constantFrom(0, 1, -1, 1_000_000_000, 1_234_567_890, 2 ** 31, 2 ** 32, ...FAR_SECONDS),
      fc.constantFrom(0, 1, 123_456_789, 999_999_999),
    ),
  },
  { weight: 1, arbitrary: fc.constant<TimeValue>([1, 1_000_000_000]) },
);

export const renameFlags = fc.oneof(
  { weight: 8, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.constantFrom(RENAME_NOREPLACE, RENAME_EXCHANGE) },
  { weight: 1, arbitrary: fc.constant(RENAME_NOREPLACE | RENAME_EXCHANGE) },
  { weight: 2, arbitrary: fc.constantFrom(RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE) },
);

export const xattrName = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom('user.a', 'user.b', 'user.c') },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'user.',
      'user',
      'trusted.t',
      'unknown.a',
      'user.\xff',
      'security.x',
      'security.capability',
      'system.posix_acl_access',
      'system.posix_acl_access',
      'system.posix_acl_default',
      'system.other',
      `user.${'n'.repeat(250)}`,
      `user.${'n'.repeat(251)}`,
    ),
  },
);
export const xattrSize = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0, 1, 10, 100, 1000, 3000, 4000, 4096) },
  { weight: 1, arbitrary: fc.constantFrom(16_000, 65_535, 65_536, 65_537) },
);
export const xattrRoom = fc.constantFrom(0, 0, 5, 100, 4096, 65536, 65537);
export const xattrFlags = fc.constantFrom(0, 0, XATTR_CREATE, XATTR_REPLACE);
export const chunk = fc.constantFrom(512, 1024, 32768);
/**
 * Inode flags (chattr(1)) that change nothing anybody sees. Not the immutable and append-only ones:
 * the kernel looks at those before it looks at modes, on a FUSE mount the daemon's own calls meet
 * them after that.
 */
const FS_SYNC_FL = 0x08;
const FS_NODUMP_FL = 0x40;
const FS_NOATIME_FL = 0x80;
export const inodeFlags = fc.option(
  fc.constantFrom(0, FS_NODUMP_FL, FS_NOATIME_FL | FS_NODUMP_FL, FS_SYNC_FL),
);

export const umask = fc.constantFrom(0o000, 0o002, 0o022, 0o027, 0o077, 0o777);

export const nodeMode = fc.constantFrom(
  S_IFIFO | 0o644,
  S_IFREG | 0o600,
  S_IFREG | 0o6755,
  S_IFSOCK | 0o755,
  S_IFCHR | 0o600,
  S_IFBLK | 0o660,
);

/** A device number as the kernel encodes it for majors below 4096 and minors below 256. */
function makeDevice(major: number, minor: number): number {
  return (major << 8) | minor;
}

/** A number that no driver has, for opening it fails; and the one of whiteouts. */
export const rdev = fc.constantFrom(makeDevice(240, 17), makeDevice(240, 17), 0);
