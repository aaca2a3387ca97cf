/**
 * Where in a thread's row of the stats block each cell of the metrics table stands, and the cells that
 * are no metrics: what the thread is at.
 */
import type { HistogramPlace } from './memory/stats-block.ts';
import { combinations, METRICS, type MetricCell, type MetricRow } from './metrics-table.ts';

/**
 * Cells for who looks after the threads, each written by its own thread. BUSY_...: since when the
 * thread is at a request (milliseconds of nowUs(), 0: at none), its opcode and nodeid, which are
 * written before the time. The rest is main's: when its loop last turned, requests in its memory,
 * lanes it has started.
 */
const MARKS = [
  'BUSY_SINCE_MS',
  'BUSY_OPCODE',
  'BUSY_NODE_LO',
  'BUSY_NODE_HI',
  'HEARTBEAT_MS',
  'PARKED_NOW',
  'LANES_STARTED',
] as const;

export type StatName = MetricCell | (typeof MARKS)[number];

/** Cells that one combination of labels takes. */
function cellsOf(row: MetricRow): number {
  return row.bounds === undefined ? 1 : row.bounds.length + 2;
}

function layOut(): { places: Record<StatName, number>; cells: number } {
  const places: Record<string, number> = {};
  let next = 0;
  const take = (name: string, cells: number): void => {
    if (Object.hasOwn(places, name)) throw new Error(`two metrics have the cell ${name}`);
    places[name] = next;
    next += cells;
  };
  for (const mark of MARKS) take(mark, 1);
  for (const row of METRICS as readonly MetricRow[]) {
    const count = combinations(row).length;
    const names = row.cells ?? [];
    if (names.length > 1 && names.length !== count)
      throw new Error(`${row.name}: cells and labels`);
    for (const name of names) take(name, cellsOf(row) * (names.length === 1 ? count : 1));
  }
  return { places: places as Record<StatName, number>, cells: next };
}

const layout = layOut();

/** Cells of a thread's row by name: the first one where a metric has labels. */
export const STAT: Readonly<Record<StatName, number>> = layout.places;

/** Cells of a row. */
export const STAT_CELLS = layout.cells;

/** Where the cells of a histogram stand. */
export function histogramOf(row: MetricRow): HistogramPlace {
  const { bounds = [], scale = 1 } = row;
  return {
    at: STAT[row.cells?.[0] as StatName],
    stride: cellsOf(row),
    bounds: Float64Array.from(bounds, (bound) => Math.round(bound / scale)),
  };
}

function histogram(name: MetricCell): HistogramPlace {
  const row = (METRICS as readonly MetricRow[]).find(({ cells }) => cells?.[0] === name);
  if (row === undefined) throw new Error(`no metric has the cell ${name}`);
  return histogramOf(row);
}

export const REQUEST_DURATION = histogram('REQUEST_DURATION');
export const QUEUE_WAIT = histogram('QUEUE_WAIT');
export const REQUEST_SIZE = histogram('REQUEST_SIZE');
