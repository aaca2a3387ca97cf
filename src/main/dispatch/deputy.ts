/** The life of main's deputy: a piscina task on a thread of its own, started again when that dies. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { CallerSums } from '../../shared/caller-table.ts';
import type { Logger } from '../../shared/log.ts';
import { Receiver } from '../../shared/memory/receiver.ts';
import { addressOf, write } from '../../shared/sys/libc.ts';
import type { DeputyMessage, DeputyTask } from '../../workers/deputy.ts';

export interface DeputyEvents {
  /** A request the deputy could not place, or that only main can answer. */
  onRequest(message: Uint8Array, receivedUs: number): void;
  onUnlocked(inode: number): void;
  /** It has given back; whose requests it dealt with. */
  onStoodIn(served: CallerSums): void;
  onReport(level: 'debug' | 'warn' | 'error', key: string, text: string): void;
}

const RESTART_DELAY_MS = 1000;
const STOP_MS = 2000;
/** How often main looks whether a deputy that does not give back is alive. */
const LOOK_MS = 100;

export class Deputy {
  readonly #task: Omit<DeputyTask, 'port'>;
  readonly #events: DeputyEvents;
  readonly #logger: Logger;
  readonly #receiver: Receiver;
  readonly #pool: Piscina;
  readonly #one = new BigUint64Array(new SharedArrayBuffer(8)).fill(1n);
  readonly #oneAddress = addressOf(this.#one);
  #ended: Promise<void> = Promise.resolve();
  #isStopping = false;

  constructor(task: Omit<DeputyTask, 'port'>, logger: Logger, events: DeputyEvents) {
    this.#task = task;
    this.#events = events;
    this.#logger = logger;
    this.#receiver = new Receiver(task.memory.receiver);
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('../../workers/deputy.js', import.meta.url)),
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 },
    });
    this.#pool.on('error', () => undefined);
  }

  /** Starts it. Until it runs, and without it, main is on its own. */
  start(): void {
    this.#receiver.reset();
    const { port1, port2 } = new MessageChannel();
    port1.on('message', (message: DeputyMessage) => this.#onMessage(message));
    port1.unref();
    const run = this.#pool.run({ ...this.#task, port: port2 }, { transferList: [port2] });
    this.#ended = run.catch((error: unknown) => this.#onDeath(error)).finally(() => port1.close());
  }

  /** Main begins a call that may take its time. */
  beginCall(): void {
    this.#receiver.beginCall();
  }

  /** The call has ended; a deputy that has taken over gives back first. @returns false if one had */
  endCall(): boolean {
    if (this.#receiver.endCall()) return true;
    write(this.#task.returnFd, this.#oneAddress, 8);
    while (!this.#receiver.waitForReturn(LOOK_MS)) {
      const id = this.#receiver.deputyThreadId();
      if (existsSync(`/proc/self/task/${id}`)) continue;
      this.#receiver.takeFromDead();
      break;
    }
    return false;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#receiver.tellStop();
    const late = new Promise((resolve) => setTimeout(resolve, STOP_MS).unref());
    await Promise.race([this.#ended, late]);
    await Promise.race([this.#pool.destroy().catch(() => undefined), late]);
  }

  #onMessage(message: DeputyMessage): void {
    switch (message.kind) {
      case 'request':
        this.#events.onRequest(message.message, message.receivedUs);
        break;
      case 'unlocked':
        this.#events.onUnlocked(message.inode);
        break;
      case 'log':
        this.#events.onReport(message.level, message.key, message.text);
        break;
      case 'stoodIn': {
        const { elapsedMs, requests, served } = message;
        this.#events.onStoodIn(served);
        this.#logger.debug(
          { elapsedMs, requests },
          'the deputy received while a call held main up',
        );
        break;
      }
      case 'started':
        break;
    }
  }

  #onDeath(error: unknown): void {
    if (this.#isStopping) return;
    const reason = error instanceof Error ? error.message : String(error);
    this.#logger.error({ reason }, "main's deputy died; it is started again");
    setTimeout(() => {
      if (!this.#isStopping) this.start();
    }, RESTART_DELAY_MS).unref();
  }
}
