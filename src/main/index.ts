/**
 * sluice as a library: what the command does, in a program.
 *
 * ```ts
 * import { mount } from 'sluicefs';
 * const mounted = await mount({ source: '/srv/data', mountpoint: '/mnt/data' });
 * await mounted.unmount();
 * ```
 *
 * The process that mounts must never touch the mount with a call that blocks: it would wait for
 * itself.
 */
import { v7 as uuidv7 } from 'uuid';
import type { OwnFileSystem } from '../shared/layers/types.ts';
import { createLogger, type Logger } from '../shared/log.ts';
import { type MountInput, resolveOptions } from '../shared/options.ts';
import { type DaemonStatus, startDaemon, type UnmountReason } from './daemon.ts';
import { type LayerSettings, type SettledLayers, settleLayers } from './layers/settle.ts';

export { SluiceError, type SluiceErrorCode } from '../shared/errors.ts';
export type { Logger } from '../shared/log.ts';
export type { MountInput, OptionValues } from '../shared/options.ts';
export type { DaemonStatus, UnmountReason } from './daemon.ts';
export { newPassthroughLayer, PassthroughLayer } from './layer.ts';
export { readOnlyLayer, traceLayer } from './layers/built-in.ts';
export {
  type OpenFileSystem,
  openPassthrough,
  type PassthroughOptions,
  withLayers,
} from './layers/open-passthrough.ts';
export type { LayerModule, LayerSettings } from './layers/settle.ts';
export * from './layers/values.ts';

/** A mount this process serves. */
export interface Mounted {
  /** uuid v7 of this mount, in each of its log lines. */
  readonly id: string;
  readonly mountpoint: string;
  /** What was adjusted in the options, and why. */
  readonly warnings: readonly string[];
  /** Resolves when the mount is gone, whoever ended it. */
  readonly unmounted: Promise<UnmountReason>;
  /** Unmounts; a busy mount is taken out of the tree after `stopTimeout` seconds. */
  unmount(): Promise<void>;
  /** Cuts the connection at once; users of the mount get ENOTCONN. */
  abort(): void;
  status(): DaemonStatus;
  /** Descriptors that must survive a live upgrade of the process. */
  keepFds(): number[];
  /** The host's path of an inode number the kernel uses, for diagnosis. */
  pathOf(nodeid: number): Buffer | undefined;
}

/** What mount() takes: a source, a mount point, options and layers. */
export interface MountSettings extends MountInput, LayerSettings {}

/** What mountFileSystem() takes: the options that do not need a source. */
export interface OwnMountSettings extends Omit<MountSettings, 'source'> {}

/** A place that is always there, for the parts of a mount that want a source; nothing is served of it. */
const NO_SOURCE = '/proc/self/fd';

/**
 * Mounts a file system that is made of methods, and serves it from this process, on the main thread.
 * @param fileSystem methods for what it can do; the rest is answered ENOSYS
 * @param input mountpoint, and options as for mount()
 * @param logger as for mount()
 * @returns when the mount is usable
 * @throws SluiceError, with nothing left mounted
 */
export function mountFileSystem(
  fileSystem: OwnFileSystem,
  input: OwnMountSettings,
  logger?: Logger,
): Promise<Mounted> {
  const settings: MountSettings = {
    fsname: String(fileSystem?.name),
    // With ACLs the kernel would leave the umask to the file system.
    posixAcl: false,
    // Without it the kernel clears set-id bits by setattr.
    killprivV2: false,
    inodeFileHandles: 'never',
    ...input,
    source: NO_SOURCE,
  };
  return mountWith(settings, logger, fileSystem);
}

/**
 * Mounts a directory and serves it from this process.
 * @param input source, mountpoint and any options of docs/options.md: durations in seconds, sizes in
 * bytes. Metrics are served only when `metrics`, `metricsPort` or `metricsSocket` is given, and `sluice
 * status`, `top` and `umount` reach the mount only when `runtimeDir` is. `layers` stand between the mount
 * and the directory.
 * @param logger a pino logger to write to; without one, as the options `logFile`, `logLevel` and
 * `logFormat` say
 * @returns when the mount is usable
 * @throws SluiceError, with nothing left mounted
 */
export function mount(input: MountSettings, logger?: Logger): Promise<Mounted> {
  return mountWith(input, logger, undefined);
}

async function mountWith(
  settings: MountSettings,
  logger: Logger | undefined,
  own: OwnFileSystem | undefined,
): Promise<Mounted> {
  const { layers, layerTimeoutMs, ...input } = settings;
  const settled = await settleLayers(
    {
      ...(layers === undefined ? {} : { layers }),
      ...(layerTimeoutMs === undefined ? {} : { layerTimeoutMs }),
    },
    own,
  );
  return serve(input, logger, settled);
}

async function serve(
  input: MountInput,
  logger: Logger | undefined,
  layers: SettledLayers | undefined,
): Promise<Mounted> {
  const { metricsPort, metricsSocket } = input;
  const isAsked = metricsPort !== undefined || metricsSocket !== undefined;
  const { options, warnings } = resolveOptions({ metrics: isAsked, ...input });
  const { logLevel, logFormat, logFile } = options;
  const id = uuidv7();
  const log =
    logger?.child({ mount: id }) ?? createLogger({ mountId: id, logLevel, logFormat, logFile });
  for (const warning of warnings) log.warn(warning);
  const daemon = await startDaemon(options, log, { layers });
  return {
    id: daemon.id,
    mountpoint: daemon.mountpoint,
    warnings,
    unmounted: daemon.unmounted,
    unmount: () => daemon.stop(),
    abort: () => daemon.abort(),
    status: () => daemon.status(),
    keepFds: () => daemon.keepFds(),
    pathOf: (nodeid) => daemon.pathOf(nodeid),
  };
}
