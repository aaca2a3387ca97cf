/** What the HTTP server answers. Loaded only where somebody wants metrics: prom-client is large. */
import { nowUs } from '../shared/clock.ts';
import type { ExporterTask } from '../shared/exporter-messages.ts';
import type { ThreadTables } from '../shared/memory/shared-memory.ts';
import { laneThread } from '../shared/memory/thread-journal.ts';
import { STAT } from '../shared/stats-layout.ts';
import type { Health } from './exporter-health.ts';
import type { HttpRoutes } from './exporter-http.ts';
import { registerMetrics } from './exporter-metrics.ts';
import { makeReadings } from './exporter-readings.ts';

/** @param health also what tells the labels of the session */
export function makeRoutes(task: ExporterTask, tables: ThreadTables, health: Health): HttpRoutes {
  const { memory } = task;
  const { stats } = tables;
  const registry = registerMetrics({
    stats,
    readings: makeReadings(tables, memory, health),
    maxLanes: memory.geometry.maxLanes,
    currentUs: (lane) => 1000 * health.busyMs(laneThread(lane)),
    info: (label) => health.session?.info[label] ?? task.info[label] ?? '',
  });
  return {
    metricsType: registry.contentType,
    metrics: async () => {
      const startedUs = nowUs();
      const text = await registry.metrics();
      stats.add(STAT.SCRAPES, 1);
      stats.add(STAT.SCRAPE_US, nowUs() - startedUs);
      stats.add(STAT.SCRAPE_BYTES, Buffer.byteLength(text));
      return text;
    },
    whyNotLive: () => health.whyNotLive(),
    whyNotReady: () => health.whyNotReady(),
    onCut: () => stats.add(STAT.HTTP_CUT, 1),
  };
}
