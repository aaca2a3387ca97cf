/** A real systemd, as the first process of namespaces of its own, that runs the units of `deploy/`. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { projectRoot } from '../harness/paths.ts';
import { missingTool, type RunResult, run, runOk } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';

const SYSTEMD = '/usr/lib/systemd/systemd';
const BOOT = join(projectRoot, 'test/service/boot-systemd.sh');
const BOOT_TIMEOUT_MS = 30_000;
const COMMAND_TIMEOUT_MS = 40_000;
/** What the units of a bare system hang from, without anything that hangs on them here. */
const TARGETS = ['trial', 'sysinit', 'basic', 'shutdown', 'umount', 'local-fs', 'remote-fs'];

/** Why no systemd can be booted here; undefined when it can. */
export async function noSystemd(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'booting a systemd takes root';
  if (!existsSync(SYSTEMD)) return `${SYSTEMD} is not there (test/install-tools.sh installs it)`;
  const missing = await missingTool('systemctl', 'nsenter', 'unshare');
  if (missing !== undefined) return missing;
  const script = 'mount -t tmpfs none /mnt && mount -t cgroup2 none /mnt';
  const tried = await run('unshare', ['-m', '-C', 'sh', '-c', script]);
  return tried.code === 0 ? undefined : `no cgroup2 can be mounted here: ${tried.stderr.trim()}`;
}

/** Boots one that knows the given units, by name. It and all it has started end with the test. */
export async function bootSystemd(units: Readonly<Record<string, string>>): Promise<Systemd> {
  const folder = await tempDir('units');
  for (const target of TARGETS) {
    writeFileSync(join(folder, `${target}.target`), '[Unit]\nDefaultDependencies=no\n');
  }
  for (const [name, text] of Object.entries(units)) writeFileSync(join(folder, name), text);
  const args = ['-m', '-p', '-C', '-u', '-i', '--fork', '--kill-child', 'sh', BOOT, folder];
  const child = spawn('unshare', args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let errors = '';
  child.stderr.on('data', (data) => {
    errors += data;
  });
  // The end of the first process is the end of every other in its namespace, and of their mounts.
  const end = (): boolean => child.kill('SIGKILL');
  defer(async () => {
    end();
  }, end);
  const untilMs = performance.now() + BOOT_TIMEOUT_MS;
  for (;;) {
    const pid = firstChildOf(child.pid as number);
    const systemd = pid === undefined ? undefined : new Systemd(pid);
    const state = await systemd?.control('is-system-running');
    if (systemd !== undefined && state?.stdout.trim() === 'running') return systemd;
    if (performance.now() > untilMs || child.exitCode !== null) {
      throw new Error(`systemd does not come up: ${state?.stdout}${state?.stderr}${errors}`);
    }
    await sleep(200);
  }
}

function firstChildOf(pid: number): string | undefined {
  const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ');
  return first === '' ? undefined : first;
}

export class Systemd {
  readonly #pid: string;

  constructor(pid: string) {
    this.#pid = pid;
  }

  /** Runs a command where this systemd is: in its namespaces. */
  run(command: string, ...args: string[]): Promise<RunResult> {
    const entry = ['-t', this.#pid, '-m', '-p', '-C', '-u', '-i', '--', command, ...args];
    return run('nsenter', entry, { timeoutMs: COMMAND_TIMEOUT_MS });
  }

  async runOk(command: string, ...args: string[]): Promise<string> {
    const done = await this.run(command, ...args);
    if (done.code !== 0) {
      throw new Error(`${command} ${args.join(' ')} ended with ${done.code}: ${done.stderr}`);
    }
    return done.stdout;
  }

  control(...args: string[]): Promise<RunResult> {
    return this.run('systemctl', '--no-pager', ...args);
  }

  /** One property of a unit. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.control('show', '--value', '-p', property, unit)).stdout.trim();
  }

  /** Starts a unit. @throws with its status when it fails */
  async start(unit: string): Promise<void> {
    const started = await this.control('start', unit);
    if (started.code === 0) return;
    const status = await this.control('status', unit);
    throw new Error(`${unit} does not start: ${started.stderr}${status.stdout}`);
  }

  /** Waits for a property's value. @throws when it does not come in time */
  async waitFor(unit: string, property: string, value: string): Promise<void> {
    const untilMs = performance.now() + BOOT_TIMEOUT_MS;
    while ((await this.show(unit, property)) !== value) {
      if (performance.now() > untilMs) {
        throw new Error(`${property} of ${unit} is ${await this.show(unit, property)}`);
      }
      await sleep(200);
    }
  }

  /** The mounts on a directory, as its first process sees them. */
  async mountsAt(mountpoint: string): Promise<string[]> {
    const lines = (await this.runOk('cat', '/proc/1/mountinfo')).split('\n');
    return lines.filter((line) => line.split(' ')[4] === mountpoint);
  }
}

/** The unit files of `deploy/systemd`, by name. */
export function deployedUnits(): Record<string, string> {
  const folder = join(projectRoot, 'deploy/systemd');
  const names = readdirSync(folder).filter((name) => /\.(service|mount)$/.test(name));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

/** `mnt-data` for /mnt/data. */
export async function escapePath(path: string, suffix: string): Promise<string> {
  const escaped = await runOk('systemd-escape', ['--path', `--suffix=${suffix}`, path]);
  return escaped.stdout.trim();
}
