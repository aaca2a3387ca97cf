/** Whether FUSE over io_uring can be had, and how its queues are shared out. */
import { readFileSync } from 'node:fs';
import type { RingGeometry } from '../../shared/memory/ring-entries.ts';
import type { MountOptions } from '../../shared/options.ts';
import { PAGE_SIZE } from '../../shared/sys/constants.ts';

export const ENABLE_URING = '/sys/module/fuse/parameters/enable_uring';
export const URING_DISABLED = '/proc/sys/kernel/io_uring_disabled';

export const NO_CPU = -1;

/** A thread and what it serves. */
export interface QueueThreadPlan {
  /** The CPU it sits on; NO_CPU: any. */
  readonly cpu: number;
  /** The queue of each of its entries. */
  readonly queues: readonly number[];
}

export interface UringPlan {
  readonly threads: readonly QueueThreadPlan[];
  /** Entries of the queue of a CPU that is online, without that of the reserve. */
  readonly depth: number;
  /** Queues x depth x (payload + page). */
  readonly memoryBytes: number;
  readonly geometry: RingGeometry;
}

/** The longest value of an extended attribute, with its name, in whole pages and to spare. */
const MIN_PAYLOAD_BYTES = 128 * 1024;

type Wishes = Pick<
  MountOptions,
  'posixLock' | 'flock' | 'opTimeoutMs' | 'maxWriteBytes' | 'uringDepth' | 'uringMemoryBytes'
>;

/** Why the options rule it out; undefined if they do not. */
function obstacle(options: Wishes): string | undefined {
  // A wait for a lock would hold the entry that the unlock has to come by.
  if (options.posixLock || options.flock) return 'posix_lock and flock need the other engine';
  // A request that was answered before it is done would go on in an entry that is in use again.
  if (options.opTimeoutMs > 0) return 'op_timeout needs the other engine';
  if (options.maxWriteBytes < MIN_PAYLOAD_BYTES) return 'max_write is below 128 KiB';
  return undefined;
}

/** Why the host does not let us; undefined if it seems to. */
export function whyNoUring(): string | undefined {
  const setting = read(ENABLE_URING);
  if (setting === undefined) return 'this kernel does not have it (Linux 6.14)';
  if (setting !== 'Y') return `it is switched off: echo Y > ${ENABLE_URING}`;
  if (read(URING_DISABLED) === '2') return 'sysctl kernel.io_uring_disabled is 2';
  return undefined;
}

/** Shares out the queues. @returns why not, where it cannot be */
export function planUring(options: Wishes): UringPlan | string {
  const reason = obstacle(options) ?? whyNoUring();
  if (reason !== undefined) return reason;
  const possible = parseCpus(read('/sys/devices/system/cpu/possible') ?? '');
  const online = parseCpus(read('/sys/devices/system/cpu/online') ?? '');
  if (possible.length === 0 || online.length === 0) return '/sys does not tell the CPUs';
  return shareOut(possible, online, options);
}

/**
 * One thread for each CPU that is online, with `depth` entries for its queue. The kernel wants an entry
 * in every queue, so those of the other CPUs get one each, with the threads in turn. The last thread is a
 * reserve with one more entry for each of those, on main's ring: a queue whose thread has died is never
 * without, as a request that comes meanwhile would wait for ever (Linux 6.18).
 * @param possible the kernel's queues are numbered 0 to the last of these
 */
export function shareOut(
  possible: readonly number[],
  online: readonly number[],
  { maxWriteBytes, uringDepth, uringMemoryBytes }: Wishes,
): UringPlan | string {
  const queues = possible.length;
  const payloadBytes = Math.max(maxWriteBytes, MIN_PAYLOAD_BYTES);
  const room = Math.floor(uringMemoryBytes / (payloadBytes + PAGE_SIZE));
  const served = online.filter((cpu) => cpu < queues);
  const idle = queues - served.length;
  const depth = Math.min(uringDepth, Math.floor((room - idle) / served.length) - 1);
  if (depth < 1) {
    return `uring_memory has no room for an entry in each of ${queues} queues`;
  }
  const threads = served.map((cpu) => ({ cpu, queues: new Array<number>(depth).fill(cpu) }));
  for (let queue = 0, turn = 0; queue < queues; queue++) {
    if (!served.includes(queue)) threads[turn++ % served.length]?.queues.push(queue);
  }
  threads.push({ cpu: NO_CPU, queues: [...served] });
  const entries = threads.reduce((sum, thread) => sum + thread.queues.length, 0);
  return {
    threads,
    depth,
    memoryBytes: entries * (payloadBytes + PAGE_SIZE),
    geometry: {
      threads: threads.length,
      entriesPerThread: Math.max(...threads.map((thread) => thread.queues.length)),
      payloadBytes,
    },
  };
}

/** Numbers of a list like 0-3,7. */
export function parseCpus(list: string): number[] {
  return list
    .split(',')
    .filter((range) => /^\d+(-\d+)?$/.test(range))
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return undefined;
  }
}
