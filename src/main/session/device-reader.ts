/**
 * The engine over /dev/fuse: waits on main's event loop until the device is readable, then reads
 * request after request, in turns that leave timers and signals theirs.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import { nowUs } from '../../shared/clock.ts';
import { type FdWatcher, read, watchReadable } from '../../shared/sys/libc.ts';
import type { CpuLatency } from './cpu-latency.ts';
import { RequestWait } from './request-wait.ts';

/** A turn ends after this at the latest, and a wait of it. */
const TURN_US = 2000;

/** Who gets the requests. */
export interface RequestSink {
  /** Address and room for the next request. */
  receiveAddress(): number;
  readonly receiveBytes: number;
  /** A request was read to receiveAddress(). */
  handle(): void;
  /** Whether reading should stop for now. */
  isFull(): boolean;
  /** Whether answers are due that only the event loop brings: to wait here would hold them up. */
  needsLoop(): boolean;
}

/** Where requests come from. */
export interface RequestSource {
  /** Whether it gives none for now. */
  readonly isPaused: boolean;
  resume(): void;
  /** Stops for good. */
  close(): void;
}

/** How a connection ends: unmounted, aborted, or an error of read(2). */
export type ConnectionEnd = 'unmounted' | 'aborted' | number;

export class DeviceReader implements RequestSource {
  readonly #fd: number;
  readonly #sink: RequestSink;
  readonly #batch: number;
  readonly #onEnd: (end: ConnectionEnd) => void;
  readonly #wait: RequestWait;
  readonly #cpuLatency: CpuLatency | undefined;
  #watcher: FdWatcher | undefined;
  #hasEnded = false;

  /**
   * @param fds the device, and one that is readable when the event loop has something to do that should not wait
   * @param batch requests per turn of the event loop
   * @param cpuLatency is told of each turn
   */
  constructor(
    fds: { readonly fuseFd: number; readonly wakeFd: number },
    sink: RequestSink,
    batch: number,
    cpuLatency: CpuLatency | undefined,
    onEnd: (end: ConnectionEnd) => void,
  ) {
    this.#fd = fds.fuseFd;
    this.#sink = sink;
    this.#batch = batch;
    this.#onEnd = onEnd;
    this.#wait = new RequestWait(fds.fuseFd, fds.wakeFd);
    this.#cpuLatency = cpuLatency;
  }

  /** Starts reading, or goes on after a pause. */
  resume(): void {
    if (this.#hasEnded || this.#watcher !== undefined) return;
    this.#watcher = watchReadable(this.#fd, () => {
      const requests = this.turn();
      this.#cpuLatency?.onTurn(requests);
    });
  }

  /** Stops reading; the kernel queues. */
  pause(): void {
    this.#watcher?.stop();
    this.#watcher = undefined;
  }

  get isPaused(): boolean {
    return this.#watcher === undefined;
  }

  /** Stops for good. */
  close(): void {
    this.#hasEnded = true;
    this.pause();
  }

  /**
   * Takes requests until there are none, or others have to have their turn. The next request of
   * somebody who makes one after the other comes a few microseconds after the reply: waiting for it here
   * costs less than a round of the event loop.
   * @returns how many were handled
   */
  turn(): number {
    let handled = 0;
    const untilUs = nowUs() + TURN_US;
    let isEmpty = false;
    for (let i = 0; i < this.#batch && !this.#hasEnded; i++) {
      if (this.#sink.isFull()) {
        this.pause();
        return handled;
      }
      if (isEmpty && (this.#sink.needsLoop() || !this.#wait.forNext(untilUs))) return handled;
      const count = read(this.#fd, this.#sink.receiveAddress(), this.#sink.receiveBytes);
      if (count > 0) {
        this.#sink.handle();
        handled++;
        // Where one comes after the other there is none yet, and looking for it costs a call.
        isEmpty = this.#wait.isWorthwhile;
        continue;
      }
      // EINTR, and ENOENT for a request that was aborted before we read it: the next one.
      if (count === -ERRNO.EINTR || count === -ERRNO.ENOENT) continue;
      if (count !== -ERRNO.EAGAIN) {
        this.#end(count);
        return handled;
      }
      // Nothing at all: it was for the deputy, or somebody else has read it.
      if (i === 0) return 0;
      isEmpty = true;
    }
    return handled;
  }

  #end(error: number): void {
    this.close();
    if (error === -ERRNO.ENODEV) this.#onEnd('unmounted');
    else if (error === -ERRNO.ECONNABORTED) this.#onEnd('aborted');
    else this.#onEnd(error);
  }
}
