/** Lines, areas and heatmaps over time. */
import type { Range, Series } from '../prometheus-api.ts';
import { clockText, linearScale, logarithmicScale, type Scale, valueText } from './scale.ts';
import { type Box, cut, element, rect, rounded, text, textWidth } from './svg.ts';

/** A series with the name that its panel gives it. */
export interface NamedSeries extends Series {
  readonly name: string;
}

export interface GraphStyle {
  readonly unit: string;
  readonly isStacked: boolean;
  readonly isLogarithmic: boolean;
  readonly max: number | undefined;
  /** Names of series that are drawn as limits. */
  readonly limits: RegExp | undefined;
}

const COLORS = [
  '#56a64b',
  '#f2cc0c',
  '#3274d9',
  '#ff780a',
  '#e02f44',
  '#8f3bb8',
  '#37872d',
  '#1f60c4',
  '#fa6400',
  '#c4162a',
  '#806eb7',
  '#5794f2',
];
const AXIS_WIDTH = 52;
const AXIS_HEIGHT = 16;
const LEGEND_HEIGHT = 16;
const GRID = '#e4e7ea';
const QUIET_TEXT = { fill: '#6e7680' };
const TIME_TICKS = 4;
/** A point that comes later than this many steps after the last one begins a new line. */
const GAP_STEPS = 2.5;

const LIMIT_COLOR = '#e02f44';

function colorOf(index: number, isLimit: boolean): string {
  return isLimit ? LIMIT_COLOR : (COLORS[index % COLORS.length] as string);
}

interface Frame {
  readonly plot: Box;
  readonly range: Range;
  readonly x: (time: number) => number;
  readonly y: (value: number) => number;
  readonly svg: string;
}

/** Axes and grid. */
function frame(box: Box, range: Range, scale: Scale, label: (tick: number) => string): Frame {
  const plot = {
    x: box.x + AXIS_WIDTH,
    y: box.y + 4,
    width: box.width - AXIS_WIDTH - 8,
    height: box.height - AXIS_HEIGHT - LEGEND_HEIGHT - 4,
  };
  const x = (time: number): number =>
    plot.x + ((time - range.from) / (range.to - range.from)) * plot.width;
  const y = (value: number): number => plot.y + (1 - scale.place(value)) * plot.height;
  const rows = scale.ticks.map(
    (tick) =>
      element('path', { d: `M${plot.x} ${rounded(y(tick))}h${plot.width}`, stroke: GRID }) +
      text(plot.x - 4, y(tick) + 4, label(tick), { 'text-anchor': 'end', ...QUIET_TEXT }),
  );
  const columns = Array.from({ length: TIME_TICKS }, (_, i) => {
    const time = range.from + ((i + 0.5) / TIME_TICKS) * (range.to - range.from);
    const at = { 'text-anchor': 'middle', ...QUIET_TEXT };
    return text(x(time), plot.y + plot.height + 12, clockText(time), at);
  });
  return { plot, range, x, y, svg: [...rows, ...columns].join('') };
}

function meanOf({ points }: NamedSeries): number {
  return points.reduce((sum, [, value]) => sum + value, 0) / points.length;
}

/** What can be drawn on the scale, the largest first: the legend has not room for all. */
function visible(series: readonly NamedSeries[], isLogarithmic: boolean): NamedSeries[] {
  return series
    .map((one) => ({
      ...one,
      points: one.points.filter(
        ([, value]) => Number.isFinite(value) && (value > 0 || !isLogarithmic),
      ),
    }))
    .filter(({ points }) => points.length > 0)
    .toSorted((a, b) => meanOf(b) - meanOf(a));
}

/** Each series on top of the sum of those before it, as [time, lower, upper]. */
function stack(series: readonly NamedSeries[], isStacked: boolean): [number, number, number][][] {
  const sums = new Map<number, number>();
  return series.map(({ points }) =>
    points.map(([time, value]) => {
      const lower = isStacked ? (sums.get(time) ?? 0) : 0;
      sums.set(time, lower + value);
      return [time, lower, lower + value];
    }),
  );
}

function scaleOf(values: readonly number[], { isLogarithmic, max }: GraphStyle): Scale {
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  if (isLogarithmic) {
    return logarithmicScale(
      values.reduce((a, b) => Math.min(a, b), Infinity),
      most,
    );
  }
  return linearScale(0, max ?? (most === 0 ? 1 : most * 1.05));
}

