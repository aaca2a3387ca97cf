/**
 * The composition root: what a mount is made of, in which order it starts, and how it stops.
 */
import { ERRNO, errnoName } from '../shared/abi/errno.ts';
import { checkAbi } from '../shared/abi/self-check.ts';
import { IN_HEADER } from '../shared/abi/structs.ts';
import { SluiceError } from '../shared/errors.ts';
import type { SessionFacts } from '../shared/exporter-messages.ts';
import { handles } from '../shared/layers/operation-table.ts';
import { LayerWatch } from '../shared/layers/watch.ts';
import {
  countLogsIn,
  type Logger,
  logOnce,
  logSinkOf,
  mountIdOf,
  type OnceLogger,
} from '../shared/log.ts';
import type { MountOptions } from '../shared/options.ts';
import { NEGOTIATED } from '../shared/passthrough/config.ts';
import { reply } from '../shared/passthrough/operations.ts';
import { STAT } from '../shared/stats-layout.ts';
import { CapabilitySwitch, dropCapability } from '../shared/sys/capabilities.ts';
import {
  CAP_FSETID,
  CAP_SYS_RESOURCE,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
} from '../shared/sys/constants.ts';
import {
  addressOf,
  close,
  eventfd,
  type FdWatcher,
  read,
  watchReadable,
} from '../shared/sys/libc.ts';
import type { ServiceWatchdog } from '../shared/sys/service-manager.ts';
import { packageVersion } from '../shared/version.ts';
import type { LaneTask } from '../workers/lane.ts';
import { ControlDesk, type Controlled } from './control/desk.ts';
import { type ControlServer, openControl } from './control/server.ts';
import { Deputy } from './dispatch/deputy.ts';
import { Dispatcher } from './dispatch/dispatcher.ts';
import { Lanes } from './dispatch/lanes.ts';
import {
  MAX_DEADLINE_TICK_MS,
  MIN_DEADLINE_TICK_MS,
  RECEIVE_BATCH,
  SPARE_LANES,
  STARVATION_CHECK_MS,
} from './dispatch/policy.ts';
import type { Queues } from './dispatch/queues.ts';
import { requestSinkOf } from './dispatch/request-sink.ts';
import { Exporter, exporterTaskOf } from './exporter.ts';
import { startHeartbeat } from './heartbeat.ts';
import { AsyncLayers } from './layers/async-layers.ts';
import { guardLanes } from './layers/lane-guard.ts';
import type { SettledLayers } from './layers/settle.ts';
import { PassthroughFs } from './passthrough-fs.ts';
import { logScarcity } from './scarcity-log.ts';
import { type CpuLatency, openCpuLatency } from './session/cpu-latency.ts';
import { type ConnectionEnd, DeviceReader, type RequestSource } from './session/device-reader.ts';
import { FuseNativeSession } from './session/fuse-native/session.ts';
import {
  CHECKED_IOCTLS_MINOR,
  type Negotiated,
  negotiate,
  offeredFeatures,
  putInitOut,
  putMajorVersion,
} from './session/init.ts';
import { whyNoKernelPassthrough } from './session/kernel-passthrough.ts';
import {
  abortConnection,
  discardMount,
  forgetMount,
  givenDescriptor,
  type MountedDevice,
  mountFuse,
} from './session/mount.ts';
import { checkFdLimit, checkFuse, checkMountpoint, checkSource } from './session/preflight.ts';
import { hasEnded, unmount } from './session/unmount.ts';
import { type DaemonStatus, statusOf } from './status.ts';
import { UringEngine } from './uring-engine.ts';
import { warmUp, warmUpPlace } from './warm-up/warm-up.ts';

export type { DaemonStatus } from './status.ts';

/** Why a mount ended: asked to, unmounted by somebody else, or its connection was cut. */
export type UnmountReason = 'stopped' | 'external' | 'aborted';

/** A running mount. */
export interface Daemon {
  /** uuid v7 of this mount instance. */
  readonly id: string;
  readonly mountpoint: string;
  /** Resolves when the mount is gone and everything is closed. */
  readonly unmounted: Promise<UnmountReason>;
  /** Unmounts: waits for a busy mount up to the deadline, then takes it out of the tree. */
  stop(): Promise<void>;
  /** Cuts the connection: requests in flight fail, users of the mount get ENOTCONN. */
  abort(): void;
  /** Takes over what a reload may change (RELOADED_OPTIONS) of options that are the same otherwise. */
  reconfigure(options: MountOptions): void;
  status(): DaemonStatus;
  /** Descriptors that must survive a live upgrade. */
  keepFds(): number[];
  /** The host's path of an inode, for diagnosis; undefined if it cannot be told. */
  pathOf(nodeid: number): Buffer | undefined;
}

