/**
 * Draws a dashboard from a Prometheus that watches mounts:
 * `draw-dashboard.js URL DASHBOARD.json SECONDS [ROW...] > picture.svg`, the last SECONDS, and the
 * rows with these titles or all. On standard error it says what it has drawn.
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { fillIn, type Values } from './grafana-variables.ts';
import { drawDashboard, type Picture, type PictureOptions } from './picture/dashboard.ts';
import { PrometheusApi, type Range } from './prometheus-api.ts';

/** Points of a line. */
const POINTS = 120;
/** That of grafana/prometheus/prometheus.yml. */
const SCRAPE_SECONDS = 15;
/** Grafana takes four times the distance of scrapes. */
const SCRAPES_PER_RATE = 4;

/** The values of Grafana's variables, all mounts being chosen. */
export function variablesOf({ from, to }: Range, scrapeSeconds: number): Values {
  return {
    job: '.+',
    instance: '.+',
    op: '.+',
    __rate_interval: `${SCRAPES_PER_RATE * scrapeSeconds}s`,
    __range: `${Math.ceil(to - from)}s`,
  };
}

/** A range with as many points as a picture needs. */
export function rangeOf(from: number, to: number, scrapeSeconds: number): Range {
  return { from, to, stepSeconds: Math.max(scrapeSeconds, Math.ceil((to - from) / POINTS)) };
}

/** Draws what Prometheus knows. */
export function draw(
  prometheus: PrometheusApi,
  dashboard: Dashboard,
  range: Range,
  values: Values,
  options: PictureOptions,
): Promise<Picture> {
  const ask = (expr: string, isInstant: boolean) =>
    isInstant
      ? prometheus.instant(fillIn(expr, values), range.to)
      : prometheus.range(fillIn(expr, values), range);
  return drawDashboard(dashboard, range, ask, options);
}

async function main([url, path, seconds, ...rows]: readonly string[]): Promise<void> {
  if (url === undefined || path === undefined || seconds === undefined) {
    throw new Error('usage: draw-dashboard.js URL DASHBOARD.json SECONDS [ROW...]');
  }
  const prometheus = new PrometheusApi(url);
  const dashboard = JSON.parse(readFileSync(path, 'utf8')) as Dashboard;
  const to = Math.floor(Date.now() / 1000);
  const range = rangeOf(to - Number(seconds), to, SCRAPE_SECONDS);
  const values = variablesOf(range, SCRAPE_SECONDS);
  const picture = await draw(prometheus, dashboard, range, values, {
    rows: rows.length > 0 ? rows : undefined,
    caption: `from ${new Date(1000 * range.from).toISOString()} to ${new Date(1000 * to).toISOString()}`,
  });
  process.stdout.write(picture.svg);
  process.stderr.write(`${picture.panels} panels with ${picture.series} series\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(process.argv.slice(2));
}
