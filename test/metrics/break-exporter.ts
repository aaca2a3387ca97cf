/** Loaded into the daemon by `--import`: its first exporter dies a moment after its start. */
import { existsSync, writeFileSync } from 'node:fs';
import { isMainThread, workerData } from 'node:worker_threads';

const DIES_AFTER_MS = 1500;
const mark = process.env['BREAK_MARK'] ?? '';
const isExporter =
  !isMainThread && (workerData as { listen?: object } | null)?.listen !== undefined;
if (isExporter && !existsSync(mark)) {
  writeFileSync(mark, '');
  setTimeout(() => {
    throw new Error('sabotage');
  }, DIES_AFTER_MS);
}
