import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CpuLatency } from '../../src/main/session/cpu-latency.ts';
import type { StatsBlock } from '../../src/shared/memory/stats-block.ts';
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
