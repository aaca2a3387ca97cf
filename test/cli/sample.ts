/** A value of each option. */
import type { OptionRow } from '../../src/shared/options.ts';

/** A text a row accepts on a command line, and the value it stands for. */
export function sample(row: OptionRow): [string, unknown] {
  switch (row.kind) {
    case 'bool':
    case 'mountFlag':
      return ['false', false];
    case 'duration':
      return ['0.5', 0.5];
    case 'count':
      return [String(row.max), row.max];
    case 'size':
      return ['8K', 8192];
    case 'enum':
      return [String(row.values.at(-1)).toUpperCase(), row.values.at(-1)];
    case 'rules':
      return row.name === 'xattrmap'
        ? [':ok:all:::', [':ok:all:::']]
        : ['map:1:2:3', ['map:1:2:3']];
    default:
      return ['/some text', '/some text'];
  }
}
