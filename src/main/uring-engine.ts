/**
 * The choice of the engine by which requests come: /dev/fuse, or queues of io_uring where they were asked
 * for and can be had. Whatever stands in their way is said once, and the mount is served by /dev/fuse.
 */
import type { Logger } from '../shared/log.ts';
import type { RingGeometry } from '../shared/memory/ring-entries.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import type { MountOptions } from '../shared/options.ts';
import type { Context } from '../shared/passthrough/context.ts';
import { STAT } from '../shared/stats-layout.ts';
import { type QueueEvents, type QueueSettings, Queues } from './dispatch/queues.ts';
import { planUring, type UringPlan } from './session/uring.ts';

/** By which way requests come, and why. */
export interface EngineReport {
  readonly engine: 'dev' | 'uring';
  readonly reason: string;
  /** Of engine uring: its threads, the entries of each CPU's, and the bound of its buffers; else 0. */
  readonly queueThreads: number;
  readonly depth: number;
  readonly memoryBytes: number;
}

export class UringEngine {
  readonly #logger: Logger;
  readonly #isAsked: boolean;
  readonly #isStrict: boolean;
  #plan: UringPlan | undefined;
  #queues: Queues | undefined;
  #reason = 'it is the default';
  #isEngaged = false;

  /** @param hasLayers main and lanes run those, and threads of queues do not */
  constructor(options: MountOptions, logger: Logger, hasLayers: boolean) {
    this.#logger = logger;
    this.#isAsked = options.engine === 'uring' || options.engine === 'auto';
    this.#isStrict = options.engine === 'uring';
    if (!this.#isAsked) return;
    const plan = hasLayers ? 'layers need the other engine' : planUring(options);
    if (typeof plan === 'string') this.#giveUp(plan);
    else this.#plan = plan;
  }

  /** What room the shared memory is to have for it. */
  get geometry(): RingGeometry | undefined {
    return this.#plan?.geometry;
  }

  /** The threads, for tests that end one. */
  get queues(): Queues | undefined {
    return this.#queues;
  }

  /** Makes the queues ready, before FUSE_INIT. */
  prepare(
    ctx: Context,
    memory: SharedMemory,
    task: QueueSettings['task'],
    events: QueueEvents,
  ): void {
    if (this.#plan === undefined) return;
    const settings = { plan: this.#plan, memory, task, logger: this.#logger };
    this.#queues = new Queues(settings, ctx, events);
    const reason = this.#queues.prepare();
    if (reason !== undefined) this.#giveUp(reason);
  }

  /** Whether the kernel is to be told of it: see Queues.prepare(). Not twice on one connection. */
  get isReady(): boolean {
    return this.#plan !== undefined && this.#queues !== undefined && !this.#isEngaged;
  }

  /** FUSE_INIT was answered. @param isAgreed whether the kernel has it */
  async engage(isAgreed: boolean, ctx: Context): Promise<void> {
    const plan = this.#plan;
    if (plan === undefined || this.#queues === undefined) return;
    const refusal = isAgreed
      ? await this.#queues.register()
      : 'the kernel does not offer it for this mount';
    if (refusal !== undefined) {
      this.#giveUp(refusal);
      await this.#queues.stop();
      return;
    }
    this.#isEngaged = true;
    this.#reason = this.#isStrict ? 'it was asked for' : 'auto: it can be had';
    ctx.tables.stats.set(STAT.URING_MEMORY, plan.memoryBytes);
    const { threads, depth, memoryBytes } = plan;
    this.#logger.info(
      { queueThreads: threads.length, depth, memoryBytes },
      'requests come by io_uring',
    );
  }

  report(): EngineReport {
    const plan = this.#isEngaged ? this.#plan : undefined;
    return {
      engine: plan === undefined ? 'dev' : 'uring',
      reason: this.#reason,
      queueThreads: plan?.threads.length ?? 0,
      depth: plan?.depth ?? 0,
      memoryBytes: plan?.memoryBytes ?? 0,
    };
  }

  /** @returns false if a thread has not ended, see Queues.stop() */
  async stop(): Promise<boolean> {
    return (await this.#queues?.stop()) ?? true;
  }

  #giveUp(reason: string): void {
    this.#plan = undefined;
    this.#reason = reason;
    this.#logger[this.#isStrict ? 'warn' : 'info'](
      `requests come by /dev/fuse and not by io_uring: ${reason}`,
    );
  }
}
