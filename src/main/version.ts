import { createRequire } from 'node:module';

/** The package's version. By its own name: the compiled file may be at any depth below it. */
export function packageVersion(): string {
  const require = createRequire(import.meta.url);
  const { version } = require('sluicefs/package.json') as { version: string };
  return version;
}
