/** A disk that stands still holds up what needs it, and no queue's thread. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from '../faults/hanging.ts';
import { defer } from '../harness/cleanup.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { startUring, switchOn } from './engine.ts';

const WORK = `for i in 1 2 3 4 5; do
    stat "$1/f1" "$1/f2" > /dev/null; cat "$1/f1" > /dev/null
    echo more >> "$1/memory/$2"; mkdir "$1/memory/$2-$i"; cat "$1/memory/$2" > /dev/null
  done`;

test('while a disk is frozen all CPUs are served, and all is done after it', async (t) => {
  const reason = switchOn() ?? (await missingTool('fsfreeze', 'taskset'));
  const made = reason === undefined ? await makeFileSystem('ext4') : { skip: reason };
  if ('skip' in made) return t.skip(made.skip);
  const disk = made.path;
  for (const name of ['memory', 'sub']) mkdirSync(join(disk, name));
  await runOk('mount', ['-t', 'tmpfs', 'tmpfs', join(disk, 'memory')]);
  const release = async () => void (await run('umount', ['-l', join(disk, 'memory')]));
  defer(release, () => undefined);
  for (const name of ['f1', 'f2']) writeFileSync(join(disk, name), name);
  const mount = await startUring({ source: disk, flags: ['--cache=never'] });
  const cpus = Array.from({ length: availableParallelism() }, (_, cpu) => String(cpu));
  const onCpu = (cpu: string, script: string) =>
    ['-c', cpu, 'sh', '-euc', script, 'sh', mount.mountpoint, cpu] as const;
  // Known to the kernel before: the first look at a file is a lookup by handle, which a lane makes.
  for (const cpu of cpus) await runOk('taskset', [...onCpu(cpu, 'cat "$1"/f*; ls "$1/memory"')]);
  const thaw = async () => void (await run('fsfreeze', ['-u', disk]));
  defer(thaw, () => undefined);
  await runOk('fsfreeze', ['-f', disk]);
  const writers = cpus.flatMap((cpu) => [
    new Client('taskset', ...onCpu(cpu, 'echo new > "$1/sub/new-$2"')),
    new Client('taskset', ...onCpu(cpu, 'mkdir "$1/sub/dir-$2"; echo more >> "$1/f2"')),
  ]);
  for (const writer of writers)
    assert.equal(await writer.endsWithin(150), false, 'it did not wait');
  const beganMs = performance.now();
  const others = await Promise.all(
    cpus.map((cpu) => run('taskset', [...onCpu(cpu, WORK)], { timeoutMs: 20_000 })),
  );
  const tookMs = performance.now() - beganMs;
  for (const { code, timedOut, stderr } of others) {
    assert.equal(timedOut, false, `the others hang\n${mount.logTail()}`);
    assert.equal(code, 0, stderr);
  }
  t.diagnostic(`what needs no write of the disk took ${tookMs.toFixed(0)} ms beside it`);
  await thaw();
  for (const writer of writers) assert.ok(await writer.endsWithin(10_000), 'a writer hangs');
  for (const cpu of cpus) assert.equal(readFileSync(join(disk, `sub/new-${cpu}`), 'utf8'), 'new\n');
  assert.equal(readFileSync(join(disk, 'f2'), 'utf8'), `f2${'more\n'.repeat(cpus.length)}`);
  await mount.stop();
});