export function drawGraph(
  box: Box,
  series: readonly NamedSeries[],
  range: Range,
  style: GraphStyle,
): string {
  const shown = visible(series, style.isLogarithmic);
  const isLimit = ({ name }: NamedSeries): boolean => style.limits?.test(name) === true;
  const stacked = stack(shown, style.isStacked);
  const uppers = stacked.flat().map(([, , upper]) => upper);
  if (uppers.length === 0) uppers.push(1);
  const at = frame(box, range, scaleOf(uppers, style), (tick) => valueText(tick, style.unit));
  const lines = stacked.map((points, index) => {
    const limit = isLimit(shown[index] as NamedSeries);
    return drawLine(at, points, colorOf(index, limit), limit, style.isStacked);
  });
  return at.svg + lines.join('') + legend(box, shown, isLimit);
}

function drawLine(
  { x, y, range }: Frame,
  points: readonly [number, number, number][],
  color: string,
  isLimit: boolean,
  isStacked: boolean,
): string {
  const spot = (time: number, value: number): string => `${rounded(x(time))} ${rounded(y(value))}`;
  let before = Number.NEGATIVE_INFINITY;
  const upper = points.map(([time, , value]) => {
    const joins = time - before <= GAP_STEPS * range.stepSeconds;
    before = time;
    return `${joins ? 'L' : 'M'}${spot(time, value)}`;
  });
  const line = element('path', {
    d: upper.join(''),
    fill: 'none',
    stroke: color,
    'stroke-width': 1.2,
    ...(isLimit ? { 'stroke-dasharray': '5 4' } : {}),
  });
  if (!isStacked || isLimit) return line;
  const lower = points.toReversed().map(([time, value]) => `L${spot(time, value)}`);
  const outline = `M${[...upper.map((step) => step.slice(1)), ...lower.map((step) => step.slice(1))].join('L')}Z`;
  return element('path', { d: outline, fill: color, 'fill-opacity': '0.35' }) + line;
}

/** As many names as fit. */
function legend(
  box: Box,
  series: readonly NamedSeries[],
  isLimit: (series: NamedSeries) => boolean,
): string {
  let x = box.x + 8;
  const y = box.y + box.height - 5;
  const parts: string[] = [];
  for (const [index, one] of series.entries()) {
    const { name } = one;
    const width = 14 + textWidth(name) + 8;
    if (x + width > box.x + box.width - 20) {
      parts.push(text(x, y, '...', QUIET_TEXT));
      break;
    }
    parts.push(rect({ x, y: y - 5, width: 10, height: 3 }, { fill: colorOf(index, isLimit(one)) }));
    parts.push(text(x + 14, y, name));
    x += width;
  }
  return parts.join('');
}

const LIGHT = [255, 245, 235];
const DARK = [166, 54, 3];

function heatColor(share: number): string {
  const mixed = LIGHT.map((from, i) => from + ((DARK[i] as number) - from) * share);
  return `rgb(${mixed.map(Math.round).join(',')})`;
}

/** Cells of the counts between two bounds; the series have cumulative counts by `le`. */
export function drawHeat(box: Box, series: readonly Series[], range: Range, unit: string): string {
  const rows = series
    .map(({ labels, points }) => ({ bound: Number((labels['le'] ?? '').replace('+', '')), points }))
    .toSorted((a, b) => a.bound - b.bound);
  const rises = rows.map(({ points }, row) => {
    const below = new Map(rows[row - 1]?.points);
    return points.map(([time, value]) => [time, value - (below.get(time) ?? 0)] as const);
  });
  const most = Math.max(1e-9, ...rises.flat().map(([, value]) => value));
  const place = (index: number): number => index / rows.length;
  const every = Math.ceil(rows.length / 6);
  const ticks = rows.map((_, i) => i).filter((i) => i % every === every - 1);
  const at = frame(box, range, { place, ticks: ticks.map((i) => i + 1) }, (tick) => {
    const bound = rows[tick - 1]?.bound ?? 0;
    return Number.isFinite(bound) ? valueText(bound, unit) : 'more';
  });
  const height = at.plot.height / rows.length;
  const width = (at.plot.width * range.stepSeconds) / (range.to - range.from);
  const cells = rises.flatMap((points, row) =>
    points
      .filter(([, value]) => value > 1e-9)
      .map(([time, value]) => {
        const cell = { x: at.x(time) - width, y: at.y(row + 1), width, height: height - 0.5 };
        return rect(cell, { fill: heatColor(Math.sqrt(value / most)) });
      }),
  );
  return (
    at.svg +
    cells.join('') +
    text(
      box.x + 8,
      box.y + box.height - 5,
      cut(`darkest: ${valueText(most, 'reqps')}`, box.width),
      QUIET_TEXT,
    )
  );
}
