/** From a thread in a request's header to the process it belongs to, as /proc tells. */
import { readFileSync, readlinkSync } from 'node:fs';

export interface ProcessName {
  /** Null where it is not known: of processes that ended before somebody looked. */
  readonly pid: number | null;
  readonly command: string;
}

const MAX_REMEMBERED = 4096;
const ENDED: ProcessName = { pid: null, command: '(ended)' };

/**
 * A look-up that remembers, so that a process that has ended keeps its name.
 *
 * @param pidNamespace where the numbers are from; in another one than ours they say nothing
 */
export function processNames(pidNamespace: string): (pid: number) => ProcessName {
  const known = new Map<number, ProcessName>();
  const isOurs = readlinkSync('/proc/self/ns/pid') === pidNamespace;
  return (pid) => {
    if (pid === 0) return { pid, command: '(kernel)' };
    if (!isOurs) return { pid, command: '(other pid namespace)' };
    const found = lookUp(pid) ?? known.get(pid) ?? ENDED;
    if (known.size >= MAX_REMEMBERED) known.clear();
    known.set(pid, found);
    return found;
  };
}

function lookUp(thread: number): ProcessName | undefined {
  try {
    const status = readFileSync(`/proc/${thread}/status`, 'latin1');
    const pid = Number(/^Tgid:\s*(\d+)$/m.exec(status)?.[1] ?? thread);
    return { pid, command: readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd() };
  } catch {
    return undefined;
  }
}
