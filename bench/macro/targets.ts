/** The file systems that are compared: how each is started, found ready, and ended for certain. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MNT_DETACH } from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { onCpu } from './client-pool.ts';
import { type ProcessUsage, processUsage, residentBytes } from './process-usage.ts';
import type { PlacementName } from './record.ts';

/** How a target is mounted; the plain directory has no command. */
export interface TargetSpec {
  readonly name: string;
  /** A shell command that stays in the foreground, with the places {source} and {mountpoint}. */
  readonly command?: string;
}

const CLI_PATH = fileURLToPath(new URL('../../src/main/cli.js', import.meta.url));
const FUSE_NATIVE_PATH = fileURLToPath(new URL('../peers/fuse-native.js', import.meta.url));

/**
 * The command of a sluice of this build; what is not in the flags is as it comes.
 *
 * @param nodeFlags for node itself
 */
export function sluiceCommand(flags: readonly string[], nodeFlags: readonly string[] = []): string {
  const node = [process.execPath, ...nodeFlags, CLI_PATH].map(quoted);
  return [...node, 'mount', ...flags.map(quoted), '{source}', '{mountpoint}'].join(' ');
}

export const KNOWN_TARGETS: readonly TargetSpec[] = [
  { name: 'plain' },
  { name: 'sluice', command: sluiceCommand([]) },
  { name: 'sluice-nocache', command: sluiceCommand(['--cache=never']) },
  { name: 'sluice-always', command: sluiceCommand(['--cache=always']) },
  { name: 'sluice-nopassthrough', command: sluiceCommand(['--no-kernel-passthrough']) },
  { name: 'bindfs', command: 'bindfs -f {source} {mountpoint}' },
  // Without minfreespace=0 it refuses to create files where less than 4 GiB are free.
  { name: 'mergerfs', command: 'mergerfs -f -o minfreespace=0 {source} {mountpoint}' },
  {
    name: 'fuse-native',
    command: `${quoted(process.execPath)} ${quoted(FUSE_NATIVE_PATH)} {source} {mountpoint}`,
  },
];

/** What is measured unless something else is asked for. */
export const DEFAULT_TARGETS = KNOWN_TARGETS.filter(({ name }) => name !== 'sluice-always');

const READY_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The FUSE connection of a mountpoint (the minor of its device), read without touching it. */
function connectionOf(mountpoint: string): number | undefined {
  for (const line of readFileSync('/proc/self/mountinfo', 'latin1').split('\n')) {
    const [, , device, , place] = line.split(' ');
    if (place === mountpoint) return Number(device.split(':')[1]);
  }
  return undefined;
}

/** Takes a mountpoint out of the tree without asking whoever serves it. */
export function detach(mountpoint: string): void {
  const path = new libc.CString(mountpoint);
  libc.umount2(path.address, MNT_DETACH);
}

/** A mounted (or plain) directory under test. */
export class Target {
  readonly name: string;
  readonly command: string | undefined;
  readonly placement: PlacementName;
  readonly source: string;
  /** The directory the clients work in. */
  readonly root: string;
  #daemon: ChildProcess | undefined;
  #connection: number | undefined;

  private constructor(spec: TargetSpec, placement: PlacementName, source: string, root: string) {
    this.name = spec.name;
    this.command = spec.command;
    this.placement = placement;
    this.source = source;
    this.root = root;
  }

  /** The FUSE connection; undefined for the plain directory. */
  get connection(): number | undefined {
    return this.#connection;
  }

  /** What the daemon has used so far; undefined for the plain directory, and when it is gone. */
  usage(): ProcessUsage | undefined {
    return this.#look(processUsage);
  }

  /** The daemon's number; undefined for the plain directory. */
  get pid(): number | undefined {
    return this.#daemon?.pid;
  }

  /** What the daemon has printed so far. */
  log(): string {
    return this.#daemon === undefined ? '' : readFileSync(logPathOf(this.root), 'utf8');
  }

