/** The kernel's number of the calling thread, as in /proc/self/task. */
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';

export function ownThreadId(): number {
  return Number(basename(readlinkSync('/proc/thread-self')));
}
