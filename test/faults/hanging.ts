/** File systems that hang on demand, and processes that may hang with them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { readMounts } from '../harness/mountinfo.ts';
import { run } from '../harness/run.ts';

/** A process that may hang. */
export class Client {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(command: string, ...args: string[]) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'], detached: true });
    this.child.stdin?.on('error', () => undefined);
    this.ended = once(this.child, 'exit').then(([code]) => code as number | null);
  }

  /** Waits for its first output. */
  async started(): Promise<void> {
    const isStarted = await Promise.race([
      once(this.child.stdout as NodeJS.ReadableStream, 'data').then(() => true),
      this.ended.then(() => false),
    ]);
    assert.ok(isStarted, `${this.child.spawnargs.join(' ')} does not start`);
  }

  /** Lets it go on. */
  go(): void {
    this.child.stdin?.write('go\n');
  }

  async endsWithin(timeMs: number): Promise<boolean> {
    return Promise.race([this.ended.then(() => true), sleep(timeMs, false, { ref: false })]);
  }

  kill(): void {
    try {
      // The group: what it has started goes with it.
      process.kill(-(this.child.pid as number), 'SIGKILL');
    } catch {
      // It is gone.
    }
  }
}

export interface HangingServer {
  /** From now on no request is answered. */
  readonly hang: () => void;
  readonly goOn: () => void;
}

/**
 * Mounts a FUSE file system of its own that shows a directory. It goes away with the test.
 *
 * @param flags of bindfs
 */
export async function mountHanging(
  backing: string,
  at: string,
  flags: readonly string[] = [],
): Promise<HangingServer> {
  const server = spawn('bindfs', ['-f', ...flags, backing, at], {
    stdio: 'ignore',
    detached: true,
  });
  defer(async () => {
    server.kill('SIGCONT');
    await run('umount', ['-l', at]);
    server.kill('SIGKILL');
  });
  while (!readMounts().some(({ mountpoint }) => mountpoint === at)) await sleep(20);
  return { hang: () => server.kill('SIGSTOP'), goOn: () => server.kill('SIGCONT') };
}
