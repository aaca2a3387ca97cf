/** A program that mounts, tried from outside until it is stopped. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { forceUnmount, readMounts } from '../harness/mountinfo.ts';
import { type RunResult, run } from '../harness/run.ts';

const READY_TIMEOUT_MS = 20_000;
const POLL_MS = 20;

const mountsAt = (mnt: string) => readMounts().filter(({ mountpoint }) => mountpoint === mnt);

/**
 * Runs a program until `mnt` is mounted, then a script of sh with `$1` for `mnt`, then ends it by SIGTERM.
 * @returns what the script printed, and the program
 */
export async function serveAndTry(
  program: string,
  args: readonly string[],
  mnt: string,
  script: string,
): Promise<RunResult & { readonly said: string }> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  const ended = once(child, 'close');
  defer(async () => {
    child.kill('SIGKILL');
    for (const left of mountsAt(mnt)) forceUnmount(left);
  });
  const untilMs = performance.now() + READY_TIMEOUT_MS;
  // The signal is listened to once the mount is usable, which is when it is negotiated.
  while (!errors.includes('"negotiated"') && child.exitCode === null) {
    assert.ok(performance.now() < untilMs, `${program} does not mount: ${errors}`);
    await sleep(POLL_MS);
  }
  const tried = await run('sh', ['-uc', script, 'sh', mnt], { timeoutMs: READY_TIMEOUT_MS });
  child.kill('SIGTERM');
  const [code] = (await ended) as [number | null];
  assert.equal(code, 0, `${program} ended with ${code}: ${errors}`);
  assert.deepEqual(mountsAt(mnt), [], 'the mount is gone');
  return { ...tried, said };
}
