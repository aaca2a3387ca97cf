/**
 * Every wrapper of a system call, used in the way that costs the kernel least: what is left is
 * koffi's share. Calls that undo one another are measured as a pair, under both names.
 */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bench } from 'mitata';
import { ERRNO, errnoName } from '../../src/shared/abi/errno.ts';
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  RLIMIT_NOFILE,
  RUSAGE_THREAD,
  STATX_BASIC_STATS,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';

/** Wrappers without a figure, and why. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'addressOf, CString': 'no system calls; see koffi: address',
  'mount, umount2': 'change what everybody sees',
  'unshare, fchdir, umask': 'change the thread or the process',
  'setresuid, setresgid, setgroups, capget, capset, prctl': 'change what the process may do',
  'execv, exitNow': 'do not return',
  'syncfs, fsync, fdatasync': 'measure the disk',
  'connect, sendto, sendmsg, recvmsg, socket, socketpair': 'are made once for a mount',
  'flock, fcntlLock': 'need another side',
  'watchReadable, ioUringSetup, madvise, schedSetaffinity': 'are made once for a mount',
  ioUringEnter: 'needs another side',
  loadLibrary: 'is no system call',
  'fchownat, mknodat, setrlimit, ioctl, setxattr, removexattr':
    'as fchmodat, mkdirat, getrlimit, fcntl, getxattr',
};

/** Memory for arguments and results; the address is valid as long as the module is. */
const room = new Uint8Array(new SharedArrayBuffer(1 << 16));
const at = libc.addressOf(room);
const words = new Int32Array(room.buffer);
const HANDLE_AT = 8192;
const HANDLE_BYTES = 128;
const IOV_AT = 12288;
const HOW_AT = 16384;
const DATA_BYTES = 4096;
const F_GETFD = 1;

interface Call {
  readonly name: string;
  readonly call: () => number;
}

function descriptor(path: string, flags: number): number {
  const fd = libc.open(new libc.CString(path).address, flags, 0o644);
  if (fd < 0) throw new Error(`${path}: ${errnoName(fd)}`);
  return fd;
}

/** A name that stays in memory for as long as the program runs. */
const kept: libc.CString[] = [];
function name(text: string): number {
  const string = new libc.CString(text);
  kept.push(string);
  return string.address;
}

function prepareMemory(): void {
  const iov = new BigUint64Array(room.buffer, IOV_AT, 2);
  iov[0] = BigInt(at);
  iov[1] = BigInt(DATA_BYTES);
  room.fill(0, HOW_AT, HOW_AT + 24);
}

function nameCalls(directory: number, file: number): Call[] {
  const there = name('file');
  const other = name('other');
  const empty = name('');
  const link = name('link');
  const created = name('created');
  return [
    { name: 'openat, close', call: () => libc.close(libc.openat(directory, there, O_RDONLY, 0)) },
    { name: 'openat2, close', call: () => libc.close(libc.openat2(directory, there, at + HOW_AT)) },
    { name: 'dup, close', call: () => libc.close(libc.dup(file)) },
    {
      name: 'openat that creates, close, unlinkat',
      call: () => {
        libc.close(libc.openat(directory, created, O_RDWR | O_CREAT, 0o644));
        return libc.unlinkat(directory, created, 0);
      },
    },
    {
      name: 'statx of a name',
      call: () => libc.statx(directory, there, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, at),
    },
    {
      name: 'statx of a descriptor',
      call: () => libc.statx(file, empty, AT_EMPTY_PATH, STATX_BASIC_STATS, at),
    },
    { name: 'faccessat2', call: () => libc.faccessat2(directory, there, 0, 0) },
    { name: 'readlinkat', call: () => libc.readlinkat(directory, link, at, DATA_BYTES) },
    {
      name: 'symlinkat, unlinkat',
      call: () => {
        libc.symlinkat(there, directory, created);
        return libc.unlinkat(directory, created, 0);
      },
    },
    {
      name: 'linkat, unlinkat',
      call: () => {
        libc.linkat(directory, there, directory, created, 0);
        return libc.unlinkat(directory, created, 0);
      },
    },
    {
      name: 'mkdirat, unlinkat',
      call: () => {
        libc.mkdirat(directory, created, 0o755);
        return libc.unlinkat(directory, created, AT_REMOVEDIR);
      },
    },
    {
      name: 'renameat2, there and back',
      call: () => {
        libc.renameat2(directory, there, directory, other, 0);
        return libc.renameat2(directory, other, directory, there, 0);
      },
    },
    { name: 'fchmodat', call: () => libc.fchmodat(directory, there, 0o644, 0) },
    { name: 'utimensat', call: () => libc.utimensat(directory, there, 0, 0) },
    { name: 'nameToHandleAt', call: () => handleOf(directory, there) },
    {
      name: 'openByHandleAt, close',
      call: () => libc.close(libc.openByHandleAt(directory, at + HANDLE_AT, O_RDONLY)),
    },
  ];
}

