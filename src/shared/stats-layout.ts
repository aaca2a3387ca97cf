/**
 * Where in a thread's row of the stats block each cell of the metrics table stands, and the cells that
 * are no metrics: what the thread is at.
 */
import { combinations, METRICS, type MetricCell, type MetricRow } from './metrics-table.ts';

/**
 * What a thread does at this moment, written by the thread itself and read by whoever looks after
 * it: since when (milliseconds of nowUs(), 0: nothing), the opcode and the nodeid, which are written
 * before the time; and when main's loop last turned.
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

/** A histogram in a row: a cell for each bucket, one for what is above them, and the sum. */
export interface HistogramCells {
  /** First cell of the first histogram. */
  readonly at: number;
  /** Cells of one histogram. */
  readonly stride: number;
  /** Upper bounds in the unit of the cells. */
  readonly bounds: Float64Array;
}

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

function histogram(name: MetricCell): HistogramCells {
  const row = (METRICS as readonly MetricRow[]).find(({ cells }) => cells?.[0] === name);
  if (row?.bounds === undefined) throw new Error(`${name} is no histogram`);
  const scale = row.scale ?? 1;
  const bounds = Float64Array.from(row.bounds, (bound) => Math.round(bound / scale));
  return { at: STAT[name], stride: cellsOf(row), bounds };
}

export const REQUEST_DURATION = histogram('REQUEST_DURATION');
export const QUEUE_WAIT = histogram('QUEUE_WAIT');
export const REQUEST_SIZE = histogram('REQUEST_SIZE');
