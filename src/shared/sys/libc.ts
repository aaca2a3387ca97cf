/**
 * The system calls, each wrapped once. The only file that imports koffi.
 *
 * Pointers are numeric addresses (see `addressOf`), so that a call allocates nothing. Paths are the
 * address of NUL-terminated bytes. Every call returns its result, or `-errno` on failure; errno is
 * read at once, since it belongs to the calling thread and the next call may change it.
 */
import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { SYS } from './constants.ts';

/**
 * koffi 3.3.4 keeps the stack and the heap of its calls when a thread ends: 3 MiB of addresses each time.
 * System calls need little of the one and, with numbers for parameters, nothing of the other. Main keeps
 * what it is given: libfuse's code runs there.
 */
if (!isMainThread) koffi.config({ sync_stack_size: 128 * 1024, sync_heap_size: 16 * 1024 });

const lib = koffi.load(null);

koffi.alias('ssize_t', 'intptr_t');
koffi.alias('off_t', 'int64_t');

/** koffi hands back a Number where it is safe and a BigInt above 2^53. */
type Int64 = number | bigint;

type NativeFunction = (...args: Int64[]) => Int64;

function declare(name: string, result: string, parameters: string[]): NativeFunction {
  return lib.func(name, result, parameters) as unknown as NativeFunction;
}

function rawSyscall(arity: number): NativeFunction {
  return declare('syscall', 'long', new Array<string>(arity + 1).fill('long'));
}

const c = {
  open: declare('open', 'int', ['uintptr_t', 'int', 'int']),
  openat: declare('openat', 'int', ['int', 'uintptr_t', 'int', 'int']),
  close: declare('close', 'int', ['int']),
  dup: declare('dup', 'int', ['int']),
  read: declare('read', 'ssize_t', ['int', 'uintptr_t', 'size_t']),
  write: declare('write', 'ssize_t', ['int', 'uintptr_t', 'size_t']),
  pread: declare('pread64', 'ssize_t', ['int', 'uintptr_t', 'size_t', 'off_t']),
  pwrite: declare('pwrite64', 'ssize_t', ['int', 'uintptr_t', 'size_t', 'off_t']),
  lseek: declare('lseek64', 'off_t', ['int', 'off_t', 'int']),
  fstatfs: declare('fstatfs64', 'int', ['int', 'uintptr_t']),
  nameToHandleAt: declare('name_to_handle_at', 'int', [
    'int',
    'uintptr_t',
    'uintptr_t',
    'uintptr_t',
    'int',
  ]),
  openByHandleAt: declare('open_by_handle_at', 'int', ['int', 'uintptr_t', 'int']),
  readlinkat: declare('readlinkat', 'ssize_t', ['int', 'uintptr_t', 'uintptr_t', 'size_t']),
  symlinkat: declare('symlinkat', 'int', ['uintptr_t', 'int', 'uintptr_t']),
  mknodat: declare('mknodat', 'int', ['int', 'uintptr_t', 'uint32_t', 'uint64_t']),
  mkdirat: declare('mkdirat', 'int', ['int', 'uintptr_t', 'uint32_t']),
  unlinkat: declare('unlinkat', 'int', ['int', 'uintptr_t', 'int']),
  linkat: declare('linkat', 'int', ['int', 'uintptr_t', 'int', 'uintptr_t', 'int']),
  fchmod: declare('fchmod', 'int', ['int', 'uint32_t']),
  fchmodat: declare('fchmodat', 'int', ['int', 'uintptr_t', 'uint32_t', 'int']),
  fchownat: declare('fchownat', 'int', ['int', 'uintptr_t', 'uint32_t', 'uint32_t', 'int']),
  ftruncate: declare('ftruncate64', 'int', ['int', 'off_t']),
  truncate: declare('truncate64', 'int', ['uintptr_t', 'off_t']),
  futimens: declare('futimens', 'int', ['int', 'uintptr_t']),
  utimensat: declare('utimensat', 'int', ['int', 'uintptr_t', 'uintptr_t', 'int']),
  fsync: declare('fsync', 'int', ['int']),
  fdatasync: declare('fdatasync', 'int', ['int']),
  syncfs: declare('syncfs', 'int', ['int']),
  madvise: declare('madvise', 'int', ['uintptr_t', 'size_t', 'int']),
  fallocate: declare('fallocate64', 'int', ['int', 'int', 'off_t', 'off_t']),
  setxattr: declare('setxattr', 'int', ['uintptr_t', 'uintptr_t', 'uintptr_t', 'size_t', 'int']),
  getxattr: declare('getxattr', 'ssize_t', ['uintptr_t', 'uintptr_t', 'uintptr_t', 'size_t']),
  listxattr: declare('listxattr', 'ssize_t', ['uintptr_t', 'uintptr_t', 'size_t']),
  removexattr: declare('removexattr', 'int', ['uintptr_t', 'uintptr_t']),
  ioctl: declare('ioctl', 'int', ['int', 'unsigned long', 'uintptr_t']),
  fcntl: declare('fcntl', 'int', ['int', 'int', 'int']),
  // On Linux variadic arguments travel like others, also on arm64.
  fcntlLock: declare('fcntl', 'int', ['int', 'int', 'uintptr_t']),
  flock: declare('flock', 'int', ['int', 'int']),
  mount: declare('mount', 'int', [
    'uintptr_t',
    'uintptr_t',
    'uintptr_t',
    'unsigned long',
    'uintptr_t',
  ]),
  umount2: declare('umount2', 'int', ['uintptr_t', 'int']),
  umask: declare('umask', 'uint32_t', ['uint32_t']),
  unshare: declare('unshare', 'int', ['int']),
  fchdir: declare('fchdir', 'int', ['int']),
  eventfd: declare('eventfd', 'int', ['uint32_t', 'int']),
  poll: declare('poll', 'int', ['uintptr_t', 'unsigned long', 'int']),
  socket: declare('socket', 'int', ['int', 'int', 'int']),
  sendto: declare('sendto', 'ssize_t', [
    'int',
    'uintptr_t',
    'size_t',
    'int',
    'uintptr_t',
    'uint32_t',
  ]),
  connect: declare('connect', 'int', ['int', 'uintptr_t', 'uint32_t']),
  sendmsg: declare('sendmsg', 'ssize_t', ['int', 'uintptr_t', 'int']),
  execv: declare('execv', 'int', ['uintptr_t', 'uintptr_t']),
  socketpair: declare('socketpair', 'int', ['int', 'int', 'int', 'uintptr_t']),
  recvmsg: declare('recvmsg', 'ssize_t', ['int', 'uintptr_t', 'int']),
  exitNow: declare('_exit', 'void', ['int']),
  getrlimit: declare('getrlimit64', 'int', ['int', 'uintptr_t']),
  setrlimit: declare('setrlimit64', 'int', ['int', 'uintptr_t']),
  schedSetaffinity: declare('sched_setaffinity', 'int', ['int', 'size_t', 'uintptr_t']),
  getrusage: declare('getrusage', 'int', ['int', 'uintptr_t']),
  syscall2: rawSyscall(2),
  syscall3: rawSyscall(3),
  syscall4: rawSyscall(4),
  syscall5: rawSyscall(5),
  syscall6: rawSyscall(6),
};

