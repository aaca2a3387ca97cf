import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { METRICS } from '../../src/shared/metrics-table.ts';
import { renderMetricsDoc } from '../tools/print-metrics-doc.ts';

const packageRoot = dirname(createRequire(import.meta.url).resolve('sluicefs/package.json'));

test('docs/metrics.md is what the table says', () => {
  const written = readFileSync(join(packageRoot, 'docs', 'metrics.md'), 'utf8');
  assert.equal(written, renderMetricsDoc(), 'run print-metrics-doc.js > docs/metrics.md');
});

test('every metric is in the documentation', () => {
  const text = renderMetricsDoc();
  for (const { name, help } of METRICS) {
    assert.ok(text.includes(`| \`${name}\` |`), name);
    assert.match(help, /^[A-Z].*[^.]$/, name);
  }
});
