/** Which machine a figure comes from. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

export interface Host {
  readonly date: string;
  readonly cpu: string;
  readonly cpuCount: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  /** The 1 minute load average before the first round: figures of a busy machine say little. */
  readonly load: number;
}

export function describeHost(): Host {
  const all = cpus();
  return {
    date: new Date().toISOString(),
    cpu: all[0]?.model.trim() ?? 'unknown CPU',
    cpuCount: all.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load: Math.round(loadavg()[0] * 100) / 100,
  };
}

/** The first CPU this process may run on. */
export function firstCpu(): number {
  const allowed = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return Number(allowed?.[1] ?? 0);
}
