import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse, stringify } from 'smol-toml';
import { z } from 'zod';
import { parseConfig } from '../../src/main/config/config-file.ts';
import { SETTING_NAMES } from '../../src/main/config/settings.ts';
import { renderConfigSchema } from '../tools/print-config-schema.ts';

const packageRoot = dirname(createRequire(import.meta.url).resolve('sluicefs/package.json'));
const schema = z.fromJSONSchema(JSON.parse(renderConfigSchema()));

function isAccepted(text: string): boolean {
  try {
    parseConfig(text, '/a.toml');
    return true;
  } catch {
    return false;
  }
}

test('docs/sluice.schema.json is what the table says', () => {
  const written = readFileSync(join(packageRoot, 'docs', 'sluice.schema.json'), 'utf8');
  const cure = 'run print-config-schema.js > docs/sluice.schema.json';
  assert.equal(written, renderConfigSchema(), cure);
});

test('every name a file may use is in the schema, and none besides', () => {
  const { properties, additionalProperties } = JSON.parse(renderConfigSchema());
  assert.deepEqual(Object.keys(properties), [...SETTING_NAMES.keys()]);
  assert.equal(additionalProperties, false);
});

test('the files in docs/configure.md are good ones', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'configure.md'), 'utf8');
  const files = [...page.matchAll(/^```toml\n([\s\S]*?)^```$/gm)].map(([, text]) => text ?? '');
  assert.ok(files.length > 0);
  for (const text of files) {
    assert.ok(isAccepted(text), text);
    assert.ok(schema.safeParse(parse(text)).success, text);
  }
});

/** Texts are right or wrong only by their meaning: the schema cannot tell. */
const value = fc.oneof(
  fc.boolean(),
  fc.integer({ min: -1, max: 70_000 }),
  fc.double({ min: -1, max: 100, noNaN: true }),
  fc.constantFrom('auto', 'never', 'none', 'prefer', 'json', 'debug', '4', '8K', '-', 'x y', ''),
  fc.constant([1]),
);

test('the schema accepts what the command accepts', () => {
  const names = [...SETTING_NAMES.keys()].filter(
    (name) => !/^(xattrmap|translate_.id)$/.test(name),
  );
  const counts = { accepted: 0, refused: 0 };
  fc.assert(
    fc.property(fc.constantFrom(...names, 'unknown'), value, (name, given) => {
      const text = stringify({ [name]: given });
      const document = parse(text);
      const accepted = isAccepted(text);
      counts[accepted ? 'accepted' : 'refused']++;
      // A number as text has the form of one for the schema, and a range for the command.
      if (typeof given === 'string' && /^\d/.test(given)) {
        assert.ok(!accepted || schema.safeParse(document).success, text);
      } else {
        assert.equal(schema.safeParse(document).success, accepted, text);
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(counts.accepted > 200 && counts.refused > 200, JSON.stringify(counts));
});
