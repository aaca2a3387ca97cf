/** Carries out operations in the current directory and says what each gave. */
import { createHash } from 'node:crypto';
import { errnoName } from '../../src/shared/abi/errno.ts';
import * as constants from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import {
  ACTOR_DEPTH,
  type Json,
  type Operation,
  type Outcome,
  SHARED,
  type Target,
  type TimeValue,
} from './operations.ts';
import * as sys from './syscalls.ts';

const { AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW } = constants;
const SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 } as const;
const SHARED_PREFIX = `${'../'.repeat(ACTOR_DEPTH + 1)}${SHARED}/`;

const OPEN_FLAGS: Readonly<Record<string, number>> = {
  RDONLY: constants.O_RDONLY,
  WRONLY: constants.O_WRONLY,
  RDWR: constants.O_RDWR,
  CREAT: constants.O_CREAT,
  EXCL: constants.O_EXCL,
  TRUNC: constants.O_TRUNC,
  APPEND: constants.O_APPEND,
  DIRECTORY: constants.O_DIRECTORY,
  NOFOLLOW: constants.O_NOFOLLOW,
  NOATIME: constants.O_NOATIME,
  SYNC: constants.O_SYNC,
  PATH: constants.O_PATH,
  DIRECT: constants.O_DIRECT,
};

/** O_NONBLOCK keeps the open of a pipe without a peer from waiting for ever. */
function openFlags(names: string): number {
  return names
    .split('|')
    .reduce((flags, name) => flags | OPEN_FLAGS[name], constants.O_NONBLOCK | constants.O_CLOEXEC);
}

const SECTOR_BYTES = 512;

/** A window around now: a time inside it was taken from the clock and is equal by chance only. */
const RECENT_SECONDS = 2 * 86400;

