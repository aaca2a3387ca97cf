/**
 * A file system by operation, as layers and programs see it: requests and answers as plain values.
 *
 * Numbers that are only handed back are bigint (`ino`, cookies, lock owners), those that count
 * something are number. Names are bytes, as they are to the kernel. All bytes a method gets are copies
 * of its own, and so are those it answers with.
 */
import type { Errno } from './errno.ts';

/** Who made a request. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  /** The thread, 0 where it is not in this process's pid namespace. */
  readonly pid: number;
  /** What the kernel tells besides (groups, labels), to be handed on as it is. */
  readonly extensions?: Uint8Array;
}

/** Attributes of an inode; see newAttr() for a whole one made of a few. */
export interface Attr {
  readonly ino: bigint;
  readonly sizeBytes: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  /** Since 1970, as the next two. */
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Type and permissions, as in stat(2). */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** The device a device file stands for, as the kernel writes it. */
  readonly rdev: number;
  readonly blockSizeBytes: number;
  /** FUSE_ATTR bits. */
  readonly flags: number;
}

/** What a name leads to. Each one that is answered counts one lookup; FORGET gives lookups back. */
export interface Entry {
  /** Below 2^53; 0 says that there is nothing, and that the kernel may remember so. */
  readonly nodeid: number;
  /** Tells users of one nodeid apart where nodeids come again. Default 0n. */
  readonly generation?: bigint;
  readonly attr: Attr;
  /** How long the kernel may go by the name without asking again. Default 0. */
  readonly entryTimeoutMs?: number;
  /** How long it may go by the attributes. Default 0. */
  readonly attrTimeoutMs?: number;
}

/** Answer to getattr and setattr. */
export interface Attributes {
  readonly attr: Attr;
  /** Default 0. */
  readonly attrTimeoutMs?: number;
}

/** Answer to open and opendir. */
export interface Opened {
  /** Comes with each request on what was opened; below 2^53. */
  readonly fh: number;
  /** FOPEN bits, see OPEN_FLAG. Default 0. */
  readonly openFlags?: number;
  /** With FOPEN_PASSTHROUGH, from the file system below. */
  readonly backingId?: number;
}

/** Answer to create and tmpfile. */
export interface Created extends Opened {
  readonly entry: Entry;
}

/** One name of a directory. */
export interface Dirent {
  readonly name: Uint8Array;
  readonly ino: bigint;
  /** From where readdir goes on behind this entry: not 0n. */
  readonly cookie: bigint;
  /** DT value: the type bits of a mode, shifted right by 12. */
  readonly type: number;
  /** What a lookup of the name would answer; wanted, and counted as such, only if `withEntries`. */
  readonly entry?: Entry;
}

/** Answer to statfs, see statvfs(3). */
export interface FsStatistics {
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly availableBlocks: number;
  readonly files: bigint;
  readonly freeFiles: bigint;
  readonly blockSizeBytes: number;
  /** The unit of `blocks`. */
  readonly fragmentSizeBytes: number;
  readonly nameMaxBytes: number;
}

/** Answer to getlk: `type` F_UNLCK (2) says that nothing is in the way. */
export interface Lock {
  readonly start: bigint;
  /** The last byte. */
  readonly end: bigint;
  readonly type: number;
  readonly pid: number;
}

/** Answer to ioctl. */
export interface IoctlOutcome {
  /** What ioctl(2) returns. */
  readonly result: number;
  readonly data: Uint8Array;
}

/** The size of an extended attribute, or of the list of them, where only that is asked for. */
export interface XattrSize {
  readonly sizeBytes: number;
}

interface OnInode {
  readonly nodeid: number;
  readonly caller: Caller;
}

interface OnName extends OnInode {
  /** Below `nodeid`; never empty, and without `/` and NUL. */
  readonly name: Buffer;
}

interface OnFile extends OnInode {
  readonly fh: number;
}

interface Lockable {
  /** Who would own a lock, 0n for nobody. */
  readonly lockOwner: bigint;
}

interface Creating extends OnName {
  readonly mode: number;
  readonly umask: number;
}

interface Opening extends OnInode {
  /** As in open(2), without O_CREAT and O_EXCL. */
  readonly flags: number;
  /** FUSE_OPEN_KILL_SUIDGID. */
  readonly killsSetIds: boolean;
}