/** A result that fits a Number: everything but the lseek cookies of some file systems. */
function result(value: Int64): number {
  return (value as number) < 0 ? -koffi.errno() : (value as number);
}

/**
 * Loads a library for the whole process, so that those which need it by its name find it.
 * @throws Error when it cannot be loaded
 */
export function loadLibrary(path: string): void {
  koffi.load(path, { global: true });
}

/**
 * The address of the first byte of a view, valid as long as its buffer lives. Buffers that were
 * allocated by V8's backing store (SharedArrayBuffer, ArrayBuffer of 64 bytes and more) do not move.
 */
export function addressOf(view: ArrayBufferView): number {
  return Number(koffi.address(view));
}

/**
 * V8 may collect a buffer of which only the address is used any more, so the newest ones are held
 * here for longer than any call takes that they were made for.
 */
const RECENT_STRINGS = 64;
const recentStrings: CString[] = [];
let nextRecent = 0;

/** NUL-terminated bytes of a path or name, for a call that is made at once or while this is held. */
export class CString {
  readonly bytes: Uint8Array;
  readonly address: number;

  constructor(text: string | Uint8Array) {
    const source = typeof text === 'string' ? Buffer.from(text) : text;
    this.bytes = new Uint8Array(new SharedArrayBuffer(source.length + 1));
    this.bytes.set(source);
    this.address = addressOf(this.bytes);
    recentStrings[nextRecent] = this;
    nextRecent = (nextRecent + 1) % RECENT_STRINGS;
  }
}

/** open(2). */
export function open(path: number, flags: number, mode = 0): number {
  return result(c.open(path, flags, mode));
}

/** openat(2). */
export function openat(dirfd: number, path: number, flags: number, mode: number): number {
  return result(c.openat(dirfd, path, flags, mode));
}

