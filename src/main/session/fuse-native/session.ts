/**
 * The engine over fuse-native: libfuse holds the connection to the kernel and calls back by path, one
 * callback at a time on the main thread; the requests that come of it go the way of all others.
 */
import { ERRNO, errnoName } from '../../../shared/abi/errno.ts';
import { SluiceError } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/log.ts';
import type { MountOptions } from '../../../shared/options.ts';
import {
  F_SETFD,
  FD_CLOEXEC,
  MS_DIRSYNC,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_SYNCHRONOUS,
} from '../../../shared/sys/constants.ts';
import { close, dup, fcntl } from '../../../shared/sys/libc.ts';
import type { RequestSource } from '../device-reader.ts';
import { escapeOption } from '../fusermount.ts';
import type { Negotiated } from '../init.ts';
import {
  abortConnection,
  connectionNumber,
  discardMount,
  givenDescriptor,
  type MountedDevice,
  rememberMount,
} from '../mount.ts';
import { hasEnded } from '../unmount.ts';
import { within } from '../unmount-pool.ts';
import { type FuseInstance, type FuseNative, loadFuseNative } from './binding.ts';
import { letGo, mountInstance } from './instance.ts';
import { PathOperations } from './path-operations.ts';
import { RequestChannel, type RequestTaker } from './request-channel.ts';

/** The largest READ and WRITE: libfuse 2.9 takes no more. */
const MAX_DATA_BYTES = 128 * 1024;
/** The protocol of libfuse 2.9. */
const PROTOCOL_MINOR = 19;
/** How often it is looked whether the mount is still there: libfuse tells nobody. */
const END_CHECK_MS = 100;
const INIT_TIMEOUT_MS = 20_000;

/** What goes with the path API and not with this engine; said once at the start. */
const LIMITS =
  'times in whole milliseconds, inode numbers of 32 bits, no flags at create, no locks behind the mount, no fallocate, SEEK_HOLE, copy_file_range, ioctl or renameat2 flags, no names that are not UTF-8; see docs/fuse-native.md';

type Options = Pick<
  MountOptions,
  | 'cache'
  | 'fsname'
  | 'defaultPermissions'
  | 'readOnly'
  | 'mountFlags'
  | 'maxWriteBytes'
  | 'maxBackground'
  | 'mountpoint'
  | 'entryTimeoutMs'
  | 'attrTimeoutMs'
  | 'negativeTimeoutMs'
>;

export type NativeEnd = 'unmounted' | 'aborted';

export class FuseNativeSession implements RequestSource {
  readonly #package: FuseNative;
  readonly #options: Options;
  readonly #logger: Logger;
  readonly #channel = new RequestChannel();
  /** Keys of what was said once. */
  readonly #noted = new Set<string>();
  #instance: FuseInstance | undefined;
  #device: MountedDevice | undefined;
  #endTimer: NodeJS.Timeout | undefined;

  /** @throws SluiceError where the engine cannot be had, or would not be safe */
  constructor(options: Options, logger: Logger) {
    checkMountpoint(options.mountpoint);
    this.#package = loadFuseNative();
    this.#options = options;
    this.#logger = logger;
  }