  residentBytes(): number | undefined {
    return this.#look(residentBytes);
  }

  #look<T>(at: (pid: number) => T): T | undefined {
    const pid = this.#daemon?.pid;
    if (pid === undefined) return undefined;
    try {
      return at(pid);
    } catch {
      return undefined;
    }
  }

  /**
   * Mounts `workDir/NAME.source`, with the daemon held on `cpu` if that is given.
   *
   * @throws Error with the daemon's own words when it does not come up
   */
  static async start(
    spec: TargetSpec,
    workDir: string,
    placement: PlacementName,
    cpu: number | undefined,
  ): Promise<Target> {
    const source = sourceOf(workDir, spec);
    if (spec.command === undefined) return new Target(spec, placement, source, source);
    const root = join(workDir, `${spec.name}.${placement}`);
    const target = new Target(spec, placement, source, root);
    mkdirSync(target.root);
    const logPath = logPathOf(root);
    const log = openSync(logPath, 'w');
    const script = spec.command.replaceAll('{source}', '"$1"').replaceAll('{mountpoint}', '"$2"');
    const command = ['sh', '-c', `exec ${script}`, 'sh', source, target.root];
    const [file, ...args] = onCpu(cpu, command);
    const daemon = spawn(file, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    target.#daemon = daemon;
    let failure: string | undefined;
    daemon.once('error', (error) => {
      failure = error.message;
    });
    const deadlineMs = Date.now() + READY_TIMEOUT_MS;
    while (target.#connection === undefined) {
      await sleep(POLL_MS);
      if (daemon.exitCode !== null) failure = `exit code ${daemon.exitCode}`;
      if (Date.now() > deadlineMs) failure = `not mounted within ${READY_TIMEOUT_MS / 1000} s`;
      if (failure !== undefined) {
        await target.stop();
        const lines = readFileSync(logPath, 'utf8').split('\n').filter(Boolean);
        const said = lines.slice(-3).join(' | ');
        throw new Error(`${spec.name} did not start: ${failure}${said ? `: ${said}` : ''}`);
      }
      target.#connection = connectionOf(target.root);
    }
    return target;
  }

  /** Asks the daemon to end, and when it does not, cuts the mount off and kills it. */
  async stop(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    this.#daemon = undefined;
    daemon.kill('SIGTERM');
    if (!(await ended(daemon, STOP_TIMEOUT_MS))) this.#cutOff(daemon);
    if (connectionOf(this.root) !== undefined) this.#cutOff(daemon);
    await ended(daemon, STOP_TIMEOUT_MS);
    // What V8 leaves with --perf-basic-prof.
    if (daemon.pid !== undefined) rmSync(`/tmp/perf-${daemon.pid}.map`, { force: true });
  }

  /** For a mount that does not answer: whoever hangs in it comes back with an error. */
  async abort(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    this.#daemon = undefined;
    this.#cutOff(daemon);
    await ended(daemon, STOP_TIMEOUT_MS);
  }

  #cutOff(daemon: ChildProcess): void {
    detach(this.root);
    const control = `/sys/fs/fuse/connections/${this.#connection}/abort`;
    if (this.#connection !== undefined && existsSync(control)) writeFileSync(control, '1');
    daemon.kill('SIGKILL');
  }
}

function logPathOf(root: string): string {
  return `${root}.log`;
}

export function sourceOf(workDir: string, spec: TargetSpec): string {
  return join(workDir, `${spec.name}.source`);
}

async function ended(daemon: ChildProcess, timeoutMs: number): Promise<boolean> {
  const deadlineMs = Date.now() + timeoutMs;
  while (daemon.exitCode === null && daemon.signalCode === null) {
    if (daemon.pid === undefined) return true;
    if (Date.now() > deadlineMs) return false;
    await sleep(POLL_MS);
  }
  return true;
}
