import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { METRICS, type MetricRow } from '../../src/shared/metrics-table.ts';
import { startMount } from '../harness/mount.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDir, tempDirs } from '../harness/temp-dir.ts';
import { ANY_PORT, ask, parseMetrics, type Samples, sampleOf, scrape } from './scrape.ts';

const TIME_LIMIT = { timeout: 60_000 };
const saboteur = new URL('../faults/saboteur.js', import.meta.url).href;
const SCRAPES = 12;

/** Names of what may only grow. */
const growing = new Set(
  (METRICS as readonly MetricRow[]).flatMap(({ name, type }) => {
    if (type === 'histogram') return [`${name}_bucket`, `${name}_sum`, `${name}_count`];
    return type === 'counter' ? [name] : [];
  }),
);

function fallen(before: Samples, after: Samples): string[] {
  return [...before]
    .filter(([series]) => growing.has(series.replace(/\{.*/, '')))
    .filter(([series, value]) => sampleOf(after, series) < value)
    .map(([series, value]) => `${series}: ${value}, then ${after.get(series)}`);
}

test('no counter falls when lanes die and are started again', TIME_LIMIT, async (t) => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  mkdirSync(join(source, 'work'));
  const mount = await startMount({
    source,
    mountpoint,
    env: { FAULT_LANE: 'executing:throw:10' },
    flags: [ANY_PORT, '--lanes=2'],
    nodeFlags: ['--import', saboteur],
    allowErrors: [/a lane died/],
  });
  let samples = await scrape(mount);
  for (let i = 0; i < SCRAPES; i++) {
    // Some of it fails: a request whose lane dies is answered EIO.
    await run('sh', [
      '-c',
      'cd "$1" && for i in 1 2 3 4 5 6; do echo text > f-$i; sync f-$i; rm -f f-$i; done',
      'sh',
      join(mountpoint, 'work'),
    ]);
    const next = await scrape(mount);
    assert.deepEqual(fallen(samples, next), []);
    samples = next;
  }
  const restarts = sampleOf(samples, 'sluice_lane_restarts_total');
  t.diagnostic(`${restarts} lanes died`);
  assert.ok(restarts >= 2, `${restarts} restarts`);
  const failed = [...samples]
    .filter(([series]) => /^sluice_request_errors_total\{.*class="io"/.test(series))
    .reduce((sum, [, count]) => sum + count, 0);
  assert.ok(failed > 0, 'requests of dead lanes are answered EIO');
  // What a dead lane was at is not taken for a request that runs.
  assert.equal(sampleOf(samples, 'sluice_requests_in_flight{state="executing"}'), 0);
  const status = await mount.status();
  const last = await scrape(mount);
  assert.equal(sampleOf(last, 'sluice_lookups_outstanding'), status['lookups']);
  await mount.stop();
});

const RESTARTED_MS = 20_000;

test('an exporter that dies is started again, and counts on', TIME_LIMIT, async () => {
  const base = await tempDir('run');
  const path = join(base, 'sock');
  const [source] = (await tempDirs('source')) as [string];
  const mount = await startMount({
    source,
    env: { BREAK_MARK: join(base, 'mark') },
    flags: [`--metrics-socket=${path}`],
    nodeFlags: ['--import', new URL('./break-exporter.js', import.meta.url).href],
    allowErrors: [/the exporter died/],
  });
  const place = `unix:${path}`;
  const before = parseMetrics((await ask(place, '/metrics')).body);
  const untilMs = performance.now() + RESTARTED_MS;
  // It is away when nobody answers, and back when somebody does.
  for (const isUp of [false, true]) {
    while (
      (await ask(place, '/readyz').catch(() => undefined))?.status !== (isUp ? 200 : undefined)
    ) {
      assert.ok(performance.now() < untilMs, `is not ${isUp ? 'back' : 'away'}`);
      await sleep(100);
    }
  }
  const after = parseMetrics((await ask(place, '/metrics')).body);
  assert.deepEqual(fallen(before, after), []);
  assert.equal(sampleOf(after, 'sluice_scrapes_total'), 1);
  await runOk('ls', [mount.mountpoint]);
  await mount.stop();
});
