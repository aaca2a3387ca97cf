/**
 * The package fuse-native, which is optional: finding it and its libfuse.so.2, and what of it is used.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { oneLine, SluiceError } from '../../../shared/errors.ts';
import { loadLibrary } from '../../../shared/sys/libc.ts';

/** Where the fields below lie has been seen in this version's binary. */
const VERSION = '2.2.6';

/** A thread of libfuse, as the addon describes it: memory of JavaScript, which the addon fills. */
export type NativeRequest = Buffer;

/** Offsets in a NativeRequest: the operation's number, and the times of a utimens in milliseconds. */
export const NATIVE_REQUEST = { op: 8, atime: 104, mtime: 112 } as const;

export type Signal = (...results: unknown[]) => void;
type Handler = (request: NativeRequest, op: number, ...args: unknown[]) => void;

/** An instance of the package's class, as far as it is used here. */
export interface FuseInstance {
  readonly mnt: string;
  readonly _handlers: (Handler | undefined)[];
  readonly _malloc: unknown;
  _thread: Buffer | null;
  _openCallback: ((error: Error | null) => void) | null;
  _getImplementedArray(): Uint32Array;
}

/** The class of the package. `timeout: false`: the package answers nothing by itself. */
export type FuseClass = new (
  mountpoint: string,
  callbacks: object,
  options: { timeout: false },
) => FuseInstance;

interface Addon {
  readonly sizeof_fuse_thread_t: number;
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    context: object,
    malloc: unknown,
    handlers: unknown,
    implemented: Uint32Array,
  ): void;
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
}

export interface FuseNative {
  readonly Fuse: FuseClass;
  readonly addon: Addon;
  /** Where libfuse.so.2 came from. */
  readonly libfuse: 'host' | 'package';
}

/**
 * Loads the package, and the libfuse.so.2 in it where the host has none.
 * @throws SluiceError that says what is missing and what to do
 */
export function loadFuseNative(): FuseNative {
  const require = createRequire(import.meta.url);
  const directory = packageDirectory(require);
  // The host's own is the one its distribution looks after.
  try {
    return { ...loadFrom(require, directory), libfuse: 'host' };
  } catch (cause) {
    if (!/libfuse\.so\.2/.test(reasonOf(cause))) throw unusable(cause);
  }
  try {
    // What is loaded already satisfies the addon, by its name.
    loadLibrary(join(directory, 'prebuilds', `linux-${process.arch}`, 'libfuse.so'));
    return { ...loadFrom(require, directory), libfuse: 'package' };
  } catch (cause) {
    throw unusable(cause);
  }
}

function packageDirectory(require: NodeJS.Require): string {
  let manifest: string;
  try {
    manifest = require.resolve('fuse-native/package.json');
  } catch (cause) {
    throw new SluiceError(
      'ERR_SLUICE_OPTION',
      `engine=fuse-native needs the package fuse-native, which is not installed; \`npm install --ignore-scripts fuse-native@${VERSION}\` installs it, engine=dev needs none`,
      { cause },
    );
  }
  const { version } = require('fuse-native/package.json') as { version: string };
  if (version !== VERSION) {
    throw new SluiceError(
      'ERR_SLUICE_OPTION',
      `engine=fuse-native was made for fuse-native ${VERSION}, and ${version} is installed; install that one or take engine=dev`,
    );
  }
  return dirname(manifest);
}

function loadFrom(require: NodeJS.Require, directory: string): Omit<FuseNative, 'libfuse'> {
  const Fuse = require('fuse-native') as FuseClass;
  // As the package does it: this finds what is loaded already.
  const ownRequire = createRequire(join(directory, 'index.js'));
  const addon = ownRequire('node-gyp-build')(directory) as Addon;
  return { Fuse, addon };
}

function unusable(cause: unknown): SluiceError {
  return new SluiceError(
    'ERR_SLUICE_OPTION',
    `engine=fuse-native cannot be used here: ${oneLine(reasonOf(cause))}; it has binaries for x86-64 with glibc only, engine=dev runs everywhere`,
    { cause },
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
