/** A mount with a trace, to count what the kernel asks. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LogLine, type Mount, startMount } from '../harness/mount.ts';
import { type RunResult, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const LOG_WAIT_MS = 5_000;
const LOG_POLL_MS = 20;

/** A trace file: its lines since the last `forget()`. */
export class Trace {
  readonly #path: string;
  #start = 0;

  constructor(path: string) {
    this.#path = path;
  }

  lines(): string[] {
    return readFileSync(this.#path, 'latin1')
      .slice(this.#start)
      .split('\n')
      .filter((line) => line !== '');
  }

  forget(): void {
    this.#start = readFileSync(this.#path, 'latin1').length;
  }

  /** Requests of an opcode, with what comes behind its name; `about` has to be in the line. */
  requests(opcode: string, about = ''): string[] {
    const start = new RegExp(`^#\\d+ ${opcode} (?!=)`);
    return this.lines().filter((line) => start.test(line) && line.includes(about));
  }

  replies(opcode: string): string[] {
    const start = new RegExp(`^#\\d+ ${opcode} = `);
    return this.lines().filter((line) => start.test(line));
  }
}

export interface TracedMount {
  readonly mount: Mount;
  readonly source: string;
  readonly mnt: string;
  readonly trace: Trace;
  /** Runs a script with the mount point as `$M` and the source as `$S`; what it printed, trimmed. */
  sh(script: string): Promise<string>;
  /** The same for one that may fail. */
  attempt(script: string): Promise<RunResult>;
}

/** Makes a source with the file `f` ("old\n") and the directory `d`, and mounts it. */
export async function tracedMount(
  flags: readonly string[] = [],
  given: { readonly source?: string; readonly nofile?: number; allowErrors?: RegExp[] } = {},
): Promise<TracedMount> {
  const [base, mnt, own] = (await tempDirs('base', 'mnt', 'source')) as [string, string, string];
  const source = given.source ?? own;
  await shell('mkdir -p "$1/d"; echo old > "$1/f"', [source]);
  const tracePath = join(base, 'trace');
  const mount = await startMount({
    source,
    mountpoint: mnt,
    flags: [`--trace=${tracePath}`, ...flags],
    allowErrors: given.allowErrors ?? [],
    ...(given.nofile === undefined ? {} : { nofile: given.nofile }),
  });
  const variables = `M='${mnt}'; S='${source}'; `;
  return {
    mount,
    source,
    mnt,
    trace: new Trace(tracePath),
    async sh(script) {
      return (await shell(variables + script, [], { timeoutMs: 20_000 })).stdout.trim();
    },
    attempt(script) {
      return shell(`${variables}set +e; ${script}; echo "code $?"`, [], { timeoutMs: 20_000 });
    },
  };
}

/** The first log line with this message, waited for. */
export async function logLine(mount: Mount, message: RegExp): Promise<LogLine> {
  const untilMs = performance.now() + LOG_WAIT_MS;
  for (;;) {
    const found = mount.logs.find((line) => message.test(String(line['msg'])));
    if (found !== undefined) return found;
    if (performance.now() > untilMs) throw new Error(`no log line ${message}; ${mount.logTail()}`);
    await sleep(LOG_POLL_MS);
  }
}

/** What FUSE_INIT ended with: the features, and the sizes. */
export async function negotiated(mount: Mount): Promise<LogLine & { features: string }> {
  return (await logLine(mount, /^negotiated$/)) as LogLine & { features: string };
}

/** Options of the mount in /proc/self/mountinfo: those of the place, and those of the file system. */
export function mountinfo(mountpoint: string): { flags: string[]; source: string; all: string[] } {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((text) => text.split(' ')[4] === mountpoint);
  if (line === undefined) throw new Error(`${mountpoint} is not mounted`);
  const [front, back] = line.split(' - ') as [string, string];
  const flags = (front.split(' ')[5] as string).split(',');
  const [, source, superOptions] = back.split(' ') as [string, string, string];
  return { flags, source, all: [...flags, ...superOptions.split(',')] };
}
