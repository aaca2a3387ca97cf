/**
 * Makes every kind of series of a mount move: `load.js MOUNTPOINT SOURCE SECONDS PID`. SOURCE has a
 * directory `many` with files in it, a small file system `full`, and a file system `slow` with
 * a few, which the process PID serves. It touches the mount, so it runs as a process of its own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rmdir,
  stat,
  statfs,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const KIB = 1024;
const FILES_READ = 64;
const STATS_PER_TURN = 20;
const BURST = 60;
const MOST_OPEN = 400;
const BUSY_PAUSE_MS = 15;
const CALM_PAUSE_MS = 120;
/** Longer than the mount's stuck_timeout, with a scrape in it. */
const LEAST_HANG_MS = 2500;
const HANG_SHARE = 0.08;

const [mountpoint, source, seconds, slowPid] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
];
const at = (...names: string[]): string => join(mountpoint, ...names);

/** Fails when what must fail does not. */
async function fails(code: string, action: Promise<unknown>): Promise<void> {
  const outcome = await action.then(
    () => 'nothing',
    (error: NodeJS.ErrnoException) => error.code,
  );
  if (outcome !== code) throw new Error(`${outcome} instead of ${code}`);
}

/** Reads what was written behind the mount, which the kernel cannot have cached. */
async function readFresh(turn: number): Promise<void> {
  const name = `fresh-${turn % FILES_READ}`;
  await writeFile(join(source, name), Buffer.alloc((1 + (turn % 8)) * 32 * KIB, turn));
  await readFile(at(name));
}

/** O_APPEND sends reads and writes through the daemon, also where the kernel passes others through. */
async function append(turn: number): Promise<void> {
  const file = await open(at(`log-${turn % 8}`), 'a+');
  try {
    await file.write(Buffer.alloc(KIB << (turn % 9)));
    const { buffer } = await file.read(Buffer.alloc(64 * KIB), 0, 64 * KIB, 0);
    if (buffer.length === 0) throw new Error('an appended file is empty');
    if (turn % 5 === 0) await file.sync();
    if (turn % 50 === 49) await file.truncate();
  } finally {
    await file.close();
  }
}

async function changeNames(turn: number): Promise<void> {
  const [made, moved, other] = [at(`made-${turn}`), at(`moved-${turn}`), at(`other-${turn}`)];
  await writeFile(made, 'text');
  await chmod(made, 0o600);
  await utimes(made, turn, turn);
  await truncate(made, 2);
  await rename(made, moved);
  await link(moved, made);
  await symlink('made', other);
  await readlink(other);
  await Promise.all([unlink(made), unlink(moved), unlink(other)]);
  await mkdir(made);
  await rmdir(made);
}

async function look(turn: number, names: readonly string[]): Promise<void> {
  await readdir(at('many'));
  for (let i = 0; i < STATS_PER_TURN; i++) {
    await stat(at('many', names[(turn * STATS_PER_TURN + i) % names.length] as string));
  }
  await statfs(mountpoint);
  // Asks for the ACL, too.
  if (turn % 40 === 0) await runs('ls', '-l', at('many'));
}

async function fail(turn: number): Promise<void> {
  await fails('ENOENT', stat(at(`none-${turn}`)));
  await fails('ENOTEMPTY', rmdir(at('many')));
  await fails('ENOSPC', appendFile(at('full/file'), Buffer.alloc(256 * KIB)));
}

/** More at once than there are slots. */
async function burst(turn: number): Promise<void> {
  const names = Array.from({ length: BURST }, (_, i) => at(`burst-${turn}-${i}`));
  await Promise.all(names.map((name) => writeFile(name, 'text', { flush: true })));
  await Promise.all(names.map((name) => unlink(name)));
}

/** More open files than there may be descriptors. */
async function exhaust(names: readonly string[]): Promise<void> {
  const files: FileHandle[] = [];
  try {
    await fails(
      'ENFILE',
      (async () => {
        for (let i = 0; i < MOST_OPEN; i++) {
          files.push(await open(at('many', names[i % names.length] as string)));
        }
      })(),
    );
    await sleep(1500);
  } finally {
    for (const file of files) await file.close();
  }
}

async function runs(command: string, ...args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(child, 'close');
}

/** Some wait for locks until a signal ends the wait. */
async function waitForLocks(): Promise<void> {
  const file = at('lock');
  await writeFile(file, '');
  const posixLock = `use Fcntl; open(F, "+<", $ARGV[0]) or die; my $l = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLKW, $l) or die; sleep 3`;
  const holders = [runs('flock', file, 'sleep', '3'), runs('perl', '-e', posixLock, file)];
  await sleep(300);
  await Promise.all([...holders, runs('timeout', '-s', 'TERM', '2', 'flock', file, 'true')]);
}

/** A file system behind hangs for a while: who uses it waits, and others go on. */
async function hang(): Promise<void> {
  // While a name is looked up for the first time the kernel keeps its directory locked: nobody else
  // could make files there.
  const names = await readdir(at('slow'));
  process.kill(Number(slowPid), 'SIGSTOP');
  // More than the lanes that one file system may have, so that some stay in its ring.
  const waiting = names.map((name) => runs('cat', at('slow', name)));
  await sleep(Math.max(LEAST_HANG_MS, HANG_SHARE * 1000 * Number(seconds)));
  process.kill(Number(slowPid), 'SIGCONT');
  await Promise.all(waiting);
}

async function work(): Promise<void> {
  const names = await readdir(join(source, 'many'));
  const startMs = performance.now();
  const part = (): number => (performance.now() - startMs) / (1000 * Number(seconds));
  const running: Promise<void>[] = [];
  const events = [
    { from: 0.1, run: async () => void running.push(waitForLocks()) },
    // Nothing else works meanwhile.
    { from: 0.4, run: async () => exhaust(names) },
    { from: 0.5, run: async () => void running.push(waitForLocks()) },
    { from: 0.7, run: async () => void running.push(hang()) },
  ];
  for (let turn = 0; part() < 1; turn++) {
    if (part() >= (events[0]?.from ?? 1)) await events.shift()?.run();
    await readFresh(turn);
    await append(turn);
    await changeNames(turn);
    await look(turn, names);
    await fail(turn);
    if (turn % 25 === 0) await burst(turn);
    // Busy and calm by turns.
    const calm = (1 + Math.sin(part() * 4 * Math.PI)) / 2;
    await sleep(BUSY_PAUSE_MS + calm * (CALM_PAUSE_MS - BUSY_PAUSE_MS));
  }
  await Promise.all(running);
}

await work();
