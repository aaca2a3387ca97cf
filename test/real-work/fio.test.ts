import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMount } from '../harness/mount.ts';
import { missingTool, runOk } from '../harness/run.ts';
import { isLongRun } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const JOBS = 4;
const SIZE_PER_JOB = isLongRun ? '256m' : '12m';
const TIMEOUT_MS = isLongRun ? 600_000 : 60_000;

interface Case {
  readonly pattern: 'write' | 'randwrite' | 'rw' | 'randrw';
  readonly blockSize: string;
  readonly direct: 0 | 1;
}

const cases: readonly Case[] = [
  { pattern: 'write', blockSize: '128k', direct: 0 },
  { pattern: 'write', blockSize: '64k', direct: 1 },
  { pattern: 'randwrite', blockSize: '4k', direct: 0 },
  { pattern: 'randwrite', blockSize: '4k', direct: 1 },
  { pattern: 'randrw', blockSize: '512-68k', direct: 0 },
];

interface FioJob {
  readonly error: number;
  readonly read: { readonly bw: number; readonly io_bytes: number };
  readonly write: { readonly bw: number; readonly io_bytes: number };
}

async function fio(directory: string, one: Case, extra: readonly string[]): Promise<FioJob> {
  const args = [
    '--name=job',
    `--directory=${directory}`,
    `--rw=${one.pattern}`,
    one.blockSize.includes('-') ? `--bsrange=${one.blockSize}` : `--bs=${one.blockSize}`,
    `--direct=${one.direct}`,
    `--numjobs=${JOBS}`,
    `--size=${SIZE_PER_JOB}`,
    '--ioengine=psync',
    '--verify=crc32c',
    '--verify_fatal=1',
    '--group_reporting',
    '--output-format=json',
    ...extra,
  ];
  // fio leaves state files in its working directory.
  const { stdout } = await runOk('fio', args, { cwd: directory, timeoutMs: TIMEOUT_MS });
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: [FioJob] };
  return report.jobs[0];
}

for (const one of cases) {
  const kind = one.direct === 1 ? 'direct' : 'buffered';
  test(`fio ${one.pattern} ${one.blockSize} ${kind}, ${JOBS} jobs, crc32c`, {
    timeout: 3 * TIMEOUT_MS,
  }, async (t) => {
    const missing = await missingTool('fio');
    if (missing !== undefined) return t.skip(missing);
    const [source] = (await tempDirs('source')) as [string];
    const mount = await startMount({ source });
    const there = await fio(mount.mountpoint, one, ['--do_verify=1', '--end_fsync=1']);
    assert.equal(there.error, 0);
    assert.ok(there.write.io_bytes > 0 && there.read.io_bytes > 0, 'nothing was written and read');
    // What was written through the mount is on the disk behind it, and is read through a fresh cache.
    if (!one.pattern.endsWith('rw')) {
      assert.equal((await fio(source, one, ['--verify_only'])).error, 0);
      await runOk('sh', ['-c', 'echo 1 > /proc/sys/vm/drop_caches || true']);
      assert.equal((await fio(mount.mountpoint, one, ['--verify_only'])).error, 0);
    }
    const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
    t.diagnostic(
      `wrote ${mebibytes(there.write.io_bytes)} at ${mebibytes(there.write.bw * 1024)}/s, ` +
        `read back ${mebibytes(there.read.io_bytes)} at ${mebibytes(there.read.bw * 1024)}/s`,
    );
    await mount.stop();
  });
}
