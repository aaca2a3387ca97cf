import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { missingTool } from '../harness/run.ts';
import { draw, rangeOf, variablesOf } from '../tools/draw-dashboard.ts';
import { fillIn, type Values } from '../tools/grafana-variables.ts';
import type { PrometheusApi, Range, Series } from '../tools/prometheus-api.ts';
import {
  labelQuery,
  panelsOf,
  readDashboards,
  targetsOf,
  withoutThresholds,
} from './expressions.ts';
import { loadFor, type Stage, setStage } from './stage.ts';

const LOAD_SECONDS = Number(process.env['SLUICE_LOAD_SECONDS'] ?? 14);
const SCRAPE_SECONDS = 1;
/** Where the picture for the README is written, when it is wanted. */
const PICTURE = process.env['SLUICE_PICTURE'];
const PICTURE_ROWS = [
  'Now',
  'Rate, errors, duration',
  'Latency',
  'Slow operations',
  'Lanes and queues',
];

/** What may stay at 0 in a run in which nothing breaks: the panel and the series' legend. */
const QUIET = new Set([
  'Slower than: 10 s',
  'Interrupts and lost replies: dropped replies',
  'Restarts of lanes, and exceptions: lanes restarted',
  'Restarts of lanes, and exceptions: exceptions',
  'HTTP connections cut: cut',
  'Longer than slow_timeout: answered ETIMEDOUT',
  'Main caught in a call: caught',
  'Main caught in a call: left to the lanes',
  'Not ready: __auto',
  'Scrapes that fail: __auto',
  // Only where the kernel passes reads and writes through.
  'Opens by data path: {{outcome}}',
  // Only with engine=uring.
  'Restarts of lanes, and exceptions: queues restarted',
  'Memory: buffers of io_uring, at most',
  'Reads and writes, where: of these by the kernel, for io_uring',
]);

function hasNumber(series: readonly Series[]): boolean {
  return series.some(({ points }) => points.some(([, value]) => Number.isFinite(value)));
}

function moves(series: readonly Series[]): boolean {
  return series.some(({ points }) =>
    points.some(([, value]) => Number.isFinite(value) && value !== 0),
  );
}

class Asker {
  readonly #prometheus: PrometheusApi;
  readonly #range: Range;
  readonly #values: Values;
  /** What returned nothing, or was refused. */
  readonly failures: string[] = [];
  asked = 0;

  constructor(prometheus: PrometheusApi, range: Range, values: Values) {
    this.#prometheus = prometheus;
    this.#range = range;
    this.#values = values;
  }

