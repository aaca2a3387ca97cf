/**
 * The engine over /dev/fuse: waits on main's event loop until the device is readable, then reads
 * request after request, in batches that leave timers and signals their turn.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import { type FdWatcher, read, watchReadable } from '../../shared/sys/libc.ts';

/** Who gets the requests. */
export interface RequestSink {
  /** Address and room for the next request. */
  receiveAddress(): number;
  readonly receiveBytes: number;
  /** A request was read to receiveAddress(). */
  handle(): void;
  /** Whether reading should stop for now. */
  isFull(): boolean;
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
  #watcher: FdWatcher | undefined;
  #hasEnded = false;

  /** @param batch requests per turn of the event loop */
  constructor(fd: number, sink: RequestSink, batch: number, onEnd: (end: ConnectionEnd) => void) {
    this.#fd = fd;
    this.#sink = sink;
    this.#batch = batch;
    this.#onEnd = onEnd;
  }

  /** Starts reading, or goes on after a pause. */
  resume(): void {
    if (this.#hasEnded || this.#watcher !== undefined) return;
    this.#watcher = watchReadable(this.#fd, () => this.#drain());
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

  #drain(): void {
    for (let i = 0; i < this.#batch && !this.#hasEnded; i++) {
      if (this.#sink.isFull()) {
        this.pause();
        return;
      }
      const count = read(this.#fd, this.#sink.receiveAddress(), this.#sink.receiveBytes);
      if (count > 0) {
        this.#sink.handle();
        continue;
      }
      // EINTR, and ENOENT for a request that was aborted before we read it: the next one.
      if (count === -ERRNO.EINTR || count === -ERRNO.ENOENT) continue;
      if (count !== -ERRNO.EAGAIN) this.#end(count);
      return;
    }
  }

  #end(error: number): void {
    this.close();
    if (error === -ERRNO.ENODEV) this.#onEnd('unmounted');
    else if (error === -ERRNO.ECONNABORTED) this.#onEnd('aborted');
    else this.#onEnd(error);
  }
}
