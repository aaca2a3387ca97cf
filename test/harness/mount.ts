/** One `sluice mount` as a child process, from its first line to its last. */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from './cleanup.ts';
import { forceUnmount, isFuse, type MountLine, readMounts } from './mountinfo.ts';
import { cliPath } from './paths.ts';
import { type RunOptions, type RunResult, run } from './run.ts';
import { tempDirs } from './temp-dir.ts';

export interface MountOptions {
  readonly source: string;
  /** Default: a fresh temporary directory. */
  readonly mountpoint?: string;
  /** On the command line; default: source and mountpoint. */
  readonly operands?: readonly string[];
  /** Behind the operands on the command line. */
  readonly flags?: readonly string[];
  /** Added to the environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** RLIMIT_NOFILE of the daemon, soft and hard. */
  readonly nofile?: number;
  /** For node itself, before the script. */
  readonly nodeFlags?: readonly string[];
  /** A command that executes the rest of its line in its own place, such as setpriv or nsenter. */
  readonly prefix?: readonly string[];
  /** Lines of level error and above that this test expects. */
  readonly allowErrors?: readonly RegExp[];
  /** How long until the mount has to be usable. Default 20 seconds. */
  readonly readyTimeoutMs?: number;
}

/** A flag with which main makes no calls that a disk could delay: for tests of what lanes do. */
export const LANES_WORK = '--op-timeout=3600';

/** A line of the daemon's standard error; what is no JSON has level `raw` and only `msg`. */
export type LogLine = Readonly<Record<string, unknown>>;

/** The numeric fields of a status line: inodes, lookups, handles, slotsInUse, fdsUsed, ... */
export type Status = Readonly<Record<string, number>>;

/** What SIGUSR2 is answered with. */
const DEBUG_TOGGLED = /^debug messages are (on|off)$/;
const READY = /^sluice: .* is mounted on .* \(pid \d+\)$/;
const READY_TIMEOUT_MS = 20_000;
const STATUS_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 20_000;
const LOG_TAIL_LINES = 20;
const PINO_ERROR_LEVEL = 50;
const ERROR_LEVEL_NAMES = ['error', 'fatal', 'raw'];

function parseLine(line: string): LogLine {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed === 'object' && parsed !== null) return parsed as LogLine;
  } catch {
    // Not JSON: kept as it is.
  }
  return { level: 'raw', msg: line };
}

function isError(line: LogLine): boolean {
  const level = line['level'];
  return typeof level === 'number'
    ? level >= PINO_ERROR_LEVEL
    : ERROR_LEVEL_NAMES.includes(String(level));
}

function forceUnmountAt(mountpoint: string): void {
  for (const mount of readMounts()) {
    if (mount.mountpoint === mountpoint && isFuse(mount)) forceUnmount(mount);
  }
}

/** A running daemon and its mount. */
export class Mount {
  readonly source: string;
  readonly mountpoint: string;
  readonly pid: number;
  /** What the daemon has logged so far. */
  readonly logs: LogLine[] = [];
  /** The lines of its standard output so far. */
  readonly output: string[] = [];
  readonly #child: ChildProcess;
  readonly #allowErrors: readonly RegExp[];
  readonly #lines = new EventEmitter();
  readonly #exited: Promise<unknown>;
  #connection: MountLine | undefined;
  #isOver = false;

  constructor(child: ChildProcess, mountpoint: string, options: MountOptions) {
    this.source = options.source;
    this.mountpoint = mountpoint;
    this.pid = child.pid as number;
    this.#child = child;
    this.#allowErrors = options.allowErrors ?? [];
    this.#lines.setMaxListeners(0);
    createInterface({ input: child.stdout as Readable }).on('line', (line) => {
      this.output.push(line);
      if (READY.test(line)) this.#lines.emit('ready');
    });
    createInterface({ input: child.stderr as Readable }).on('line', (text) => {
      const line = parseLine(text);
      this.logs.push(line);
      if (line['msg'] === 'status') this.#lines.emit('status', line);
      const [, debug] = DEBUG_TOGGLED.exec(String(line['msg'])) ?? [];
      if (debug !== undefined) this.#lines.emit('toggled', debug);
    });
    // `close` comes after the last line of both streams.
    this.#exited = once(child, 'close').catch(() => undefined);
  }

  /** Exit code; null while it runs and when a signal ended it. */
  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resolves when the process is gone, whatever ended it. */
  async exited(timeoutMs: number): Promise<void> {
    const inTime = await Promise.race([
      this.#exited.then(() => true),
      sleep(timeoutMs, false, { ref: false }),
    ]);
    if (!inTime) throw new Error(`the daemon runs on after ${timeoutMs} ms\n${this.logTail()}`);
  }

