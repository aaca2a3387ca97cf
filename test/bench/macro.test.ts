/** The benchmark itself: one short run of every workload, and the programs that read its record. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RunRecord } from '../../bench/macro/record.ts';
import { tempDir } from '../harness/temp-dir.ts';

const run = promisify(execFile);
const RUN_TIMEOUT_MS = 100_000;

function bench(name: string): string {
  return fileURLToPath(new URL(`../../bench/${name}.js`, import.meta.url));
}

test('micro has a figure or a reason for each wrapper of a system call', async () => {
  await run(process.execPath, [bench('micro'), '--filter', '^nothing$']);
});

test('a file that cannot be written is refused before anything is measured', async () => {
  const ran = run(process.execPath, [bench('macro'), '--json', '/nonexistent/record.json'], {
    timeout: 10_000,
  });
  await assert.rejects(ran, { code: 1, stderr: /--json .*cannot be written: ENOENT/ });
});

test('a short run measures every workload, and its record can be compared and judged', async () => {
  const record = join(await tempDir(), 'record.json');
  const options = ['--quick', '--rounds', '1', '--fs', 'tmpfs', '--targets', 'plain,sluice'];
  await run(process.execPath, [bench('macro'), ...options, '--json', record], {
    timeout: RUN_TIMEOUT_MS,
  });
  const { cells, failures, placements, workloads } = JSON.parse(
    readFileSync(record, 'utf8'),
  ) as RunRecord;
  assert.deepEqual(failures, []);
  assert.deepEqual(placements, ['one-cpu', 'free']);
  assert.equal(cells.length, 2 * 2 * workloads.length);
  for (const { workload, target, rounds } of cells) {
    assert.equal(rounds.length, 1, `${workload} on ${target}`);
    assert.ok(rounds.every(({ operations, elapsedUs }) => operations > 0 && elapsedUs > 0));
    assert.equal(rounds[0]?.daemonCpuUs === null, target === 'plain', `${workload} on ${target}`);
  }
  const compared = await run(process.execPath, [bench('compare'), record, record]);
  assert.match(compared.stdout, /^rename +sluice .* x1\.00 +tie$/m);
  const judged = await run(process.execPath, [bench('marks'), record]);
  assert.match(judged.stdout, /^rename +one-cpu +sluice .* not measured: no passthrough_hp, pass/m);
});
