/** Requests whose queue's threads die, all at once, or while the kernel moves data for one. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, mountHanging } from '../faults/hanging.ts';
import { defer } from '../harness/cleanup.ts';
import { mountNew } from '../harness/file-systems.ts';
import type { Mount } from '../harness/mount.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { startUring, switchOn } from './engine.ts';

const TIME_LIMIT = { timeout: 60_000 };
const saboteur = new URL('../faults/saboteur.js', import.meta.url).href;
/** One for each CPU, and the reserve. */
const THREADS = availableParallelism() + 1;

async function startMortal(source: string, everyMs: number): Promise<Mount> {
  return startUring({
    source,
    env: { FAULT_QUEUES: `${THREADS}:${everyMs}:${THREADS}` },
    nodeFlags: ['--import', saboteur],
    allowErrors: [/the thread of a queue died/],
    flags: ['--cache=never', '--no-kernel-passthrough'],
  });
}

async function allAreDead(mount: Mount): Promise<void> {
  const isDeath = ({ msg }: { msg?: unknown }): boolean =>
    /the thread of a queue died/.test(`${msg}`);
  while (mount.logs.filter(isDeath).length < THREADS) await sleep(2);
}

test('requests that come while no thread of a queue lives are answered', TIME_LIMIT, async (t) => {
  const reason = switchOn() ?? (await missingTool('taskset'));
  if (reason !== undefined) return t.skip(reason);
  const [source] = (await tempDirs('source')) as [string];
  const names = Array.from({ length: 3 * availableParallelism() }, (_, i) => `file-${i}`);
  for (const name of names) writeFileSync(join(source, name), name);
  const mount = await startMortal(source, 1000);
  // They are started before, and wait: the next threads take no more than a fifth of a second.
  const clients = names.map((name, i) => {
    const cpu = String(i % availableParallelism());
    const script = 'echo ready; read go; exec 3<"$1"; read -r line <&3; echo "$line"';
    return new Client('taskset', '-c', cpu, 'sh', '-c', script, 'sh', join(mount.mountpoint, name));
  });
  defer(async () => {
    for (const client of clients) client.kill();
  });
  await Promise.all(clients.map((client) => client.started()));
  await allAreDead(mount);
  for (const client of clients) client.go();
  const ended = await Promise.all(clients.map((client) => client.endsWithin(10_000)));
  assert.deepEqual(
    ended,
    names.map(() => true),
    mount.logTail(),
  );
  await mount.stop();
});

test('a transfer that outlasts its thread is answered', TIME_LIMIT, async (t) => {
  const reason = switchOn() ?? (await missingTool('bindfs', 'mkfs.ext4'));
  if (reason !== undefined) return t.skip(reason);
  const [behind, at, disk] = (await tempDirs('behind', 'at', 'disk')) as [string, string, string];
  const server = await mountHanging(behind, at, ['-o', 'direct_io']);
  const refused = await mountNew('ext4', disk, join(at, 'image'), { sizeBytes: 32 << 20 });
  if (refused !== undefined) return t.skip(`no ext4 here: ${refused}`);
  defer(async () => {
    server.goOn();
    await run('umount', [disk]);
  });
  mkdirSync(join(disk, 'work'));
  writeFileSync(join(disk, 'work/file'), Buffer.alloc(1 << 20, 'late '));
  // So that it has to be read from the disk.
  const drop = 'oflag=nocache conv=notrunc,fdatasync count=0'.split(' ');
  await runOk('dd', [`of=${join(disk, 'work/file')}`, ...drop]);
  const mount = await startMortal(join(disk, 'work'), 2000);
  const read =
    'exec 3<"$1"; echo open; read go; dd bs=4K count=1 iflag=direct status=none <&3 | cmp -n 4096 - "$2"';
  const expected = join(behind, 'expected');
  writeFileSync(expected, Buffer.alloc(4096, 'late '));
  const reader = new Client('sh', '-c', read, 'sh', join(mount.mountpoint, 'file'), expected);
  defer(async () => reader.kill());
  await reader.started();
  server.hang();
  reader.go();
  await allAreDead(mount);
  while (!mount.logs.some(({ msg }) => /still moves data of a dead thread/.test(`${msg}`))) {
    await sleep(20);
  }
  assert.equal(await reader.endsWithin(200), false, 'the read did not hang');
  server.goOn();
  assert.ok(await reader.endsWithin(10_000), `the read is never answered\n${mount.logTail()}`);
  assert.equal(await reader.ended, 0);
  await mount.stop();
});
