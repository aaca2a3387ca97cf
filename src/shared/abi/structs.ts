/**
 * Sizes and field offsets of the wire structures (include/uapi/linux/fuse.h, 7.45). Offsets count
 * from the start of the structure; 64-bit fields are read as two 32-bit words, low word first.
 */

export const IN_HEADER = {
  SIZE: 40,
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  total_extlen: 36,
} as const;

export const OUT_HEADER = { SIZE: 16, len: 0, error: 4, unique: 8 } as const;

export const ATTR = {
  SIZE: 88,
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
} as const;

export const ENTRY_OUT = {
  SIZE: 128,
  nodeid: 0,
  generation: 8,
  entry_valid: 16,
  attr_valid: 24,
  entry_valid_nsec: 32,
  attr_valid_nsec: 36,
  attr: 40,
} as const;

export const ATTR_OUT = { SIZE: 104, attr_valid: 0, attr_valid_nsec: 8, attr: 16 } as const;

export const STATX_IN = {
  SIZE: 24,
  getattr_flags: 0,
  fh: 8,
  sx_flags: 16,
  sx_mask: 20,
} as const;

export const STATX_OUT = {
  SIZE: 288,
  attr_valid: 0,
  attr_valid_nsec: 8,
  flags: 12,
  stat: 32,
} as const;

/** struct fuse_statx: the kernel's own statx layout without the fields behind rdev and dev. */
export const FUSE_STATX = { SIZE: 256 } as const;

export const GETATTR_IN = { SIZE: 16, getattr_flags: 0, fh: 8 } as const;

export const SETATTR_IN = {
  SIZE: 88,
  valid: 0,
  fh: 8,
  size: 16,
  lock_owner: 24,
  atime: 32,
  mtime: 40,
  ctime: 48,
  atimensec: 56,
  mtimensec: 60,
  ctimensec: 64,
  mode: 68,
  uid: 76,
  gid: 80,
} as const;

export const FORGET_IN = { SIZE: 8, nlookup: 0 } as const;
export const BATCH_FORGET_IN = { SIZE: 8, count: 0 } as const;
export const FORGET_ONE = { SIZE: 16, nodeid: 0, nlookup: 8 } as const;
export const MKNOD_IN = { SIZE: 16, mode: 0, rdev: 4, umask: 8 } as const;
export const MKDIR_IN = { SIZE: 8, mode: 0, umask: 4 } as const;
export const RENAME_IN = { SIZE: 8, newdir: 0 } as const;
export const RENAME2_IN = { SIZE: 16, newdir: 0, flags: 8 } as const;
export const LINK_IN = { SIZE: 8, oldnodeid: 0 } as const;
export const OPEN_IN = { SIZE: 8, flags: 0, open_flags: 4 } as const;
export const OPEN_OUT = { SIZE: 16, fh: 0, open_flags: 8, backing_id: 12 } as const;
export const CREATE_IN = { SIZE: 16, flags: 0, mode: 4, umask: 8, open_flags: 12 } as const;
export const RELEASE_IN = { SIZE: 24, fh: 0, flags: 8, release_flags: 12, lock_owner: 16 } as const;
export const FLUSH_IN = { SIZE: 24, fh: 0, lock_owner: 16 } as const;

export const READ_IN = {
  SIZE: 40,
  fh: 0,
  offset: 8,
  size: 16,
  read_flags: 20,
  lock_owner: 24,
  flags: 32,
} as const;

export const WRITE_IN = {
  SIZE: 40,
  fh: 0,
  offset: 8,
  size: 16,
  write_flags: 20,
  lock_owner: 24,
  flags: 32,
} as const;

export const WRITE_OUT = { SIZE: 8, size: 0 } as const;

export const KSTATFS = {
  SIZE: 80,
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
} as const;

export const FSYNC_IN = { SIZE: 16, fh: 0, fsync_flags: 8 } as const;

