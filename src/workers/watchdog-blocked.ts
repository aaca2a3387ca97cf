/** What a thread of this process waits in, as /proc tells: nothing here waits for that thread. */
import { readFileSync } from 'node:fs';

/** Fields of a log line; what cannot be read is left out. */
export interface BlockedIn {
  /** The kernel function it sleeps in (/proc/PID/task/TID/wchan). */
  readonly wchan?: string;
  /** The number of the system call it is in. */
  readonly syscall?: number;
  /** Kernel functions, innermost first; for root only. */
  readonly stack?: string;
}

const MAX_FRAMES = 12;

function readTask(threadId: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/self/task/${threadId}/${file}`, 'latin1').trim();
  } catch {
    // Not permitted, not built into this kernel, or the thread is gone.
    return undefined;
  }
}

/** What a thread waits in; an empty object when it runs. */
export function blockedIn(threadId: number): BlockedIn {
  const wchan = readTask(threadId, 'wchan');
  const syscall = Number.parseInt(readTask(threadId, 'syscall') ?? '', 10);
  const frames = framesOf(readTask(threadId, 'stack') ?? '');
  return {
    ...(wchan === undefined || wchan === '' || wchan === '0' ? {} : { wchan }),
    ...(Number.isNaN(syscall) || syscall < 0 ? {} : { syscall }),
    ...(frames.length === 0 ? {} : { stack: frames.join(' < ') }),
  };
}

/** Whether a thread waits in the kernel; true when that cannot be told. */
export function isBlocked(threadId: number): boolean {
  return readTask(threadId, 'syscall') !== 'running';
}

/** The functions of lines such as `[<0>] request_wait_answer+0x13f/0x220`. */
function framesOf(stack: string): string[] {
  return stack
    .split('\n')
    .map((line) => /^\[<[^>]*>\] ([\w.]+)/.exec(line)?.[1] ?? '')
    .filter((name) => name !== '')
    .slice(0, MAX_FRAMES);
}
