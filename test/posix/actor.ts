/** A user's system calls in the current directory: each is logged and gives its result or errno. */
import { createHash } from 'node:crypto';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  STATX,
  STATX_BASIC_STATS,
  STATX_BTIME,
  UTIME_NOW,
  UTIME_OMIT,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import * as sys from '../differential/syscalls.ts';
import { syscall } from '../harness/native.ts';
import { SYS } from './numbers.ts';
import { Reply, type Stage, type TimeName, Unmet } from './stage.ts';
import { as, type Identity } from './user.ts';

const LONGEST_SHOWN = 48;
const LIST_BYTES = 64 * 1024;
const TYPE_NAMES: Readonly<Record<number, string>> = {
  4: 'dir',
  8: 'regular',
  1: 'fifo',
  6: 'block',
  2: 'char',
  12: 'socket',
  10: 'symlink',
};
const statView = new DataView(sys.io.buffer, sys.io.byteOffset, STATX.SIZE);

/** Seconds and nanoseconds, or what utimensat(2) takes instead. */
export type Time = readonly [seconds: number, nanoseconds: number] | 'now' | 'omit';

/** What lstat(2) says that has to be equal on both sides. */
export interface Facts {
  readonly type: string;
  /** The permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Not of directories, whose size is their file system's own. */
  readonly size: number;
  readonly rdev: string;
}

function show(path: string): string {
  return path.length <= LONGEST_SHOWN ? path : `${path.slice(0, 12)}..(${path.length})`;
}

function octal(mode: number): string {
  return `0${mode.toString(8)}`;
}

function timePair(time: Time): readonly [number, number] {
  if (time === 'now') return [0, UTIME_NOW];
  return time === 'omit' ? [0, UTIME_OMIT] : time;
}

function nanoseconds(offset: number): bigint {
  const seconds = statView.getBigInt64(offset, true);
  return seconds * 1_000_000_000n + BigInt(statView.getUint32(offset + 8, true));
}

export class Actor {
  readonly user: Identity;
  readonly #stage: Stage;

  constructor(stage: Stage, user: Identity) {
    this.#stage = stage;
    this.user = user;
  }

  get uid(): number {
    return this.user.uid;
  }

  get gid(): number {
    return this.user.gid;
  }

  /** Makes any call as this user and logs it; `shown` stands for a result that is not to be compared. */
  call(text: string, action: () => number, shown?: string): Reply {
    const reply = new Reply(`${this.user.name} ${text}`, as(this.user, action));
    const result = reply.value < 0 ? reply.result : (shown ?? reply.result);
    this.#stage.log.push(`${this.user.name} ${text} -> ${result}`);
    return reply;
  }

  // Names

  mkdir(path: string, mode = 0o755): Reply {
    return this.call(`mkdir ${show(path)} ${octal(mode)}`, () =>
      libc.mkdirat(AT_FDCWD, sys.bytes(path).address, mode),
    );
  }

  mknod(path: string, mode: number, rdev = 0): Reply {
    return this.call(`mknod ${show(path)} ${octal(mode)} ${rdev}`, () =>
      libc.mknodat(AT_FDCWD, sys.bytes(path).address, mode, rdev),
    );
  }

  mkfifo(path: string, mode = 0o644): Reply {
    return this.mknod(path, 0o010000 | mode);
  }

  symlink(target: string, path: string): Reply {
    return this.call(`symlink ${show(target)} ${show(path)}`, () =>
      libc.symlinkat(sys.bytes(target).address, AT_FDCWD, sys.bytes(path).address),
    );
  }

  link(from: string, to: string, flags = 0): Reply {
    return this.call(`link ${show(from)} ${show(to)} ${flags}`, () =>
      libc.linkat(AT_FDCWD, sys.bytes(from).address, AT_FDCWD, sys.bytes(to).address, flags),
    );
  }

  /** linkat(2) of an open file without a name. */
  publish(fd: number, to: string): Reply {
    return this.call(`link fd ${show(to)}`, () => sys.linkDescriptor(fd, to));
  }

  unlink(path: string): Reply {
    return this.call(`unlink ${show(path)}`, () =>
      libc.unlinkat(AT_FDCWD, sys.bytes(path).address, 0),
    );
  }