function handleOf(directory: number, path: number): number {
  words[HANDLE_AT >> 2] = HANDLE_BYTES;
  return libc.nameToHandleAt(directory, path, at + HANDLE_AT, at, 0);
}

function fileCalls(directory: number, file: number, path: string): Call[] {
  const whole = name(path);
  const attribute = name('user.none');
  return [
    { name: 'read of 0 bytes', call: () => libc.read(file, at, 0) },
    { name: 'write of 0 bytes', call: () => libc.write(file, at, 0) },
    { name: 'pread of 4 KiB', call: () => libc.pread(file, at, DATA_BYTES, 0) },
    { name: 'pwrite of 4 KiB', call: () => libc.pwrite(file, at, DATA_BYTES, 0) },
    { name: 'preadv2 of 4 KiB', call: () => libc.preadv2(file, at + IOV_AT, 1, 0, 0) },
    { name: 'pwritev2 of 4 KiB', call: () => libc.pwritev2(file, at + IOV_AT, 1, 0, 0) },
    { name: 'lseek', call: () => Number(libc.lseek(file, 0, 0)) },
    { name: 'fstatfs', call: () => libc.fstatfs(file, at) },
    { name: 'fchmod', call: () => libc.fchmod(file, 0o644) },
    { name: 'futimens', call: () => libc.futimens(file, 0) },
    { name: 'ftruncate', call: () => libc.ftruncate(file, DATA_BYTES) },
    { name: 'truncate', call: () => libc.truncate(whole, DATA_BYTES) },
    { name: 'fallocate', call: () => libc.fallocate(file, 0, 0, DATA_BYTES) },
    { name: 'copyFileRange of 0 bytes', call: () => libc.copyFileRange(file, 0, file, 0, 0, 0) },
    {
      name: 'lseek, getdents64',
      call: () => {
        libc.lseek(directory, 0, 0);
        return libc.getdents64(directory, at, DATA_BYTES);
      },
    },
    { name: 'getxattr of none', call: () => orMissing(libc.getxattr(whole, attribute, at, 64)) },
    { name: 'listxattr', call: () => libc.listxattr(whole, at, DATA_BYTES) },
    { name: 'fcntl', call: () => libc.fcntl(file, F_GETFD, 0) },
    { name: 'getrlimit', call: () => libc.getrlimit(RLIMIT_NOFILE, at) },
    { name: 'getrusage', call: () => libc.getrusage(RUSAGE_THREAD, at) },
    { name: 'getgroups', call: () => libc.getgroups(0, at) },
    { name: 'poll of none', call: () => libc.poll(at, 0, 0) },
    { name: 'eventfd, close', call: () => libc.close(libc.eventfd(0, 0)) },
  ];
}

function orMissing(result: number): number {
  return result === -ERRNO.ENODATA ? 0 : result;
}

/** @returns the wrappers that have no figure, a line each, with the reason */
export function syscallBenchmarks(workDir: string): string {
  const place = join(workDir, 'syscalls');
  mkdirSync(place);
  writeFileSync(join(place, 'file'), room.subarray(0, DATA_BYTES));
  symlinkSync('file', join(place, 'link'));
  const directory = descriptor(place, O_RDONLY | O_DIRECTORY);
  const path = join(place, 'file');
  const file = descriptor(path, O_RDWR);
  prepareMemory();
  const whole = name(path);
  const calls = [
    { name: 'open, close', call: () => libc.close(libc.open(whole, O_RDONLY)) },
    ...nameCalls(directory, file),
    ...fileCalls(directory, file, path),
  ];
  bench('koffi: address', () => libc.addressOf(room));
  for (const { name: what, call } of calls) {
    const result = call();
    if (result < 0) throw new Error(`${what}: ${errnoName(result)}`);
    bench(`syscall: ${what}`, call);
  }
  const texts = [...calls.map((one) => one.name), ...Object.keys(LEFT_OUT)];
  const known = new Set(texts.flatMap((text) => text.split(/\W+/)));
  const forgotten = Object.keys(libc).filter((wrapper) => !known.has(wrapper));
  if (forgotten.length > 0) {
    console.error(`wrappers without a figure and without a reason: ${forgotten.join(', ')}`);
    process.exitCode = 1;
  }
  return Object.entries(LEFT_OUT)
    .map(([wrapper, reason]) => `  ${wrapper}: ${reason}`)
    .join('\n');
}