/** Without SETXATTR_EXT the structure ends after `flags`. */
export const SETXATTR_IN = {
  SIZE: 16,
  COMPAT_SIZE: 8,
  size: 0,
  flags: 4,
  setxattr_flags: 8,
} as const;
export const GETXATTR_IN = { SIZE: 8, size: 0 } as const;
export const GETXATTR_OUT = { SIZE: 8, size: 0 } as const;
/** fuse_file_lock, start to pid, stands in the middle; `end` is the last byte. */
export const LK_IN = {
  SIZE: 48,
  fh: 0,
  owner: 8,
  start: 16,
  end: 24,
  type: 32,
  pid: 36,
  lk_flags: 40,
} as const;
export const LK_OUT = { SIZE: 24, start: 0, end: 8, type: 16, pid: 20 } as const;
export const ACCESS_IN = { SIZE: 8, mask: 0 } as const;

export const INIT_IN = {
  SIZE: 64,
  /** What a kernel without flags2 sends. */
  COMPAT_SIZE: 16,
  major: 0,
  minor: 4,
  max_readahead: 8,
  flags: 12,
  flags2: 16,
} as const;

export const INIT_OUT = {
  SIZE: 64,
  major: 0,
  minor: 4,
  max_readahead: 8,
  flags: 12,
  max_background: 16,
  congestion_threshold: 18,
  max_write: 20,
  time_gran: 24,
  max_pages: 28,
  map_alignment: 30,
  flags2: 32,
  max_stack_depth: 36,
  request_timeout: 40,
} as const;

/** The argument of FUSE_DEV_IOC_BACKING_OPEN. */
export const BACKING_MAP = { SIZE: 16, fd: 0, flags: 4, padding: 8 } as const;

export const INTERRUPT_IN = { SIZE: 8, unique: 0 } as const;
export const BMAP_IN = { SIZE: 16 } as const;
export const IOCTL_IN = {
  SIZE: 32,
  fh: 0,
  flags: 8,
  cmd: 12,
  arg: 16,
  in_size: 24,
  out_size: 28,
} as const;
export const IOCTL_OUT = { SIZE: 16, result: 0, flags: 4, in_iovs: 8, out_iovs: 12 } as const;
export const POLL_IN = { SIZE: 24 } as const;
/** What FUSE_NOTIFY_INVAL_INODE carries. */
export const NOTIFY_INVAL_INODE_OUT = { SIZE: 24, ino: 0, off: 8, len: 16 } as const;
/** What FUSE_NOTIFY_RETRIEVE carries. */
export const NOTIFY_RETRIEVE_OUT = {
  SIZE: 32,
  notify_unique: 0,
  nodeid: 8,
  offset: 16,
  size: 24,
} as const;
export const NOTIFY_RETRIEVE_IN = { SIZE: 40 } as const;
export const FALLOCATE_IN = { SIZE: 32, fh: 0, offset: 8, length: 16, mode: 24 } as const;
export const LSEEK_IN = { SIZE: 24, fh: 0, offset: 8, whence: 16 } as const;
export const LSEEK_OUT = { SIZE: 8, offset: 0 } as const;

export const COPY_FILE_RANGE_IN = {
  SIZE: 56,
  fh_in: 0,
  off_in: 8,
  nodeid_out: 16,
  fh_out: 24,
  off_out: 32,
  len: 40,
  flags: 48,
} as const;

export const COPY_FILE_RANGE_OUT = { SIZE: 8, bytes_copied: 0 } as const;
export const SYNCFS_IN = { SIZE: 8 } as const;

/** The name follows at `name`; a record is padded to 8 bytes. */
export const DIRENT = { SIZE: 24, ino: 0, off: 8, namelen: 16, type: 20, name: 24 } as const;
export const DIRENTPLUS = { SIZE: 152, entry: 0, dirent: 128 } as const;

/** What follows an opcode's fixed part in CREATE, MKDIR, SYMLINK, MKNOD and TMPFILE. */
export const EXT_HEADER = { SIZE: 8, size: 0, type: 4 } as const;
/** The extension whose type is the number of contexts in it, up to FUSE_MAX_NR_SECCTX. */
export const SECCTX_HEADER = { SIZE: 8, size: 0, nr_secctx: 4 } as const;
/** The name, its NUL and the `size` bytes of the context follow, padded to 8 bytes together. */
export const SECCTX = { SIZE: 8, size: 0 } as const;
/** Follows the header of an extension of type FUSE_EXT_GROUPS. */
export const SUPP_GROUPS = { SIZE: 4, nr_groups: 0, groups: 4 } as const;
