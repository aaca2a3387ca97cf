import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { defer } from './cleanup.ts';
import { run } from './run.ts';
import { tempDirs } from './temp-dir.ts';

export interface Overlay {
  readonly lower: string;
  readonly upper: string;
  readonly merged: string;
}

/**
 * An overlay, which is gone after the test.
 * @param t is skipped, with the reason, where there can be none
 * @param options of mount(8), behind a comma
 */
export async function makeOverlay(t: TestContext, options = ''): Promise<Overlay | undefined> {
  const [base] = (await tempDirs('overlay')) as [string];
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) =>
    join(base, name),
  ) as [string, string, string, string];
  for (const layer of [lower, upper, work, merged]) mkdirSync(layer);
  const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}${options}`;
  const made = await run('mount', ['-t', 'overlay', '-o', layers, 'overlay', merged]);
  if (made.code !== 0) {
    t.skip(`no overlay here: ${made.stderr.trim()}`);
    return undefined;
  }
  defer(async () => void (await run('umount', ['-l', merged])));
  return { lower, upper, merged };
}
