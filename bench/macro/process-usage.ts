/** CPU time, context switches and memory of a process, as /proc tells them. */
import { readdirSync, readFileSync } from 'node:fs';

/** Of one thread since its start. */
interface ThreadUsage {
  readonly cpuUs: number;
  readonly switches: number;
}

export type ProcessUsage = ReadonlyMap<string, ThreadUsage>;

function threadUsage(directory: string): ThreadUsage {
  const cpuNs = Number(readFileSync(`${directory}/schedstat`, 'latin1').split(' ')[0]);
  const status = readFileSync(`${directory}/status`, 'latin1');
  const switches = [...status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s*(\d+)/gm)];
  return { cpuUs: cpuNs / 1000, switches: switches.reduce((sum, [, n]) => sum + Number(n), 0) };
}

/** All threads of a process that live, by their numbers. */
export function processUsage(pid: number): ProcessUsage {
  const threads = new Map<string, ThreadUsage>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      threads.set(thread, threadUsage(`/proc/${pid}/task/${thread}`));
    } catch {
      // It has ended since the directory was read.
    }
  }
  return threads;
}

/** What was used between two looks; what threads did that ended in between is not seen. */
export function usedBetween(before: ProcessUsage, after: ProcessUsage): ThreadUsage {
  let cpuUs = 0;
  let switches = 0;
  for (const [thread, now] of after) {
    cpuUs += now.cpuUs - (before.get(thread)?.cpuUs ?? 0);
    switches += now.switches - (before.get(thread)?.switches ?? 0);
  }
  return { cpuUs, switches };
}

/** Resident memory of a process. */
export function residentBytes(pid: number): number {
  const line = /^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  return 1024 * Number(line?.[1] ?? 0);
}
