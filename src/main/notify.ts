/**
 * What a service manager is told of this process: the datagrams of sd_notify(3), sent to the Unix
 * socket that NOTIFY_SOCKET names. Without one every call does nothing.
 */
import { ERRNO, errnoName } from '../shared/abi/errno.ts';
import { oneLine } from '../shared/errors.ts';
import type { Logger } from '../shared/log.ts';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM } from '../shared/sys/constants.ts';
import { socket } from '../shared/sys/libc.ts';
import {
  feedWatchdog,
  type ManagerSocket,
  type ServiceWatchdog,
  sendNews,
} from '../shared/sys/service-manager.ts';
import { unixAddress } from '../shared/sys/unix-socket.ts';

/** How long news that must arrive waits before it is sent again to a queue that was full. */
const RETRY_MS = 100;
/** News that waits; a service has a handful in its life. */
const MAX_WAITING = 16;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The states of a service. A text goes to `systemctl status`. */
export interface ServiceManager {
  /** The mount is usable, also again after a reload. From now on the watchdog is fed. */
  ready(status: string): void;
  /** A reload has begun; `ready` says that it is done. */
  reloading(): void;
  stopping(status: string): void;
  /** For who serves while the main loop stands still: to feed, too. Undefined: nobody wants that. */
  readonly watchdog: ServiceWatchdog | undefined;
}

/** What `systemctl status` shows while a mount is served. */
export function servingLine({
  source,
  mountpoint,
}: {
  source: string;
  mountpoint: string;
}): string {
  return `serving ${source} on ${mountpoint}`;
}

type Environment = Record<string, string | undefined>;
type NotifyLog = Pick<Logger, 'warn'>;

/**
 * The service manager of this process. Its variables are removed from `env`, so that no program
 * started from here speaks for this one.
 *
 * @param log told once when the manager cannot be reached; the mount goes on
 */
export function connectServiceManager(env: Environment, log: NotifyLog): ServiceManager {
  const { NOTIFY_SOCKET: name, WATCHDOG_USEC: watchdogUs, WATCHDOG_PID: watchdogPid } = env;
  for (const variable of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[variable];
  const isWatched = watchdogPid === undefined || watchdogPid === String(process.pid);
  const periodUs = isWatched ? Number(watchdogUs ?? 0) : 0;
  return new NotifySocket(name, Number.isFinite(periodUs) ? periodUs / 2 : 0, log);
}

class NotifySocket implements ServiceManager {
  readonly #log: NotifyLog;
  readonly watchdog: ServiceWatchdog | undefined;
  readonly #socket: ManagerSocket | undefined;
  /** What must arrive, oldest first, while the manager's queue is full. */
  readonly #waiting: string[] = [];
  #isWatchdogFed = false;
  #hasFailed = false;

  constructor(name: string | undefined, watchdogUs: number, log: NotifyLog) {
    this.#log = log;
    this.#socket = name === undefined ? undefined : this.#open(name);
    const periodMs = Math.min(watchdogUs / 1000, LONGEST_TIMER_MS);
    if (periodMs > 0 && this.#socket !== undefined) {
      this.watchdog = { socket: this.#socket, periodMs };
    }
  }

  #open(name: string): ManagerSocket | undefined {
    const address = unixAddress(name);
    if (address === undefined) {
      this.#fail(`${name} is no Unix socket`);
      return undefined;
    }
    const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) return { fd, address };
    this.#fail(errnoName(fd));
    return undefined;
  }

  ready(status: string): void {
    this.#tell(`READY=1\nSTATUS=${oneLine(status)}`);
    this.#feedWatchdog();
  }

  reloading(): void {
    // The manager compares this with its own clock, CLOCK_MONOTONIC, which hrtime reads.
    const nowUs = process.hrtime.bigint() / 1000n;
    this.#tell(`RELOADING=1\nMONOTONIC_USEC=${nowUs}`);
  }

  stopping(status: string): void {
    this.#tell(`STOPPING=1\nSTATUS=${oneLine(status)}`);
  }

  /** A timer of the main loop: one that does not turn feeds nobody. */
  #feedWatchdog(): void {
    const { watchdog } = this;
    if (this.#isWatchdogFed || watchdog === undefined) return;
    this.#isWatchdogFed = true;
    setInterval(() => this.#check(feedWatchdog(watchdog.socket)), watchdog.periodMs).unref();
  }

  /** Sends in order; what finds the queue full is sent again later. */
  #tell(news: string): void {
    if (this.#socket === undefined) return;
    if (this.#waiting.length > 0 || this.#send(news) === -ERRNO.EAGAIN) {
      if (this.#waiting.length === MAX_WAITING) this.#waiting.shift();
      this.#waiting.push(news);
      if (this.#waiting.length === 1) this.#retryLater();
    }
  }

  #retryLater(): void {
    setTimeout(() => {
      while (this.#waiting.length > 0) {
        if (this.#send(this.#waiting[0] as string) === -ERRNO.EAGAIN) {
          this.#retryLater();
          return;
        }
        this.#waiting.shift();
      }
    }, RETRY_MS).unref();
  }

  /** Never waits: the main thread serves the mount. @returns `-errno`, or the bytes sent */
  #send(news: string): number {
    return this.#check(sendNews(this.#socket as ManagerSocket, news));
  }

  #check(sent: number): number {
    if (sent < 0 && sent !== -ERRNO.EAGAIN) this.#fail(errnoName(sent));
    return sent;
  }

  #fail(reason: string): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#log.warn(`the service manager (NOTIFY_SOCKET) cannot be told of the mount: ${reason}`);
  }
}
