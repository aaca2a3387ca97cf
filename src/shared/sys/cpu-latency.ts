/**
 * How long CPUs may take to wake up, for all of the machine: the kernel heeds the least that any open
 * descriptor of the device asks for (Documentation/power/pm_qos_interface.rst). What a process asked for
 * ends with it.
 */
import { addressOf, write } from './libc.ts';

export const CPU_LATENCY_DEVICE = '/dev/cpu_dma_latency';

/** PM_QOS_CPU_LATENCY_DEFAULT_VALUE: asks for nothing. */
const ANY_US = 2_000_000_000;

/** What one descriptor of the device asks for; any thread may change it, the last one counts. */
export class CpuLatencyRequest {
  readonly #fd: number;
  readonly #us = new Int32Array(new SharedArrayBuffer(4));
  readonly #address = addressOf(this.#us);

  /** @param fd of CPU_LATENCY_DEVICE, open for writing */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Idle CPUs stay awake, and look for work. @returns bytes written, or `-errno` */
  keepAwake(): number {
    this.#us[0] = 0;
    return write(this.#fd, this.#address, 4);
  }

  /** Idle CPUs may sleep, as far as this descriptor goes. @returns bytes written, or `-errno` */
  letSleep(): number {
    this.#us[0] = ANY_US;
    return write(this.#fd, this.#address, 4);
  }
}
