/** What a run of the macro benchmark leaves behind, as it stands in its JSON file. */
import { readFileSync } from 'node:fs';
import type { Host } from '../host.ts';

/** Version of the form of the file. */
export const RECORD_VERSION = 1;

/** Which kind of work it is: marks are set for each. */
export type Group = 'metadata' | 'data';

/** Where daemon and clients run. */
export type PlacementName = 'one-cpu' | 'free';

/** One workload on one target in one round. */
export interface Measurement {
  readonly operations: number;
  /** From the start of the first client to the end of the last. */
  readonly elapsedUs: number;
  /** Of all clients and the programs they ran, user and system. */
  readonly clientCpuUs: number;
  /** Context switches of the clients and the programs they ran. */
  readonly clientSwitches: number;
  /** Null for the plain directory, which has no daemon; so are the next two. */
  readonly daemonCpuUs: number | null;
  readonly daemonSwitches: number | null;
  /** Resident memory of the daemon afterwards. */
  readonly daemonRssBytes: number | null;
}

/** Requests of one unmeasured round, as the kernel counted them: by operation, and the work done. */
export interface RequestCount {
  readonly operations: number;
  readonly byOperation: Readonly<Record<string, number>>;
}

/** One workload on one target in one placement. */
export interface Cell {
  readonly workload: string;
  readonly placement: PlacementName;
  readonly target: string;
  readonly rounds: Measurement[];
  /** Null where they were not counted. */
  requests: RequestCount | null;
}

export interface WorkloadFacts {
  readonly name: string;
  readonly group: Group;
  readonly operation: string;
  readonly clients: number;
  /** Bytes moved by one operation, where a rate makes sense. */
  readonly operationSizeBytes?: number;
}

export interface RunRecord {
  readonly version: number;
  readonly host: Host;
  readonly fs: string;
  readonly rounds: number;
  /** Sizes of a smoke test: the figures say little. */
  readonly quick: boolean;
  readonly placements: readonly PlacementName[];
  readonly targets: readonly { readonly name: string; readonly command: string | null }[];
  readonly workloads: readonly WorkloadFacts[];
  readonly cells: readonly Cell[];
  /** Why no requests were counted; null if they were. */
  readonly requestsUnknown: string | null;
  /** What went wrong, a line each. */
  readonly failures: readonly string[];
}

/** @throws Error that names the file */
export function readRecord(path: string): RunRecord {
  let record: RunRecord;
  try {
    record = JSON.parse(readFileSync(path, 'utf8')) as RunRecord;
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
  if (record?.version === RECORD_VERSION && Array.isArray(record.cells)) return record;
  throw new Error(`${path} is not a record of the macro benchmark of version ${RECORD_VERSION}`);
}

/** The cell of a workload on a target in a placement, if it has figures. */
export function findCell(
  record: RunRecord,
  workload: string,
  placement: PlacementName,
  target: string,
): Cell | undefined {
  return record.cells.find(
    (cell) =>
      cell.workload === workload &&
      cell.placement === placement &&
      cell.target === target &&
      cell.rounds.length > 0,
  );
}