/** openat2(2); `how` is the address of a 24-byte struct open_how. */
export function openat2(dirfd: number, path: number, how: number): number {
  return result(c.syscall4(SYS.openat2, dirfd, path, how, 24));
}

/** close(2). */
export function close(fd: number): number {
  return result(c.close(fd));
}

/** dup(2). */
export function dup(fd: number): number {
  return result(c.dup(fd));
}

/** read(2). */
export function read(fd: number, buffer: number, sizeBytes: number): number {
  return result(c.read(fd, buffer, sizeBytes));
}

/** write(2). */
export function write(fd: number, buffer: number, sizeBytes: number): number {
  return result(c.write(fd, buffer, sizeBytes));
}

/** pread(2). `offset` may be a BigInt above 2^53. */
export function pread(fd: number, buffer: number, sizeBytes: number, offset: Int64): number {
  return result(c.pread(fd, buffer, sizeBytes, offset));
}

/** pwrite(2). */
export function pwrite(fd: number, buffer: number, sizeBytes: number, offset: Int64): number {
  return result(c.pwrite(fd, buffer, sizeBytes, offset));
}

/** preadv2(2); `iov` is the address of `count` struct iovec. */
export function preadv2(
  fd: number,
  iov: number,
  count: number,
  offset: Int64,
  flags: number,
): number {
  return result(c.syscall6(SYS.preadv2, fd, iov, count, offset, 0, flags));
}

/** pwritev2(2). */
export function pwritev2(
  fd: number,
  iov: number,
  count: number,
  offset: Int64,
  flags: number,
): number {
  return result(c.syscall6(SYS.pwritev2, fd, iov, count, offset, 0, flags));
}

/** lseek(2). The position comes back as a BigInt above 2^53 (directory cookies of ext4). */
export function lseek(fd: number, offset: Int64, whence: number): Int64 {
  const position = c.lseek(fd, offset, whence);
  return position === -1 ? -koffi.errno() : position;
}

/** statx(2). */
export function statx(
  dirfd: number,
  path: number,
  flags: number,
  mask: number,
  buffer: number,
): number {
  return result(c.syscall5(SYS.statx, dirfd, path, flags, mask, buffer));
}

/** fstatfs(2). */
export function fstatfs(fd: number, buffer: number): number {
  return result(c.fstatfs(fd, buffer));
}

/** name_to_handle_at(2). `handle` is a struct file_handle whose handle_bytes says the room. */
export function nameToHandleAt(
  dirfd: number,
  path: number,
  handle: number,
  mountId: number,
  flags: number,
): number {
  return result(c.nameToHandleAt(dirfd, path, handle, mountId, flags));
}

/** open_by_handle_at(2): needs CAP_DAC_READ_SEARCH. It has no form that does not block. */
export function openByHandleAt(mountFd: number, handle: number, flags: number): number {
  return result(c.openByHandleAt(mountFd, handle, flags));
}

/** readlinkat(2). */
export function readlinkat(dirfd: number, path: number, buffer: number, sizeBytes: number): number {
  return result(c.readlinkat(dirfd, path, buffer, sizeBytes));
}

/** symlinkat(2). */
export function symlinkat(target: number, dirfd: number, name: number): number {
  return result(c.symlinkat(target, dirfd, name));
}

/** mknodat(2). */
export function mknodat(dirfd: number, name: number, mode: number, rdev: number): number {
  return result(c.mknodat(dirfd, name, mode, rdev));
}

/** mkdirat(2). */
export function mkdirat(dirfd: number, name: number, mode: number): number {
  return result(c.mkdirat(dirfd, name, mode));
}

/** unlinkat(2). */
export function unlinkat(dirfd: number, name: number, flags: number): number {
  return result(c.unlinkat(dirfd, name, flags));
}

/** renameat2(2). */
export function renameat2(
  oldDirfd: number,
  oldName: number,
  newDirfd: number,
  newName: number,
  flags: number,
): number {
  return result(c.syscall5(SYS.renameat2, oldDirfd, oldName, newDirfd, newName, flags));
}

/** linkat(2). */
export function linkat(
  oldDirfd: number,
  oldPath: number,
  newDirfd: number,
  newName: number,
  flags: number,
): number {
  return result(c.linkat(oldDirfd, oldPath, newDirfd, newName, flags));
}

/** fchmod(2). */
export function fchmod(fd: number, mode: number): number {
  return result(c.fchmod(fd, mode));
}

/** fchmodat(2). */
export function fchmodat(dirfd: number, path: number, mode: number, flags: number): number {
  return result(c.fchmodat(dirfd, path, mode, flags));
}

