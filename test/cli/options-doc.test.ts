import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { OPTION_KEYS } from '../../src/shared/options.ts';
import { renderOptionsDoc } from '../tools/print-options-doc.ts';

const packageRoot = dirname(createRequire(import.meta.url).resolve('sluicefs/package.json'));

test('docs/options.md is what the table says', () => {
  const written = readFileSync(join(packageRoot, 'docs', 'options.md'), 'utf8');
  assert.equal(written, renderOptionsDoc(), 'run print-options-doc.js > docs/options.md');
});

test('every option is in the documentation', () => {
  const text = renderOptionsDoc();
  for (const name of OPTION_KEYS.keys()) {
    assert.ok(text.includes(`| \`${name}\` |`), name);
  }
});
