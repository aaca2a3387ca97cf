/** The life of main's deputy: a piscina task on a thread of its own, started again when that dies. */
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { ERRNO } from '../../shared/abi/errno.ts';
import { ROW_BY_OPCODE } from '../../shared/abi/opcodes.ts';
import type { CallerSums } from '../../shared/caller-table.ts';
import { nowUs } from '../../shared/clock.ts';
import type { Logger } from '../../shared/log.ts';
import { longWaitChecks } from '../../shared/memory/lock.ts';
import { Receiver } from '../../shared/memory/receiver.ts';
import { deputyThread, ThreadJournal } from '../../shared/memory/thread-journal.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { reply } from '../../shared/passthrough/operations.ts';
import { addressOf, read, write } from '../../shared/sys/libc.ts';
import type { DeputyMessage, DeputyTask } from '../../workers/deputy.ts';
import type { StandIn } from './dispatcher.ts';
import { hasToBeDone, isDead, recoverDead, releaseLocksIfDead, undoOfDead } from './recovery.ts';

export interface DeputyEvents {
  /** A request the deputy could not place, or that only main can answer. */
  onRequest(message: Uint8Array, receivedUs: number): void;
  onUnlocked(inode: number): void;
  /** It has given back; whose requests it dealt with. */
  onStoodIn(served: CallerSums): void;
  /** A descriptor to close in a lane. */
  onClose(fd: number, mount: number): void;
  /** Main waits long for its deputy, which may wait for the lock of a lane that died. */
  onLongWait(): void;
  onReport(level: 'debug' | 'warn' | 'error', key: string, text: string): void;
}

const RESTART_DELAY_MS = 1000;
const STOP_MS = 2000;
/** How often main looks whether a deputy that does not give back is alive. */
const LOOK_MS = 100;

export class Deputy implements StandIn {
  readonly #task: Omit<DeputyTask, 'port'>;
  readonly #ctx: Context;
  readonly #thread: number;
  readonly #journal: ThreadJournal;
  readonly #events: DeputyEvents;
  readonly #logger: Logger;
  readonly receiver: Receiver;
  readonly keepsAway = true;
  readonly #pool: Piscina;
  /** What is written to the eventfd, and where it is read to. */
  readonly #words = new BigUint64Array(new SharedArrayBuffer(16)).fill(1n);
  readonly #wordAddress = addressOf(this.#words);
  readonly #readAddress = this.#wordAddress + 8;
  #ended: Promise<void> = Promise.resolve();
  #isStopping = false;

  /** @param ctx main's */
  constructor(task: Omit<DeputyTask, 'port'>, ctx: Context, logger: Logger, events: DeputyEvents) {
    this.#task = task;
    this.#ctx = ctx;
    this.#thread = deputyThread(ctx.tables.maxLanes);
    this.#journal = new ThreadJournal(task.memory.journal, this.#thread);
    this.#events = events;
    this.#logger = logger;
    this.receiver = new Receiver(task.memory.receiver);
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
    longWaitChecks.add(this.#breakLocks);
  }

  /** Starts it. Until it runs, and without it, main is on its own. */
  start(): void {
    this.#start(this.#ctx.tables.slots.takeToReceive());
  }

  #start(receiveSlot: number): void {
    this.#journal.clear();
    this.receiver.reset(receiveSlot);
    const { port1, port2 } = new MessageChannel();
    port1.on('message', (message: DeputyMessage) => this.#onMessage(message));
    port1.unref();
    const run = this.#pool.run({ ...this.#task, port: port2 }, { transferList: [port2] });
    this.#ended = run
      .catch((error: unknown) => this.#onDeath(error, port1))
      .finally(() => port1.close());
  }

  /** The call has ended in which it took over: waits until it has given back. */
  takeBack(): void {
    write(this.#task.returnFd, this.#wordAddress, 8);
    while (!this.receiver.waitForReturn(LOOK_MS)) {
      this.#events.onLongWait();
      if (this.#journal.threadId() !== 0 && !isDead(this.#journal)) continue;
      this.receiver.takeFromDead();
      // What it has not read would call the next one back as soon as that takes over.
      read(this.#task.returnFd, this.#readAddress, 8);
      break;
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.receiver.tellStop();
    const late = new Promise((resolve) => setTimeout(resolve, STOP_MS).unref());
    await Promise.race([this.#ended, late]);
    await Promise.race([this.#pool.destroy().catch(() => undefined), late]);
    longWaitChecks.delete(this.#breakLocks);
  }

  #onMessage(message: DeputyMessage): void {
    switch (message.kind) {
      case 'request':
        this.#events.onRequest(message.message, message.receivedUs);
        break;
      case 'unlocked':
        this.#events.onUnlocked(message.inode);
        break;
      case 'close':
        this.#events.onClose(message.fd, message.mount);
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

  #onDeath(error: unknown, port: MessagePort): void {
    if (this.#isStopping) return;
    // Requests it kept for us may stand there still.
    for (let rest = receiveMessageOnPort(port); rest; rest = receiveMessageOnPort(port)) {
      this.#onMessage(rest.message as DeputyMessage);
    }
    const reason = error instanceof Error ? error.message : String(error);
    this.#logger.error({ reason }, "main's deputy died; it is started again");
    const receiveSlot = this.#recover();
    setTimeout(() => {
      if (!this.#isStopping) this.#start(receiveSlot);
    }, RESTART_DELAY_MS).unref();
  }

  /** Gives back what it held, and answers the request it was at. @returns the slot it received into */
  #recover(): number {
    const journal = this.#journal;
    recoverDead(this.#ctx, this.#thread, journal);
    const receiveSlot = this.receiver.receiveSlot();
    // Another slot is in the hands of the lanes already.
    if (journal.slot() === receiveSlot) this.#answerFor(receiveSlot);
    return receiveSlot;
  }

  /** EIO, if the kernel still waits: then its reply did not go out, nor that of a lane with a copy. */
  #answerFor(slot: number): void {
    const ctx = this.#ctx;
    ctx.load(ctx.tables.slots.messageAt(slot));
    ctx.receivedUs = nowUs();
    if (hasToBeDone(ctx)) {
      const message = ctx.u8.slice(ctx.message, ctx.message + ctx.lengthBytes);
      this.#events.onRequest(message, ctx.receivedUs);
      return;
    }
    if (ROW_BY_OPCODE[ctx.opcode]?.hasReply === false || !reply(ctx, ctx.fuseFd, -ERRNO.EIO))
      return;
    undoOfDead(ctx, this.#task.memory, this.#thread, this.#journal);
  }

  /** Main has waited long for a lock of this thread's: see longWaitChecks. */
  readonly #breakLocks = (thread: number): void => {
    if (thread === this.#thread) releaseLocksIfDead(this.#ctx, thread, this.#journal);
  };
}
