/** The exporter's thread as main sees it: started with the mount, started again when it dies. */
import { Worker } from 'node:worker_threads';
import { SluiceError } from '../shared/errors.ts';
import type { ExporterReport, ExporterTask, SessionFacts } from '../shared/exporter-messages.ts';
import type { Logger } from '../shared/log.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import type { MountOptions } from '../shared/options.ts';
import { packageVersion } from '../shared/version.ts';

/** How long a thread that died stays away: one that dies at once must not keep main busy. */
const RESTART_DELAY_MS = 5000;
/** How long it may take to end: responses under way get a moment. */
const STOP_TIMEOUT_MS = 2000;

const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16 };

/** What the exporter is to do for a mount; undefined when nobody wants metrics. */
export function exporterTaskOf(
  options: MountOptions,
  memory: SharedMemory,
  names: { readonly mountId: string; readonly source: string; readonly mountpoint: string },
): ExporterTask | undefined {
  const { metricsSocket, isMetricsPortGiven } = options;
  // Who asks for a socket has said where; the port of the default comes only with nothing said.
  const hasPort = isMetricsPortGiven || metricsSocket === undefined;
  if (!options.metrics) return undefined;
  return {
    memory,
    listen: {
      address: options.metricsAddress,
      port: hasPort ? options.metricsPort : undefined,
      isPortAsked: isMetricsPortGiven,
      socket: metricsSocket,
    },
    stuckTimeoutMs: options.stuckTimeoutMs,
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

export class Exporter {
  readonly #task: ExporterTask;
  readonly #logger: Logger;
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
    const { listen } = this.#task;
    if (places.length > 0) {
      this.#logger.info({ places }, 'metrics and health are served');
      return;
    }
    this.#logger.info(
      `metrics are not served: port ${listen.port} on ${listen.address} is in use, maybe by another mount; give --metrics-port or --metrics-socket`,
    );
    this.#worker?.postMessage({ kind: 'stop' });
  }

  #onDeath(error: Error): void {
    if (this.#isStopping) return;
    const delayMs = RESTART_DELAY_MS;
    this.#logger.error(
      { reason: error.message, delayMs },
      'the exporter died; it is started again',
    );
    setTimeout(() => this.#restart(), delayMs).unref();
  }

  #restart(): void {
    if (this.#isStopping) return;
    this.start().then(
      () => {
        if (this.#session !== undefined) this.tellSession(this.#session);
      },
      (cause: unknown) =>
        this.#logger.error({ reason: String(cause) }, 'the exporter cannot be started again'),
    );
  }
}

function startError(cause: Error): SluiceError {
  return new SluiceError(
    'ERR_SLUICE_SYSTEM',
    `the exporter of metrics cannot be started (${cause.message}); --no-metrics does without`,
    { cause },
  );
}
