import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { METRICS, type MetricRow } from '../../src/shared/metrics-table.ts';
import { projectRoot } from '../harness/paths.ts';
import { renderDashboards } from '../tools/write-dashboards.ts';
import { panelsOf, readDashboards, targetsOf } from './expressions.ts';

const DIRECTORY = join(projectRoot, 'grafana/dashboards');
// biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

function expressionsOf(dashboard: Dashboard): string[] {
  return panelsOf(dashboard).flatMap((panel) => targetsOf(panel).map(({ expr }) => expr));
}

test('the dashboards are what the generator writes', () => {
  const expected = renderDashboards();
  assert.deepEqual(readdirSync(DIRECTORY).toSorted(), [...expected.keys()].toSorted());
  for (const [name, text] of expected) {
    const written = readFileSync(join(DIRECTORY, name), 'utf8');
    assert.ok(written === text, `${name}: run write-dashboards.js grafana/dashboards`);
  }
});

test('a dashboard can be imported anywhere', () => {
  for (const dashboard of readDashboards()) {
    const { uid = '', schemaVersion, panels = [] } = dashboard;
    assert.match(uid, /^sluice-[a-z]+$/);
    assert.ok(!('id' in dashboard), `${uid} has an id`);
    assert.ok(schemaVersion >= 39 && schemaVersion <= 41, `${uid}: ${schemaVersion}`);
    assert.deepEqual(dashboard.tags, ['fuse', 'sluice']);
    const ids = panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length, `${uid}: two panels have the same id`);
    assert.equal(dashboard.templating?.list?.[0]?.name, 'datasource');
    for (const { name, type, datasource } of dashboard.templating?.list ?? []) {
      if (type !== 'datasource') assert.deepEqual(datasource, DATASOURCE, name);
    }
    for (const { name, datasource } of dashboard.annotations?.list ?? []) {
      assert.deepEqual(datasource, DATASOURCE, name);
    }
  }
});

test('every panel says what it shows, in which unit, and asks the chosen data source', () => {
  for (const dashboard of readDashboards()) {
    for (const panel of panelsOf(dashboard)) {
      const name = `${dashboard.uid}, ${panel.title}`;
      assert.match(panel.description ?? '', /^\S.*\.$/s, name);
      assert.ok((panel.fieldConfig?.defaults.unit ?? '') !== '', `${name} has no unit`);
      assert.deepEqual(panel.datasource, DATASOURCE, name);
      assert.ok(targetsOf(panel).length > 0, `${name} asks nothing`);
      for (const target of targetsOf(panel)) assert.deepEqual(target.datasource, DATASOURCE, name);
      const refIds = targetsOf(panel).map(({ refId }) => refId);
      assert.equal(new Set(refIds).size, refIds.length, name);
    }
  }
});

test('panels lie beside and below each other', () => {
  for (const { uid, panels = [] } of readDashboards()) {
    const taken = new Set<string>();
    for (const { title, gridPos } of panels) {
      assert.ok(gridPos !== undefined && gridPos.x + gridPos.w <= 24, `${uid}, ${title}`);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.ok(!taken.has(`${x},${y}`), `${uid}, ${title} lies on another panel`);
          taken.add(`${x},${y}`);
        }
      }
    }
  }
});

test('rates adapt to the time shown, and mounts are those that were chosen', () => {
  for (const dashboard of readDashboards()) {
    for (const expr of expressionsOf(dashboard)) {
      for (const [, range] of expr.matchAll(/\[([^\]]*)\]/g)) {
        assert.match(range as string, /^\$__(rate_interval|range)$/, expr);
      }
      for (const [selector] of expr.matchAll(/\b(?:sluice|process|nodejs)_\w+\{[^}]*\}?/g)) {
        assert.ok(selector.includes('job=~"$job", instance=~"$instance"'), selector);
      }
      assert.doesNotMatch(expr, /\b(?:sluice|process|nodejs)_\w+\b(?!\{)/, expr);
    }
  }
});

test('every metric stands in a panel', () => {
  const all = readDashboards().flatMap(expressionsOf).join('\n');
  const names = new Set(all.match(/\b(?:sluice|process|nodejs)_\w+/g));
  const missing = (METRICS as readonly MetricRow[])
    .flatMap(({ name, type }) => (type === 'histogram' ? [`${name}_bucket`] : [name]))
    .filter((name) => !names.has(name));
  assert.deepEqual(missing, []);
});

test('no panel asks for a metric or a value of a label that does not exist', () => {
  const rows = METRICS as readonly MetricRow[];
  for (const expr of readDashboards().flatMap(expressionsOf)) {
    for (const [, name, matchers] of expr.matchAll(
      /\b((?:sluice|process|nodejs)_\w+)\{([^}]*)\}/g,
    )) {
      const base = (name as string).replace(/_(bucket|sum|count)$/, '');
      const row = rows.find((known) => known.name === name || known.name === base);
      assert.ok(row !== undefined, `${name} is no metric`);
      for (const [, label, value] of (matchers as string).matchAll(/(\w+)=~?"([^"$]+)"/g)) {
        const known = row.labels?.[label as string];
        if (known === undefined) continue;
        for (const part of (value as string).split('|')) {
          assert.ok(known.includes(part), `${name}: ${label}="${part}"`);
        }
      }
    }
  }
});
