import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CpuLatency, openDevice } from '../../src/main/session/cpu-latency.ts';
import type { StatsBlock } from '../../src/shared/memory/stats-block.ts';
import { CpuWatch } from '../../src/workers/watchdog-cpus.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const noStats = { add: () => undefined } as unknown as StatsBlock;

test('a late word of requests writes nothing to the number of a closed descriptor', async () => {
  const [directory] = await tempDirs('cpu-latency');
  const path = join(directory as string, 'file');
  const fd = openSync(path, 'w');
  const cpuLatency = new CpuLatency(fd, noStats);
  cpuLatency.onTurn(100);
  assert.equal(readFileSync(path).length, 4, 'many requests do not keep CPUs awake');
  cpuLatency.close();
  assert.equal(readFileSync(path).length, 8, 'not given back');
  // The next file that is opened has the number.
  const other = openSync(join(directory as string, 'other'), 'w');
  assert.equal(other, fd);
  cpuLatency.onTurn(100);
  closeSync(other);
  assert.equal(readFileSync(join(directory as string, 'other')).length, 0);
});

test('CPUs may sleep when the loop of main has stood still for a second', async () => {
  const [directory] = await tempDirs('cpu-latency');
  const path = join(directory as string, 'file');
  const fd = openSync(path, 'w');
  let beatMs = 1;
  const watch = new CpuWatch({ of: () => beatMs });
  watch.watch(fd);
  for (let i = 0; i < 20; i++) {
    watch.look();
    if (i % 3 === 0) beatMs++;
  }
  assert.equal(readFileSync(path).length, 0, 'taken from a main that goes on');
  for (let i = 0; i < 20; i++) watch.look();
  const written = readFileSync(path);
  assert.equal(written.length, 4, 'not given back, or more than once');
  assert.equal(written.readInt32LE(), 2_000_000_000);
  closeSync(fd);
});

test('after a period that took too long the request is taken back, and made again', async () => {
  const [directory] = await tempDirs('cpu-latency');
  const path = join(directory as string, 'file');
  const cpuLatency = new CpuLatency(openSync(path, 'w'), noStats);
  cpuLatency.onTurn(100);
  cpuLatency.onTurn(100);
  const until = performance.now() + 600;
  while (performance.now() < until);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(readFileSync(path).length, 8, 'main does not know that CPUs may sleep');
  cpuLatency.close();
});

test('a file in the place of the device is left alone', async () => {
  const [directory] = await tempDirs('cpu-latency');
  const path = join(directory as string, 'file');
  closeSync(openSync(path, 'w'));
  assert.throws(() => openDevice(path), { code: 'ENODEV' });
  closeSync(openDevice('/dev/null'));
});
