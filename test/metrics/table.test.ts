import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SPARE_LANES } from '../../src/main/dispatch/policy.ts';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { OPCODES } from '../../src/shared/abi/opcodes.ts';
import {
  CLASS_BY_ERRNO,
  combinations,
  ERROR_CLASS_LABELS,
  GROUP_BY_INDEX,
  LANE_OPERATION_BY_INDEX,
  LANE_OPERATION_LABELS,
  METRICS,
  type MetricRow,
  NO_LANE_OPERATION,
  OPERATION_BY_INDEX,
  OPERATION_GROUPS,
  OPERATION_LABELS,
  seriesCount,
} from '../../src/shared/metrics-table.ts';
import { OPTIONS } from '../../src/shared/options.ts';
import { histogramOf, STAT, STAT_CELLS } from '../../src/shared/stats-layout.ts';

const rows: readonly MetricRow[] = METRICS;
const MOST_SERIES = 1000;

test('the largest mount has no more than 1,000 series', (t) => {
  const most = seriesCount(OPTIONS.lanes.max + SPARE_LANES);
  t.diagnostic(`${seriesCount(OPTIONS.lanes.default + SPARE_LANES)} series, ${most} at the most`);
  assert.ok(most <= MOST_SERIES, String(most));
});

test('names follow the rules of Prometheus', () => {
  const names = rows.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, 'a name stands twice');
  for (const { name, type, labels, info, by } of rows) {
    assert.match(name, /^(sluice|process|nodejs)(_[a-z]+)+$/, name);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    assert.equal(name.endsWith('_info'), info !== undefined, name);
    // Base units only.
    assert.doesNotMatch(name, /_(us|ms|microseconds|milliseconds|kib|mib|kilobytes)(_|$)/, name);
    for (const label of [...Object.keys(labels ?? {}), ...(info ?? []), ...(by ? [by] : [])]) {
      assert.match(label, /^[a-z]+(_[a-z]+)*$/, `${name} ${label}`);
      assert.ok(!['le', 'quantile', 'job', 'instance'].includes(label), `${name} ${label}`);
    }
  }
});

test('each metric has one source, and label values that are closed sets', () => {
  for (const row of rows) {
    const sources = [row.cells, row.reading, row.info].filter((source) => source !== undefined);
    assert.equal(sources.length, 1, row.name);
    assert.equal(row.type === 'histogram', row.bounds !== undefined, row.name);
    for (const values of Object.values(row.labels ?? {})) {
      assert.equal(new Set(values).size, values.length, row.name);
      for (const value of values) assert.match(value, /^[a-z0-9_]+$/, row.name);
    }
    if (row.reading !== undefined) assert.ok(Object.keys(row.labels ?? {}).length <= 1, row.name);
  }
});

test('no two metrics share a cell', () => {
  const owners = new Map<number, string>();
  for (const row of rows) {
    const names = (row.cells ?? []) as readonly (keyof typeof STAT)[];
    const cells = row.bounds === undefined ? 1 : row.bounds.length + 2;
    const each = names.length === 1 ? cells * combinations(row).length : cells;
    for (const name of names) {
      for (let cell = STAT[name]; cell < STAT[name] + each; cell++) {
        assert.equal(owners.get(cell), undefined, `${row.name} and ${owners.get(cell)}`);
        owners.set(cell, row.name);
        assert.ok(cell < STAT_CELLS, row.name);
      }
    }
  }
});

test('operations and errors are in the classes they belong to', () => {
  assert.equal(OPERATION_GROUPS.length, 15, '14 hot operations and the others');
  assert.ok(ERROR_CLASS_LABELS.length <= 8);
  for (const { name, class: kind, statsIndex } of OPCODES) {
    const label = OPERATION_LABELS[OPERATION_BY_INDEX[statsIndex] as number];
    assert.equal(label, kind === 'absent' ? 'unsupported' : name.toLowerCase());
    const group = OPERATION_GROUPS[GROUP_BY_INDEX[statsIndex] as number] as string;
    assert.ok(group === name.toLowerCase() || group === 'other', `${name} ${group}`);
    const lane = LANE_OPERATION_BY_INDEX[statsIndex] as number;
    const isRunByLanes = kind === 'cached' || kind === 'blocking';
    assert.equal(lane === NO_LANE_OPERATION, !isRunByLanes, name);
    if (isRunByLanes) assert.equal(LANE_OPERATION_LABELS[lane], name.toLowerCase());
  }
  const classOf = (errno: number): string | undefined =>
    ERROR_CLASS_LABELS[CLASS_BY_ERRNO[errno] as number];
  assert.equal(classOf(ERRNO.ENOENT), 'not_found');
  assert.equal(classOf(ERRNO.EDQUOT), 'no_space');
  assert.equal(classOf(ERRNO.EIO), 'io');
  assert.equal(classOf(ERRNO.EINVAL), 'other');
  assert.equal(classOf(255), 'other');
});

test('bounds of histograms grow, in whole units of their cells', () => {
  for (const row of rows.filter(({ bounds }) => bounds !== undefined)) {
    const { bounds } = histogramOf(row);
    for (let i = 0; i < bounds.length; i++) {
      assert.ok(i === 0 || (bounds[i] as number) > (bounds[i - 1] as number), row.name);
      const given = (row.bounds?.[i] as number) / (row.scale ?? 1);
      assert.ok(Math.abs((bounds[i] as number) - given) < 1e-6, `${row.name} ${given}`);
    }
  }
});