/** fchownat(2); an id of 0xffffffff leaves that one as it is. */
export function fchownat(
  dirfd: number,
  path: number,
  uid: number,
  gid: number,
  flags: number,
): number {
  return result(c.fchownat(dirfd, path, uid, gid, flags));
}

/** ftruncate(2). */
export function ftruncate(fd: number, sizeBytes: Int64): number {
  return result(c.ftruncate(fd, sizeBytes));
}

/** truncate(2). */
export function truncate(path: number, sizeBytes: Int64): number {
  return result(c.truncate(path, sizeBytes));
}

/** futimens(3); `times` is the address of two struct timespec. */
export function futimens(fd: number, times: number): number {
  return result(c.futimens(fd, times));
}

/** utimensat(2). */
export function utimensat(dirfd: number, path: number, times: number, flags: number): number {
  return result(c.utimensat(dirfd, path, times, flags));
}

/** fsync(2). */
export function fsync(fd: number): number {
  return result(c.fsync(fd));
}

/** fdatasync(2). */
export function fdatasync(fd: number): number {
  return result(c.fdatasync(fd));
}

/** syncfs(2). */
export function syncfs(fd: number): number {
  return result(c.syncfs(fd));
}

/** madvise(2). */
export function madvise(address: number, sizeBytes: number, advice: number): number {
  return result(c.madvise(address, sizeBytes, advice));
}

/** fallocate(2). */
export function fallocate(fd: number, mode: number, offset: Int64, length: Int64): number {
  return result(c.fallocate(fd, mode, offset, length));
}

/** copy_file_range(2); the offsets are addresses of 64-bit cells that are moved forward. */
export function copyFileRange(
  fdIn: number,
  offsetIn: number,
  fdOut: number,
  offsetOut: number,
  sizeBytes: number,
  flags: number,
): number {
  return result(
    c.syscall6(SYS.copy_file_range, fdIn, offsetIn, fdOut, offsetOut, sizeBytes, flags),
  );
}

/** getdents64(2). */
export function getdents64(fd: number, buffer: number, sizeBytes: number): number {
  return result(c.syscall3(SYS.getdents64, fd, buffer, sizeBytes));
}

/** setxattr(2). */
export function setxattr(
  path: number,
  name: number,
  value: number,
  sizeBytes: number,
  flags: number,
): number {
  return result(c.setxattr(path, name, value, sizeBytes, flags));
}

/** getxattr(2). */
export function getxattr(path: number, name: number, value: number, sizeBytes: number): number {
  return result(c.getxattr(path, name, value, sizeBytes));
}

/** listxattr(2). */
export function listxattr(path: number, list: number, sizeBytes: number): number {
  return result(c.listxattr(path, list, sizeBytes));
}

/** removexattr(2). */
export function removexattr(path: number, name: number): number {
  return result(c.removexattr(path, name));
}

/** ioctl(2); `argument` is an address. */
export function ioctl(fd: number, command: number, argument: number): number {
  return result(c.ioctl(fd, command, argument));
}

/** fcntl(2) with an integer argument. */
export function fcntl(fd: number, command: number, argument: number): number {
  return result(c.fcntl(fd, command, argument));
}

/** fcntl(2) with a lock; `lock` is the address of a struct flock. */
export function fcntlLock(fd: number, command: number, lock: number): number {
  return result(c.fcntlLock(fd, command, lock));
}

/** flock(2). */
export function flock(fd: number, operation: number): number {
  return result(c.flock(fd, operation));
}

/** mount(2). */
export function mount(
  source: number,
  target: number,
  type: number,
  flags: number,
  data: number,
): number {
  return result(c.mount(source, target, type, flags, data));
}

/** umount2(2). */
export function umount2(target: number, flags: number): number {
  return result(c.umount2(target, flags));
}

/** umask(2): the old mask. It belongs to the process unless the thread did unshare(CLONE_FS). */
export function umask(mask: number): number {
  return c.umask(mask) as number;
}

/** unshare(2), for the calling thread. */
export function unshare(flags: number): number {
  return result(c.unshare(flags));
}

/** fchdir(2). */
export function fchdir(fd: number): number {
  return result(c.fchdir(fd));
}

/** eventfd(2). */
export function eventfd(initial: number, flags: number): number {
  return result(c.eventfd(initial, flags));
}

/** poll(2). */
export function poll(fds: number, count: number, timeoutMs: number): number {
  return result(c.poll(fds, count, timeoutMs));
}

/** socket(2). */
export function socket(domain: number, type: number, protocol: number): number {
  return result(c.socket(domain, type, protocol));
}