interface Locking extends OnFile {
  readonly owner: bigint;
  readonly start: bigint;
  /** The last byte. */
  readonly end: bigint;
  /** F_RDLCK (0), F_WRLCK (1) or F_UNLCK (2). */
  readonly type: number;
  readonly pid: number;
  /** flock(2), not fcntl(2). */
  readonly isFlock: boolean;
}

/** A time to set: nanoseconds since 1970, or the present time of the file system's host. */
export type TimeToSet = bigint | 'now';

/** What each operation is asked. */
export interface Requests {
  lookup: OnName;
  /** `fh` where the kernel asks about an open file. */
  getattr: OnInode & { readonly fh?: number };
  /** Only what is given is set. */
  setattr: OnInode & {
    readonly fh?: number;
    readonly mode?: number;
    readonly uid?: number;
    readonly gid?: number;
    readonly sizeBytes?: number;
    readonly atime?: TimeToSet;
    readonly mtime?: TimeToSet;
    readonly ctime?: bigint;
    readonly lockOwner?: bigint;
    readonly killsSetIds: boolean;
  };
  readlink: OnInode;
  symlink: OnName & { readonly target: Buffer };
  mknod: Creating & { readonly rdev: number };
  mkdir: Creating;
  unlink: OnName;
  rmdir: OnName;
  /** Also renameat2(2), whose flags it has. */
  rename: OnName & {
    readonly newParent: number;
    readonly newName: Buffer;
    readonly flags: number;
  };
  /** `name` in the directory `nodeid` for the inode `target`. */
  link: OnName & { readonly target: number };
  open: Opening;
  read: OnFile &
    Lockable & {
      readonly offset: number;
      readonly sizeBytes: number;
      readonly readFlags: number;
      readonly flags: number;
    };
  write: OnFile &
    Lockable & {
      readonly offset: number;
      readonly sizeBytes: number;
      /** Copied when it is asked for. */
      readonly data: Uint8Array;
      readonly writeFlags: number;
      readonly flags: number;
    };
  statfs: OnInode;
  release: OnFile & Lockable & { readonly flags: number; readonly releaseFlags: number };
  fsync: OnFile & { readonly isDataOnly: boolean };
  setxattr: OnName & {
    readonly value: Uint8Array;
    readonly flags: number;
    readonly killsSetGid: boolean;
  };
  /** `sizeBytes` 0 asks for the size only. */
  getxattr: OnName & { readonly sizeBytes: number };
  listxattr: OnInode & { readonly sizeBytes: number };
  removexattr: OnName;
  flush: OnFile & Lockable;
  opendir: Opening;
  /** Also READDIRPLUS, which asks for the entries. */
  readdir: OnFile & {
    /** Where to go on: 0n at the start, else the cookie of the last entry that was taken. */
    readonly cookie: bigint;
    readonly sizeBytes: number;
    readonly withEntries: boolean;
  };
  releasedir: OnFile & Lockable & { readonly flags: number; readonly releaseFlags: number };
  fsyncdir: OnFile & { readonly isDataOnly: boolean };
  getlk: Locking;
  /** With `isWaiting` it is tried again, through all layers, until the lock is free. */
  setlk: Locking & { readonly isWaiting: boolean };
  access: OnInode & { readonly mask: number };
  create: Creating & { readonly flags: number; readonly killsSetIds: boolean };
  ioctl: OnFile & {
    readonly flags: number;
    readonly command: number;
    readonly argument: bigint;
    readonly data: Uint8Array;
    readonly outSizeBytes: number;
  };
  fallocate: OnFile & {
    readonly offset: number;
    readonly lengthBytes: number;
    readonly mode: number;
  };
  lseek: OnFile & { readonly offset: number; readonly whence: number };
  copyFileRange: OnFile & {
    readonly offset: number;
    readonly outNodeid: number;
    readonly outFh: number;
    readonly outOffset: number;
    readonly lengthBytes: number;
    readonly flags: bigint;
  };
  syncfs: OnInode;
  tmpfile: Creating & { readonly flags: number; readonly killsSetIds: boolean };
}

