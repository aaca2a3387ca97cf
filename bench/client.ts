/**
 * The client process: the only one that touches a mount. It lives as long as the benchmark, so that
 * neither its start nor the compiling of its loops is measured.
 */
import { type Figure, type Run, WORKLOADS } from './workloads.ts';

export interface ClientRequest {
  readonly workload: string;
  readonly run: Run;
}

export type ClientReply = { readonly figure: Figure } | { readonly error: string };

function answer({ workload, run }: ClientRequest): ClientReply {
  try {
    const found = WORKLOADS.find(({ name }) => name === workload);
    if (found === undefined) return { error: `no workload ${workload}` };
    return { figure: found.run(run) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

process.on('message', (request: ClientRequest) => process.send?.(answer(request)));
process.on('disconnect', () => process.exit());
