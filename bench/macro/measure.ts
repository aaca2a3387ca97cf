/** One workload on one target: what it took, and what it cost whom. */
import type { ClientPool } from './client-pool.ts';
import { usedBetween } from './process-usage.ts';
import type { Measurement, RequestCount } from './record.ts';
import type { RequestCounter } from './request-counter.ts';
import type { Target } from './targets.ts';
import type { Figure, Run, Workload } from './workloads/workload.ts';

/** From the start of the first client to the end of the last, and what all of them used. */
function together(figures: readonly Figure[]) {
  const sum = (of: (figure: Figure) => number): number =>
    figures.reduce((total, figure) => total + of(figure), 0);
  const startUs = Math.min(...figures.map((figure) => figure.startUs));
  return {
    operations: sum(({ operations }) => operations),
    elapsedUs: Math.max(...figures.map(({ endUs }) => endUs)) - startUs,
    clientCpuUs: sum(({ cpuUs }) => cpuUs),
    clientSwitches: sum(({ switches }) => switches),
  };
}

/** @throws ClientError */
export async function measureCell(
  clients: ClientPool,
  target: Target,
  workload: Workload,
  run: Run,
): Promise<Measurement> {
  await clients.step('prepare', workload, run);
  const before = target.usage();
  const figures = await clients.measure(workload, run);
  const after = target.usage();
  const daemonRssBytes = target.residentBytes() ?? null;
  await clients.step('finish', workload, run);
  const used = before && after && usedBetween(before, after);
  return {
    ...together(figures),
    daemonCpuUs: used?.cpuUs ?? null,
    daemonSwitches: used?.switches ?? null,
    daemonRssBytes,
  };
}

/** Counts the requests of one run, which is slower for it. @throws ClientError */
export async function countRequests(
  counter: RequestCounter | undefined,
  clients: ClientPool,
  target: Target,
  workload: Workload,
  run: Run,
): Promise<RequestCount | null> {
  const { connection } = target;
  const isCounted = counter !== undefined && connection !== undefined;
  await clients.step('prepare', workload, run);
  if (isCounted) counter.start(connection);
  const figures = await clients.measure(workload, run);
  const byOperation = isCounted ? counter.stop() : null;
  await clients.step('finish', workload, run);
  return byOperation && { operations: together(figures).operations, byOperation };
}