  rmdir(path: string): Reply {
    return this.call(`rmdir ${show(path)}`, () =>
      libc.unlinkat(AT_FDCWD, sys.bytes(path).address, AT_REMOVEDIR),
    );
  }

  /** unlink or rmdir, as the object needs it. */
  remove(path: string, isDirectory: boolean): Reply {
    return isDirectory ? this.rmdir(path) : this.unlink(path);
  }

  rename(from: string, to: string, flags = 0): Reply {
    return this.call(`rename ${show(from)} ${show(to)}${flags === 0 ? '' : ` ${flags}`}`, () =>
      libc.renameat2(AT_FDCWD, sys.bytes(from).address, AT_FDCWD, sys.bytes(to).address, flags),
    );
  }

  readlink(path: string, sizeBytes = 4096): Reply {
    const reply = this.call(`readlink ${show(path)} ${sizeBytes}`, () =>
      libc.readlinkat(AT_FDCWD, sys.bytes(path).address, sys.ioAddress, sizeBytes),
    );
    if (reply.value > 0) this.#stage.note('target', show(sys.ioText(0, reply.value)));
    return reply;
  }

  /** The names in a directory, without `.` and `..`. */
  names(path: string): string[] {
    let names: string[] = [];
    this.call(`list ${show(path)}`, () => {
      const found = sys.namesIn(path);
      if (typeof found === 'number') return found;
      names = found;
      return found.length;
    }).ok();
    return names;
  }

  // Open files

  /** open(2); the descriptor is closed with the stage. */
  open(path: string, flags: number, mode = 0): Reply {
    const reply = this.call(
      `open ${show(path)} ${octal(flags)} ${octal(mode)}`,
      () => libc.openat(AT_FDCWD, sys.bytes(path).address, flags, mode),
      'fd',
    );
    const fd = reply.value;
    if (fd >= 0) this.#stage.later(() => libc.close(fd));
    return reply;
  }

  /** Opens and closes again: 0 or -errno. */
  tryOpen(path: string, flags: number, mode = 0): Reply {
    return this.call(`open ${show(path)} ${octal(flags)} ${octal(mode)} and close`, () => {
      const fd = libc.openat(AT_FDCWD, sys.bytes(path).address, flags, mode);
      return fd < 0 ? fd : libc.close(fd);
    });
  }

  /** A new regular file. */
  create(path: string, mode = 0o644): Reply {
    return this.tryOpen(path, O_CREAT | O_EXCL | O_WRONLY, mode);
  }

  close(fd: number): Reply {
    return this.call('close', () => libc.close(fd));
  }

  write(fd: number, text: string, offset?: number): Reply {
    return this.call(`write ${text.length} at ${offset ?? 'position'}`, () => {
      sys.io.write(text, 0, 'latin1');
      return offset === undefined
        ? libc.write(fd, sys.ioAddress, text.length)
        : libc.pwrite(fd, sys.ioAddress, text.length, offset);
    });
  }

  /** A file with a content, owned by this user. */
  file(path: string, text: string, mode = 0o644): void {
    const fd = this.open(path, O_CREAT | O_EXCL | O_WRONLY, mode).ok();
    this.write(fd, text).is(text.length);
  }

