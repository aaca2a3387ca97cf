/** All workloads, in the order in which a round runs them. */
import { DATA_WORKLOADS } from './data.ts';
import { METADATA_WORKLOADS } from './metadata.ts';
import { PROGRAM_WORKLOADS } from './programs.ts';
import type { Workload } from './workload.ts';

export const WORKLOADS: readonly Workload[] = [
  ...METADATA_WORKLOADS,
  ...PROGRAM_WORKLOADS,
  ...DATA_WORKLOADS,
];