/** A time that was set explicitly, to the nanosecond; `recent` for one taken from the clock. */
export function timeFact([seconds, nanoseconds]: readonly [number, number]): string {
  const recent = Math.abs(seconds - Date.now() / 1000) < RECENT_SECONDS;
  return recent ? 'recent' : `${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

/** What a file's stat must have in common with its twin's: not st_dev, st_ino and st_ctime, which
 * nobody can set; not st_blksize, which is the mount's own; not st_blocks, which delayed allocation
 * makes a matter of time (operation `blocks` compares it after fsync). */
export function statFacts(stat: sys.Stat): Record<string, Json> {
  return {
    type: sys.fileType(stat.mode).toString(8),
    mode: (stat.mode & 0o7777).toString(8),
    nlink: stat.nlink,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.sizeBytes,
    rdev: stat.rdev,
    mtime: timeFact(stat.mtime),
  };
}

function digest(length: number): Record<string, Json> {
  const data = sys.io.subarray(0, length);
  return {
    head: data.subarray(0, 24).toString('hex'),
    sha1: createHash('sha1').update(data).digest('hex'),
  };
}

/** Bytes that tell their place, never 0, so that a hole is told from data. */
function fillPattern(sizeBytes: number, seed: number): void {
  for (let index = 0; index < sizeBytes; index += 1) {
    sys.io[index] = 1 + ((seed * 37 + index * 7 + (index >> 8)) % 255);
  }
}

/**
 * A size of which all or nothing is written. A file system judges the alignment of O_DIRECT extent
 * by extent: of a size that is not aligned it writes the extents before the last, then says EINVAL,
 * and where extents end differs between twins.
 */
function directWriteSize(sizeBytes: number): number {
  return sizeBytes < SECTOR_BYTES ? sizeBytes : sizeBytes - (sizeBytes % SECTOR_BYTES);
}

function timePair(value: TimeValue): readonly [number, number] {
  if (value === 'now') {
    return [0, constants.UTIME_NOW];
  }
  return value === 'omit' ? [0, constants.UTIME_OMIT] : value;
}

function outcome(result: number | bigint, facts: Record<string, Json> = {}): Outcome {
  const value = Number(result);
  return { result: value < 0 ? errnoName(value) : value, ...facts };
}

function listing(entries: readonly sys.DirectoryEntry[]): Json {
  return entries.map(({ name, type }) => `${name}:${type}`).sort();
}

function inodeKey(stat: sys.Stat): string {
  return `${stat.device} ${stat.ino}`;
}

/** The attribute that a kind of ACL has. */
function aclName(kind: 'access' | 'default'): string {
  return `system.posix_acl_${kind}`;
}

/**
 * Runs one sequence. Handles are small numbers of the sequence's own; an operation on one that is
 * not open goes to descriptor -1.
 */
export class Performer {
  readonly #descriptors = new Map<number, number>();
  /** Objects whose atime a read may have moved; a mount answers reads from its cache and is right. */
  readonly #isAtimeKnown = new Map<string, boolean>();
  /** Of an object that is not in the map. */
  #isAtimeKnownElse = true;
  readonly #actor: string;
  readonly #directHandles = new Set<number>();

  constructor(actor: number) {
    this.#actor = String(actor);
  }

  /** From now on an atime counts for something only after this actor has set it: others read too. */
  mistrustAtimes(): void {
    this.#isAtimeKnown.clear();
    this.#isAtimeKnownElse = false;
  }

  perform(operation: Operation): Outcome {
    switch (operation.op) {
      case 'open':
        return this.#open(operation, openFlags(operation.flags));
      case 'tmpfile':
        return this.#open(operation, openFlags(operation.flags) | constants.O_TMPFILE);
      case 'publish':
        return outcome(sys.linkDescriptor(this.#fd(operation.handle), this.#path(operation.path)));
      case 'close':
        return outcome(this.#close(operation.handle));
      case 'read':
      case 'pread':
        return this.#read(operation);
      case 'write':
      case 'pwrite':
        return this.#write(operation);
      case 'truncate':
        return outcome(libc.truncate(this.#address(operation.path), operation.size));
      case 'ftruncate':
        return outcome(libc.ftruncate(this.#fd(operation.handle), operation.size));
      case 'fallocate': {
        const { mode, offset, size } = operation;
        const fd = this.#fd(operation.handle);
        const isHole = (mode & constants.FALLOC_FL_PUNCH_HOLE) !== 0;
        return this.#settle(fd, libc.fallocate(fd, mode, offset, size), isHole);
      }
      case 'seek':
        return this.#seek(operation);
      case 'copy':
        return this.#copy(operation);
      case 'fsync': {
        const fd = this.#fd(operation.handle);
        return outcome(operation.dataOnly ? libc.fdatasync(fd) : libc.fsync(fd));
      }
      case 'blocks':
        return this.#blocks(operation.handle);
      case 'stat':
        return this.#stat(operation);
      case 'list':
        return this.#list(operation);
      case 'unlinkWhileListing':
        return this.#unlinkWhileListing(operation);
      default:
        return this.#byName(operation);
    }
  }

  /** Closes what the sequence left open. */
  finish(): void {
    for (const handle of [...this.#descriptors.keys()]) {
      this.#close(handle);
    }
  }

  #byName(operation: Operation): Outcome {
    switch (operation.op) {
      case 'mkdir':
        return outcome(libc.mkdirat(AT_FDCWD, this.#address(operation.path), operation.mode));
      case 'mkchain':
        return this.#makeChain(operation.name, operation.depth);
      case 'rmdir':
        return this.#unlink(operation.path, constants.AT_REMOVEDIR);
      case 'unlink':
        return this.#unlink(operation.path, 0);
      case 'rename': {
        const from = sys.bytes(this.#path(operation.from));
        const to = sys.bytes(this.#path(operation.to));
        return outcome(
          libc.renameat2(AT_FDCWD, from.address, AT_FDCWD, to.address, operation.flags),
        );
      }
      case 'link': {
        // A mount that has no pages of a file (--cache=metadata) learns late that a write took its
        // set-id bits, and protected_hardlinks looks at the mode without asking (may_linkat()).
        sys.stat(this.#path(operation.from), operation.follow);
        const from = sys.bytes(this.#path(operation.from));
        const to = sys.bytes(this.#path(operation.to));
        const flags = operation.follow ? AT_SYMLINK_FOLLOW : 0;
        return outcome(libc.linkat(AT_FDCWD, from.address, AT_FDCWD, to.address, flags));
      }
      case 'symlink': {
        const target = sys.bytes(operation.target.replaceAll('#', this.#actor));
        return outcome(libc.symlinkat(target.address, AT_FDCWD, this.#address(operation.path)));
      }
      case 'readlink': {
        const path = this.#address(operation.path);
        const length = libc.readlinkat(AT_FDCWD, path, sys.ioAddress, operation.size);
        return outcome(length, length < 0 ? {} : { target: sys.ioText(0, length) });
      }
      case 'mknod':
        return outcome(
          libc.mknodat(AT_FDCWD, this.#address(operation.path), operation.mode, operation.rdev),
        );
      case 'access':
        return outcome(sys.access(this.#path(operation.path), operation.mode));
      default:
        return this.#attribute(operation);
    }
  }

  #attribute(operation: Operation): Outcome {
    switch (operation.op) {
      case 'chmod':
        return outcome(
          typeof operation.on === 'number'
            ? libc.fchmod(this.#fd(operation.on), operation.mode)
            : libc.fchmodat(AT_FDCWD, this.#address(operation.on), operation.mode, 0),
        );
      case 'chown': {
        const { dirfd, path, flags } = this.#at(operation.on, operation.follow);
        return outcome(
          libc.fchownat(dirfd, path.address, operation.uid >>> 0, operation.gid >>> 0, flags),
        );
      }
      case 'utimens':
        return this.#setTimes(operation);
      case 'setxattr': {
        const { on, name, size, seed, flags } = operation;
        fillPattern(size, seed);
        return this.#setXattr(on, name, size, flags);
      }
      case 'getxattr': {
        const path = sys.bytes(this.#xattrPath(operation.on));
        const name = sys.bytes(operation.name);
        const { size } = operation;
        const length = libc.getxattr(path.address, name.address, sys.ioAddress, size);
        return outcome(length, length > 0 && size > 0 ? digest(length) : {});
      }
      case 'listxattr': {
        const names = sys.xattrNames(this.#xattrPath(operation.on), operation.size);
        if (typeof names === 'number') {
          return outcome(names);
        }
        return outcome(0, operation.size === 0 ? {} : { names });
      }
      case 'removexattr': {
        const path = sys.bytes(this.#xattrPath(operation.on));
        return outcome(libc.removexattr(path.address, sys.bytes(operation.name).address));
      }
      case 'setacl': {
        const name = aclName(operation.kind);
        return this.#setXattr(operation.on, name, sys.putAcl(operation.acl), 0);
      }
      case 'setcap':
        this.#flush(operation.on);
        return this.#setXattr(operation.on, 'security.capability', sys.putCapability(), 0);
      case 'flags':
        return this.#flags(operation);
      case 'umask':
        return outcome(libc.umask(operation.mask));
      default:
        throw new Error(`Unknown operation: ${JSON.stringify(operation)}`);
    }
  }

  #fd(handle: number): number {
    return this.#descriptors.get(handle) ?? -1;
  }

  /**
   * With --writeback pages may reach the host after the capability that was set later, and the host
   * takes that for a write by which the file loses it.
   */
  #flush(on: Target): void {
    if (typeof on === 'number') {
      libc.fsync(this.#fd(on));
      return;
    }
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_CLOEXEC;
    const fd = libc.openat(AT_FDCWD, this.#address(on), flags, 0);
    libc.fsync(fd);
    libc.close(fd);
  }

  #path(path: string): string {
    const own = path.replaceAll('#', this.#actor);
    return own.startsWith('@/') ? `${SHARED_PREFIX}${own.slice(2)}` : own;
  }

  #address(path: string): number {
    return sys.bytes(this.#path(path)).address;
  }

  #at(on: Target, follow: boolean): { dirfd: number; path: libc.CString; flags: number } {
    if (typeof on === 'number') {
      return { dirfd: this.#fd(on), path: sys.bytes(''), flags: AT_EMPTY_PATH };
    }
    return {
      dirfd: AT_FDCWD,
      path: sys.bytes(this.#path(on)),
      flags: follow ? 0 : AT_SYMLINK_NOFOLLOW,
    };
  }

  #xattrPath(on: Target): string {
    return typeof on === 'number' ? `/proc/self/fd/${this.#fd(on)}` : this.#path(on);
  }

  /** Sets an attribute to the first bytes of the transfer buffer. */
  #setXattr(on: Target, name: string, sizeBytes: number, flags: number): Outcome {
    const path = sys.bytes(this.#xattrPath(on));
    const nameBytes = sys.bytes(name);
    return outcome(libc.setxattr(path.address, nameBytes.address, sys.ioAddress, sizeBytes, flags));
  }

  /** FS_IOC_GETFLAGS, or both to change some: a file system has flags of its own besides. */
  #flags({ on, set }: Operation & { op: 'flags' }): Outcome {
    const mode = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_CLOEXEC;
    const fd =
      typeof on === 'number' ? this.#fd(on) : libc.openat(AT_FDCWD, this.#address(on), mode, 0);
    if (fd < 0) {
      return outcome(fd);
    }
    const got = sys.inodeFlags(fd);
    const result = got < 0 || set === null ? got : sys.setInodeFlags(fd, set);
    if (typeof on !== 'number') {
      libc.close(fd);
    }
    return outcome(result);
  }

  #close(handle: number): number {
    const fd = this.#fd(handle);
    this.#descriptors.delete(handle);
    return libc.close(fd);
  }

  #open(operation: { handle: number; path: string; mode: number }, flags: number): Outcome {
    if (this.#descriptors.has(operation.handle)) {
      this.#close(operation.handle);
    }
    const fd = libc.openat(AT_FDCWD, this.#address(operation.path), flags, operation.mode);
    if (fd < 0) {
      return outcome(fd);
    }
    this.#descriptors.set(operation.handle, fd);
    if ((flags & constants.O_DIRECT) !== 0) {
      this.#directHandles.add(operation.handle);
    } else {
      this.#directHandles.delete(operation.handle);
    }
    return outcome(0);
  }

  #noteRead(fd: number): void {
    const stat = sys.fstat(fd);
    if (typeof stat !== 'number') {
      this.#isAtimeKnown.set(inodeKey(stat), false);
    }
  }

  #read(operation: { handle: number; size: number; offset?: number }): Outcome {
    const { size, offset } = operation;
    const fd = this.#fd(operation.handle);
    this.#noteRead(fd);
    const length =
      offset === undefined
        ? libc.read(fd, sys.ioAddress, size)
        : libc.pread(fd, sys.ioAddress, size, offset);
    return outcome(length, length > 0 ? digest(length) : {});
  }

  /**
   * The kernel takes set-id bits and capabilities of a file on a FUSE mount before it asks the daemon
   * (file_modified() in fuse_file_fallocate() and fuse_cache_write_iter()), other file systems
   * after they have looked at what is asked for. So where a change was refused, or may have changed
   * nothing (a hole beyond the end, on btrfs), they are taken on both sides.
   */
  #settle(fd: number, result: number, isDoubtful = result < 0): Outcome {
    const stat = isDoubtful || result < 0 ? sys.fstat(fd) : result;
    if (typeof stat !== 'number') {
      libc.ftruncate(fd, stat.sizeBytes);
    }
    return outcome(result);
  }

  #write(operation: { handle: number; size: number; seed: number; offset?: number }): Outcome {
    const { seed, offset } = operation;
    const isDirect = this.#directHandles.has(operation.handle);
    const size = isDirect ? directWriteSize(operation.size) : operation.size;
    const fd = this.#fd(operation.handle);
    fillPattern(size, seed);
    return this.#settle(
      fd,
      offset === undefined
        ? libc.write(fd, sys.ioAddress, size)
        : libc.pwrite(fd, sys.ioAddress, size, offset),
    );
  }

  /** A directory's offsets are cookies of its file system: only the way back to 0 is compared. */
  #seek(operation: Operation & { op: 'seek' }): Outcome {
    const fd = this.#fd(operation.handle);
    const stat = sys.fstat(fd);
    if (typeof stat !== 'number' && sys.fileType(stat.mode) === constants.S_IFDIR) {
      return outcome(libc.lseek(fd, 0, SEEK.SET));
    }
    const { offset, whence } = operation;
    const result = libc.lseek(fd, offset, SEEK[whence]);
    if (whence === 'DATA' || whence === 'HOLE') {
      // What was found must not move what comes next: where it may differ it is compared only here.
      libc.lseek(fd, offset, SEEK.SET);
    }
    return outcome(result);
  }

  #copy(operation: Operation & { op: 'copy' }): Outcome {
    const from = this.#fd(operation.from);
    this.#noteRead(from);
    const { fromOffset, toOffset, size } = operation;
    const to = this.#fd(operation.to);
    return this.#settle(to, sys.copyFileRange(from, fromOffset, to, toOffset, size));
  }

  #blocks(handle: number): Outcome {
    const fd = this.#fd(handle);
    const result = libc.fsync(fd);
    const stat = sys.fstat(fd);
    if (result < 0 || typeof stat === 'number') {
      return outcome(result);
    }
    return outcome(0, { blocks: stat.blocks });
  }

  #unlink(path: string, flags: number): Outcome {
    return outcome(libc.unlinkat(AT_FDCWD, this.#address(path), flags));
  }

  #makeChain(name: string, depth: number): Outcome {
    const results: Json[] = [];
    for (let level = 1; level <= depth; level += 1) {
      const path = new Array<string>(level).fill(name).join('/');
      results.push(outcome(libc.mkdirat(AT_FDCWD, this.#address(path), 0o755)).result);
    }
    return outcome(0, { results });
  }

  #setTimes(operation: Operation & { op: 'utimens' }): Outcome {
    const { on, atime, mtime, follow } = operation;
    const times = sys.timespecs(timePair(atime), timePair(mtime));
    const { dirfd, path, flags } = this.#at(on, follow);
    const result =
      typeof on === 'number'
        ? libc.futimens(dirfd, times)
        : libc.utimensat(dirfd, path.address, times, flags);
    const stat = typeof on === 'number' ? sys.fstat(dirfd) : sys.stat(this.#path(on), follow);
    if (result === 0 && atime !== 'omit' && typeof stat !== 'number') {
      this.#isAtimeKnown.set(inodeKey(stat), true);
    }
    return outcome(result);
  }

  #stat(operation: Operation & { op: 'stat' }): Outcome {
    const { on, follow } = operation;
    const stat =
      typeof on === 'number' ? sys.fstat(this.#fd(on)) : sys.stat(this.#path(on), follow);
    if (typeof stat === 'number') {
      return outcome(stat);
    }
    // Walking a path reads directories and links, which may move their atime.
    const regular = sys.fileType(stat.mode) === constants.S_IFREG;
    const untouched = regular && (this.#isAtimeKnown.get(inodeKey(stat)) ?? this.#isAtimeKnownElse);
    return outcome(0, { ...statFacts(stat), atime: untouched ? timeFact(stat.atime) : 'moved' });
  }

  #openDirectory(path: string): number {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_CLOEXEC;
    return libc.openat(AT_FDCWD, this.#address(path), flags, 0);
  }

  /** Names, types, and how many entries show another inode number than lstat does. */
  #list(operation: Operation & { op: 'list' }): Outcome {
    const { on, chunk } = operation;
    if (typeof on === 'number') {
      const fd = this.#fd(on);
      libc.lseek(fd, 0, SEEK.SET);
      const entries = sys.remainingEntries(fd, chunk);
      return typeof entries === 'number'
        ? outcome(entries)
        : outcome(0, { entries: listing(entries) });
    }
    if (on === '@/') {
      return this.#listOwnShared(chunk);
    }
    const fd = this.#openDirectory(on);
    if (fd < 0) {
      return outcome(fd);
    }
    const entries = sys.remainingEntries(fd, chunk);
    libc.close(fd);
    if (typeof entries === 'number') {
      return outcome(entries);
    }
    const wrongInodes = entries.filter(({ name, ino }) => {
      const stat = sys.stat(`${this.#path(on)}/${name}`, false);
      return typeof stat === 'number' || stat.ino !== ino;
    });
    return outcome(0, { entries: listing(entries), wrongInodes: wrongInodes.map((e) => e.name) });
  }

  /** The shared directory changes while it is read, but the actor's own names do not. */
  #listOwnShared(chunk: number): Outcome {
    const fd = libc.openat(
      AT_FDCWD,
      sys.bytes(SHARED_PREFIX).address,
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_CLOEXEC,
      0,
    );
    const entries = sys.remainingEntries(fd, chunk);
    libc.close(fd);
    if (typeof entries === 'number') {
      return outcome(entries);
    }
    const own = entries.filter(({ name }) => name.endsWith(this.#actor));
    return outcome(0, { entries: listing(own) });
  }

  /** Unlinks entries as they are read: each that was there must still be seen exactly once. */
  #unlinkWhileListing(operation: Operation & { op: 'unlinkWhileListing' }): Outcome {
    const { path, chunk, keepEvery } = operation;
    const fd = this.#openDirectory(path);
    if (fd < 0) {
      return outcome(fd);
    }
    const seen: sys.DirectoryEntry[] = [];
    const results: string[] = [];
    for (;;) {
      const entries = sys.nextEntries(fd, chunk);
      if (typeof entries === 'number' || entries.length === 0) {
        libc.close(fd);
        const last = typeof entries === 'number' ? entries : 0;
        return outcome(last, { entries: listing(seen), results: results.sort() });
      }
      seen.push(...entries);
      for (const { name } of entries) {
        if (name !== '.' && name !== '..' && name.charCodeAt(0) % keepEvery !== 0) {
          const target = sys.bytes(name);
          results.push(`${name}: ${outcome(libc.unlinkat(fd, target.address, 0)).result}`);
        }
      }
    }
  }
}
