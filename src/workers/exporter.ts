/**
 * The exporter: a thread of its own that renders the metrics, answers about health, and looks after
 * the other threads. It reads what those write and asks nobody, so a scrape costs main nothing, and a
 * main that hangs is told of. Without metrics it runs all the same, as the watchdog.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type {
  ExporterOrder,
  ExporterReport,
  ExporterTask,
  ListenPlan,
} from '../shared/exporter-messages.ts';
import { openTables, type ThreadTables } from '../shared/memory/shared-memory.ts';
import { EXPORTER_THREAD } from '../shared/memory/thread-journal.ts';
import { Health } from './exporter-health.ts';
import { type HttpRoutes, HttpServer } from './exporter-http.ts';
import { clearSocketPath, SocketPathError } from './exporter-socket.ts';
import { Watchdog } from './watchdog.ts';
import { WatchdogLog } from './watchdog-log.ts';

class Exporter {
  readonly #task: ExporterTask;
  readonly #tables: ThreadTables;
  readonly #health: Health;
  readonly #servers: HttpServer[] = [];
  readonly #log: WatchdogLog | undefined;
  readonly #watchdog: Watchdog;
  readonly #stopWatching: () => void;
  #routes: HttpRoutes | undefined;

  constructor(task: ExporterTask) {
    this.#task = task;
    const { memory, slowTimeoutMs, stuckTimeoutMs } = task;
    // It only reads: it takes no lock, removes nothing and closes nothing.
    this.#tables = openTables(memory, EXPORTER_THREAD, {
      onInodeRemoved: () => undefined,
      onHandleFree: () => undefined,
    });
    this.#health = new Health(this.#tables, memory, stuckTimeoutMs);
    const settings = { slowTimeoutMs, stuckTimeoutMs };
    const log = task.log && new WatchdogLog(task.log, this.#tables.stats);
    this.#log = log;
    // Where the log is somebody else's, main has to write to it.
    this.#watchdog = new Watchdog(this.#tables, memory, settings, (level, fields, message) =>
      log === undefined
        ? tell({ kind: 'log', level, fields, message })
        : log.line(level, fields, message),
    );
    this.#stopWatching = this.#watchdog.start();
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
    switch (order.kind) {
      case 'session':
        this.#health.session = order.facts;
        this.#watchdog.cpus.watch(order.facts.cpuLatencyFd);
        break;
      case 'reconfigure':
        this.#watchdog.slowTimeoutMs = order.slowTimeoutMs;
        if (this.#log !== undefined && order.log !== undefined) this.#log.sink = order.log;
        break;
      case 'stop':
        void this.stop();
        break;
    }
  }

  /** Ends the watch and the servers, and with them the thread: nothing else keeps it. */
  async stop(): Promise<void> {
    this.#stopWatching();
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

  async #makeRoutes(): Promise<HttpRoutes> {
    const { makeRoutes } = await import('./exporter-routes.ts');
    return makeRoutes(this.#task, this.#tables, this.#health);
  }

  async #serve(at: { host: string; port: number } | { path: string }): Promise<string> {
    this.#routes ??= await this.#makeRoutes();
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
