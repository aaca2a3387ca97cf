/**
 * A program: has the kernel look names up and forget them.
 * Usage: churn.js DIRECTORY NAMES ROUNDS (the names are file-0 and on)
 */
import { lstatSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [directory, names, rounds] = process.argv.slice(2) as [string, string, string];
for (let round = 0; round < Number(rounds); round++) {
  for (let i = 0; i < Number(names); i++) lstatSync(join(directory, `file-${i}`));
  writeFileSync('/proc/sys/vm/drop_caches', '2');
}
