/** Operations as `sluice status` and `sluice top` show them. */
import type { OperationCounts, OperationsReport } from '../control/protocol.ts';
import { durationsBetween, type Latency, latencyOf } from './latency.ts';
import { type Column, latencyText } from './table.ts';

export interface Operation {
  /** As in the label `op` of the metrics. */
  readonly name: string;
  readonly requests: number;
  /** Null where errors and latency are only known together with those of others. */
  readonly errors: number | null;
  readonly latency: Latency | null;
}

export interface Operations<Row = Operation> {
  /** Those that were asked for, the busiest first. */
  readonly each: readonly Row[];
  /** Those without errors and latency of their own, together. */
  readonly others: Row;
}

/** What was done between two reports, or up to the one. */
export function operationsOf(now: OperationsReport, before?: OperationsReport): Operations {
  const earlier = new Map(before?.each.map((counts) => [counts.name, counts]));
  const each = now.each
    .map((counts) => operationOf(counts, earlier.get(counts.name), now.boundsUs))
    .filter(({ requests }) => requests > 0)
    .sort((a, b) => b.requests - a.requests);
  return { each, others: operationOf(now.others, before?.others, now.boundsUs) };
}

function operationOf(
  { name, requests, errors, durations }: OperationCounts,
  before: OperationCounts | undefined,
  boundsUs: readonly number[],
): Operation {
  return {
    name,
    requests: requests - (before?.requests ?? 0),
    errors: errors === null ? null : errors - (before?.errors ?? 0),
    latency:
      durations === null
        ? null
        : latencyOf(durationsBetween(before?.durations ?? undefined, durations), boundsUs),
  };
}

/** Requests and errors of all operations. */
export function totalsOf({ each, others }: Operations): { requests: number; errors: number } {
  return {
    requests: each.reduce((sum, { requests }) => sum + requests, 0),
    errors: each.reduce((sum, { errors }) => sum + (errors ?? 0), others.errors ?? 0),
  };
}

/** The rows of a table: behind what has no errors and latency of its own, these of all of that. */
export function tableRows<Row extends Operation>(
  { each, others }: Operations<Row>,
  room?: number,
): readonly Row[] {
  const shown = each.slice(0, room);
  const isPart = shown.some(({ errors }) => errors === null);
  return isPart ? [...shown, { ...others, name: '(all with -)' }] : shown;
}

export const NAME_COLUMN: Column<Operation> = {
  head: 'OPERATION',
  align: 'left',
  cell: ({ name }) => name,
};

/** @param boundsUs of the report that the rows are from */
export function outcomeColumns(boundsUs: readonly number[]): readonly Column<Operation>[] {
  const mostUs = boundsUs.at(-1) ?? Number.POSITIVE_INFINITY;
  const latency = (head: string, of: (latency: Latency) => number): Column<Operation> => ({
    head,
    align: 'right',
    cell: (row) => (row.latency === null ? '-' : latencyText(of(row.latency), mostUs)),
  });
  return [
    { head: 'ERRORS', align: 'right', cell: ({ errors }) => String(errors ?? '-') },
    latency('MEAN', ({ meanUs }) => meanUs),
    latency('P50', ({ p50Us }) => p50Us),
    latency('P99', ({ p99Us }) => p99Us),
  ];
}
