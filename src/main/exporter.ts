/** The thread of exporter and watchdog as main sees it: started with the mount, and again when it dies. */
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { SluiceError } from '../shared/errors.ts';
import type { ExporterReport, ExporterTask, SessionFacts } from '../shared/exporter-messages.ts';
import type { Logger, LogSink } from '../shared/log.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import type { MountOptions } from '../shared/options.ts';
import { packageVersion } from '../shared/version.ts';
import { isHidden } from './session/hidden.ts';

/** How long a thread that died stays away: one that dies at once must not keep main busy. */
const RESTART_DELAY_MS = 5000;
/** How long it may take to end: responses under way get a moment. */
const STOP_TIMEOUT_MS = 2000;

const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16 };

/**
 * What the exporter is to do for a mount: where nobody wants metrics, it only watches.
 * @throws SluiceError ERR_SLUICE_OPTION for a socket below the mount point
 */
export function exporterTaskOf(
  options: MountOptions,
  memory: SharedMemory,
  log: LogSink | undefined,
  names: { readonly mountId: string; readonly source: string; readonly mountpoint: string },
): ExporterTask {
  const { metrics, metricsSocket, isMetricsPortGiven } = options;
  if (metrics && metricsSocket !== undefined) refuseHidden(names.mountpoint, metricsSocket);
  // Who asks for a socket has said where; the port of the default comes only with nothing said.
  const hasPort = metrics && (isMetricsPortGiven || metricsSocket === undefined);
  return {
    memory,
    listen: {
      address: options.metricsAddress,
      port: hasPort ? options.metricsPort : undefined,
      isPortAsked: isMetricsPortGiven,
      socket: metrics ? metricsSocket : undefined,
    },
    stuckTimeoutMs: options.stuckTimeoutMs,
    slowTimeoutMs: options.slowTimeoutMs,
    log,
    info: {
      version: packageVersion(),
      node: process.version,
      arch: process.arch,
      mount_id: names.mountId,
      source: names.source,
      mountpoint: names.mountpoint,
      fsname: options.fsname,
    },
  };
}

/** Listening there would ask the mount before main answers, and main waits for it. */
function refuseHidden(mountpoint: string, socket: string): void {
  if (!isHidden(mountpoint, socket) && !isHidden(mountpoint, dirname(socket))) return;
  throw new SluiceError(
    'ERR_SLUICE_OPTION',
    `metrics_socket: ${socket} lies below the mount point, which hides it; give a path elsewhere`,
  );
}

export class Exporter {
  readonly #logger: Logger;
  #task: ExporterTask;
  #worker: Worker | undefined;
  #ended: Promise<void> = Promise.resolve();
  #isStopping = false;
  #session: SessionFacts | undefined;

  constructor(task: ExporterTask, logger: Logger) {
    this.#task = task;
    this.#logger = logger;
  }

  /**
   * Starts the thread; resolves when it listens, or does without a port that is taken.
   * @throws SluiceError when it cannot listen where it was asked to
   */
  start(): Promise<void> {
    const worker = new Worker(new URL('../workers/exporter.js', import.meta.url), {
      workerData: this.#task,
      resourceLimits: RESOURCE_LIMITS,
    });
    this.#worker = worker;
    this.#ended = new Promise((resolve) => worker.once('exit', () => resolve()));
    return new Promise((resolve, reject) => {
      let isStarted = false;
      worker.on('message', (report: ExporterReport) => {
        if (report.kind === 'log') {
          this.#logger[report.level](report.fields, report.message);
          return;
        }
        isStarted = true;
        if (report.kind === 'refused') reject(new SluiceError('ERR_SLUICE_OPTION', report.message));
        else this.#onListening(report.places);
        // It must not keep a process alive whose mount is gone.
        worker.unref();
        resolve();
      });
      worker.once('error', (error) => {
        if (isStarted) this.#onDeath(error);
        else reject(startError(error));
      });
      worker.once('exit', () => reject(startError(new Error('it ended'))));
    });
  }

  /** Tells what FUSE_INIT has settled. */
  tellSession(facts: SessionFacts): void {
    this.#session = facts;
    this.#worker?.postMessage({ kind: 'session', facts });
  }

  /** Takes over what a reload may change. */
  reconfigure({ slowTimeoutMs, logLevel: level }: MountOptions): void {
    const log = this.#task.log === undefined ? undefined : { ...this.#task.log, level };
    this.#task = { ...this.#task, slowTimeoutMs, log };
    this.#worker?.postMessage({ kind: 'reconfigure', slowTimeoutMs, log });
  }

  /** Ends the thread. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const worker = this.#worker;
    if (worker === undefined) return;
    worker.ref();
    worker.postMessage({ kind: 'stop' });
    const timer = setTimeout(() => void worker.terminate(), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #onListening(places: readonly string[]): void {
    const { port, address } = this.#task.listen;
    if (places.length > 0) {
      this.#logger.info({ places }, 'metrics and health are served');
    } else if (port !== undefined) {
      this.#logger.info(
        `metrics are not served: port ${port} on ${address} is in use, maybe by another mount; give --metrics-port or --metrics-socket`,
      );
    }
  }

  #onDeath(error: Error): void {
    if (this.#isStopping) return;
    const delayMs = RESTART_DELAY_MS;
    this.#logger.error(
      { reason: error.message, delayMs },
      'the exporter died; it is started again',
    );
    this.#restartLater(true);
  }

  /** @param isFirst whether a failure is logged: it is tried again until it works */
  #restartLater(isFirst: boolean): void {
    setTimeout(() => this.#restart(isFirst), RESTART_DELAY_MS).unref();
  }

  #restart(isFirst: boolean): void {
    if (this.#isStopping) return;
    this.start().then(
      () => {
        if (this.#session !== undefined) this.tellSession(this.#session);
      },
      (cause: unknown) => {
        const reason = String(cause);
        if (isFirst) this.#logger.error({ reason }, 'the exporter cannot be started again yet');
        this.#restartLater(false);
      },
    );
  }
}

function startError(cause: Error): SluiceError {
  return new SluiceError(
    'ERR_SLUICE_SYSTEM',
    `the thread that watches the others cannot be started (${cause.message})`,
    { cause },
  );
}
