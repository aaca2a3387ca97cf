/**
 * Child processes bounded by time. Whatever touches a mount runs in one: a dead mount would hang the
 * test process itself for ever.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** After this the whole process group gets SIGKILL. Default 60 seconds. */
  readonly timeoutMs?: number;
  /** Written to the child's standard input, which is empty otherwise. */
  readonly input?: string | Uint8Array;
}

export interface RunResult {
  /** Exit code; null when a signal ended the child. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
  readonly elapsedMs: number;
}

const DEFAULT_TIMEOUT_MS = 60_000;
/** How long a killed child may take to vanish before it is left behind, hung in the kernel. */
const REAP_MS = 3_000;

const running = new Set<ChildProcess>();

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group is gone already.
  }
}

process.on('exit', () => {
  for (const child of running) killGroup(child);
});

/**
 * Runs a command in a process group of its own and waits for its end, at most `timeoutMs`.
 *
 * Never rejects for what the command does: look at `code` and `timedOut`.
 *
 * @throws when the command cannot be started
 */
export async function run(
  command: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  const startedMs = performance.now();
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  running.add(child);
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // A child that does not read its input closes the pipe; its exit code tells.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');

  type End = { code: number | null; signal: NodeJS.Signals | null };
  const ended = new Promise<End>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const timer = new AbortController();
  const deadline = sleep(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, 'late' as const, {
    signal: timer.signal,
  }).catch(() => 'late' as const);

  try {
    let end: End | 'late' = await Promise.race([ended, deadline]);
    const timedOut = end === 'late';
    if (end === 'late') {
      killGroup(child);
      end = await Promise.race([ended, sleep(REAP_MS, 'late' as const)]);
    }
    if (end === 'late') {
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      end = { code: null, signal: 'SIGKILL' };
    }
    return {
      ...end,
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
      timedOut,
      elapsedMs: performance.now() - startedMs,
    };
  } finally {
    timer.abort();
    running.delete(child);
  }
}

/**
 * Like `run`, for a command that has to succeed.
 *
 * @throws with the end of both outputs when the exit code is not 0
 */
export async function runOk(
  command: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  const result = await run(command, args, options);
  if (result.code === 0) return result;
  const how = result.timedOut
    ? `did not end within ${options.timeoutMs ?? DEFAULT_TIMEOUT_MS} ms`
    : `ended with ${result.code ?? result.signal}`;
  const tail = `${result.stdout.slice(-2000)}\n${result.stderr.slice(-4000)}`.trim();
  throw new Error(`${[command, ...args].join(' ').slice(0, 300)} ${how}\n${tail}`);
}

/** Runs a script of `sh -eu`; `$1`, `$2`, ... are `args`. */
export function shell(
  script: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  return runOk('sh', ['-euc', script, 'sh', ...args], options);
}

/** The first of `tools` that is not on the PATH, as a reason to skip; undefined when all are there. */
export async function missingTool(...tools: string[]): Promise<string | undefined> {
  for (const tool of tools) {
    const found = await run('sh', ['-c', 'command -v "$1"', 'sh', tool]);
    if (found.code !== 0) return `${tool} is not installed (test/install-tools.sh installs it)`;
  }
  return undefined;
}
