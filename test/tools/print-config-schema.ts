/**
 * Prints docs/sluice.schema.json, the JSON Schema of configuration files, made from the option table:
 * `print-config-schema.js > docs/sluice.schema.json`. Editors that know TOML complete and check by it.
 */
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { IF_ROOT } from '../../src/shared/option-table.ts';
import { plainText, SCALED, valueSchema } from '../../src/shared/option-values.ts';
import {
  describeDefault,
  describeDomain,
  OPTION_KEYS,
  type OptionRow,
  rowOf,
} from '../../src/shared/options.ts';

const PLACES = {
  source: plainText.meta({ description: 'the directory to serve' }),
  mountpoint: plainText.meta({ description: 'the directory to mount on, or /dev/fd/N' }),
};

/** What a file may say for a row: the row's own check, and what is read as the same. */
function schemaOf(row: OptionRow): z.ZodType {
  switch (row.kind) {
    case 'count':
    case 'size':
      return z.union([valueSchema(row), z.string().regex(SCALED)]);
    case 'enum':
      return z.enum([...row.values, ...Object.keys(row.aliases ?? {})] as [string, ...string[]]);
    case 'rules':
      return z.union([plainText, z.array(plainText)]);
    default:
      return valueSchema(row);
  }
}

function described(row: OptionRow): z.ZodType {
  const description = `${row.help}; ${describeDomain(row)} (default: ${describeDefault(row)})`;
  const { default: fallback } = row;
  const isPlain = fallback !== undefined && fallback !== IF_ROOT;
  return schemaOf(row).meta(isPlain ? { description, default: fallback } : { description });
}

/** The whole text of docs/sluice.schema.json. */
export function renderConfigSchema(): string {
  const options = [...OPTION_KEYS].map(([name, key]) => [name, described(rowOf(key))] as const);
  const file = z.strictObject({ ...PLACES, ...Object.fromEntries(options) }).partial();
  const schema = z.toJSONSchema(file.meta({ title: 'A configuration of sluice mount' }));
  return `${JSON.stringify(schema, null, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.stdout.write(renderConfigSchema());
}
