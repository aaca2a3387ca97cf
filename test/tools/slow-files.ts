/** A reporter of `node --test`: says at the end which files took longest. */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { seconds } from '../harness/seconds.ts';

const MOST_SHOWN = 10;
const testRoot = fileURLToPath(new URL('..', import.meta.url));

export default async function* slowFiles(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const elapsedMs = new Map<string, number>();
  for await (const { type, data } of events) {
    // A file is a test of that name around its tests.
    if (type !== 'test:complete' || data.name !== data.file) continue;
    elapsedMs.set(data.name, data.details.duration_ms);
  }
  const slowest = [...elapsedMs].sort(([, a], [, b]) => b - a).slice(0, MOST_SHOWN);
  yield 'slowest files:\n';
  for (const [file, ms] of slowest) {
    yield `  ${seconds(ms).padStart(8)}  ${relative(testRoot, file)}\n`;
  }
}
