/** Draws a dashboard as it is described in its JSON, with data of a Prometheus, as one SVG. */
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type { Range, Series } from '../prometheus-api.ts';
import { drawGraph, drawHeat, type NamedSeries } from './graph.ts';
import { drawBars, drawSingle, drawTable, latest, type Threshold } from './numbers.ts';
import { valueText } from './scale.ts';
import { type Box, element, rect, text } from './svg.ts';

/** Gets the data of an expression with Grafana's variables in it. */
export type Ask = (expr: string, isInstant: boolean) => Promise<Series[]>;

export interface Picture {
  readonly svg: string;
  readonly panels: number;
  /** Series that were drawn. */
  readonly series: number;
}

export interface PictureOptions {
  /** Titles of the rows that are drawn; all when undefined. */
  readonly rows?: readonly string[] | undefined;
  /** Stands below everything. */
  readonly caption: string;
}

const COLUMN_PX = 50;
const ROW_PX = 22;
const WIDTH_PX = 24 * COLUMN_PX;
const TITLE_PX = 22;
const GAP_PX = 3;

/** What the drawing needs of the options that Grafana's plugins leave untyped. */
interface PanelStyle {
  readonly defaults: {
    readonly unit?: string;
    readonly max?: number;
    readonly decimals?: number;
    readonly thresholds?: { readonly steps: readonly Threshold[] };
    readonly mappings?: readonly { readonly options: Texts }[];
    readonly custom?: {
      readonly stacking?: { readonly mode?: string };
      readonly scaleDistribution?: { readonly type?: string };
    };
  };
  readonly overrides: readonly {
    readonly matcher: { readonly id: string; readonly options: string };
    readonly properties: readonly { readonly id: string; readonly value: unknown }[];
  }[];
}

type Texts = Readonly<Record<string, { readonly text: string }>>;

interface Data {
  readonly series: readonly NamedSeries[];
  /** By query. */
  readonly byQuery: ReadonlyMap<string, readonly Series[]>;
}

function styleOf({ fieldConfig }: Panel): PanelStyle {
  return fieldConfig as unknown as PanelStyle;
}

/** A series' name, from labels in double braces. */
function nameOf(legend: string, { labels }: Series): string {
  if (legend === '__auto') return Object.values(labels).join(' ');
  return legend.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => labels[label] ?? '');
}

/** @throws Error when a query returns nothing: the picture would show less than the dashboard */
async function dataOf(panel: Panel, ask: Ask): Promise<Data> {
  const byQuery = new Map<string, readonly Series[]>();
  const all: NamedSeries[] = [];
  for (const target of (panel.targets ?? []) as dataquery[]) {
    const { expr, instant = false, legendFormat = '__auto', refId = '' } = target;
    const series = await ask(expr, instant);
    if (series.length === 0) throw new Error(`${panel.title}: no data: ${expr}`);
    byQuery.set(refId, series);
    all.push(...series.map((one) => ({ ...one, name: nameOf(legendFormat, one) })));
  }
  return { series: all, byQuery };
}

function written(value: number, unit: string, texts: Texts | undefined): string {
  return texts?.[String(value)]?.text ?? valueText(value, unit);
}

function drawContent(panel: Panel, box: Box, { series, byQuery }: Data, range: Range): string {
  const { defaults, overrides } = styleOf(panel);
  const unit = defaults.unit ?? 'short';
  const first = series[0] as NamedSeries;
  switch (panel.type) {
    case 'timeseries': {
      const limits = overrides[0]?.matcher.options;
      return drawGraph(box, series, range, {
        unit,
        isStacked: defaults.custom?.stacking?.mode === 'normal',
        isLogarithmic: defaults.custom?.scaleDistribution?.type === 'log',
        max: defaults.max,
        limits: limits === undefined ? undefined : new RegExp(limits.slice(1, -1)),
      });
    }
    case 'heatmap':
      return drawHeat(box, series, range, unit);
    case 'stat': {
      const shown = written(latest(first), unit, defaults.mappings?.[0]?.options);
      return drawSingle(box, latest(first), shown, defaults.thresholds?.steps ?? []);
    }
    case 'bargauge':
      return drawBars(box, series, unit);
    case 'table':
      return drawJoined(panel, box, byQuery);
    default:
      throw new Error(`${panel.title}: ${panel.type} cannot be drawn`);
  }
}

interface Transformation {
  readonly id: string;
  readonly options: {
    readonly fields?: Readonly<Record<string, { readonly operation: string }>>;
    readonly renameByName?: Readonly<Record<string, string>>;
  };
}