/** What each operation answers, where it does not fail. `0` stands for done. */
export interface Replies {
  lookup: Entry;
  getattr: Attributes;
  setattr: Attributes;
  readlink: Uint8Array;
  symlink: Entry;
  mknod: Entry;
  mkdir: Entry;
  unlink: 0;
  rmdir: 0;
  rename: 0;
  link: Entry;
  open: Opened;
  /** Not more than was asked for; less is the end of the file. */
  read: Uint8Array;
  /** Bytes written. */
  write: number;
  statfs: FsStatistics;
  release: 0;
  fsync: 0;
  setxattr: 0;
  getxattr: Uint8Array | XattrSize;
  /** Names, each with a NUL behind it. */
  listxattr: Uint8Array | XattrSize;
  removexattr: 0;
  flush: 0;
  opendir: Opened;
  /** As many as fit are taken; none is the end. */
  readdir: readonly Dirent[];
  releasedir: 0;
  fsyncdir: 0;
  getlk: Lock;
  setlk: 0;
  access: 0;
  create: Created;
  ioctl: IoctlOutcome;
  fallocate: 0;
  /** The new offset. */
  lseek: number;
  /** Bytes copied. */
  copyFileRange: number;
  syncfs: 0;
  tmpfile: Created;
}

export type OperationName = keyof Requests;

/** The request of an operation. Frozen: pass another one on as `{ ...request, name }`. */
export type FsRequest<O extends OperationName = OperationName> = {
  readonly [N in O]: Requests[N] & { readonly operation: N };
}[O];

/** What an operation answers: its reply, or an error as a negative number of errno(3). */
export type Answer<O extends OperationName = OperationName> = Replies[O] | Errno;

/** A file system: a method for each operation. That of a directory is one, see openPassthrough(), and so is what stands below a layer. */
export type FileSystem = {
  readonly [O in OperationName]: (request: Requests[O]) => Answer<O>;
} & {
  /** Whatever `request.operation` says. */
  run(request: FsRequest): Answer;
};

/** The same where answers may take their time. */
export type AsyncFileSystem = {
  readonly [O in OperationName]: (request: Requests[O]) => Promise<Answer<O>>;
} & {
  run(request: FsRequest): Promise<Answer>;
};

/**
 * A layer that answers at once: it stands between the kernel and `next`, the file system below. What
 * it has no method for goes by it, and costs nothing.
 */
export type Layer = {
  /** In log lines. */
  readonly name: string;
} & {
  readonly [O in OperationName]?: (request: FsRequest<O>, next: FileSystem) => Answer<O>;
} & {
  /** All operations without a method of their own: also those that later versions have. */
  readonly otherwise?: (request: FsRequest, next: FileSystem) => Answer;
};

/** A layer on the main thread, whose answers may take their time. */
export type AsyncLayer = {
  readonly name: string;
} & {
  readonly [O in OperationName]?: (
    request: FsRequest<O>,
    next: AsyncFileSystem,
  ) => Answer<O> | Promise<Answer<O>>;
} & {
  readonly otherwise?: (request: FsRequest, next: AsyncFileSystem) => Answer | Promise<Answer>;
};

/**
 * A file system from scratch, on the main thread: what it has no method for is answered ENOSYS, by
 * which the kernel stops asking. The root is nodeid 1.
 */
export type OwnFileSystem = {
  readonly name: string;
} & {
  readonly [O in OperationName]?: (request: FsRequest<O>) => Answer<O> | Promise<Answer<O>>;
} & {
  readonly otherwise?: (request: FsRequest) => Answer | Promise<Answer>;
  /** The kernel gives so many lookups of a nodeid back; at 0 it will not name it again. */
  readonly forget?: (nodeid: number, lookups: number) => void;
};

/** What a module's layer is made in. */
export interface LayerEnvironment {
  /** `main` where it is only looked at, else `lane-0` and so on: one instance for each. */
  readonly thread: string;
  /** Writes a line to the log: the first with this text, the others are counted. */
  report(level: 'debug' | 'warn' | 'error', message: string): void;
}

/** The default export of a layer's module may be a layer, or this. */
export type LayerFactory<Options = unknown> = (
  options: Options,
  environment: LayerEnvironment,
) => Layer;
