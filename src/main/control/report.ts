/**
 * What a daemon tells of itself. The only file of the control socket that reads the statistics.
 * Counters only: what it costs does not grow with the tables.
 */

import type { CallerTable } from '../../shared/caller-table.ts';
import type { ThreadTables } from '../../shared/memory/shared-memory.ts';
import type { StatsBlock } from '../../shared/memory/stats-block.ts';
import { OPERATION_GROUPS, OPERATION_LABELS } from '../../shared/metrics-table.ts';
import {
  durationsOfGroup,
  errorsOfGroup,
  requestsOfOperation,
} from '../../shared/request-stats.ts';
import { REQUEST_DURATION } from '../../shared/stats-layout.ts';
import type { Negotiated } from '../session/init.ts';
import { type DaemonLoad, loadOf } from '../status.ts';
import type {
  NegotiatedReport,
  OperationCounts,
  OperationsReport,
  StatusReport,
  TopReport,
} from './protocol.ts';

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
    operations: served === undefined ? null : operations(served.tables.stats),
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

const OTHER_GROUP = OPERATION_GROUPS.length - 1;

function operations(stats: StatsBlock): OperationsReport {
  const each = OPERATION_LABELS.map((name, place) => operation(stats, name, place));
  const others = each.filter(({ errors }) => errors === null);
  return {
    boundsUs: [...REQUEST_DURATION.bounds],
    each: each.filter(({ requests }) => requests > 0),
    others: {
      name: OPERATION_GROUPS[OTHER_GROUP] as string,
      requests: others.reduce((sum, { requests }) => sum + requests, 0),
      errors: errorsOfGroup(stats, OTHER_GROUP),
      durations: durationsOfGroup(stats, OTHER_GROUP),
    },
  };
}

function operation(stats: StatsBlock, name: string, place: number): OperationCounts {
  const requests = requestsOfOperation(stats, place);
  const group = OPERATION_GROUPS.indexOf(name);
  if (group < 0) return { name, requests, errors: null, durations: null };
  const errors = errorsOfGroup(stats, group);
  return { name, requests, errors, durations: durationsOfGroup(stats, group) };
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
