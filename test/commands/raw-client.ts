/** A client of a control socket that need not behave. */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export class RawClient {
  readonly socket: Socket;
  received = '';
  closedAfterMs = Number.POSITIVE_INFINITY;
  readonly #startMs = performance.now();
  readonly #closed: Promise<boolean>;

  constructor(path: string, { reads = true } = {}) {
    this.socket = createConnection(path);
    this.socket.on('error', () => undefined);
    this.#closed = new Promise((resolve) => {
      this.socket.on('close', () => {
        this.closedAfterMs = performance.now() - this.#startMs;
        resolve(true);
      });
    });
    if (!reads) return;
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text: string) => {
      this.received += text;
    });
  }

  send(text: string): void {
    this.socket.write(text);
  }

  ask(request: object): void {
    this.send(`${JSON.stringify(request)}\n`);
  }

  /** The replies so far. */
  replies(): Record<string, unknown>[] {
    const lines = this.received.split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Waits for so many replies. */
  async reply(count: number, timeoutMs = 5000): Promise<Record<string, unknown>> {
    const signal = AbortSignal.timeout(timeoutMs);
    while (this.replies().length < count) await once(this.socket, 'data', { signal });
    return this.replies()[count - 1] as Record<string, unknown>;
  }

  /** Waits for the end of the connection, also by an error. */
  async closed(timeoutMs: number): Promise<void> {
    const isClosed = await Promise.race([this.#closed, sleep(timeoutMs, false, { ref: false })]);
    if (!isClosed) throw new Error(`the connection is open after ${timeoutMs} ms`);
  }

  end(): void {
    this.socket.destroy();
  }
}

/** The code of a refusal. */
export function codeOf(reply: Record<string, unknown>): unknown {
  return (reply['error'] as Record<string, unknown> | undefined)?.['code'];
}
