/**
 * What fuse-native calls, by operation: its arguments in, its results out. These take the place of the
 * package's `_op_` methods, which get what libfuse gave, where its public callbacks get less.
 */
import { ERRNO } from '../../../shared/abi/errno.ts';
import { type FuseInstance, NATIVE_REQUEST, type NativeRequest, type Signal } from './binding.ts';
import type { PathOperations } from './path-operations.ts';

/** Hears of a throw in a callback, which is a defect, and is answered EIO. */
export type OnThrow = (name: string, error: unknown) => void;

/** What a signal of the addon takes: 0, a count or -errno, and results. */
type Results = readonly unknown[];

const WORD = 0x1_0000_0000;

function int64(low: number, high: number): number {
  return high * WORD + low;
}

/** A number is an error; anything else goes behind a 0. */
function valued(outcome: unknown): Results {
  return typeof outcome === 'number' ? [outcome] : [0, outcome];
}

/** The number of an open file goes behind a 0. */
function opened(outcome: number): Results {
  return outcome < 0 ? [outcome] : [0, outcome];
}

/**
 * The arguments are those of the addon (fuse-native.c), which for some are others than its README says.
 * A buffer of libfuse's is given back with the results: the addon takes it from JavaScript by that.
 *
 * @param request the request whose callback is being called
 */
function callbacksOf(o: PathOperations, request: () => NativeRequest) {
  return {
    getattr: async (path: string) => valued(await o.getattr(path)),
    fgetattr: async (path: string, fd: number) => valued(await o.fgetattr(path, fd)),
    access: async (path: string, mask: number) => [await o.access(path, mask)],
    statfs: async (path: string) => valued(await o.statfs(path)),
    chmod: async (path: string, mode: number) => [await o.chmod(path, mode)],
    chown: async (path: string, uid: number, gid: number) => [await o.chown(path, uid, gid)],
    truncate: async (path: string, low: number, high: number) => [
      await o.truncate(path, int64(low, high)),
    ],
    ftruncate: async (path: string, fd: number, low: number, high: number) => [
      await o.ftruncate(path, fd, int64(low, high)),
    ],
    utimens: async (path: string, atimeLow: number, atimeHigh: number) => {
      const mtime = mtimeOf(request(), atimeLow, atimeHigh);
      if (mtime === undefined) return [-ERRNO.EOPNOTSUPP];
      return [await o.utimens(path, int64(atimeLow, atimeHigh | 0), mtime)];
    },
    readlink: async (path: string) => valued(await o.readlink(path)),
    mknod: async (path: string, mode: number, rdev: number) => [await o.mknod(path, mode, rdev)],
    mkdir: async (path: string, mode: number) => [await o.mkdir(path, mode)],
    symlink: async (target: string, path: string) => [await o.symlink(target, path)],
    link: async (path: string, newPath: string) => [await o.link(path, newPath)],
    unlink: async (path: string) => [await o.unlink(path)],
    rmdir: async (path: string) => [await o.rmdir(path)],
    rename: async (path: string, newPath: string) => [await o.rename(path, newPath)],
    open: async (path: string, flags: number) => opened(await o.open(path, flags)),
    create: async (path: string, mode: number) => opened(await o.create(path, mode)),
    read: async (
      _path: string,
      fd: number,
      into: Buffer,
      sizeBytes: number,
      low: number,
      high: number,
    ) => [await o.read(fd, into, sizeBytes, int64(low, high)), 0, into.buffer],
    write: async (
      _path: string,
      fd: number,
      data: Buffer,
      _sizeBytes: number,
      low: number,
      high: number,
    ) => [await o.write(fd, data, int64(low, high)), 0, data.buffer],
    flush: async (_path: string, fd: number) => [await o.flush(fd)],
    fsync: async (_path: string, isDataOnly: number, fd: number) => [
      await o.fsync(fd, isDataOnly !== 0),
    ],
    release: async (_path: string, fd: number) => [await o.release(fd)],
    readdir: async (path: string) => {
      const listing = await o.readdir(path);
      return typeof listing === 'number' ? [listing] : [0, ...listing];
    },
    fsyncdir: async (path: string, isDataOnly: number) => [
      await o.fsyncdir(path, isDataOnly !== 0),
    ],
    setxattr: async (path: string, name: string, value: Buffer, _: number, flags: number) => [
      await o.setxattr(path, name, value, flags),
      value.buffer,
    ],
    getxattr: async (path: string, name: string, into: Buffer) => [
      await o.getxattr(path, name, into),
      into.buffer,
    ],
    listxattr: async (path: string, into: Buffer) => [await o.listxattr(path, into), into.buffer],
    removexattr: async (path: string, name: string) => [await o.removexattr(path, name)],
  };
}

type CallbackName = keyof ReturnType<typeof callbacksOf>;

/**
 * The time of modification: the package gives the time of access for both, and the addon has both in
 * the request. @returns undefined if the request does not look as it should
 */
function mtimeOf(request: NativeRequest, atimeLow: number, atimeHigh: number): number | undefined {
  const { atime, mtime } = NATIVE_REQUEST;
  const isKnown =
    request.readUInt32LE(atime) === atimeLow && request.readUInt32LE(atime + 4) === atimeHigh;
  return isKnown ? int64(request.readUInt32LE(mtime), request.readInt32LE(mtime + 4)) : undefined;
}

/** What is implemented, as the package's class wants to know it. */
export function implementedOps(): Readonly<Record<CallbackName, true>> {
  const names = Object.keys(callbacksOf({} as PathOperations, () => Buffer.alloc(0)));
  return Object.fromEntries(names.map((name) => [name, true])) as Record<CallbackName, true>;
}

/** Puts our callbacks in the place of an instance's `_op_` methods. */
export function replaceMethods(
  instance: FuseInstance,
  operations: PathOperations,
  onThrow: OnThrow,
): void {
  let current: NativeRequest = Buffer.alloc(0);
  instance._handlers.forEach((handler, op) => {
    if (handler === undefined) return;
    instance._handlers[op] = (request, number, ...args) => {
      current = request;
      handler(request, number, ...args);
    };
  });
  const callbacks = callbacksOf(operations, () => current);
  const methods = instance as unknown as Record<string, unknown>;
  for (const [name, run] of Object.entries(callbacks)) {
    const answer = run as (...args: unknown[]) => Promise<Results>;
    methods[`_op_${name}`] = (signal: Signal, ...args: unknown[]) => {
      answer(...args).then(
        (results) => signal(...results),
        (error: unknown) => {
          onThrow(name, error);
          signal(-ERRNO.EIO, ...resultsOfFailure(name as CallbackName, args));
        },
      );
    };
  }
}

function resultsOfFailure(name: CallbackName, args: readonly unknown[]): Results {
  const bufferAt = (place: number) => (args[place] as Buffer).buffer;
  switch (name) {
    case 'read':
    case 'write':
      return [0, bufferAt(2)];
    case 'setxattr':
    case 'getxattr':
      return [bufferAt(2)];
    case 'listxattr':
      return [bufferAt(1)];
    default:
      return [];
  }
}
