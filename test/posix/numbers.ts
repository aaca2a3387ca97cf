/** System call numbers and constants of what only the tests use (include/uapi/). */

const isArm64 = process.arch === 'arm64';

function byArch(x64: number, arm64: number): number {
  return isArm64 ? arm64 : x64;
}

export const SYS = {
  chdir: byArch(80, 49),
  socket: byArch(41, 198),
  bind: byArch(49, 200),
  listen: byArch(50, 201),
  connect: byArch(42, 203),
  setresuid: byArch(117, 147),
  setresgid: byArch(119, 149),
  setgroups: byArch(116, 159),
  prctl: byArch(157, 167),
  faccessat2: 439,
  mmap: byArch(9, 222),
  munmap: byArch(11, 215),
  msync: byArch(26, 227),
  ioctl: byArch(16, 29),
  fcntl: byArch(72, 25),
  lsetxattr: byArch(189, 6),
  lgetxattr: byArch(192, 9),
  llistxattr: byArch(195, 12),
  lremovexattr: byArch(198, 15),
  fsetxattr: byArch(190, 7),
  fgetxattr: byArch(193, 10),
  setrlimit: byArch(160, 164),
  rt_sigaction: byArch(13, 134),
  statfs: byArch(137, 43),
  preadv2: byArch(327, 286),
  pwritev2: byArch(328, 287),
  readahead: byArch(187, 213),
  posix_fadvise: byArch(221, 223),
  pipe2: byArch(293, 59),
  splice: byArch(275, 76),
  sendfile: byArch(40, 71),
  flock: byArch(73, 32),
  sync_file_range: byArch(277, 84),
  quotactl: byArch(179, 60),
} as const;

export const PR_SET_DUMPABLE = 4;

/** access(2) modes. */
export const R_OK = 4;
export const W_OK = 2;
export const X_OK = 1;
export const F_OK = 0;

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

export const SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 } as const;

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MS_SYNC = 4;

/** makedev(3) of small numbers. */
export function makedev(major: number, minor: number): number {
  return (major << 8) | minor;
}
