/**
 * A passthrough as one writes it on fuse-native: a path and a callback for each operation. Usage:
 * fuse-native.js SOURCE MOUNTPOINT; stays in the foreground until SIGTERM.
 */
import {
  chmod,
  close,
  fsync,
  ftruncate,
  lchown,
  link,
  lstat,
  mkdir,
  type NoParamCallback,
  open,
  read,
  readdir,
  readlink,
  rename,
  rmdir,
  type Stats,
  statfs,
  symlink,
  truncate,
  unlink,
  utimes,
  write,
} from 'node:fs';
import { createRequire } from 'node:module';

type Done = (error: number, ...results: unknown[]) => void;

interface Mount {
  mount(done: (error: Error | null) => void): void;
  unmount(done: (error: Error | null) => void): void;
}

/** What of fuse-native is used: it has no types of its own, and may not be installed. */
type Fuse = new (mountpoint: string, operations: object, options: object) => Mount;

function loadFuse(): Fuse {
  try {
    return createRequire(import.meta.url)('fuse-native') as Fuse;
  } catch (error) {
    const [reason] = (error as Error).message.split('\n');
    console.error(`fuse-native is not installed, or not for this machine: ${reason}`);
    return process.exit(1);
  }
}

const EIO = -5;

function errnoOf(error: NodeJS.ErrnoException): number {
  return error.errno ?? EIO;
}

/** A callback of node:fs that hands its error, or nothing, on to fuse-native. */
function plainly(done: Done): NoParamCallback {
  return (error) => done(error ? errnoOf(error) : 0);
}

/** The same with a result. */
function withResult<T>(done: Done): (error: NodeJS.ErrnoException | null, result: T) => void {
  return (error, result) => (error ? done(errnoOf(error)) : done(0, result));
}

/** READ and WRITE are answered with a count or an error in one number. */
function withCount(done: Done): (error: NodeJS.ErrnoException | null, count: number) => void {
  return (error, count) => done(error ? errnoOf(error) : count);
}

function operationsOn(source: string): object {
  const at = (path: string): string => source + path;
  const makeAnew = (path: string, mode: number, done: Done): void =>
    open(at(path), 'wx+', mode, withResult<number>(done));
  return {
    statfs: (_path: string, done: Done) =>
      statfs(source, (error, { bsize, blocks, bfree, bavail, files, ffree }) => {
        if (error) return done(errnoOf(error));
        const frsize = bsize;
        done(0, {
          bsize,
          frsize,
          blocks,
          bfree,
          bavail,
          files,
          ffree,
          favail: ffree,
          namemax: 255,
        });
      }),
    getattr: (path: string, done: Done) => lstat(at(path), withResult<Stats>(done)),
    fgetattr: (path: string, _fd: number, done: Done) => lstat(at(path), withResult<Stats>(done)),
    readdir: (path: string, done: Done) =>
      readdir(at(path), (error, names) =>
        error ? done(errnoOf(error)) : done(0, ['.', '..', ...names]),
      ),
    readlink: (path: string, done: Done) => readlink(at(path), withResult<string>(done)),
    open: (path: string, flags: number, done: Done) =>
      open(at(path), flags, withResult<number>(done)),
    create: makeAnew,
    release: (_path: string, fd: number, done: Done) => close(fd, plainly(done)),
    read: (_path: string, fd: number, room: Buffer, size: number, offset: number, done: Done) =>
      read(fd, room, 0, size, offset, withCount(done)),
    write: (_path: string, fd: number, bytes: Buffer, size: number, offset: number, done: Done) =>
      write(fd, bytes, 0, size, offset, withCount(done)),
    fsync: (_path: string, _dataOnly: boolean, fd: number, done: Done) => fsync(fd, plainly(done)),
    truncate: (path: string, size: number, done: Done) => truncate(at(path), size, plainly(done)),
    ftruncate: (_path: string, fd: number, size: number, done: Done) =>
      ftruncate(fd, size, plainly(done)),
    chmod: (path: string, mode: number, done: Done) => chmod(at(path), mode, plainly(done)),
    chown: (path: string, uid: number, gid: number, done: Done) =>
      lchown(at(path), uid, gid, plainly(done)),
    utimens: (path: string, atimeMs: number, mtimeMs: number, done: Done) =>
      utimes(at(path), atimeMs / 1000, mtimeMs / 1000, plainly(done)),
    mkdir: (path: string, mode: number, done: Done) => mkdir(at(path), mode, plainly(done)),
    rmdir: (path: string, done: Done) => rmdir(at(path), plainly(done)),
    unlink: (path: string, done: Done) => unlink(at(path), plainly(done)),
    rename: (from: string, to: string, done: Done) => rename(at(from), at(to), plainly(done)),
    link: (from: string, to: string, done: Done) => link(at(from), at(to), plainly(done)),
    symlink: (target: string, path: string, done: Done) => symlink(target, at(path), plainly(done)),
  };
}

const [source, mountpoint] = process.argv.slice(2);
if (source === undefined || mountpoint === undefined) {
  console.error('usage: fuse-native.js SOURCE MOUNTPOINT');
  process.exit(1);
}
const Fuse = loadFuse();
const mounted = new Fuse(mountpoint, operationsOn(source), {});
mounted.mount((error) => {
  if (!error) return;
  console.error(error.message);
  process.exit(1);
});
process.once('SIGTERM', () => mounted.unmount((error) => process.exit(error ? 1 : 0)));
