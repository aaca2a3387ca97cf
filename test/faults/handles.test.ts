/** A file system that gives file handles, and then refuses them: strace(1) answers in its place. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { missingTool, run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { settle } from './settle.ts';

const TIME_LIMIT = { timeout: 120_000 };

/**
 * Makes system calls of a daemon fail until the test ends.
 *
 * @returns how many it has made fail so far
 */
async function inject(mount: Mount, fault: string): Promise<() => number> {
  const log = join(mount.source, '../strace.log');
  const args = ['-f', '-q', '-p', String(mount.pid), '-e', `inject=${fault}`, '-o', log];
  // Without the call among the traced ones nothing is injected.
  const call = fault.split(':')[0];
  const tracer = spawn('strace', [...args, '-e', `trace=${call}`], { stdio: 'ignore' });
  defer(async () => {
    tracer.kill('SIGTERM');
  });
  const traced = `until grep -q '^TracerPid:.[1-9]' /proc/${mount.pid}/status; do sleep 0.05; done`;
  assert.equal((await run('sh', ['-c', traced], { timeoutMs: 10_000 })).code, 0);
  // The other threads are attached one after the other.
  await sleep(500);
  return () => readFileSync(log, 'latin1').split('(INJECTED)').length - 1;
}

/** Files, hard links and renames, each looked at afterwards; prints what is wrong. */
const WORK = `
  cd "$1" && mkdir a b && for i in $(seq 60); do
    echo $i > a/$i; ln a/$i b/$i; mv a/$i a/x$i
    [ "$(cat b/$i)" = $i ] || echo "b/$i is wrong"
    echo more >> a/x$i; [ "$(wc -l < b/$i)" -eq 2 ] || echo "b/$i does not show what was added"
  done
  echo 2 > /proc/sys/vm/drop_caches
  for i in $(seq 60); do grep -q "^$i$" b/$i && grep -q more a/x$i || echo "$i is lost"; done
  rm -rf a b; ls`;

const faults = [
  ['name_to_handle_at refused now and then', 'name_to_handle_at:error=EOPNOTSUPP:when=10+3'],
  ['name_to_handle_at refused from some time on', 'name_to_handle_at:error=EOPNOTSUPP:when=30+'],
  ['handles too long now and then', 'name_to_handle_at:error=EOVERFLOW:when=10+5'],
] as const;

for (const [name, fault] of faults) {
  test(name, TIME_LIMIT, async (t) => {
    const missing = await missingTool('strace');
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const [source] = (await tempDirs('source')) as [string];
    const mount = await startMount({ source, flags: ['--fd-budget=200'] });
    const start = await mount.status();
    const injected = await inject(mount, fault);
    const done = await run('sh', ['-c', WORK, 'sh', mount.mountpoint], { timeoutMs: 90_000 });
    assert.equal(done.stdout + done.stderr, '');
    assert.equal(done.code, 0);
    assert.ok(injected() >= 20, `only ${injected()} calls failed`);
    await settle(mount, start);
    await mount.stop();
  });
}