  /** What stands for the outcome of FUSE_INIT, which libfuse answers. */
  negotiated(): Negotiated {
    return {
      minor: PROTOCOL_MINOR,
      features: new Set(),
      maxWriteBytes: Math.min(this.#options.maxWriteBytes, MAX_DATA_BYTES),
      maxBackground: this.#options.maxBackground,
      maxReadaheadBytes: MAX_DATA_BYTES,
      maxStackDepth: 0,
    };
  }

  /** Requests go to `taker` from now on. */
  open(taker: RequestTaker): void {
    this.#channel.open(taker);
  }

  /** Takes a reply, from main or a lane. @returns false if the request was answered before */
  deliver(reply: Uint8Array): boolean {
    return this.#channel.deliver(reply);
  }

  get isPaused(): boolean {
    return this.#channel.isPaused;
  }

  resume(): void {
    this.#channel.resume();
  }

  /**
   * Mounts; requests must be taken by then.
   * @param mountpoint a real path
   * @returns a descriptor of the connection that nobody reads, with the mount
   * @throws SluiceError
   */
  async mount(mountpoint: string, onEnd: (end: NativeEnd) => void): Promise<MountedDevice> {
    const note = (key: string, message: string) => this.#noteOnce(key, message);
    const { instance, fuseFd, initialised } = mountInstance(
      this.#package,
      mountpoint,
      this.#libfuseOptions(),
      new PathOperations(this.#channel, note),
      (name, error) => this.#logger.error({ err: error }, `the callback ${name} failed`),
    );
    this.#instance = instance;
    const device = adopt(fuseFd, mountpoint);
    this.#device = device;
    rememberMount(device);
    if (
      (await within(
        INIT_TIMEOUT_MS,
        initialised.then(() => true),
      )) === undefined
    ) {
      discardMount(device);
      throw new SluiceError(
        'ERR_SLUICE_KERNEL',
        `libfuse had no FUSE_INIT for ${mountpoint} within ${INIT_TIMEOUT_MS / 1000} s; try engine=dev`,
      );
    }
    const { libfuse } = this.#package;
    const { connection, how } = device;
    this.#logger.info({ libfuse, connection, how, limits: LIMITS }, 'mounted by fuse-native');
    this.#endTimer = setInterval(() => {
      if (!hasEnded(device.fuseFd)) return;
      clearInterval(this.#endTimer);
      // A connection that was aborted looks the same; its mount is still in the tree.
      const isThere = connectionNumber(mountpoint) === device.connection;
      onEnd(isThere ? 'aborted' : 'unmounted');
    }, END_CHECK_MS);
    return device;
  }

  /** Ends the connection and answers what libfuse still waits for. */
  close(): void {
    clearInterval(this.#endTimer);
    const { connection, fuseFd } = this.#device ?? {};
    // libfuse has a descriptor of its own, so that closing ours ends nothing.
    if (connection !== undefined && fuseFd !== undefined && !hasEnded(fuseFd)) {
      abortConnection(connection, this.#logger);
    }
    this.#channel.close();
    if (this.#instance !== undefined) letGo(this.#package, this.#instance);
    this.#instance = undefined;
  }

  #noteOnce(key: string, message: string): void {
    if (this.#noted.has(key)) return;
    this.#noted.add(key);
    this.#logger.warn(message);
  }

  #libfuseOptions(): string {
    const o = this.#options;
    const { maxWriteBytes } = this.negotiated();
    const flags = FLAG_NAMES.map(([bit, on, off]) => ((o.mountFlags & bit) !== 0 ? on : off));
    return [
      `fsname=${escapeOption(o.fsname)}`,
      'subtype=sluice',
      o.readOnly ? 'ro' : 'rw',
      ...flags.filter((name) => name !== undefined),
      ...(o.defaultPermissions ? ['default_permissions'] : []),
      'use_ino',
      // We have looked, and said so.
      'nonempty',
      'big_writes',
      'atomic_o_trunc',
      `max_write=${maxWriteBytes}`,
      `max_read=${maxWriteBytes}`,
      `max_readahead=${MAX_DATA_BYTES}`,
      `max_background=${o.maxBackground}`,
      `entry_timeout=${o.entryTimeoutMs / 1000}`,
      `attr_timeout=${o.attrTimeoutMs / 1000}`,
      `negative_timeout=${o.negativeTimeoutMs / 1000}`,
      ...(o.cache === 'always' ? ['kernel_cache'] : []),
      ...(o.cache === 'never' || o.cache === 'metadata' ? ['direct_io'] : []),
    ].join(',');
  }
}

/** What libfuse calls the flags, and the absence of those that it sets by default. */
const FLAG_NAMES: readonly (readonly [bit: number, on: string, off?: string])[] = [
  [MS_NOSUID, 'nosuid', 'suid'],
  [MS_NODEV, 'nodev', 'dev'],
  [MS_NOEXEC, 'noexec'],
  [MS_NOATIME, 'noatime'],
  [MS_SYNCHRONOUS, 'sync'],
  [MS_DIRSYNC, 'dirsync'],
];

/** @throws SluiceError for a mount point this engine cannot mount on */
function checkMountpoint(mountpoint: string): void {
  if (givenDescriptor(mountpoint) === undefined) return;
  throw new SluiceError(
    'ERR_SLUICE_OPTION',
    `engine=fuse-native mounts by itself and takes no descriptor (${mountpoint}); give a directory or take engine=dev`,
  );
}

/** A second descriptor of libfuse's connection: by it the mount is known, and its end is noticed. */
function adopt(libfuseFd: number, mountpoint: string): MountedDevice {
  // libfuse leaves it to children of this process, which would keep the connection.
  fcntl(libfuseFd, F_SETFD, FD_CLOEXEC);
  const fuseFd = dup(libfuseFd);
  const connection = connectionNumber(mountpoint);
  if (fuseFd < 0 || connection < 0) {
    if (fuseFd >= 0) close(fuseFd);
    const reason = errnoName(fuseFd < 0 ? fuseFd : -ERRNO.ENOENT);
    throw new SluiceError('ERR_SLUICE_MOUNT', `the mount on ${mountpoint} is not there: ${reason}`);
  }
  fcntl(fuseFd, F_SETFD, FD_CLOEXEC);
  const how = process.geteuid?.() === 0 ? 'mount' : 'fusermount3';
  return { fuseFd, mountpoint, ownsMount: true, how, connection };
}
