/**
 * A client process: only such processes touch a mount. It lives as long as the benchmark, so that
 * neither its start nor the compiling of its loops is measured.
 */

import { WORKLOADS } from './workloads/all.ts';
import type { Figure, Run } from './workloads/workload.ts';

export interface ClientRequest {
  /** `prepare` and `finish` are not measured. */
  readonly step: 'prepare' | 'measure' | 'finish';
  readonly workload: string;
  readonly run: Run;
}

export type ClientReply = { readonly figure?: Figure } | { readonly error: string };

function answer({ step, workload, run }: ClientRequest): ClientReply {
  try {
    const found = WORKLOADS.find(({ name }) => name === workload);
    if (found === undefined) return { error: `no workload ${workload}` };
    if (step === 'measure') return { figure: found.run(run) };
    found[step]?.(run);
    return {};
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

process.on('message', (request: ClientRequest) => process.send?.(answer(request)));
process.on('disconnect', () => process.exit());
