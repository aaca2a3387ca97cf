/** One run of the macro benchmark: its mounts, its clients, its rounds. */
import { spawnSync } from 'node:child_process';
import { oneLine } from '../../src/shared/errors.ts';
import { firstCpu, type Host } from '../host.ts';
import { ClientError, ClientPool } from './client-pool.ts';
import { countRequests, measureCell } from './measure.ts';
import { type Cell, type PlacementName, RECORD_VERSION, type RunRecord } from './record.ts';
import { RequestCounter } from './request-counter.ts';
import { sourceOf, Target, type TargetSpec } from './targets.ts';
import { makeArchive, makeSource, QUICK_SIZES, removeMade, type Sizes } from './tree.ts';
import { WORKLOADS } from './workloads/all.ts';
import type { Run, Workload } from './workloads/workload.ts';

export interface SessionOptions {
  readonly host: Host;
  readonly fs: 'ext4' | 'tmpfs';
  readonly quick: boolean;
  readonly rounds: number;
  readonly sizes: Sizes;
  readonly placements: readonly PlacementName[];
  readonly targets: readonly TargetSpec[];
  readonly workloads: readonly Workload[];
}

const MOST_FAILURE_CHARS = 300;
const WARM_UP: TargetSpec = { name: 'warm-up' };
const WARM_UP_ROUNDS = 5;
const QUICK_WARM_UP_ROUNDS = 1;