  /** Waits for the line that says that the mount is usable. */
  async ready(timeoutMs: number): Promise<void> {
    const isReady = await Promise.race([
      once(this.#lines, 'ready').then(() => true),
      this.#exited.then(() => false),
      sleep(timeoutMs, false, { ref: false }),
    ]);
    this.#connection = readMounts(this.pid).find(
      (mount) => mount.mountpoint === this.mountpoint && isFuse(mount),
    );
    if (isReady && this.#connection !== undefined) return;
    const how = this.hasExited
      ? `ended with ${this.#child.exitCode ?? this.#child.signalCode}`
      : isReady
        ? 'says it is mounted and is not'
        : `was not ready within ${timeoutMs} ms`;
    throw new Error(`the daemon ${how}\n${this.logTail()}`);
  }

  /**
   * The numbers of one status line, which debug messages begin with. They are switched on and off
   * again by SIGUSR2; where they were on already, the other way round.
   */
  async status(): Promise<Status> {
    const signal = AbortSignal.timeout(STATUS_TIMEOUT_MS);
    const answer = once(this.#lines, 'status', { signal }).catch(() => undefined);
    await this.#toggleDebug(signal);
    await this.#toggleDebug(signal);
    const [line] = ((await answer) ?? []) as [LogLine?];
    if (line === undefined) {
      throw new Error(`no status line within ${STATUS_TIMEOUT_MS} ms\n${this.logTail()}`);
    }
    return Object.fromEntries(
      Object.entries(line).filter((entry): entry is [string, number] => {
        return typeof entry[1] === 'number';
      }),
    );
  }

  async #toggleDebug(signal: AbortSignal): Promise<void> {
    const answer = once(this.#lines, 'toggled', { signal }).catch(() => undefined);
    this.#child.kill('SIGUSR2');
    await answer;
  }

  /**
   * Ends the daemon by SIGTERM.
   *
   * @throws when it does not exit with 0 in time, leaves its mount, or has logged an error that the
   *   test does not allow
   */
  async stop(timeoutMs = STOP_TIMEOUT_MS): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.exited(timeoutMs);
    this.#isOver = true;
    if (this.#child.exitCode !== 0) {
      const how = this.#child.exitCode ?? this.#child.signalCode;
      throw new Error(`the daemon ended with ${how} on SIGTERM\n${this.logTail()}`);
    }
    if (readMounts().some((m) => m.mountpoint === this.mountpoint && isFuse(m))) {
      this.#isOver = false;
      throw new Error(`${this.mountpoint} is still mounted after the daemon's end`);
    }
    this.assertNoErrors();
  }

  /** @throws when the log has lines of level error or above that `allowErrors` does not name */
  assertNoErrors(): void {
    const unexpected = this.logs
      .filter(isError)
      .map((line) => JSON.stringify(line))
      .filter((text) => !this.#allowErrors.some((allowed) => allowed.test(text)));
    if (unexpected.length > 0) {
      throw new Error(`the daemon has logged errors:\n${unexpected.slice(0, 20).join('\n')}`);
    }
  }

  /** Ends the daemon by SIGKILL and clears away what it leaves. */
  kill(): void {
    this.#isOver = true;
    // Once the daemon has ended, the connection's number may be another mount's.
    if (this.#connection !== undefined && !this.hasExited) forceUnmount(this.#connection);
    try {
      // The group: what the daemon has started goes with it.
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // The group is gone already.
    }
    forceUnmountAt(this.mountpoint);
  }

  /** What a test leaves when it ends before its `stop()`. */
  async cleanUp(): Promise<void> {
    if (this.#isOver && this.hasExited) return;
    if (!this.#isOver) process.stderr.write(`the daemon was not stopped; ${this.logTail()}\n`);
    this.kill();
    await this.exited(STOP_TIMEOUT_MS);
  }

  /** The last lines it wrote. */
  logTail(): string {
    const lines = this.logs.slice(-LOG_TAIL_LINES).map((line) => JSON.stringify(line));
    return `its last log lines:\n${lines.join('\n')}`;
  }
}

/**
 * Mounts and waits until the mount is usable. Whatever the test does, its end takes daemon and mount
 * away. Call it inside a running test, and touch the mount through `run` only.
 *
 * @throws when the daemon ends or does not become ready
 */
export async function startMount(options: MountOptions): Promise<Mount> {
  const mountpoint = resolve(options.mountpoint ?? ((await tempDirs('mnt')) as [string])[0]);
  const { nofile } = options;
  const [command, ...args] = [
    ...(nofile === undefined ? [] : ['prlimit', `--nofile=${nofile}:${nofile}`]),
    ...(options.prefix ?? []),
    process.execPath,
    ...(options.nodeFlags ?? []),
    cliPath,
    'mount',
    ...(options.operands ?? [options.source, mountpoint]),
    ...(options.flags ?? []),
  ] as [string, ...string[]];
  const child = spawn(command, args, {
    // What a test measures is not how fast its first operations are.
    env: { ...process.env, SLUICE_OPT_WARM_UP: 'no', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  await once(child, 'spawn');
  const mount = new Mount(child, mountpoint, options);
  defer(
    () => mount.cleanUp(),
    () => mount.kill(),
  );
  await mount.ready(options.readyTimeoutMs ?? READY_TIMEOUT_MS);
  return mount;
}

/**
 * Runs `sluice` with any arguments to its end, for what has to fail or to print. A mount that comes
 * of it against all expectation is taken away.
 */
export async function runCli(
  args: readonly string[],
  options: RunOptions & { readonly prefix?: readonly string[] } = {},
): Promise<RunResult> {
  const [command, ...rest] = [...(options.prefix ?? []), process.execPath, cliPath, ...args] as [
    string,
    ...string[],
  ];
  try {
    return await run(command, rest, options);
  } finally {
    const base = options.cwd ?? process.cwd();
    for (const arg of args) forceUnmountAt(resolve(base, arg));
  }
}
