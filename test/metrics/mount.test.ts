import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SPARE_LANES } from '../../src/main/dispatch/policy.ts';
import { combinations, METRICS, type MetricRow } from '../../src/shared/metrics-table.ts';
import { LANES_WORK, type Mount, startMount } from '../harness/mount.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { ANY_PORT, ask, parseMetrics, type Samples, sampleOf, scrape, urlOf } from './scrape.ts';

const TIME_LIMIT = { timeout: 60_000 };
const LANES = 2;

async function startScraped(...flags: string[]): Promise<Mount> {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  mkdirSync(join(source, 'dir'));
  for (let i = 0; i < 10; i++) writeFileSync(join(source, `dir/file-${i}`), `content ${i}`);
  return startMount({ source, mountpoint, flags: [ANY_PORT, `--lanes=${LANES}`, ...flags] });
}

/** The series the table promises, without those whose labels are texts. */
function promisedSeries(): string[] {
  return (METRICS as readonly MetricRow[])
    .filter(({ info }) => info === undefined)
    .flatMap((row) => {
      const lanes = Array.from({ length: LANES + SPARE_LANES }, (_, lane) => `${lane}`);
      const by = { where: ['main', 'lane'], lane: lanes };
      const label = row.by;
      const all = combinations(row).flatMap((labels) =>
        label === undefined ? [labels] : by[label].map((value) => ({ ...labels, [label]: value })),
      );
      if (row.bounds === undefined) return all.map((labels) => seriesText(row.name, labels));
      return all.flatMap((labels) => [
        ...[...(row.bounds ?? []).map(String), '+Inf'].map((le) =>
          seriesText(`${row.name}_bucket`, { ...labels, le }),
        ),
        seriesText(`${row.name}_sum`, labels),
        seriesText(`${row.name}_count`, labels),
      ]);
    });
}