  async askPanels(dashboard: Dashboard): Promise<void> {
    for (const panel of panelsOf(dashboard)) {
      for (const { expr, instant = false, legendFormat = '' } of targetsOf(panel)) {
        const filled = fillIn(expr, this.#values);
        const name = `${panel.title}: ${legendFormat}`;
        const series = await this.#ask(filled, false);
        if (!hasNumber(series) || (instant && !hasNumber(await this.#ask(filled, true)))) {
          this.#fail(dashboard, name, expr, 'returns nothing');
        } else if (!QUIET.has(name) && !moves(series)) {
          this.#fail(dashboard, name, expr, 'stays at 0');
        }
      }
    }
  }

  async askVariables(dashboard: Dashboard): Promise<void> {
    for (const { name, type, query } of dashboard.templating?.list ?? []) {
      if (type !== 'query') continue;
      const { series, label } = labelQuery(String(query), this.#values);
      this.asked++;
      const found = await this.#prometheus.labelValues(series, label);
      if (found.length === 0) this.#fail(dashboard, name, String(query), 'has no values');
    }
    for (const { name, expr = '' } of dashboard.annotations?.list ?? []) {
      const series = await this.#ask(withoutThresholds(fillIn(expr, this.#values)), false);
      if (!hasNumber(series)) this.#fail(dashboard, name, expr, 'returns nothing');
    }
  }

  async askRules(): Promise<void> {
    const rules = await this.#prometheus.rules();
    assert.ok(rules.length > 30, `only ${rules.length} rules are loaded`);
    for (const { type, name, query, health, lastError } of rules) {
      if (health !== 'ok') this.failures.push(`${name}: ${health} ${lastError ?? ''}`);
      const expr = type === 'alerting' ? withoutThresholds(query) : name;
      if (!hasNumber(await this.#ask(expr, false))) this.failures.push(`${name}: no data: ${expr}`);
      await this.#ask(query, false);
    }
  }

  #ask(expr: string, isInstant: boolean): Promise<Series[]> {
    this.asked++;
    return isInstant
      ? this.#prometheus.instant(expr, this.#range.to)
      : this.#prometheus.range(expr, this.#range);
  }

  #fail({ uid }: Dashboard, name: string, expr: string, what: string): void {
    this.failures.push(`${uid}, ${name} ${what}: ${expr}`);
  }
}

async function skipReason(t: TestContext): Promise<boolean> {
  const missing = await missingTool('prometheus', 'bindfs', 'flock', 'perl');
  const reason = missing ?? (process.getuid?.() === 0 ? undefined : 'mounting needs root');
  if (reason !== undefined) t.skip(reason);
  return reason !== undefined;
}

/** Waits until an expression returns something. */
async function comes(prometheus: PrometheusApi, expr: string, timeoutMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (performance.now() < endMs) {
    if ((await prometheus.instant(expr, Date.now() / 1000)).length > 0) return true;
    await sleep(200);
  }
  return false;
}

async function dieIsNoticed({ mount, prometheus }: Stage): Promise<void> {
  mount.kill();
  const isNoticed = await comes(prometheus, 'ALERTS{alertname="SluiceDown"}', 10_000);
  assert.ok(isNoticed, 'nobody notices that the daemon is gone');
}

/** Draws the dashboard of a mount, and says below it what it shows. */
async function drawForReadme(
  { prometheus }: Stage,
  range: Range,
  values: Values,
  t: TestContext,
): Promise<void> {
  const dashboard = readDashboards().find(({ uid }) => uid === 'sluice-mount') as Dashboard;
  const caption = `Drawn by test/grafana from ${Math.round(range.to - range.from)} s of its load, with a file system that hangs, a full one, and descriptors used up; on ${new Date(1000 * range.to).toISOString().slice(0, 10)}, Linux ${release()}, Node ${process.version}`;
  const picture = await draw(prometheus, dashboard, range, values, { rows: PICTURE_ROWS, caption });
  writeFileSync(PICTURE as string, picture.svg);
  t.diagnostic(`${PICTURE}: ${picture.panels} panels with ${picture.series} series`);
}

test('every expression of the dashboards and rules returns data of a real mount', {
  timeout: 120_000 + 4000 * LOAD_SECONDS,
}, async (t) => {
  if (await skipReason(t)) return;
  const stage = await setStage();
  const { prometheus, target } = stage;
  assert.ok(await comes(prometheus, 'sluice_build_info', 10_000), 'nothing is scraped');
  const from = Date.now() / 1000;
  await loadFor(LOAD_SECONDS, stage);
  const to = Date.now() / 1000;
  const range = rangeOf(from, to, SCRAPE_SECONDS);
  const values = {
    ...variablesOf(range, SCRAPE_SECONDS),
    job: 'sluice',
    instance: target.replaceAll('.', '\\\\.'),
  };
  const asker = new Asker(prometheus, range, values);
  for (const dashboard of readDashboards()) {
    await asker.askVariables(dashboard);
    await asker.askPanels(dashboard);
  }
  await asker.askRules();
  t.diagnostic(`${asker.asked} queries after ${(to - from).toFixed(1)} s of load`);
  assert.deepEqual(asker.failures, []);
  for (const dashboard of readDashboards()) {
    const caption = `after ${Math.round(to - from)} s of load`;
    const picture = await draw(prometheus, dashboard, range, values, { caption });
    assert.equal(picture.panels, panelsOf(dashboard).length);
    t.diagnostic(`${dashboard.uid}: ${picture.panels} panels with ${picture.series} series drawn`);
  }
  if (PICTURE !== undefined) await drawForReadme(stage, range, values, t);
  await dieIsNoticed(stage);
});