/** sendto(2); `address` is the address of a socket address of `addressBytes`. */
export function sendto(
  fd: number,
  buffer: number,
  sizeBytes: number,
  flags: number,
  address: number,
  addressBytes: number,
): number {
  return result(c.sendto(fd, buffer, sizeBytes, flags, address, addressBytes));
}

/** connect(2); `address` is the address of a socket address of `addressBytes`. */
export function connect(fd: number, address: number, addressBytes: number): number {
  return result(c.connect(fd, address, addressBytes));
}

/** sendmsg(2). */
export function sendmsg(fd: number, message: number, flags: number): number {
  return result(c.sendmsg(fd, message, flags));
}

/** execv(3); `argv` is the address of addresses, the last one 0. Returns only when it fails. */
export function execv(path: number, argv: number): number {
  return result(c.execv(path, argv));
}

/** socketpair(2); `fds` is the address of two ints. */
export function socketpair(domain: number, type: number, protocol: number, fds: number): number {
  return result(c.socketpair(domain, type, protocol, fds));
}

/** recvmsg(2). */
export function recvmsg(fd: number, message: number, flags: number): number {
  return result(c.recvmsg(fd, message, flags));
}

/** getrusage(2); `usage` is the address of a struct rusage. */
export function getrusage(who: number, usage: number): number {
  return result(c.getrusage(who, usage));
}

/** getrlimit(2); `limits` is the address of two 64-bit cells, soft then hard. */
export function getrlimit(resource: number, limits: number): number {
  return result(c.getrlimit(resource, limits));
}

/** setrlimit(2). */
export function setrlimit(resource: number, limits: number): number {
  return result(c.setrlimit(resource, limits));
}

/** capget(2) of the calling thread. */
export function capget(header: number, data: number): number {
  return result(c.syscall2(SYS.capget, header, data));
}

/** capset(2) of the calling thread: libc has no wrapper that would reach the other threads. */
export function capset(header: number, data: number): number {
  return result(c.syscall2(SYS.capset, header, data));
}

/** faccessat2(2) (Linux 5.8). */
export function faccessat2(dirfd: number, path: number, mode: number, flags: number): number {
  return result(c.syscall4(SYS.faccessat2, dirfd, path, mode, flags));
}

/** getgroups(2); with a count of 0 how many there are. */
export function getgroups(count: number, groups: number): number {
  return result(c.syscall2(SYS.getgroups, count, groups));
}

/** prctl(2) with one argument. */
export function prctl(option: number, argument: number): number {
  return result(c.syscall5(SYS.prctl, option, argument, 0, 0, 0));
}

/** setgroups(2) of the calling thread; `groups` is the address of 32-bit ids. */
export function setgroups(count: number, groups: number): number {
  return result(c.syscall2(SYS.setgroups, count, groups));
}

/** setresuid(2) of the calling thread; 0xffffffff leaves an id as it is. */
export function setresuid(real: number, effective: number, saved: number): number {
  return result(c.syscall3(SYS.setresuid, real, effective, saved));
}

/** setresgid(2) of the calling thread; 0xffffffff leaves an id as it is. */
export function setresgid(real: number, effective: number, saved: number): number {
  return result(c.syscall3(SYS.setresgid, real, effective, saved));
}

/** io_uring_setup(2); `params` is the address of a struct io_uring_params. */
export function ioUringSetup(entries: number, params: number): number {
  return result(c.syscall2(SYS.io_uring_setup, entries, params));
}

/** io_uring_enter(2) without a signal mask. */
export function ioUringEnter(
  fd: number,
  toSubmit: number,
  minComplete: number,
  flags: number,
): number {
  return result(c.syscall6(SYS.io_uring_enter, fd, toSubmit, minComplete, flags, 0, 0));
}

/** sched_setaffinity(2) of the calling thread; `mask` is the address of `sizeBytes` of CPU bits. */
export function schedSetaffinity(mask: number, sizeBytes: number): number {
  return result(c.schedSetaffinity(0, sizeBytes, mask));
}

/** _exit(2): ends the process without waiting for threads that hang in a system call. */
export function exitNow(code: number): void {
  c.exitNow(code);
}

export interface FdWatcher {
  stop(): void;
}

/**
 * Watches a descriptor on the calling thread's event loop (uv_poll, level-triggered). koffi's typings
 * say the callback gets `(events)`; it gets `(status, events)`.
 */
export function watchReadable(fd: number, onReadable: (status: number) => void): FdWatcher {
  const handle = koffi.node.poll(fd, { readable: true }, ((status: number) =>
    onReadable(status)) as never);
  return {
    stop(): void {
      handle.stop();
      handle.close();
    },
  };
}
