/**
 * A program on the library, run by the tests as a child: what it prints is what they judge.
 * Usage: program.js SCENE SOURCE MOUNTPOINT [SOURCE2 MOUNTPOINT2]
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Mounted, mount } from '../../src/main/index.ts';
import { ask } from '../metrics/scrape.ts';

const HOST_INODES_TRIED = 200;
const RELEASES_MS = 5_000;
const execute = promisify(execFile);
const [scene, source, mountpoint, source2, mountpoint2] = process.argv.slice(2) as [
  string,
  string,
  string,
  string?,
  string?,
];

/** In a process of its own: the one that serves must not touch the mount. */
async function shell(script: string, ...args: string[]): Promise<string> {
  return (await execute('sh', ['-euc', script, 'sh', ...args], { timeout: 15_000 })).stdout;
}

function say(facts: object): void {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}

function start(from = source, to = mountpoint): Promise<Mounted> {
  return mount({ source: from, mountpoint: to, logLevel: 'error' });
}

function knownPaths(mounted: Mounted): string[] {
  const paths: string[] = [];
  for (let nodeid = 1; nodeid < HOST_INODES_TRIED; nodeid++) {
    const path = mounted.pathOf(nodeid);
    if (path !== undefined) paths.push(path.toString());
  }
  return paths;
}

/**
 * Makes one file, reads another, and has both open from the first to the last: the kernel keeps them
 * then, with the node ids they got, though somebody drops the caches of the machine.
 */
async function workHoldingFiles(): Promise<{ read: string; release: () => Promise<unknown> }> {
  const script = `exec 3< "$1/f" 4<> "$1/made"; echo new > "$1/made"; cat "$1/f"; ls "$1"
    echo done; read -r line`;
  const holder = spawn('sh', ['-euc', script, 'sh', mountpoint], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 15_000,
  });
  const ended = once(holder, 'close');
  let said = '';
  for await (const chunk of holder.stdout.iterator({ destroyOnReturn: false })) {
    said += String(chunk);
    if (said.endsWith('done\n')) break;
  }
  const release = (): Promise<unknown> => {
    holder.stdin.end('\n');
    return ended;
  };
  return { read: said.replace(/done\n$/, ''), release };
}

const SCENES: Readonly<Record<string, () => Promise<void>>> = {
  async unmount() {
    const mounted = await start();
    const { read, release } = await workHoldingFiles();
    // Nobody waits for the RELEASE behind the last close: those of the script may be on their way.
    const untilMs = performance.now() + RELEASES_MS;
    while (mounted.status().handles > 2 && performance.now() < untilMs) await sleep(10);
    const { requests, inodes, lookups, handles } = mounted.status();
    const { id, warnings } = mounted;
    say({ id, warnings, read, requests, inodes, lookups, handles });
    say({ mountpoint: mounted.mountpoint, keepFds: mounted.keepFds(), paths: knownPaths(mounted) });
    await release();
    await mounted.unmount();
    await mounted.unmount();
    say({ reason: await mounted.unmounted });
  },
  async external() {
    const mounted = await start();
    await shell('umount "$1"', mountpoint);
    say({ reason: await mounted.unmounted });
  },
  async metrics() {
    const logFile = `${source2}/log`;
    const quiet = await mount({ source, mountpoint, logFile });
    await quiet.unmount();
    const saidOfMetrics = readFileSync(logFile, 'utf8').includes('metrics');
    const metricsSocket = `${source2}/sock`;
    const asked = await mount({ source, mountpoint, logFile, metricsSocket });
    const { status } = await ask(`unix:${metricsSocket}`, '/readyz');
    await asked.unmount();
    say({ saidOfMetrics, status });
  },
  async control() {
    const sockets = (directory: string) => (existsSync(directory) ? readdirSync(directory) : []);
    const silent = await start();
    const byDefault = sockets('/run/sluice').includes(`${silent.id}.sock`);
    await silent.unmount();
    const runtimeDir = `${source2}/run`;
    const told = await mount({ source, mountpoint, logLevel: 'error', runtimeDir });
    const where = sockets(runtimeDir);
    await told.unmount();
    say({ byDefault, isThere: where.join() === `${told.id}.sock`, left: sockets(runtimeDir) });
  },
  async abort() {
    const mounted = await start();
    mounted.abort();
    say({ reason: await mounted.unmounted });
  },
  async two() {
    const [a, b] = await Promise.all([start(), start(source2, mountpoint2)]);
    const copy = 'cp "$1/f" "$2/from-one"; cat "$2/f"';
    const read = await shell(copy, mountpoint, mountpoint2 as string);
    say({ ids: [a.id, b.id], read });
    await a.unmount();
    const stillThere = await shell('cat "$1/from-one"', mountpoint2 as string);
    await b.unmount();
    say({ reasons: [await a.unmounted, await b.unmounted], stillThere });
  },
  async errors() {
    const tries = [
      { source: `${source}/none`, mountpoint },
      { source, mountpoint: `${mountpoint}/none` },
      { source, mountpoint: source },
      { source, mountpoint, lanes: 0 },
      { source, mountpoint, entryTimeout: -1 },
    ];
    for (const input of tries) {
      const error: unknown = await mount(input).catch((reason: unknown) => reason);
      const { name, code, exitCode, message } = error as Record<string, unknown>;
      say({ name, code, exitCode, isOneLine: !String(message).includes('\n') });
    }
  },
};

await SCENES[scene]?.();
