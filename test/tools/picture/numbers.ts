/** Single values, bars and tables. */
import type { NamedSeries } from './graph.ts';
import { valueText } from './scale.ts';
import { type Box, cut, rect, text } from './svg.ts';

const NAMED_COLORS: Readonly<Record<string, string>> = {
  green: '#37872d',
  orange: '#fa6400',
  red: '#c4162a',
  blue: '#3274d9',
  text: '#24292e',
};
const LINE_HEIGHT = 20;
const HEAD = { 'font-weight': 'bold', fill: '#6e7680' };

export interface Threshold {
  readonly color: string;
  readonly value: number | null;
}

function colorAt(value: number, thresholds: readonly Threshold[]): string {
  const passed = thresholds.filter((step) => step.value === null || value >= step.value);
  return NAMED_COLORS[passed.at(-1)?.color ?? 'text'] ?? '#24292e';
}

/** The latest value of a series. */
export function latest({ points }: Pick<NamedSeries, 'points'>): number {
  return points.at(-1)?.[1] ?? Number.NaN;
}

export function drawSingle(
  box: Box,
  value: number,
  written: string,
  thresholds: readonly Threshold[],
): string {
  return text(box.x + box.width / 2, box.y + box.height / 2 + 6, written, {
    'text-anchor': 'middle',
    'font-size': '24',
    fill: colorAt(value, thresholds),
  });
}

export function drawBars(box: Box, series: readonly NamedSeries[], unit: string): string {
  const shown = series.slice(0, Math.floor(box.height / LINE_HEIGHT));
  const most = Math.max(...shown.map(latest));
  const room = box.width - 170;
  return shown
    .map((one, index) => {
      const y = box.y + index * LINE_HEIGHT + 4;
      const bar = { x: box.x + 92, y, width: (latest(one) / most) * room, height: LINE_HEIGHT - 8 };
      return [
        text(box.x + 84, y + 10, one.name, { 'text-anchor': 'end' }),
        rect(bar, { fill: NAMED_COLORS['blue'] as string }),
        text(bar.x + bar.width + 6, y + 10, valueText(latest(one), unit)),
      ].join('');
    })
    .join('');
}

/** A table with columns as wide as what is in them needs, as far as there is room. */
export function drawTable(
  box: Box,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const lengths = head.map((title, column) =>
    Math.min(60, Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)) + 2),
  );
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const lines = [head, ...rows].slice(0, Math.floor(box.height / LINE_HEIGHT));
  return lines
    .map((cells, line) => {
      let x = box.x + 8;
      return cells
        .map((cell, column) => {
          const width = ((box.width - 16) * (lengths[column] as number)) / total;
          const drawn = text(
            x,
            box.y + 14 + line * LINE_HEIGHT,
            cut(cell, width - 6),
            line === 0 ? HEAD : {},
          );
          x += width;
          return drawn;
        })
        .join('');
    })
    .join('');
}