/** Joins queries to rows as the table's transformations do. */
function drawJoined(panel: Panel, box: Box, byQuery: Data['byQuery']): string {
  const steps = (panel.transformations ?? []) as unknown as Transformation[];
  const fields = steps.find(({ id }) => id === 'groupBy')?.options.fields ?? {};
  const titles = steps.find(({ id }) => id === 'organize')?.options.renameByName ?? {};
  const keys = Object.keys(fields).filter((field) => fields[field]?.operation === 'groupby');
  const joined = new Map<string, Record<string, string | number>>();
  for (const [refId, list] of byQuery) {
    for (const series of list) {
      const key = keys.map((name) => series.labels[name] ?? '').join('\n');
      const row = { ...joined.get(key), ...series.labels, [`Value #${refId}`]: latest(series) };
      joined.set(key, row);
    }
  }
  const { overrides } = styleOf(panel);
  const columns = Object.keys(fields).map((field) => {
    const title = titles[field] ?? titles[`${field} (lastNotNull)`] ?? field;
    const properties = overrides.find(({ matcher }) => matcher.options === title)?.properties;
    const property = (id: string): unknown => properties?.find((one) => one.id === id)?.value;
    const texts = (property('mappings') as { options: Texts }[] | undefined)?.[0]?.options;
    return { field, title, texts, unit: (property('unit') as string | undefined) ?? 'short' };
  });
  const rows = [...joined.values()].map((row) =>
    columns.map(({ field, unit, texts }) => {
      const value = row[field] ?? '';
      return typeof value === 'number' ? written(value, unit, texts) : value;
    }),
  );
  return drawTable(
    box,
    columns.map(({ title }) => title),
    rows,
  );
}

/** The rows of panels that are drawn, moved together. */
function chosenPanels({ panels = [] }: Dashboard, titles: readonly string[] | undefined): Panel[] {
  const chosen: Panel[] = [];
  let offset = 0;
  let isChosen = true;
  for (const panel of panels as Panel[]) {
    const { x = 0, y = 0, w = 24, h = 1 } = panel.gridPos ?? {};
    if (panel.type === 'row') {
      isChosen = titles === undefined || titles.includes(panel.title ?? '');
      const end = Math.max(0, ...chosen.map(({ gridPos: at }) => (at?.y ?? 0) + (at?.h ?? 0)));
      offset = end - y;
    }
    if (isChosen) chosen.push({ ...panel, gridPos: { x, y: y + offset, w, h } });
  }
  return chosen;
}

function boxOf({ gridPos }: Panel): Box {
  const { x = 0, y = 0, w = 24, h = 1 } = gridPos ?? {};
  return { x: x * COLUMN_PX, y: y * ROW_PX, width: w * COLUMN_PX, height: h * ROW_PX };
}

function drawFrame(panel: Panel, box: Box): string {
  const title = panel.title ?? '';
  if (panel.type === 'row') {
    return text(box.x + 6, box.y + 16, title, { 'font-weight': 'bold', 'font-size': '14' });
  }
  const inner = {
    x: box.x + GAP_PX,
    y: box.y + GAP_PX,
    width: box.width - 2 * GAP_PX,
    height: box.height - 2 * GAP_PX,
  };
  return (
    rect(inner, { fill: '#ffffff', stroke: '#d8dce0', rx: 3 }) +
    text(box.x + 10, box.y + 18, title, { 'font-weight': 'bold' })
  );
}

/**
 * @param range of time that is shown
 * @throws Error when a panel has no data, or is of a kind that cannot be drawn
 */
export async function drawDashboard(
  dashboard: Dashboard,
  range: Range,
  ask: Ask,
  { rows, caption }: PictureOptions,
): Promise<Picture> {
  const panels = chosenPanels(dashboard, rows);
  const parts: string[] = [];
  let count = 0;
  for (const panel of panels) {
    const box = boxOf(panel);
    parts.push(drawFrame(panel, box));
    if (panel.type === 'row') continue;
    const data = await dataOf(panel, ask);
    const { x, y, width, height } = box;
    const inner = { x, y: y + TITLE_PX, width, height: height - TITLE_PX - GAP_PX };
    parts.push(drawContent(panel, inner, data, range));
    count += data.series.length;
  }
  const end = Math.max(...panels.map(boxOf).map((box) => box.y + box.height));
  parts.push(text(10, end + 15, caption, { fill: '#6e7680' }));
  const height = end + ROW_PX;
  const background = rect({ x: 0, y: 0, width: WIDTH_PX, height }, { fill: '#f4f5f5' });
  const svg = element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      viewBox: `0 0 ${WIDTH_PX} ${height}`,
      'font-family': 'Helvetica, Arial, DejaVu Sans, sans-serif',
      'font-size': '11',
      fill: '#24292e',
    },
    [element('title', {}, dashboard.title ?? 'dashboard'), background, ...parts].join('\n'),
  );
  const drawn = panels.filter(({ type }) => type !== 'row').length;
  return { svg: `${svg}\n`, panels: drawn, series: count };
}
