/**
 * While requests come one after the other, CPUs are kept from sleep. To wake one takes longer than most
 * operations, in a virtual machine above all, and two threads wake each other for each request: main and
 * the one that asks.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { cpus } from 'node:os';
import { nowUs } from '../../shared/clock.ts';
import type { Logger } from '../../shared/log.ts';
import type { StatsBlock } from '../../shared/memory/stats-block.ts';
import type { MountOptions } from '../../shared/options.ts';
import { STAT } from '../../shared/stats-layout.ts';
import { CPU_LATENCY_DEVICE, CpuLatencyRequest } from '../../shared/sys/cpu-latency.ts';

/** Requests are counted over this, or longer. */
const PERIOD_MS = 4;
/** So many of them in that time, and CPUs are kept awake. */
const MANY = 8;
/** A period that took so long: the watchdog may have let CPUs sleep, see watchdog-cpus.ts. */
const LATE_US = 500_000;
/** Of more CPUs most would be kept awake for nothing. */
const FEW_CPUS = 8;

export class CpuLatency {
  readonly fd: number;
  readonly #request: CpuLatencyRequest;
  readonly #stats: StatsBlock;
  #requests = 0;
  #sinceUs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * @param fd of CPU_LATENCY_DEVICE; closed by close()
   * @param stats where the time is counted
   */
  constructor(fd: number, stats: StatsBlock) {
    this.fd = fd;
    this.#request = new CpuLatencyRequest(fd);
    this.#stats = stats;
  }

  /**
   * Main has handled so many requests without a turn of its event loop in between, or queues of io_uring
   * have given so many to lanes.
   */
  onTurn(requests: number): void {
    this.#requests += requests;
    // A queue's thread that ends late may still tell; the descriptor is somebody else's by then.
    if (this.#timer !== undefined || this.#isClosed) return;
    const now = nowUs();
    if (now - this.#sinceUs >= 1000 * PERIOD_MS) {
      this.#sinceUs = now;
      this.#requests = requests;
    }
    if (this.#requests >= MANY) this.#hold();
  }

  /** CPUs may sleep, until requests come again. */
  release(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#request.letSleep();
  }

  close(): void {
    this.release();
    this.#isClosed = true;
    closeSync(this.fd);
  }

  #hold(): void {
    this.#request.keepAwake();
    this.#requests = 0;
    this.#sinceUs = nowUs();
    this.#timer = setInterval(() => this.#onPeriod(), PERIOD_MS).unref();
  }

  #onPeriod(): void {
    const now = nowUs();
    const elapsedUs = now - this.#sinceUs;
    this.#stats.add(STAT.CPUS_AWAKE, elapsedUs);
    this.#sinceUs = now;
    if (this.#requests < MANY || elapsedUs >= LATE_US) this.release();
    this.#requests = 0;
  }
}

/**
 * Not a file in its place, as a container may have: that would grow with each request.
 * @throws as openSync(), and with code ENODEV
 */
export function openDevice(path: string): number {
  const fd = openSync(path, 'r+');
  if (fstatSync(fd).isCharacterDevice()) return fd;
  closeSync(fd);
  throw Object.assign(new Error(`${path} is no device`), { code: 'ENODEV' });
}

/** @returns undefined where it was not asked for, or cannot be had */
export function openCpuLatency(
  { cpuLatency }: MountOptions,
  stats: StatsBlock,
  logger: Logger,
): CpuLatency | undefined {
  if (cpuLatency === 'any') return undefined;
  const count = cpus().length;
  // One alone has nobody to wake.
  if (cpuLatency === 'auto' && (count === 1 || count > FEW_CPUS)) return undefined;
  try {
    return new CpuLatency(openDevice(CPU_LATENCY_DEVICE), stats);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code;
    logger[cpuLatency === 'low' ? 'warn' : 'debug'](
      `CPUs may sleep between requests: cannot open ${CPU_LATENCY_DEVICE}: ${reason}`,
    );
    return undefined;
  }
}
