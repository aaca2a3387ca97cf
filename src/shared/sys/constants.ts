/**
 * Linux constants (include/uapi/). Where x86-64 and arm64 differ the process's own is chosen.
 */

const isArm64 = process.arch === 'arm64';

function byArch(x64: number, arm64: number): number {
  return isArm64 ? arm64 : x64;
}

/** System call numbers of what libc has no wrapper for, or a wrapper that acts on every thread. */
export const SYS = {
  capget: byArch(125, 90),
  capset: byArch(126, 91),
  getgroups: byArch(115, 158),
  setgroups: byArch(116, 159),
  prctl: byArch(157, 167),
  setresuid: byArch(117, 147),
  setresgid: byArch(119, 149),
  preadv2: byArch(327, 286),
  pwritev2: byArch(328, 287),
  io_uring_setup: 425,
  io_uring_enter: 426,
  openat2: 437,
  faccessat2: 439,
  getdents64: byArch(217, 61),
  renameat2: byArch(316, 276),
  copy_file_range: byArch(326, 285),
  statx: byArch(332, 291),
} as const;

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_ACCMODE = 3;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_DSYNC = 0o10000;
export const O_DIRECT = byArch(0o40000, 0o200000);
export const O_LARGEFILE = byArch(0o100000, 0o400000);
export const O_DIRECTORY = byArch(0o200000, 0o40000);
export const O_NOFOLLOW = byArch(0o400000, 0o100000);
export const O_NOATIME = 0o1000000;
export const O_CLOEXEC = 0o2000000;
export const O_SYNC = 0o4010000;
export const O_PATH = 0o10000000;
export const O_TMPFILE = 0o20000000 | O_DIRECTORY;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EACCESS = 0x200;
export const AT_REMOVEDIR = 0x200;
export const AT_SYMLINK_FOLLOW = 0x400;
export const AT_EMPTY_PATH = 0x1000;
export const AT_STATX_DONT_SYNC = 0x4000;

/** openat2(2) resolve flags. */
export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_CACHED = 0x20;

/** access(2): may write. */
export const W_OK = 2;

/** preadv2(2) flags. */
/** poll(2). */
export const POLLIN = 0x01;

export const RWF_DSYNC = 0x02;
export const RWF_SYNC = 0x04;
export const RWF_NOWAIT = 0x08;
export const RWF_APPEND = 0x10;

export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o010;
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFIFO = 0o010000;
export const S_IFSOCK = 0o140000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;

export const SEEK_SET = 0;
export const SEEK_HOLE = 4;

export const UTIME_NOW = 0x3fffffff;
export const UTIME_OMIT = 0x3ffffffe;

export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_COLLAPSE_RANGE = 0x08;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const FALLOC_FL_INSERT_RANGE = 0x20;
export const FALLOC_FL_UNSHARE_RANGE = 0x40;

/** ioctl(2) commands on inodes (include/uapi/linux/fs.h). */
export const FS_IOC_GETFLAGS = 0x80086601;
export const FS_IOC_SETFLAGS = 0x40086602;
export const FS_IOC_FSGETXATTR = 0x801c581f;
export const FS_IOC_FSSETXATTR = 0x401c5820;
/** Size of struct fsxattr. */
export const FSXATTR_BYTES = 28;

export const MAX_HANDLE_SIZE = 128;
export const NAME_MAX = 255;
export const PATH_MAX = 4096;
export const PAGE_SIZE = 4096;
/** madvise(2): back the range with huge pages where that can be done. */
export const MADV_HUGEPAGE = 14;

/** statx(2) masks. */
/** `attributes` of struct statx: the file can only be appended to. */
export const STATX_ATTR_APPEND = 0x20;
export const STATX_BASIC_STATS = 0x07ff;
export const STATX_BTIME = 0x0800;
export const STATX_MNT_ID = 0x1000;
export const STATX_MNT_ID_UNIQUE = 0x4000;

/** Offsets in struct statx (include/uapi/linux/stat.h). */
export const STATX = {
  SIZE: 256,
  mask: 0,
  blksize: 4,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  attributes_mask: 56,
  atime: 64,
  atime_nsec: 72,
  btime: 80,
  ctime: 96,
  ctime_nsec: 104,
  mtime: 112,
  mtime_nsec: 120,
  rdev_major: 128,
  rdev_minor: 132,
  dev_major: 136,
  dev_minor: 140,
  mnt_id: 144,
} as const;

/** Offsets in struct statfs of x86-64 and arm64 (asm-generic/statfs.h): long is 64 bits. */
export const STATFS = {
  SIZE: 120,
  type: 0,
  bsize: 8,
  blocks: 16,
  bfree: 24,
  bavail: 32,
  files: 40,
  ffree: 48,
  namelen: 64,
  frsize: 72,
} as const;

/** struct linux_dirent64 as getdents64(2) writes it. */
export const LINUX_DIRENT64 = { ino: 0, off: 8, reclen: 16, type: 18, name: 19 } as const;

/** f_type of statfs(2) (include/uapi/linux/magic.h). */
export const FS_MAGIC = {
  EXT4: 0xef53,
  XFS: 0x58465342,
  BTRFS: 0x9123683e,
  TMPFS: 0x01021994,
  OVERLAYFS: 0x794c7630,
  FUSE: 0x65735546,
} as const;

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_SYNCHRONOUS = 16;
export const MS_DIRSYNC = 128;
export const MS_NOATIME = 1024;
export const MNT_DETACH = 2;

export const CLONE_FS = 0x200;
export const EFD_NONBLOCK = 0o4000;
export const EFD_CLOEXEC = 0o2000000;
/** Locks of an open file description: fcntl(2) commands and types. */
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;
/** struct flock of x86-64 and arm64. */
export const FLOCK = { SIZE: 32, type: 0, whence: 2, start: 8, len: 16, pid: 24 } as const;
/** flock(2). */
export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETFL = 4;
export const FD_CLOEXEC = 1;
/** getrusage(2): of the calling thread. */
export const RUSAGE_THREAD = 1;
/** Offsets in struct rusage of a 64-bit Linux: struct timeval of the CPU time, and waits that the thread itself began. */
export const RUSAGE = { utime: 0, stime: 16, nvcsw: 128 } as const;

export const RLIMIT_NOFILE = 7;
export const RLIMIT_MEMLOCK = 8;
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SCM_RIGHTS = 1;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x40000000;
/** struct sockaddr_un: the family, then up to 108 bytes of path. */
export const SOCKADDR_UN = { SIZE: 110, path: 2, PATH_SIZE: 108 } as const;

export const PR_SET_KEEPCAPS = 8;

/** Capability numbers (include/uapi/linux/capability.h). */
export const CAP_CHOWN = 0;
export const CAP_DAC_OVERRIDE = 1;
export const CAP_DAC_READ_SEARCH = 2;
export const CAP_FOWNER = 3;
export const CAP_FSETID = 4;
export const CAP_SETGID = 6;
export const CAP_SETUID = 7;
export const CAP_LINUX_IMMUTABLE = 9;
export const CAP_SYS_ADMIN = 21;
export const CAP_SYS_RESOURCE = 24;
export const CAP_MKNOD = 27;
export const CAP_SETFCAP = 31;
export const LINUX_CAPABILITY_VERSION_3 = 0x20080522;