export interface DaemonHooks {
  /**
   * Whether this process is the daemon's alone, with a umask of 0: main may then act as callers, and
   * the mount has a control socket also where no runtime directory is given.
   */
  readonly ownsProcess?: boolean;
  /** Fed while the deputy receives in main's place. */
  readonly watchdog?: ServiceWatchdog | undefined;
  /** Layers on the passthrough, or a file system in its place. */
  readonly layers?: SettledLayers | undefined;
  /** The next three are for tests of failures. */
  /** A lane file that fails on purpose. */
  readonly laneFile?: URL;
  onLanes?(lanes: Lanes): void;
  onQueues?(queues: Queues): void;
}

const VERSION = packageVersion();
const INIT_TIMEOUT_MS = 20_000;
const LANE_STOP_MS = 3000;
const MIN_DRAIN_MS = 1000;
/** In the place of a descriptor of /dev/fuse: replies are handed on, see Context.kernelReplies. */
const NO_DEVICE = -1;
const DRAIN_POLL_MS = 5;

/**
 * Mounts and serves.
 * @returns when FUSE_INIT is answered and the mount is usable
 * @throws SluiceError, with nothing left behind
 */
export async function startDaemon(
  options: MountOptions,
  logger: Logger,
  hooks: DaemonHooks = {},
): Promise<Daemon> {
  const mount = new Mount(options, logger, hooks);
  try {
    await mount.start();
  } catch (error) {
    await mount.undoStart();
    throw error;
  }
  return mount;
}

class Mount implements Daemon {
  readonly id: string;
  readonly unmounted: Promise<UnmountReason>;
  #options: MountOptions;
  readonly #logger: Logger;
  readonly #once: OnceLogger;
  readonly #hooks: DaemonHooks;
  readonly #wakeValue = new BigUint64Array(new SharedArrayBuffer(8));
  /** What was opened so far, closed in reverse order. */
  readonly #closers: (() => void)[] = [];
  readonly #startMs = performance.now();
  #mountpoint: string;
  #source = '';
  /** Undefined only until the surroundings are checked. */
  #fs!: PassthroughFs;
  #lanes!: Lanes;
  #uring!: UringEngine;
  #dispatcher!: Dispatcher;
  #deputy: Deputy | undefined;
  #asyncLayers: AsyncLayers | undefined;
  /** Where lanes say which layer they are in; undefined without layers in lanes. */
  #layerWatch: SharedArrayBuffer | undefined;
  #exporter: Exporter | undefined;
  #device: MountedDevice | undefined;
  #cpuLatency: CpuLatency | undefined;
  #reader: RequestSource | undefined;
  /** With engine=fuse-native: what requests come through. */
  #native: FuseNativeSession | undefined;
  #starvationTimer: NodeJS.Timeout | undefined;
  #control: ControlServer | undefined;
  #negotiated: Negotiated | undefined;
  #sessionInfo: SessionFacts['info'] = {};
  #deadlineTimer: NodeJS.Timeout | undefined;
  #isInitialised = false;
  #onInitialised: (() => void) | undefined;
  #onInitFailed: ((error: SluiceError) => void) | undefined;
  #onUnmounted!: (reason: UnmountReason) => void;
  #stopping: Promise<void> | undefined;
  #reason: UnmountReason = 'external';
  #finishing: Promise<void> | undefined;

  constructor(options: MountOptions, logger: Logger, hooks: DaemonHooks) {
    this.id = mountIdOf(logger);
    this.#mountpoint = options.mountpoint;
    this.#options = options;
    this.#logger = logger;
    this.#once = logOnce(logger);
    this.#hooks = hooks;
    this.unmounted = new Promise((resolve) => {
      this.#onUnmounted = resolve;
    });
  }

  get mountpoint(): string {
    return this.#mountpoint;
  }

