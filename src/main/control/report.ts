/**
 * What a daemon tells of itself. The only file of the control socket that reads the statistics.
 * Counters only: what it costs does not grow with the tables.
 */
import { OPCODES } from '../../shared/abi/opcodes.ts';
import type { ThreadTables } from '../../shared/memory/shared-memory.ts';
import type { StatsBlock } from '../../shared/memory/stats-block.ts';
import type { Negotiated } from '../session/init.ts';
import { type DaemonLoad, loadOf } from '../status.ts';
import type { CallerTable } from './caller-table.ts';
import type { NegotiatedReport, OperationCounts, StatusReport, TopReport } from './protocol.ts';

/** The running parts of a daemon, as far as they exist. */
export interface Served {
  readonly tables: ThreadTables;
  readonly lanes: number;
  readonly parked: number;
}

/** What of a status does not come from the tables. */
export type StatusFacts = Omit<
  StatusReport,
  'pid' | 'node' | 'uptimeSeconds' | 'negotiated' | 'load' | 'operations'
> & { readonly startMs: number; readonly negotiated: Negotiated | undefined };

/** The reply to `status`. `served` is undefined while the mount starts. */
export function statusReport(facts: StatusFacts, served: Served | undefined): StatusReport {
  const { startMs, negotiated, ...rest } = facts;
  return {
    ...rest,
    pid: process.pid,
    node: process.version,
    uptimeSeconds: Math.round((performance.now() - startMs) / 100) / 10,
    negotiated: negotiated === undefined ? null : negotiatedReport(negotiated),
    load: served === undefined ? null : load(served),
    operations: served === undefined ? [] : operations(served.tables.stats),
  };
}

/** The reply to `top`. */
export function topReport(served: Served, callers: CallerTable, pidNamespace: string): TopReport {
  return {
    clockMs: Math.round(performance.now() * 1000) / 1000,
    load: load(served),
    operations: operations(served.tables.stats),
    callers: callers.callers(),
    callerRequests: callers.requests(),
    callersDropped: callers.dropped(),
    pidNamespace,
  };
}

function load({ tables, lanes, parked }: Served): DaemonLoad {
  return loadOf(tables, lanes, parked);
}

function operations(stats: StatsBlock): OperationCounts[] {
  const counts: OperationCounts[] = [];
  for (const { name, statsIndex } of OPCODES) {
    const replies = stats.replies(statsIndex);
    if (replies > 0) counts.push({ name, replies, errors: stats.errors(statsIndex) });
  }
  return counts;
}

function negotiatedReport(agreed: Negotiated): NegotiatedReport {
  return {
    protocol: `7.${agreed.minor}`,
    features: [...agreed.features],
    maxWriteBytes: agreed.maxWriteBytes,
    maxBackground: agreed.maxBackground,
    maxReadaheadBytes: agreed.maxReadaheadBytes,
  };
}
