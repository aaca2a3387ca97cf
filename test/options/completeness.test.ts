import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OPTIONS, type OptionKey, rowOf } from '../../src/shared/options.ts';

const folder = fileURLToPath(new URL('..', import.meta.url));

test('every group of options has a file of tests that looks for gaps', () => {
  const checked = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.js'))
    .flatMap((name) => [
      ...readFileSync(join(folder, name), 'utf8').matchAll(/^everyOptionIsTested\('(.*)'\);$/gm),
    ])
    .map(([, group]) => group);
  const groups = new Set((Object.keys(OPTIONS) as OptionKey[]).map((key) => rowOf(key).group));
  assert.deepEqual(checked.toSorted(), [...groups].toSorted());
});