  async start(): Promise<void> {
    checkAbi();
    if (this.#options.engine === 'fuse-native') {
      this.#native = new FuseNativeSession(this.#options, this.#logger);
    }
    const fdLimit = this.#checkSurroundings();
    await this.#openControl();
    // With it a user's write through us would go beyond his quota. The limits are raised by now.
    dropCapability(CAP_SYS_RESOURCE);
    this.#uring = new UringEngine(this.#options, this.#logger, this.#hooks.layers !== undefined);
    this.#fs = this.#makeFs(fdLimit);
    if (this.#hooks.ownsProcess === true) this.#dropGroups();
    this.#fs.importRoot();
    this.#countOnMain();
    const exporting = this.#startExporter();
    const wakeFd = this.#openEventFd();
    const isWarmed = this.#hooks.ownsProcess === true && this.#options.warmUp;
    const warmUpParent = isWarmed ? warmUpPlace(this.#mountpoint) : undefined;
    if (this.#native === undefined) {
      // What is opened by path is opened before the mount may hide it: nobody serves that yet.
      this.#openCpuLatency();
      const request = { ...this.#options, mountpoint: this.#mountpoint };
      this.#device = mountFuse(request, this.#logger);
    }
    const fuseFd = this.#device?.fuseFd ?? NO_DEVICE;
    await this.#startLanes(fuseFd, wakeFd);
    await exporting;
    // Now that no other thread of ours wants a CPU; and not before the mount is there for who waits for it.
    if (warmUpParent !== undefined) warmUp(warmUpParent, this.#options, fdLimit, this.#logger);
    if (this.#native !== undefined) {
      await this.#serveNative(this.#native, wakeFd);
      return;
    }
    this.#prepareUring(fuseFd, wakeFd);
    await this.#serve(fuseFd, wakeFd);
    const isAgreed = this.#negotiated?.features.has('OVER_IO_URING') === true;
    await this.#uring.engage(isAgreed, this.#fs.ctx);
    this.#tellEngine();
    this.#logNegotiated(this.#passthroughObstacle());
  }

  /** After a failed start: takes back what was begun. */
  async undoStart(): Promise<void> {
    this.#reason = 'aborted';
    const device = this.#device;
    if (device !== undefined) {
      await this.#unmount(device, 0).catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'the mount is taken out of the tree by force');
        discardMount(device);
      });
    }
    await this.#finish();
  }

  stop(timeoutMs = this.#options.stopTimeoutMs): Promise<void> {
    this.#stopping ??= this.#stop(timeoutMs);
    return this.#stopping;
  }

  abort(): void {
    const device = this.#device;
    if (device === undefined || this.#finishing !== undefined) return;
    this.#reason = 'aborted';
    // Once the mount is gone its number may belong to somebody else's.
    if (device.connection !== undefined && !hasEnded(device.fuseFd)) {
      abortConnection(device.connection, this.#logger);
    }
    this.#unmount(device, 0)
      .catch((error: unknown) =>
        this.#logger.warn({ err: error }, 'unmounting after an abort failed'),
      )
      .finally(() => this.#finish());
  }

  reconfigure(options: MountOptions): void {
    this.#options = options;
    this.#fs.reconfigure(options);
    this.#exporter?.reconfigure(options);
    this.#watchDeadline();
  }

  status(): DaemonStatus {
    return statusOf(this.#fs.ctx.tables, this.#lanes.count(), this.#dispatcher.parked());
  }

  keepFds(): number[] {
    const fuseFd = this.#device === undefined ? [] : [this.#device.fuseFd];
    return [...this.#fs.keepFds(), ...fuseFd];
  }

  pathOf(nodeid: number): Buffer | undefined {
    return this.#fs.readlinkatProcFile(nodeid);
  }

  // ---- start ----

  /** @returns how many descriptors the process may have */
  #checkSurroundings(): number {
    const source = checkSource(this.#options.source);
    this.#source = source.path;
    if (givenDescriptor(this.#options.mountpoint) === undefined) {
      const mountpoint = checkMountpoint(this.#options.mountpoint, source.pathBytes);
      this.#mountpoint = mountpoint.path;
      if (mountpoint.warning !== undefined) this.#logger.warn(mountpoint.warning);
      checkFuse();
    }
    return checkFdLimit();
  }

  /** As in a lane: the daemon's own groups must not help a caller. */
  #dropGroups(): void {
    const error = this.#fs.ctx.credentials.dropGroups();
    if (error === 0) return;
    throw new SluiceError(
      'ERR_SLUICE_SYSTEM',
      `setgroups: ${errnoName(error)}; allow it in the seccomp profile`,
    );
  }

  #makeFs(fdLimit: number): PassthroughFs {
    return new PassthroughFs({
      options: this.#options,
      source: this.#source,
      fdLimit,
      rings: this.#uring.geometry,
      mayBlock: false,
      report: (level, key, message) => this.#once.log(level, key, {}, message),
      closeHeld: (fd, mount) => this.#dispatcher.closeHeld(fd, mount),
      onUnlocked: (inode) => this.#dispatcher.lockWaits.unlocked(inode),
      layered: this.#hooks.layers?.layered,
    });
  }

  #countOnMain(): void {
    const { stats } = this.#fs.ctx.tables;
    countLogsIn(this.#logger, stats.cells, stats.at + STAT.LOG_LINES);
    this.#closers.push(startHeartbeat(stats));
  }

  /** It starts while we mount; a failure is met by who awaits it. */
  #startExporter(): Promise<void> {
    const log = logSinkOf(this.#logger);
    const task = exporterTaskOf(this.#options, this.#fs.memory, log, {
      mountId: this.id,
      source: this.#source,
      mountpoint: this.#mountpoint,
    });
    this.#exporter = new Exporter(task, this.#logger);
    const started = this.#exporter.start();
    started.catch(() => undefined);
    return started;
  }

  #openEventFd(): number {
    const wakeFd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wakeFd < 0) {
      throw new SluiceError('ERR_SLUICE_SYSTEM', `cannot make an eventfd: ${errnoName(wakeFd)}`);
    }
    this.#closers.push(() => close(wakeFd));
    return wakeFd;
  }

  async #startLanes(fuseFd: number, wakeFd: number): Promise<void> {
    const { ctx, memory, traceFd } = this.#fs;
    this.#lanes = new Lanes(
      {
        lanes: this.#options.lanes,
        spareLanes: SPARE_LANES,
        memory,
        task: { config: ctx.config, fuseFd, wakeFd, traceFd, ...this.#laneLayers() },
        logger: this.#logger,
        laneFile: this.#hooks.laneFile,
      },
      ctx,
      {
        onHandOver: (slot, mount) => this.#dispatcher.handOver(slot, mount),
        onUnlocked: (inode) => this.#dispatcher.lockWaits.unlocked(inode),
        onLockAnswered: (lo, hi, isGranted) =>
          this.#dispatcher.lockWaits.answered(lo, hi, isGranted),
        onReply: (reply, isOfLayer) =>
          isOfLayer ? this.#asyncLayers?.settle(reply) : this.#native?.deliver(reply),
        onReport: (level, key, text) => this.#once.log(level, key, {}, text),
        onRestart: () => this.#pump(),
      },
    );
    const started = this.#lanes.start();
    started.catch(() => undefined);
    try {
      await started;
    } catch (cause) {
      throw new SluiceError('ERR_SLUICE_SYSTEM', `the lanes cannot be started: ${String(cause)}`, {
        cause,
      });
    }
    this.#hooks.onLanes?.(this.#lanes);
    this.#guardLayers(fuseFd);
  }

  // ---- layers ----

  /** What lanes have to know of layers; nothing where there are none. */
  #laneLayers(): Pick<LaneTask, 'layers' | 'answersLayers'> {
    const { layers } = this.#hooks;
    if (layers === undefined) return {};
    const answersLayers = layers.asyncLayers.length > 0;
    if (layers.modules.length === 0) return { answersLayers };
    const watch = new SharedArrayBuffer(LayerWatch.byteLength(this.#options.lanes + SPARE_LANES));
    this.#layerWatch = watch;
    return { answersLayers, layers: { modules: layers.modules, watch } };
  }

  #guardLayers(fuseFd: number): void {
    const { layers } = this.#hooks;
    const watch = this.#layerWatch;
    if (layers === undefined || watch === undefined) return;
    const { moduleNames: names, timeoutMs } = layers;
    const { ctx } = this.#fs;
    const lanes = this.#lanes;
    this.#closers.push(guardLanes({ ctx, fuseFd, lanes, watch, names, timeoutMs }));
  }

  #startAsyncLayers(dispatcher: Dispatcher): void {
    const { layers: settled } = this.#hooks;
    if (settled === undefined) return;
    if (settled.asyncLayers.length === 0 && settled.own === undefined) return;
    const { ctx, memory } = this.#fs;
    const layers = new AsyncLayers({
      ctx,
      settled,
      maxReplyBytes: memory.geometry.maxReplyBytes,
      submit: (message) => dispatcher.submit(message),
      answer: (header, receivedUs, result) => dispatcher.answerKept(header, receivedUs, result),
      onRoom: () => this.#pump(),
    });
    ctx.layerReplies = (reply) => layers.settle(reply);
    dispatcher.setAsyncLayers(layers);
    this.#asyncLayers = layers;
    this.#closers.push(() => layers.close());
  }

  #prepareUring(fuseFd: number, wakeFd: number): void {
    const { ctx, memory, traceFd } = this.#fs;
    this.#uring.prepare(
      ctx,
      memory,
      { config: ctx.config, fuseFd, wakeFd, traceFd },
      {
        onUnlocked: (inode) => this.#dispatcher.lockWaits.unlocked(inode),
        onClose: (fd, mount) => this.#dispatcher.closeHeld(fd, mount),
        onHops: (count) => this.#cpuLatency?.onTurn(count),
        onReport: (level, key, text) => this.#once.log(level, key, {}, text),
        onServed: (served) => this.#dispatcher.callers?.add(served),
      },
    );
    if (this.#uring.queues !== undefined) this.#hooks.onQueues?.(this.#uring.queues);
  }

  #tellEngine(): void {
    const { engine, reason } = this.#uring.report();
    this.#tellSession({ engine, engine_reason: reason });
  }

