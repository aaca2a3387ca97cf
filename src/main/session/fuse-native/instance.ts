/**
 * The package's class with our callbacks: its options, its arguments as they are, and how it is mounted
 * and let go.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { SluiceError } from '../../../shared/errors.ts';
import type { FuseInstance, FuseNative } from './binding.ts';
import { implementedOps, type OnThrow, replaceMethods } from './callbacks.ts';
import type { PathOperations } from './path-operations.ts';

/** The addon keeps an uninitialised loop handle in an instance's memory for ever: so must we. */
const instances: FuseInstance[] = [];

/** The addon copies the options to a buffer of this size, and the path of the mount too. */
const ADDON_STRING_BYTES = 1024;

export interface MountedInstance {
  readonly instance: FuseInstance;
  /** The descriptor of /dev/fuse that libfuse reads; -1 if it is gone already. */
  readonly fuseFd: number;
  /** Resolves when libfuse has the kernel's FUSE_INIT. */
  readonly initialised: Promise<void>;
}

/**
 * Mounts.
 * @param onThrow hears of a throw in a callback, which is answered EIO
 * @throws SluiceError
 */
export function mountInstance(
  { Fuse, addon }: FuseNative,
  mountpoint: string,
  options: string,
  operations: PathOperations,
  onThrow: OnThrow,
): MountedInstance {
  for (const [what, text] of [
    ['mountpoint', mountpoint],
    ['options', options],
  ] as const) {
    if (Buffer.byteLength(text) < ADDON_STRING_BYTES) continue;
    throw new SluiceError(
      'ERR_SLUICE_OPTION',
      `engine=fuse-native takes ${what} of up to ${ADDON_STRING_BYTES - 1} bytes, and these have ${Buffer.byteLength(text)}; take shorter paths or engine=dev`,
    );
  }
  const instance = new Fuse(mountpoint, implementedOps(), { timeout: false });
  instances.push(instance);
  replaceMethods(instance, operations, onThrow);
  instance._thread = Buffer.alloc(addon.sizeof_fuse_thread_t);
  const initialised = new Promise<void>((resolve) => {
    instance._openCallback = () => resolve();
  });
  const before = fuseDescriptors();
  try {
    addon.fuse_native_mount(
      mountpoint,
      `-o${options}`,
      instance._thread,
      instance,
      instance._malloc,
      instance._handlers,
      instance._getImplementedArray(),
    );
  } catch (cause) {
    throw new SluiceError(
      'ERR_SLUICE_MOUNT',
      `libfuse cannot mount on ${mountpoint}; see its words above this line, if it had any, and whether engine=dev can`,
      { cause },
    );
  }
  const fuseFd = fuseDescriptors().find((fd) => !before.includes(fd)) ?? -1;
  return { instance, fuseFd, initialised };
}

/** The mount has ended: the addon's handle does not keep the event loop alive any more. */
export function letGo({ addon }: FuseNative, { mnt, _thread }: FuseInstance): void {
  if (_thread !== null) addon.fuse_native_unmount(mnt, _thread);
}

/** Open descriptors of /dev/fuse of this process. */
function fuseDescriptors(): number[] {
  return readdirSync('/proc/self/fd')
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/fuse';
      } catch {
        return false;
      }
    })
    .map(Number);
}
