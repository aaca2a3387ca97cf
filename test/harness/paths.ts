import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findProjectRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package-lock.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error('no package-lock.json above the compiled tests');
    directory = parent;
  }
  return directory;
}

/** The directory of package.json and package-lock.json. */
export const projectRoot = findProjectRoot();

/** The compiled `sluice` command. */
export const cliPath = fileURLToPath(new URL('../../src/main/cli.js', import.meta.url));
