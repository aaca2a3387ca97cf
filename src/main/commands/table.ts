/** Tables and figures for a terminal. */
import { oneLine } from '../../shared/errors.ts';

export interface Column<Row> {
  readonly head: string;
  readonly align: 'left' | 'right';
  cell(row: Row): string;
}

const GAP = '  ';

/** Lines of a table with a head; nothing in them can break a line or drive the terminal. */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): readonly string[] {
  const cells = rows.map((row) => columns.map((column) => oneLine(column.cell(row))));
  const lines = [columns.map(({ head }) => head), ...cells];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => lengthOf(line[at]))));
  return lines.map((line) =>
    columns
      .map(({ align }, at) => pad(line[at] ?? '', widths[at] ?? 0, align))
      .join(GAP)
      .trimEnd(),
  );
}

/** In characters, not in UTF-16 units. */
function lengthOf(text = ''): number {
  return [...text].length;
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const blanks = ' '.repeat(Math.max(width - lengthOf(text), 0));
  return align === 'left' ? text + blanks : blanks + text;
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.5 MiB`. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${BYTE_UNITS[unit]}`;
}

/** `3d 4h`, `5m 6s`, `7s`: the two largest units. */
export function durationText(totalSeconds: number): string {
  const seconds = Math.floor(totalSeconds);
  const parts: readonly [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}

/** A rate: one decimal below ten. */
export function rateText(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

const TIME_UNITS = [
  { unit: 'us', sizeUs: 1 },
  { unit: 'ms', sizeUs: 1000 },
  { unit: 's', sizeUs: 1_000_000 },
];

/** `85 us`, `1.3 ms`, `2.5 s`; `>= 10 s` for the longest duration that is told apart, or more. */
export function latencyText(durationUs: number, mostUs: number): string {
  const { unit, sizeUs } =
    TIME_UNITS.findLast((one) => durationUs >= one.sizeUs) ??
    (TIME_UNITS[0] as { unit: string; sizeUs: number });
  const value = durationUs / sizeUs;
  const text = `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
  return durationUs >= mostUs ? `>= ${text}` : text;
}
