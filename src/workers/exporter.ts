/**
 * The exporter: a thread of its own that renders the metrics and answers about health. It reads what
 * the others write and asks nobody, so a scrape costs main nothing, and a main that hangs is told of.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { nowUs } from '../shared/clock.ts';
import type {
  ExporterOrder,
  ExporterReport,
  ExporterTask,
  ListenPlan,
} from '../shared/exporter-messages.ts';
import { openTables } from '../shared/memory/shared-memory.ts';
import { EXPORTER_THREAD, laneThread } from '../shared/memory/thread-journal.ts';
import { STAT } from '../shared/stats-layout.ts';
import { Health } from './exporter-health.ts';
import { type HttpRoutes, HttpServer } from './exporter-http.ts';
import { registerMetrics } from './exporter-metrics.ts';
import { makeReadings } from './exporter-readings.ts';
import { clearSocketPath, SocketPathError } from './exporter-socket.ts';

class Exporter {
  readonly #task: ExporterTask;
  readonly #health: Health;
  readonly #routes: HttpRoutes;
  readonly #servers: HttpServer[] = [];

  constructor(task: ExporterTask) {
    this.#task = task;
    const { memory } = task;
    // It only reads: it takes no lock, removes nothing and closes nothing.
    const tables = openTables(memory, EXPORTER_THREAD, {
      onInodeRemoved: () => undefined,
      onHandleFree: () => undefined,
    });
    const { stats } = tables;
    this.#health = new Health(tables, memory, task.stuckTimeoutMs);
    const registry = registerMetrics({
      stats,
      readings: makeReadings(tables, memory, this.#health),
      maxLanes: memory.geometry.maxLanes,
      currentUs: (lane) => 1000 * this.#health.busyMs(laneThread(lane)),
      info: (label) => this.#health.session?.info[label] ?? task.info[label] ?? '',
    });
    this.#routes = {
      metricsType: registry.contentType,
      metrics: async () => {
        const startedUs = nowUs();
        const text = await registry.metrics();
        stats.add(STAT.SCRAPES, 1);
        stats.add(STAT.SCRAPE_US, nowUs() - startedUs);
        stats.add(STAT.SCRAPE_BYTES, Buffer.byteLength(text));
        return text;
      },
      whyNotLive: () => this.#health.whyNotLive(),
      whyNotReady: () => this.#health.whyNotReady(),
      onCut: () => stats.add(STAT.HTTP_CUT, 1),
    };
  }

  async start(): Promise<void> {
    try {
      const places = await this.#listen(this.#task.listen);
      tell({ kind: 'listening', places });
    } catch (error) {
      tell({ kind: 'refused', message: (error as Error).message });
      await this.stop();
    }
  }

  obey(order: ExporterOrder): void {
    if (order.kind === 'session') this.#health.session = order.facts;
    else void this.stop();
  }

  /** Ends the servers, and with them the thread: nothing else keeps it. */
  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.close()));
    parentPort?.close();
  }

  /** @throws Error naming the option, the reason and the cure */
  async #listen(plan: ListenPlan): Promise<string[]> {
    const places: string[] = [];
    if (plan.socket !== undefined) places.push(await this.#listenAtPath(plan.socket));
    if (plan.port !== undefined) {
      places.push(...(await this.#listenAtPort(plan.address, plan.port, plan.isPortAsked)));
    }
    return places;
  }

  async #listenAtPath(path: string): Promise<string> {
    try {
      await clearSocketPath(path);
      return await this.#serve({ path });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const reason =
        error instanceof SocketPathError
          ? message
          : `${path} cannot be listened at (${code ?? message}); give a path in a directory you may write`;
      throw new Error(`metrics_socket: ${reason}`);
    }
  }

  /** @returns no place when the port is taken and nobody wants this very one */
  async #listenAtPort(host: string, port: number, isAsked: boolean): Promise<string[]> {
    try {
      return [await this.#serve({ host, port })];
    } catch (error) {
      const { code = String(error) } = error as NodeJS.ErrnoException;
      if (!isAsked && code === 'EADDRINUSE') return [];
      throw new Error(portMessage(host, port, code));
    }
  }

  async #serve(at: { host: string; port: number } | { path: string }): Promise<string> {
    const server = new HttpServer(this.#routes);
    const place = await server.listen(at);
    this.#servers.push(server);
    return place;
  }
}

function portMessage(host: string, port: number, code: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return `metrics_port: ${port} on ${host} is in use; choose another port, or give --no-metrics`;
    case 'EACCES':
      return `metrics_port: ${port} is not permitted; choose a port above 1023`;
    case 'EADDRNOTAVAIL':
      return `metrics_address: ${host} is no address of this host; give one that it has`;
    default:
      return `metrics_port: ${port} on ${host} cannot be listened at (${code}); choose another one, or give --no-metrics`;
  }
}

function tell(report: ExporterReport): void {
  parentPort?.postMessage(report);
}

const exporter = new Exporter(workerData as ExporterTask);
parentPort?.on('message', (order: ExporterOrder) => exporter.obey(order));
void exporter.start();