function seriesText(name: string, labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`;
}

function namedSeries(samples: Samples): string[] {
  return [...samples.keys()].filter((series) => !/^\w+_info\{/.test(series));
}

test('every series is there from the start, and no other comes', TIME_LIMIT, async (t) => {
  const mount = await startScraped();
  const first = await scrape(mount);
  assert.deepEqual(namedSeries(first).toSorted(), promisedSeries().toSorted());
  assert.ok(first.size <= 1000, String(first.size));
  t.diagnostic(`${first.size} series`);
  await shell(
    'cd "$1"; mkdir new; echo text > new/f; ln new/f new/g; mv new/f new/h; cat new/*; ! cat none; rm -r new; df . >/dev/null',
    [mount.mountpoint],
  );
  const second = await scrape(mount);
  assert.deepEqual(namedSeries(second), namedSeries(first));
  await mount.stop();
});

test('promtool finds nothing to say about the text', TIME_LIMIT, async (t) => {
  const missing = await missingTool('promtool');
  if (missing !== undefined) return t.skip(missing);
  const mount = await startScraped();
  await runOk('ls', ['-lR', mount.mountpoint]);
  const { body, type } = await ask(urlOf(mount), '/metrics');
  assert.equal(type, 'text/plain; version=0.0.4; charset=utf-8');
  const checked = await run('promtool', ['check', 'metrics'], { input: body });
  assert.deepEqual([checked.code, checked.stdout, checked.stderr], [0, '', '']);
  await mount.stop();
});

/** What has come on top between two scrapes. */
function growth(before: Samples, after: Samples): (series: string) => number {
  return (series) => sampleOf(after, series) - sampleOf(before, series);
}

function requests(grown: (series: string) => number, op: string): number {
  return ['main', 'lane'].reduce(
    (sum, where) => sum + grown(`sluice_requests_total{op="${op}",where="${where}"}`),
    0,
  );
}

test('known operations are counted when they are answered', TIME_LIMIT, async () => {
  const mount = await startScraped('--cache=never', LANES_WORK);
  const before = await scrape(mount);
  await shell(
    `cd "$1"
    head -c 100000 /dev/zero > new
    cat new > /dev/null
    for i in 1 2 3; do ! cat none-$i 2> /dev/null; done
    mkdir made; rmdir made; rm new`,
    [mount.mountpoint],
  );
  const grown = growth(before, await scrape(mount));
  assert.equal(requests(grown, 'create'), 1);
  assert.equal(requests(grown, 'mkdir'), 1);
  assert.equal(requests(grown, 'rmdir'), 1);
  assert.equal(requests(grown, 'unlink'), 1);
  assert.equal(grown('sluice_written_bytes_total'), 100_000);
  assert.equal(grown('sluice_read_bytes_total'), 100_000);
  assert.equal(grown('sluice_request_size_bytes_sum{direction="read"}'), 100_000);
  assert.equal(
    grown('sluice_request_size_bytes_count{direction="write"}'),
    requests(grown, 'write'),
  );
  const notFound = grown('sluice_request_errors_total{op="lookup",class="not_found"}');
  // Those three, and what was made before it was there.
  assert.ok(notFound >= 3, String(notFound));
  for (const op of ['lookup', 'create', 'read', 'write', 'unlink']) {
    const timed = grown(`sluice_request_duration_seconds_count{op="${op}"}`);
    assert.equal(timed, requests(grown, op), op);
    const all = grown(`sluice_request_duration_seconds_bucket{op="${op}",le="+Inf"}`);
    assert.equal(all, timed, op);
    assert.ok(grown(`sluice_request_duration_seconds_sum{op="${op}"}`) > 0, op);
  }
  // create, mkdir and the like are a lane's.
  assert.equal(grown('sluice_requests_total{op="mkdir",where="main"}'), 0);
  assert.ok(grown('sluice_queue_wait_seconds_count') >= 4);
  assert.ok(grown('sluice_request_queued_seconds_total{op="mkdir"}') > 0);
  const busy = [0, 1].map((lane) => grown(`sluice_lane_busy_seconds_total{lane="${lane}"}`));
  assert.ok(busy.some((seconds) => seconds > 0));
  await mount.stop();
});

test('gauges agree with what the tables hold', TIME_LIMIT, async () => {
  const mount = await startScraped('--fd-budget=200', '--max-inodes=5000');
  await runOk('ls', ['-lR', mount.mountpoint]);
  const holder = run('sh', [
    '-c',
    'exec 3< "$1"; sleep 3',
    'sh',
    join(mount.mountpoint, 'dir/file-1'),
  ]);
  await sleep(700);
  const samples = await scrape(mount);
  const logged = mount.logs.length;
  // Walks the table, where the metric is a counter of its own.
  const status = await mount.status();
  const expected: Record<string, number | undefined> = {
    sluice_inodes: status['inodes'],
    sluice_inodes_capacity: 5000,
    sluice_lookups_outstanding: status['lookups'],
    'sluice_open_handles{kind="file"}': 1,
    'sluice_open_handles{kind="directory"}': 0,
    sluice_fds_budget: 200,
    sluice_fds_used: status['fdsUsed'],
    'sluice_lanes{state="idle"}': LANES,
    'sluice_lanes{state="busy"}': 0,
    'sluice_lanes{state="stuck"}': 0,
    'sluice_lanes{state="down"}': 0,
    'sluice_requests_in_flight{state="queued"}': 0,
    'sluice_requests_in_flight{state="executing"}': 0,
    sluice_kernel_waiting_requests: 0,
    sluice_ready: 1,
    sluice_live: 1,
    sluice_max_write_bytes: 1024 * 1024,
    'sluice_log_lines_total{level="error"}': 0,
  };
  const actual = Object.fromEntries(
    Object.keys(expected).map((series) => [series, sampleOf(samples, series)]),
  );
  assert.deepEqual(actual, expected);
  assert.ok(sampleOf(samples, 'sluice_lookups_outstanding') > 10);
  const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];
  const lines = levels.map((level) =>
    sampleOf(samples, `sluice_log_lines_total{level="${level}"}`),
  );
  assert.equal(
    lines.reduce((sum, count) => sum + count),
    logged,
  );
  const nowSeconds = Date.now() / 1000;
  const beatAge = nowSeconds - sampleOf(samples, 'sluice_heartbeat_timestamp_seconds');
  assert.ok(beatAge < 30, `${beatAge}`);
  for (const series of ['nodejs_heap_size_used_bytes', 'process_resident_memory_bytes']) {
    assert.ok(sampleOf(samples, series) > 1e6, series);
  }
  await holder;
  await mount.stop();
});

test('what runs and what is mounted is told by labels', TIME_LIMIT, async () => {
  const mount = await startScraped('--fsname=with "quotes"');
  const { body } = await ask(urlOf(mount), '/metrics');
  const id = String(mount.logs[0]?.['mount']);
  assert.match(id, /^[0-9a-f]{8}-/);
  const info = body.split('\n').filter((line) => /^sluice_(mount|build|session)_info/.test(line));
  const found = info.join('\n');
  assert.ok(found.includes(`mount_id="${id}"`), found);
  assert.ok(found.includes(`source="${mount.source}",mountpoint="${mount.mountpoint}"`), found);
  assert.ok(found.includes(String.raw`fsname="with \"quotes\""`), found);
  assert.match(found, /protocol="7\.\d+",features="[A-Z0-9_ ]*READDIRPLUS[A-Z0-9_ ]*",how="mount"/);
  assert.ok(found.includes(`node="${process.version}"`), found);
  assert.equal(info.length, 3);
  await mount.stop();
});

test('a scrape is itself measured, and main has no part in it', TIME_LIMIT, async () => {
  const mount = await startScraped();
  const { body } = await ask(urlOf(mount), '/metrics');
  const mainBefore = await switchesOfMain(mount.pid);
  let last = '';
  for (let i = 0; i < 20; i++) last = (await ask(urlOf(mount), '/metrics')).body;
  const grown = growth(parseMetrics(body), parseMetrics(last));
  assert.equal(grown('sluice_scrapes_total'), 20);
  assert.ok(grown('sluice_scrape_seconds_total') > 0);
  assert.ok(grown('sluice_scrape_bytes_total') > 20 * 10_000);
  assert.equal(grown('sluice_http_cut_total'), 0);
  const mainAfter = await switchesOfMain(mount.pid);
  // What it does by itself: timers of 100 and 200 ms. One turn for each scrape would be 20 more.
  const elapsedTimers = 15 * ((mainAfter.ms - mainBefore.ms) / 1000) + 10;
  assert.ok(
    mainAfter.switches - mainBefore.switches < elapsedTimers,
    `main woke ${mainAfter.switches - mainBefore.switches} times`,
  );
  await mount.stop();
});

async function switchesOfMain(pid: number): Promise<{ switches: number; ms: number }> {
  const { stdout } = await runOk('cat', [`/proc/${pid}/task/${pid}/status`]);
  const count = /^voluntary_ctxt_switches:\s*(\d+)/m.exec(stdout)?.[1];
  return { switches: Number(count), ms: performance.now() };
}

test(
  'a scrape while the mount is taken down is answered or refused, never half',
  TIME_LIMIT,
  async (t: TestContext) => {
    const mount = await startScraped();
    const url = urlOf(mount);
    const outcomes: string[] = [];
    let isDown = false;
    const scraper = async (): Promise<void> => {
      while (!isDown) {
        const outcome = await ask(url, '/metrics').then(
          ({ status, body }) => (status === 200 && parseMetrics(body).size > 600 ? 'whole' : body),
          ({ code }: NodeJS.ErrnoException) => code ?? 'unknown',
        );
        outcomes.push(outcome);
        if (outcome !== 'whole') await sleep(5);
      }
    };
    const scrapers = [scraper(), scraper(), scraper()];
    await sleep(300);
    await mount.stop();
    isDown = true;
    await Promise.all(scrapers);
    const kinds = [...new Set(outcomes)].toSorted();
    t.diagnostic(`${outcomes.length} scrapes: ${kinds.join(', ')}`);
    assert.ok(outcomes.includes('whole'));
    for (const kind of kinds)
      assert.ok(['whole', 'ECONNREFUSED', 'ECONNRESET'].includes(kind), kind);
  },
);