  read(fd: number, sizeBytes: number, offset?: number): string {
    const reply = this.call(`read ${sizeBytes} at ${offset ?? 'position'}`, () =>
      offset === undefined
        ? libc.read(fd, sys.ioAddress, sizeBytes)
        : libc.pread(fd, sys.ioAddress, sizeBytes, offset),
    );
    const text = sys.ioText(0, reply.ok());
    this.#stage.note(
      'data',
      text.length <= LONGEST_SHOWN
        ? JSON.stringify(text)
        : createHash('sha1').update(text, 'latin1').digest('hex'),
    );
    return text;
  }

  /** The first part of a file. */
  content(path: string, sizeBytes = 4096): string {
    return this.read(this.open(path, O_RDONLY | O_NONBLOCK).ok(), sizeBytes, 0);
  }

  lseek(fd: number, offset: number, whence: number): Reply {
    return this.call(`lseek ${offset} ${whence}`, () => Number(libc.lseek(fd, offset, whence)));
  }

  truncate(path: string, sizeBytes: number): Reply {
    return this.call(`truncate ${show(path)} ${sizeBytes}`, () =>
      libc.truncate(sys.bytes(path).address, sizeBytes),
    );
  }

  ftruncate(fd: number, sizeBytes: number): Reply {
    return this.call(`ftruncate ${sizeBytes}`, () => libc.ftruncate(fd, sizeBytes));
  }

  fallocate(fd: number, mode: number, offset: number, sizeBytes: number): Reply {
    return this.call(`fallocate ${mode} ${offset} ${sizeBytes}`, () =>
      libc.fallocate(fd, mode, offset, sizeBytes),
    );
  }

  fsync(fd: number): Reply {
    return this.call('fsync', () => libc.fsync(fd));
  }

  copyRange(
    from: number,
    fromOffset: number | null,
    to: number,
    toOffset: number | null,
    sizeBytes: number,
  ): Reply {
    return this.call(`copy_file_range ${fromOffset} ${toOffset} ${sizeBytes}`, () =>
      sys.copyFileRange(from, fromOffset, to, toOffset, sizeBytes),
    );
  }

  // Attributes

  chmod(path: string, mode: number): Reply {
    return this.call(`chmod ${show(path)} ${octal(mode)}`, () =>
      libc.fchmodat(AT_FDCWD, sys.bytes(path).address, mode, 0),
    );
  }

  fchmod(fd: number, mode: number): Reply {
    return this.call(`fchmod ${octal(mode)}`, () => libc.fchmod(fd, mode));
  }

  chown(path: string, uid: number, gid: number, flags = 0): Reply {
    return this.call(`chown ${show(path)} ${uid} ${gid} ${flags}`, () =>
      libc.fchownat(AT_FDCWD, sys.bytes(path).address, uid >>> 0, gid >>> 0, flags),
    );
  }

  lchown(path: string, uid: number, gid: number): Reply {
    return this.chown(path, uid, gid, AT_SYMLINK_NOFOLLOW);
  }

  fchown(fd: number, uid: number, gid: number): Reply {
    return this.call(`fchown ${uid} ${gid}`, () =>
      libc.fchownat(fd, sys.bytes('').address, uid >>> 0, gid >>> 0, AT_EMPTY_PATH),
    );
  }

  utimens(path: string, atime: Time, mtime: Time, flags = 0): Reply {
    return this.call(`utimens ${show(path)} ${atime} ${mtime} ${flags}`, () => {
      const times = sys.timespecs(timePair(atime), timePair(mtime));
      return libc.utimensat(AT_FDCWD, sys.bytes(path).address, times, flags);
    });
  }

  access(path: string, mode: number): Reply {
    return this.call(`access ${show(path)} ${mode}`, () =>
      syscall(SYS.faccessat2, AT_FDCWD, sys.bytes(path).address, mode, 0),
    );
  }

  chdir(path: string): Reply {
    const home = libc.openat(AT_FDCWD, sys.bytes('.').address, O_RDONLY | O_DIRECTORY, 0);
    const reply = this.call(`chdir ${show(path)}`, () =>
      syscall(SYS.chdir, sys.bytes(path).address),
    );
    libc.fchdir(home);
    libc.close(home);
    return reply;
  }

  #statx(path: string, flags: number): number {
    const mask = STATX_BASIC_STATS | STATX_BTIME;
    return libc.statx(AT_FDCWD, sys.bytes(path).address, flags, mask, sys.ioAddress);
  }

  tryStat(path: string): Reply {
    return this.call(`stat ${show(path)}`, () => this.#statx(path, 0));
  }

  tryLstat(path: string): Reply {
    return this.call(`lstat ${show(path)}`, () => this.#statx(path, AT_SYMLINK_NOFOLLOW));
  }

  /** lstat(2): the facts are logged. */
  facts(path: string): Facts {
    return this.#told(
      show(path),
      as(this.user, () => sys.stat(path, false)),
    );
  }

  /** fstat(2): the facts are logged. */
  fstat(fd: number): Facts {
    return this.#told(
      'descriptor',
      as(this.user, () => sys.fstat(fd)),
    );
  }

  #told(what: string, stat: sys.Stat | number): Facts {
    if (typeof stat === 'number') throw new Unmet(`stat of ${what} gave ${stat}`);
    const type = TYPE_NAMES[sys.fileType(stat.mode) >> 12] ?? 'unknown';
    const facts = {
      type,
      mode: stat.mode & 0o7777,
      nlink: stat.nlink,
      uid: stat.uid,
      gid: stat.gid,
      size: type === 'dir' ? 0 : stat.sizeBytes,
      rdev: stat.rdev,
    };
    this.#stage.note(what, { ...facts, mode: octal(facts.mode) });
    return facts;
  }

  /** lstat(2), of which the named facts have to be these. */
  has(path: string, expected: Partial<Facts>): void {
    const facts = this.facts(path);
    for (const [name, must] of Object.entries(expected)) {
      const is = facts[name as keyof Facts];
      const say = (value: unknown) => (name === 'mode' ? octal(Number(value)) : value);
      if (is !== must) throw new Unmet(`${name} of ${show(path)} is ${say(is)}, not ${say(must)}`);
    }
  }

  ino(path: string): number {
    const stat = as(this.user, () => sys.stat(path, false));
    if (typeof stat === 'number') throw new Unmet(`lstat ${show(path)} gave ${stat}`);
    return stat.ino;
  }

  /** All times in nanoseconds since 1970; `btime` is undefined where the file system keeps none. */
  times(path: string, follow = false): Record<TimeName, bigint> & { btime: bigint | undefined } {
    const result = as(this.user, () => this.#statx(path, follow ? 0 : AT_SYMLINK_NOFOLLOW));
    if (result < 0) throw new Unmet(`statx ${show(path)} gave ${result}`);
    const hasBtime = (statView.getUint32(STATX.mask, true) & STATX_BTIME) !== 0;
    return {
      atime: nanoseconds(STATX.atime),
      mtime: nanoseconds(STATX.mtime),
      ctime: nanoseconds(STATX.ctime),
      btime: hasBtime ? nanoseconds(STATX.btime) : undefined,
    };
  }

  // Extended attributes, never of what a symlink points to

  setxattr(path: string, name: string, value: string | Uint8Array, flags = 0): Reply {
    return this.call(`setxattr ${show(path)} ${show(name)} (${value.length}) ${flags}`, () => {
      sys.io.set(typeof value === 'string' ? Buffer.from(value, 'latin1') : value);
      return syscall(
        SYS.lsetxattr,
        sys.bytes(path).address,
        sys.bytes(name).address,
        sys.ioAddress,
        value.length,
        flags,
      );
    });
  }

  /** The value is logged by its digest. */
  getxattr(path: string, name: string, sizeBytes = LIST_BYTES): Reply {
    const reply = this.call(`getxattr ${show(path)} ${show(name)} ${sizeBytes}`, () =>
      syscall(
        SYS.lgetxattr,
        sys.bytes(path).address,
        sys.bytes(name).address,
        sys.ioAddress,
        sizeBytes,
      ),
    );
    if (reply.value > 0 && sizeBytes > 0) {
      const value = sys.io.subarray(0, reply.value);
      this.#stage.note('value', createHash('sha1').update(value).digest('hex'));
    }
    return reply;
  }

  /** A value as bytes of latin1. */
  xattr(path: string, name: string): string {
    return sys.ioText(0, this.getxattr(path, name).ok());
  }

  /** The names in order, without those of the security modules. */
  listxattr(path: string, sizeBytes = LIST_BYTES): Reply {
    const reply = this.call(`listxattr ${show(path)} ${sizeBytes}`, () =>
      syscall(SYS.llistxattr, sys.bytes(path).address, sys.ioAddress, sizeBytes),
    );
    if (reply.value > 0 && sizeBytes > 0) {
      this.#stage.note('names', sys.ioText(0, reply.value).split('\0').sort().join(' ').trim());
    }
    return reply;
  }

  removexattr(path: string, name: string): Reply {
    return this.call(`removexattr ${show(path)} ${show(name)}`, () =>
      syscall(SYS.lremovexattr, sys.bytes(path).address, sys.bytes(name).address),
    );
  }
}
