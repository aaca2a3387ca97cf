/** The metrics table registered with prom-client: every value is taken from its source at a scrape. */
import { Counter, Gauge, type Metric, Registry } from 'prom-client';
import type { HistogramPlace, StatsBlock } from '../shared/memory/stats-block.ts';
import { deputyThread, laneThread, MAIN_THREAD } from '../shared/memory/thread-journal.ts';
import {
  combinations,
  type InfoLabel,
  METRICS,
  type MetricRow,
  type ReadingName,
  WHERE_LABELS,
} from '../shared/metrics-table.ts';
import { histogramOf, STAT, type StatName } from '../shared/stats-layout.ts';
import type { Readings } from './exporter-readings.ts';

/** Where values come from. */
export interface MetricSources {
  readonly stats: StatsBlock;
  readonly readings: Readings;
  readonly maxLanes: number;
  /** How long a lane has been at the request it is at, microseconds. */
  currentUs(lane: number): number;
  /** The label of an `_info` metric, as it is now. */
  info(label: InfoLabel): string;
}

type Labels = Readonly<Record<string, string>>;
interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** All metrics of the table in a registry of their own. */
export function registerMetrics(sources: MetricSources): Registry {
  const registry = new Registry();
  for (const row of METRICS as readonly MetricRow[]) {
    if (row.type === 'histogram') registerHistogram(registry, row, sources.stats);
    else registerPlain(registry, row, samplerOf(row, sources));
  }
  return registry;
}

function registerPlain(registry: Registry, row: MetricRow, sample: () => Sample[]): void {
  const { name, help } = row;
  const common = { name, help, labelNames: labelNamesOf(row), registers: [registry] };
  if (row.type === 'counter') {
    new Counter({
      ...common,
      collect() {
        this.reset();
        for (const { labels, value } of sample()) this.inc(labels, value);
      },
    });
  } else {
    new Gauge({
      ...common,
      collect() {
        this.reset();
        for (const { labels, value } of sample()) this.set(labels, value);
      },
    });
  }
}

function labelNamesOf(row: MetricRow): string[] {
  const by = row.by === undefined ? [] : [row.by];
  return [...Object.keys(row.labels ?? {}), ...by, ...(row.info ?? [])];
}

function samplerOf(row: MetricRow, sources: MetricSources): () => Sample[] {
  if (row.info !== undefined) return infoSampler(row.info as readonly InfoLabel[], sources);
  if (row.reading !== undefined) {
    return readingSampler(row, sources.readings[row.reading as ReadingName]);
  }
  return row.by === 'lane' ? laneSampler(row, sources) : cellSampler(row, sources);
}

function infoSampler(names: readonly InfoLabel[], sources: MetricSources): () => Sample[] {
  return () => {
    const labels = Object.fromEntries(names.map((name) => [name, sources.info(name)]));
    return [{ labels, value: 1 }];
  };
}

function readingSampler(row: MetricRow, read: (value: string) => number): () => Sample[] {
  const all = combinations(row);
  return () => all.map((labels) => ({ labels, value: read(Object.values(labels)[0] ?? '') }));
}

/** The cell of each combination of labels, in their order. */
function cellsOf(row: MetricRow): number[] {
  const names = (row.cells ?? []) as readonly StatName[];
  return combinations(row).map((_, index) =>
    names.length === 1 ? STAT[names[0] as StatName] + index : STAT[names[index] as StatName],
  );
}

function cellSampler(row: MetricRow, { stats, maxLanes }: MetricSources): () => Sample[] {
  const { scale = 1 } = row;
  const cells = cellsOf(row);
  const all = combinations(row);
  if (row.by === undefined) {
    return () => all.map((labels, i) => ({ labels, value: scale * stats.sum(cells[i] as number) }));
  }
  const deputy = deputyThread(maxLanes);
  const byWhere = WHERE_LABELS.map((where) => all.map((labels) => ({ ...labels, where })));
  return () =>
    byWhere.flatMap((labelled, isLane) =>
      labelled.map((labels, i) => {
        const cell = cells[i] as number;
        // The deputy, and the threads of queues, answer in main's place.
        const value = isLane
          ? stats.sum(cell, laneThread(0), deputy)
          : stats.of(MAIN_THREAD, cell) + stats.sum(cell, deputy);
        return { labels, value: scale * value };
      }),
    );
}

/** Busy time of each lane, with that of the request it is at: a lane that hangs is busy. */
function laneSampler(row: MetricRow, sources: MetricSources): () => Sample[] {
  const { stats, maxLanes } = sources;
  const { scale = 1 } = row;
  const [cell = 0] = cellsOf(row);
  const most = new Float64Array(maxLanes);
  return () =>
    Array.from({ length: maxLanes }, (_, lane) => {
      // A request may end between two looks: what was said once is not taken back.
      const busyUs = stats.of(laneThread(lane), cell) + sources.currentUs(lane);
      most[lane] = Math.max(most[lane] as number, busyUs);
      return { labels: { lane: String(lane) }, value: scale * (most[lane] as number) };
    });
}

/** prom-client only asks a metric for its name and its values: see Registry.registerMetric(). */
function registerHistogram(registry: Registry, row: MetricRow, stats: StatsBlock): void {
  const place = histogramOf(row);
  const { name, help, type } = row;
  const all = combinations(row);
  const get = async () => ({
    name,
    help,
    type,
    aggregator: 'sum',
    values: all.flatMap((labels, i) => histogramSamples(row, place, labels, i, stats)),
  });
  registry.registerMetric({ name, help, type, get } as unknown as Metric);
}

function histogramSamples(
  row: MetricRow,
  { at, stride, bounds }: HistogramPlace,
  labels: Labels,
  index: number,
  stats: StatsBlock,
): (Sample & { readonly metricName: string })[] {
  const { name, scale = 1 } = row;
  const first = at + index * stride;
  const limits = [...(row.bounds ?? []).map(String), '+Inf'];
  let count = 0;
  const buckets = limits.map((le, bucket) => {
    count += stats.sum(first + bucket);
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
  });
  const sum = scale * stats.sum(first + bounds.length + 1);
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
