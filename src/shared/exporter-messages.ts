/** What main and the exporter's thread tell each other. */
import type { LogSink } from './log.ts';
import type { SharedMemory } from './memory/shared-memory.ts';
import type { InfoLabel } from './metrics-table.ts';

/** Connections a server of metrics has at once; more are closed. */
export const MAX_CONNECTIONS = 16;

/** Where metrics are asked for; nowhere, where nobody wants any. */
export interface ListenPlan {
  readonly address: string;
  /** undefined: no port. 0: any free one. */
  readonly port: number | undefined;
  /** Whether somebody wants this very port; else one that is taken is done without. */
  readonly isPortAsked: boolean;
  /** Path of a Unix socket. */
  readonly socket: string | undefined;
}

/** What the exporter is started with. */
export interface ExporterTask {
  readonly memory: SharedMemory;
  readonly listen: ListenPlan;
  /** After so long in one call a thread counts as stuck. */
  readonly stuckTimeoutMs: number;
  /** After so long an operation is logged; 0: none is. */
  readonly slowTimeoutMs: number;
  /** Where to log; undefined: main does it, when it can. */
  readonly log: LogSink | undefined;
  /** Labels of `_info` metrics, as far as they are known at the start. */
  readonly info: Readonly<Partial<Record<InfoLabel, string>>>;
}

/** FUSE_INIT was answered. */
export interface SessionFacts {
  /** The connection's number; undefined when it cannot be known. */
  readonly connection: number | undefined;
  /** Of CPU_LATENCY_DEVICE, -1 for none. */
  readonly cpuLatencyFd: number;
  readonly info: Readonly<Partial<Record<InfoLabel, string>>>;
}

export type ExporterOrder =
  | { readonly kind: 'session'; readonly facts: SessionFacts }
  /** What a reload may have changed. */
  | {
      readonly kind: 'reconfigure';
      readonly slowTimeoutMs: number;
      readonly log: LogSink | undefined;
    }
  | { readonly kind: 'stop' };

export type ExporterReport =
  /** It serves at these places; at none when the port it was to take if free is not. */
  | { readonly kind: 'listening'; readonly places: readonly string[] }
  /** It cannot serve where it was asked to. */
  | { readonly kind: 'refused'; readonly message: string }
  | {
      readonly kind: 'log';
      readonly level: 'warn' | 'error';
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    };
