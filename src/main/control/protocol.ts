/**
 * What commands and daemons say to each other: one JSON line for a request, one for its reply, any
 * number of them on a connection, one after the other. Every line carries the version; a daemon
 * answers a version it does not know with the error `version` and its own number.
 */
import type { CallerCounts } from '../../shared/caller-table.ts';
import type { Durations } from '../../shared/request-stats.ts';
import type { DaemonLoad } from '../status.ts';
import type { EngineReport } from '../uring-engine.ts';

export const PROTOCOL_VERSION = 1;

/** Longest request, in characters, the line's end included. */
export const MAX_REQUEST_CHARS = 4096;
/** Longest reply a client takes. */
export const MAX_REPLY_CHARS = 1 << 20;
/** A client that asks `top` again within this time stays attached. */
export const TOP_IDLE_MS = 70_000;

/** What can be asked. */
export type ControlRequest =
  | { readonly op: 'status' }
  | { readonly op: 'top' }
  | {
      readonly op: 'unmount';
      /** Take a mount that is still busy then out of the tree; else it stays, and the reply is `busy`. */
      readonly lazy: boolean;
      /** How long a busy mount is waited for. */
      readonly timeoutMs: number;
    };

/** Why a request is refused. */
export type ControlErrorCode =
  | 'bad-request'
  | 'version'
  /** The mount is not usable yet. */
  | 'starting'
  | 'busy'
  /** Somebody else's unmount is under way. */
  | 'under-way'
  | 'failed';

export type ControlReply =
  | { readonly v: number; readonly ok: true; readonly result: unknown }
  | {
      readonly v: number;
      readonly ok: false;
      readonly error: { readonly code: ControlErrorCode; readonly message: string };
    };

/** A request that is refused. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly code: ControlErrorCode;

  constructor(code: ControlErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Counts of one operation since the start. */
export interface OperationCounts {
  /** As in the label `op` of the metrics. */
  readonly name: string;
  readonly requests: number;
  /** Null for an operation whose errors and durations are counted together with those of others. */
  readonly errors: number | null;
  readonly durations: Durations | null;
}

/** What was asked for since the start. */
export interface OperationsReport {
  /** Upper bounds of `durations`, microseconds. */
  readonly boundsUs: readonly number[];
  /** Operations that were asked for at least once. */
  readonly each: readonly OperationCounts[];
  /** Those without errors and durations of their own, together. */
  readonly others: OperationCounts;
}

/** What FUSE_INIT ended with. */
export interface NegotiatedReport {
  readonly protocol: string;
  readonly features: readonly string[];
  readonly maxWriteBytes: number;
  readonly maxBackground: number;
  readonly maxReadaheadBytes: number;
}

/** The reply to `status`. */
export interface StatusReport {
  /** uuid v7 of the mount instance. */
  readonly id: string;
  readonly pid: number;
  readonly version: string;
  readonly node: string;
  readonly uptimeSeconds: number;
  readonly state: 'starting' | 'serving' | 'stopping';
  readonly source: string;
  readonly mountpoint: string;
  readonly readOnly: boolean;
  /** The connection's number, which is the minor of the mount's device; null while starting. */
  readonly connection: number | null;
  readonly how: string | null;
  /** The engine that was chosen. */
  readonly engine: string;
  readonly negotiated: NegotiatedReport | null;
  /** More of it, where it is dev or uring; null while starting. */
  readonly queues: EngineReport | null;
  readonly load: DaemonLoad | null;
  readonly operations: OperationsReport | null;
}

/** The reply to `top`. The first one of a connection begins the counting by caller. */
export interface TopReport {
  /** The daemon's monotonic clock. */
  readonly clockMs: number;
  readonly load: DaemonLoad;
  readonly operations: OperationsReport;
  readonly callers: readonly CallerCounts[];
  /** Requests of all callers since the counting began, those dropped from the table included. */
  readonly callerRequests: number;
  /** Callers that were dropped to make room for others, the least active first. */
  readonly callersDropped: number;
  /** The namespace the numbers of callers are from, as /proc/self/ns/pid shows it. */
  readonly pidNamespace: string;
}