/** The order moves by one with every round, so that no target is always the first. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

export class Session {
  readonly #options: SessionOptions;
  readonly #workDir: string;
  readonly #interrupt: AbortSignal;
  readonly #targets: Target[] = [];
  readonly #clients = new Map<PlacementName, ClientPool>();
  readonly #cells: Cell[] = [];
  readonly #failures: string[] = [];
  #counter: RequestCounter | undefined;
  #requestsUnknown: string | null = null;

  /** @param interrupt ends the run at the next step */
  constructor(options: SessionOptions, workDir: string, interrupt: AbortSignal) {
    this.#options = options;
    this.#workDir = workDir;
    this.#interrupt = interrupt;
    interrupt.addEventListener('abort', () => this.#stopClients());
  }

  /** Does everything. What can be left out is said, and left out. */
  async run(): Promise<RunRecord> {
    const { rounds, placements, targets } = this.#options;
    this.#makeSources();
    for (const placement of placements) {
      this.#clients.set(placement, new ClientPool(this.#cpuOf(placement)));
    }
    await this.#startTargets();
    this.#openCounter();
    await this.#warmUp();
    // Round 0 is not measured: daemons compile their loops, and requests are counted.
    for (let round = 0; round <= rounds; round++) {
      await this.#round(round);
      console.error(round === 0 ? 'unmeasured round done' : `round ${round} of ${rounds} done`);
    }
    const { host, fs, quick, workloads } = this.#options;
    return {
      version: RECORD_VERSION,
      host,
      fs,
      rounds,
      quick,
      placements,
      targets: targets
        .filter(({ name }) => this.#targets.some((target) => target.name === name))
        .map(({ name, command }) => ({ name, command: command ?? null })),
      workloads: workloads.map(({ name, group, operation, clients, operationSizeBytes }) => ({
        name,
        group,
        operation,
        clients,
        ...(operationSizeBytes && { operationSizeBytes }),
      })),
      cells: this.#cells,
      requestsUnknown: this.#requestsUnknown,
      failures: this.#failures,
    };
  }

  /** Ends clients, daemons and mounts. */
  async close(): Promise<void> {
    this.#stopClients();
    this.#counter?.close();
    await Promise.all(this.#targets.map((target) => target.stop()));
  }

  #stopClients(): void {
    for (const pool of this.#clients.values()) pool.stop();
  }

  #cpuOf(placement: PlacementName): number | undefined {
    return placement === 'one-cpu' ? firstCpu() : undefined;
  }

  #makeSources(): void {
    const { targets, rounds, sizes, workloads } = this.#options;
    const hasData = workloads.some(({ group }) => group === 'data');
    for (const spec of targets) {
      makeSource(sourceOf(this.#workDir, spec), rounds + 1, sizes, hasData);
    }
    makeSource(sourceOf(this.#workDir, WARM_UP), 1, QUICK_SIZES, hasData);
    makeArchive(this.#workDir, sourceOf(this.#workDir, targets[0] ?? WARM_UP));
    // What was made goes to the disk now, and not while something is measured.
    spawnSync('sync', ['-f', this.#workDir]);
  }

  /** A target that does not start in one placement is left out of both. */
  async #startTargets(): Promise<void> {
    for (const spec of this.#options.targets) {
      const started: Target[] = [];
      try {
        for (const placement of this.#options.placements) {
          this.#interrupt.throwIfAborted();
          const cpu = this.#cpuOf(placement);
          started.push(await Target.start(spec, this.#workDir, placement, cpu));
        }
        this.#targets.push(...started);
      } catch (error) {
        await Promise.all(started.map((target) => target.stop()));
        this.#interrupt.throwIfAborted();
        this.#fail((error as Error).message);
      }
    }
  }

  #openCounter(): void {
    try {
      this.#counter = new RequestCounter(this.#workDir);
    } catch (error) {
      this.#requestsUnknown = (error as Error).message;
    }
  }

  /** Lets the clients compile their loops, on a plain directory of its own. */
  async #warmUp(): Promise<void> {
    const rounds = this.#options.quick ? QUICK_WARM_UP_ROUNDS : WARM_UP_ROUNDS;
    for (const [placement, clients] of this.#clients) {
      const spare = await Target.start(WARM_UP, this.#workDir, placement, undefined);
      for (let round = 0; round < rounds; round++) {
        for (const workload of this.#options.workloads) {
          this.#interrupt.throwIfAborted();
          const tag = `${placement}-${round}`;
          await measureCell(clients, spare, workload, {
            ...this.#runOf(spare, 0),
            tag,
            sizes: QUICK_SIZES,
          });
        }
      }
    }
  }

  async #round(round: number): Promise<void> {
    for (const workload of this.#options.workloads) {
      for (const placement of this.#options.placements) {
        const there = this.#targets.filter((target) => target.placement === placement);
        for (const target of rotated(there, round)) await this.#cell(workload, target, round);
      }
    }
    for (const target of this.#targets) removeMade(target.source, tagOf(target, round));
  }

  async #cell(workload: Workload, target: Target, round: number): Promise<void> {
    this.#interrupt.throwIfAborted();
    const clients = this.#clients.get(target.placement) as ClientPool;
    const run = this.#runOf(target, round);
    const cell = this.#cellOf(workload, target);
    try {
      if (round > 0) cell.rounds.push(await measureCell(clients, target, workload, run));
      else {
        cell.requests = await countRequests(this.#counter, clients, target, workload, run);
      }
    } catch (error) {
      this.#interrupt.throwIfAborted();
      this.#fail(
        `${target.name}, ${target.placement}: ${workload.name}: ${(error as Error).message}`,
      );
      if (!(error instanceof ClientError && error.isHung)) return;
      this.#targets.splice(this.#targets.indexOf(target), 1);
      await target.abort();
    }
  }

  #cellOf(workload: Workload, target: Target): Cell {
    const { placement, name } = target;
    const found = this.#cells.find(
      (cell) =>
        cell.workload === workload.name && cell.placement === placement && cell.target === name,
    );
    if (found !== undefined) return found;
    const cell: Cell = {
      workload: workload.name,
      placement,
      target: name,
      rounds: [],
      requests: null,
    };
    this.#cells.push(cell);
    return cell;
  }

  #runOf(target: Target, round: number): Run {
    return {
      root: target.root,
      source: target.source,
      workDir: this.#workDir,
      round,
      tag: tagOf(target, round),
      sizes: this.#options.sizes,
      client: 0,
      startAtUs: 0,
    };
  }

  /** The same failure in the next round is not said again. */
  #fail(words: string): void {
    const message = oneLine(words).slice(0, MOST_FAILURE_CHARS);
    if (this.#failures.includes(message)) return;
    this.#failures.push(message);
    console.error(message);
  }
}

function tagOf({ placement }: Target, round: number): string {
  return `${placement}-${round}`;
}

/** Those of a group that make sense on a file system. */
export function workloadsOf(
  group: 'metadata' | 'data' | 'all',
  fs: 'ext4' | 'tmpfs',
): readonly Workload[] {
  return WORKLOADS.filter(
    (workload) =>
      (group === 'all' || workload.group === group) && !(fs === 'tmpfs' && workload.isCold),
  );
}