  /** Reads requests from now on; resolves when FUSE_INIT is answered. */
  async #serve(fuseFd: number, wakeFd: number): Promise<void> {
    this.#startDeputy(fuseFd);
    this.#startDispatcher(fuseFd, wakeFd);
    const sink = requestSinkOf(this.#fs.ctx, this.#dispatcher);
    const fds = { fuseFd, wakeFd };
    this.#reader = new DeviceReader(fds, sink, RECEIVE_BATCH, this.#cpuLatency, (end) =>
      this.#onEnd(end),
    );
    // A given descriptor may have been initialised by whoever mounted it; we serve a fresh one only.
    let timer: NodeJS.Timeout | undefined;
    const initialised = new Promise<void>((resolve, reject) => {
      this.#onInitialised = resolve;
      this.#onInitFailed = reject;
      const late = new SluiceError(
        'ERR_SLUICE_KERNEL',
        `the kernel sent no FUSE_INIT for ${this.#mountpoint} within ${INIT_TIMEOUT_MS / 1000} s; is the descriptor in use already?`,
      );
      timer = setTimeout(() => reject(late), INIT_TIMEOUT_MS).unref();
    });
    this.#reader.resume();
    // A timer that is left would keep the memory of a mount that has ended.
    await initialised.finally(() => clearTimeout(timer));
  }

  #openCpuLatency(): void {
    const cpuLatency = openCpuLatency(this.#options, this.#fs.ctx.tables.stats, this.#logger);
    if (cpuLatency !== undefined) this.#closers.push(() => cpuLatency.close());
    this.#cpuLatency = cpuLatency;
  }

  /** Mounts through libfuse, and serves what it calls. */
  async #serveNative(native: FuseNativeSession, wakeFd: number): Promise<void> {
    this.#startDispatcher(NO_DEVICE, wakeFd);
    const dispatcher = this.#dispatcher;
    this.#fs.ctx.kernelReplies = (reply) => native.deliver(reply);
    this.#fs.init(0);
    this.#reader = native;
    native.open({
      take: (message) => dispatcher.take(message),
      isFull: () => dispatcher.isFull(),
    });
    this.#device = await native.mount(this.#mountpoint, (end) => this.#onEnd(end));
    this.#settled(native.negotiated());
    this.#logNegotiated('engine=fuse-native knows none');
  }

  /** From now on requests can be dispatched. */
  #startDispatcher(fuseFd: number, wakeFd: number): void {
    this.#dispatcher = new Dispatcher(
      this.#fs.ctx,
      fuseFd,
      this.#lanes,
      {
        onInit: () => this.#answerInit(fuseFd),
        // The kernel has nothing under way any more; the source is imported again for another INIT.
        onDestroy: () => {
          this.#dispatcher.lockWaits.clear();
          this.#fs.destroy();
        },
        onQueued: () => this.#watchStarvation(),
        onUnsafe: () => {
          this.#logger.error(
            'the main thread could not take its own ids back; the mount is aborted',
          );
          this.abort();
        },
      },
      this.#deputy,
    );
    this.#startAsyncLayers(this.#dispatcher);
    this.#fs.ctx.fuseFd = fuseFd;
    this.#watchWakes(wakeFd);
    this.#closers.push(() => clearInterval(this.#starvationTimer));
    this.#closers.push(() => clearInterval(this.#deadlineTimer));
    this.#closers.push(logScarcity(this.#fs.ctx.tables, this.#logger));
    this.#watchDeadline();
  }

  /**
   * With one, main makes calls that a disk could delay: only where it may act as callers, too, and where
   * a lane is left when the file system that holds main up holds up another one.
   */
  #startDeputy(fuseFd: number): void {
    if (this.#hooks.ownsProcess !== true || this.#options.lanes < 2) return;
    // What those answer only main can take.
    const { layers } = this.#hooks;
    if (layers !== undefined && (layers.asyncLayers.length > 0 || layers.own !== undefined)) return;
    const { ctx, memory, traceFd } = this.#fs;
    const returnFd = this.#openEventFd();
    const { watchdog } = this.#hooks;
    const cpuLatencyFd = this.#cpuLatency?.fd ?? -1;
    const task = { memory, config: ctx.config, fuseFd, returnFd, cpuLatencyFd, traceFd, watchdog };
    this.#deputy = new Deputy(task, ctx, this.#logger, {
      onRequest: (message, receivedUs) => this.#dispatcher.handleKept(message, receivedUs),
      onUnlocked: (inode) => this.#dispatcher.lockWaits.unlocked(inode),
      onStoodIn: (served) => {
        // As the deputy has done: from here it begins anew.
        this.#cpuLatency?.release();
        this.#dispatcher.callers?.add(served);
      },
      onClose: (fd, mount) => this.#dispatcher.closeHeld(fd, mount),
      onLongWait: () => this.#lanes.releaseLocksOfDead(),
      onReport: (level, key, text) => this.#once.log(level, key, {}, text),
    });
    this.#deputy.start();
  }

  #watchWakes(wakeFd: number): void {
    const address = addressOf(this.#wakeValue);
    const watcher: FdWatcher = watchReadable(wakeFd, () => {
      read(wakeFd, address, 8);
      this.#pump();
    });
    this.#closers.push(() => watcher.stop());
  }

  /** Slots came free. A lane may die, and be started again, before anything is dispatched. */
  #pump(): void {
    if (this.#reader === undefined) return;
    this.#dispatcher.pump();
    if (!this.#dispatcher.isQueueEmpty()) this.#watchStarvation();
    if (this.#reader.isPaused && !this.#dispatcher.isFull()) this.#reader.resume();
  }

  /** Looks after what waits for a lane as long as anything does: an idle daemon does not wake for it. */
  #watchStarvation(): void {
    if (this.#finishing !== undefined) return;
    this.#starvationTimer ??= setInterval(() => {
      if (this.#dispatcher.isStarving()) this.#lanes.addSpare();
      if (!this.#dispatcher.isQueueEmpty()) return;
      clearInterval(this.#starvationTimer);
      this.#starvationTimer = undefined;
    }, STARVATION_CHECK_MS);
  }

  /** Looks after op_timeout, as it is now. */
  #watchDeadline(): void {
    clearInterval(this.#deadlineTimer);
    const { opTimeoutMs } = this.#options;
    this.#dispatcher.setDeadline(opTimeoutMs > 0);
    if (opTimeoutMs === 0 || this.#finishing !== undefined) return;
    const tickMs = Math.max(MIN_DEADLINE_TICK_MS, Math.min(opTimeoutMs / 4, MAX_DEADLINE_TICK_MS));
    this.#deadlineTimer = setInterval(() => this.#dispatcher.expire(opTimeoutMs), tickMs);
  }

  // ---- control socket ----

  async #openControl(): Promise<void> {
    const { runtimeDir } = this.#options;
    if (runtimeDir === undefined && this.#hooks.ownsProcess !== true) return;
    const settings = {
      runtimeDir,
      id: this.id,
      mountpoint: this.#mountpoint,
      logger: this.#logger,
    };
    this.#control = await openControl(settings, new ControlDesk(this.#controlled()));
  }

  #controlled(): Controlled {
    return {
      facts: () => ({
        id: this.id,
        version: VERSION,
        startMs: this.#startMs,
        state: this.#state(),
        source: this.#source,
        mountpoint: this.#mountpoint,
        readOnly: this.#options.readOnly,
        connection: this.#device?.connection ?? null,
        how: this.#device?.how ?? null,
        engine: this.#engine(),
        negotiated: this.#negotiated,
        queues: this.#isInitialised && this.#native === undefined ? this.#uring.report() : null,
      }),
      served: () =>
        this.#isInitialised
          ? {
              tables: this.#fs.ctx.tables,
              lanes: this.#lanes.count(),
              parked: this.#dispatcher.parked(),
            }
          : undefined,
      countCallers: (table) => {
        this.#dispatcher.callers = table;
        this.#uring.queues?.countCallers(table !== undefined);
      },
      ownsMount: () => this.#device?.ownsMount === true,
      stop: (timeoutMs) => this.stop(timeoutMs),
      abort: () => this.abort(),
      unmountUnlessBusy: (timeoutMs) => this.#unmountUnlessBusy(timeoutMs),
      logger: this.#logger,
    };
  }

  /** By which way requests come, as far as that is decided. */
  #engine(): MountOptions['engine'] {
    return this.#native === undefined ? this.#uring.report().engine : this.#options.engine;
  }

  #state(): 'starting' | 'serving' | 'stopping' {
    if (!this.#isInitialised) return 'starting';
    const isStopping = this.#stopping !== undefined || this.#finishing !== undefined;
    return isStopping ? 'stopping' : 'serving';
  }

  /** To the rest of the daemon this is an unmount from outside. @returns whether it worked */
  async #unmountUnlessBusy(timeoutMs: number): Promise<boolean> {
    if (this.#device === undefined) return false;
    const request = { timeoutMs, keepsBusy: true, log: this.#logger };
    return (await unmount(this.#device, request)) !== 'busy';
  }

  // ---- FUSE_INIT ----

  #answerInit(fuseFd: number): void {
    const { ctx } = this.#fs;
    const obstacle = this.#passthroughObstacle();
    const agreed = negotiate(ctx.u32, ctx.body >> 2, ctx.lengthBytes - IN_HEADER.SIZE, {
      ...this.#options,
      noOpen: this.#options.noOpen || this.#hasNoOpen(),
      kernelPassthrough: obstacle === undefined,
      isStackedSource: this.#fs.isStackedSource(),
      overIoUring: this.#uring.isReady && !this.#isInitialised,
      hasAcls: ctx.config.xattrMap?.hasAcls ?? true,
      canSwitchUser: this.#fs.ctx.credentials.canSwitch,
      canKillPrivileges: new CapabilitySwitch(CAP_FSETID).held || process.geteuid?.() !== 0,
    });
    if (agreed === 0) {
      reply(ctx, fuseFd, putMajorVersion(ctx.u8, ctx.out));
      return;
    }
    if (typeof agreed === 'number') {
      reply(ctx, fuseFd, agreed);
      this.#onInitFailed?.(
        new SluiceError(
          'ERR_SLUICE_KERNEL',
          'this kernel speaks a FUSE protocol older than 7.31; Linux 5.4 or newer is needed',
        ),
      );
      return;
    }
    if (this.#isInitialised) {
      // Lanes use the tables that would be emptied.
      if (this.#dispatcher.inFlight() > 0) {
        reply(ctx, fuseFd, -ERRNO.EBUSY);
        return;
      }
      this.#logger.warn('a second FUSE_INIT: starting over');
    }
    this.#fs.init(negotiatedBits(agreed));
    reply(ctx, fuseFd, putInitOut(ctx.u8, ctx.out, agreed));
    this.#settled(agreed);
    this.#logDeclined(agreed);
    this.#onInitialised?.();
  }

  #settled(agreed: Negotiated): void {
    this.#negotiated = agreed;
    this.#isInitialised = true;
    this.#publishNegotiated(agreed);
  }

  /** A file system without open leaves nobody to truncate then. */
  #hasNoOpen(): boolean {
    const own = this.#hooks.layers?.own;
    return own !== undefined && !handles(own, 'open');
  }

  #passthroughObstacle(): string | undefined {
    const renamesCapability = this.#fs.ctx.config.xattrMap?.capability !== undefined;
    const dataLayer = this.#hooks.layers?.dataLayer;
    return whyNoKernelPassthrough({ ...this.#options, renamesCapability, dataLayer });
  }

  /**
   * Once the engine is chosen.
   * @param obstacle why the kernel is not to read and write by itself
   */
  #logNegotiated(obstacle: string | undefined): void {
    const agreed = this.#negotiated;
    if (agreed === undefined) return;
    const unoffered = agreed.features.has('PASSTHROUGH')
      ? undefined
      : 'the kernel does not offer it';
    const whyNot = obstacle ?? unoffered;
    this.#logger.info(
      {
        protocol: `7.${agreed.minor}`,
        features: [...agreed.features].join(' '),
        maxWriteBytes: agreed.maxWriteBytes,
        maxBackground: agreed.maxBackground,
        how: this.#device?.how,
        source: this.#source,
        mountpoint: this.#mountpoint,
        fdBudget: this.#fs.ctx.tables.fds.budget,
        kernelPassthrough: whyNot === undefined ? 'on' : `off: ${whyNot}`,
        engine: this.#engine(),
      },
      'negotiated',
    );
  }

  #logDeclined(agreed: Negotiated): void {
    const { u32, body, lengthBytes } = this.#fs.ctx;
    const offered = offeredFeatures(u32, body >> 2, lengthBytes - IN_HEADER.SIZE);
    this.#logger.debug(
      {
        declined: offered.filter((name) => !agreed.features.has(name)).join(' '),
        maxReadaheadBytes: agreed.maxReadaheadBytes,
      },
      'offered by the kernel and not taken',
    );
  }

  #publishNegotiated({ minor, features, maxWriteBytes, maxBackground }: Negotiated): void {
    const { stats } = this.#fs.ctx.tables;
    stats.set(STAT.MAX_WRITE_BYTES, maxWriteBytes);
    stats.set(STAT.MAX_BACKGROUND, maxBackground);
    this.#tellSession({
      protocol: `7.${minor}`,
      features: [...features].sort().join(' '),
      how: this.#device?.how ?? '',
      engine: this.#engine(),
    });
  }

  /** Adds to what the exporter says of the session. */
  #tellSession(info: SessionFacts['info']): void {
    this.#sessionInfo = { ...this.#sessionInfo, ...info };
    this.#exporter?.tellSession({
      connection: this.#device?.connection,
      cpuLatencyFd: this.#cpuLatency?.fd ?? -1,
      info: this.#sessionInfo,
    });
  }

  // ---- stop ----

  async #stop(timeoutMs: number): Promise<void> {
    const device = this.#device;
    if (device === undefined || this.#finishing !== undefined) return;
    if (this.#reason === 'external') this.#reason = 'stopped';
    const untilMs = performance.now() + timeoutMs;
    await this.#unmount(device, timeoutMs);
    await this.#drain(Math.max(MIN_DRAIN_MS, untilMs - performance.now()));
    await this.#finish();
  }

  async #unmount(device: MountedDevice, timeoutMs: number): Promise<void> {
    // libfuse does not ask to be told that a connection was aborted: it looks as if it were unmounted.
    if (this.#native !== undefined && this.#reason === 'aborted') {
      discardMount(device);
      return;
    }
    await unmount(device, { timeoutMs, log: this.#logger });
  }

  /** Waits until every request that was read is answered. */
  async #drain(timeoutMs: number): Promise<void> {
    const untilMs = performance.now() + timeoutMs;
    while (this.#dispatcher.inFlight() > 0 && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    const left = this.#dispatcher.inFlight();
    if (left > 0) this.#logger.warn({ requests: left }, 'requests were still under way at the end');
  }

  /** The kernel ended the connection. */
  #onEnd(end: ConnectionEnd): void {
    if (end === 'aborted') {
      this.#reason = 'aborted';
      this.#logger.warn('the connection was aborted');
    } else if (end !== 'unmounted') {
      this.#logger.error({ errno: errnoName(end) }, 'reading from /dev/fuse failed');
    }
    if (!this.#isInitialised) {
      this.#onInitFailed?.(
        new SluiceError(
          'ERR_SLUICE_MOUNT',
          `the mount on ${this.#mountpoint} ended before it was usable`,
        ),
      );
      return;
    }
    // While somebody stops us that goes on to its end by itself.
    if (this.#stopping === undefined && this.#reason !== 'stopped') void this.#endExternally();
  }

  async #endExternally(): Promise<void> {
    const device = this.#device;
    // After an abort the dead mount is still in the tree.
    if (device !== undefined && this.#reason === 'aborted') {
      await this.#unmount(device, 0).catch((error: unknown) =>
        this.#logger.warn({ err: error }, 'the dead mount could not be taken out of the tree'),
      );
    }
    await this.#drain(this.#options.stopTimeoutMs);
    await this.#finish();
  }

  #finish(): Promise<void> {
    this.#finishing ??= this.#finishOnce();
    return this.#finishing;
  }

  async #finishOnce(): Promise<void> {
    this.#reader?.close();
    // The kernel ends the waits when the device is closed.
    this.#dispatcher?.lockWaits.clear();
    const queuesEnded = (await this.#uring?.stop()) ?? true;
    await this.#deputy?.stop();
    const lanesEnded = this.#lanes === undefined || (await this.#lanes.stop(LANE_STOP_MS));
    if (this.#device !== undefined) {
      close(this.#device.fuseFd);
      forgetMount(this.#device);
    }
    await this.#exporter?.stop();
    for (const closer of this.#closers.reverse()) closer();
    // With a thread still in a call the tables are in use, and closing files of a server that hangs
    // would hang us: the process's end closes them.
    if (lanesEnded && queuesEnded) this.#fs?.close();
    this.#once.summarise();
    this.#control?.close({ reason: this.#reason });
    this.#onUnmounted(this.#reason);
  }
}

/** The features that operations ask for, as bits. */
function negotiatedBits(agreed: Negotiated): number {
  const { features } = agreed;
  return (
    (features.has('WRITEBACK_CACHE') ? NEGOTIATED.WRITEBACK : 0) |
    (features.has('NO_OPEN_SUPPORT') ? NEGOTIATED.NO_OPEN : 0) |
    (features.has('NO_OPENDIR_SUPPORT') ? NEGOTIATED.NO_OPENDIR : 0) |
    (features.has('HANDLE_KILLPRIV_V2') ? NEGOTIATED.KILLPRIV_V2 : 0) |
    (features.has('SETXATTR_EXT') ? NEGOTIATED.SETXATTR_EXT : 0) |
    (features.has('SUBMOUNTS') ? NEGOTIATED.SUBMOUNTS : 0) |
    (features.has('NO_EXPORT_SUPPORT') ? NEGOTIATED.NO_EXPORT : 0) |
    (features.has('DONT_MASK') ? NEGOTIATED.DONT_MASK : 0) |
    (features.has('POSIX_LOCKS') ? NEGOTIATED.POSIX_LOCKS : 0) |
    (features.has('FLOCK_LOCKS') ? NEGOTIATED.FLOCK_LOCKS : 0) |
    (features.has('CREATE_SUPP_GROUP') ? NEGOTIATED.CREATE_SUPP_GROUP : 0) |
    (agreed.minor >= CHECKED_IOCTLS_MINOR ? NEGOTIATED.CHECKED_IOCTLS : 0) |
    (features.has('ALLOW_IDMAP') ? NEGOTIATED.ALLOW_IDMAP : 0) |
    (features.has('PASSTHROUGH') ? NEGOTIATED.PASSTHROUGH : 0)
  );
}
