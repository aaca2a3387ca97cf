/** A command's side of a control socket. Loads nothing native. */
import { createConnection, type Socket } from 'node:net';
import {
  ControlError,
  type ControlErrorCode,
  type ControlReply,
  type ControlRequest,
  MAX_REPLY_CHARS,
  PROTOCOL_VERSION,
  type StatusReport,
  type TopReport,
} from './protocol.ts';

/** Nobody listens, or what listens is no daemon, or it does not answer in time. */
export class NoAnswerError extends Error {
  /** An errno name, or `timeout`, or `closed`. */
  readonly reason: string;

  constructor(reason: string) {
    super(`no answer: ${reason}`);
    this.reason = reason;
  }
}

/** What a request is answered with. */
interface Results {
  status: StatusReport;
  top: TopReport;
  unmount: { readonly reason: string };
}

/** A connection to a daemon, for one request after the other. */
export class ControlClient {
  readonly #socket: Socket;
  #received = '';
  /** Why there will be no more replies. */
  #ended: string | undefined;
  #onLine: ((line: string) => void) | undefined;
  #onEnd: ((reason: string) => void) | undefined;

  /** Connects at once; a failure shows at the first request. */
  constructor(path: string) {
    this.#socket = createConnection(path);
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text: string) => this.#receive(text));
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? 'error'));
    this.#socket.on('close', () => this.#end('closed'));
  }

  /**
   * Asks and waits for the answer.
   *
   * @throws ControlError when the daemon refuses, NoAnswerError when none comes
   */
  async ask<Op extends ControlRequest['op']>(
    request: ControlRequest & { op: Op },
    timeoutMs: number,
  ): Promise<Results[Op]> {
    this.#socket.write(`${JSON.stringify({ v: PROTOCOL_VERSION, ...request })}\n`);
    const reply = parseReply(await this.#line(timeoutMs));
    if (reply.ok) return reply.result as Results[Op];
    throw new ControlError(reply.error.code, reply.error.message);
  }

  close(): void {
    this.#socket.destroy();
  }

  #line(timeoutMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const fail = (reason: string): void => {
        clearTimeout(timer);
        reject(new NoAnswerError(reason));
      };
      const timer = setTimeout(() => fail('timeout'), timeoutMs);
      this.#onEnd = fail;
      this.#onLine = (line) => {
        clearTimeout(timer);
        resolve(line);
      };
      if (this.#ended !== undefined) fail(this.#ended);
    });
  }

  #receive(text: string): void {
    this.#received += text;
    const end = this.#received.indexOf('\n');
    if (end < 0) {
      if (this.#received.length > MAX_REPLY_CHARS) this.#socket.destroy();
      return;
    }
    const line = this.#received.slice(0, end);
    this.#received = this.#received.slice(end + 1);
    this.#onLine?.(line);
  }

  #end(reason: string): void {
    this.#ended ??= reason;
    this.#onEnd?.(this.#ended);
  }
}

function parseReply(line: string): ControlReply {
  let reply: Partial<{ v: unknown; ok: unknown; error: unknown }> | undefined;
  try {
    reply = JSON.parse(line);
  } catch {
    throw new NoAnswerError('not JSON');
  }
  if (reply?.ok === false && isRefusal(reply.error)) return reply as ControlReply;
  if (reply?.v !== PROTOCOL_VERSION || reply.ok !== true) throw new NoAnswerError('not a reply');
  return reply as ControlReply;
}

function isRefusal(error: unknown): error is { code: ControlErrorCode; message: string } {
  const { code, message } = (error ?? {}) as Record<string, unknown>;
  return typeof code === 'string' && typeof message === 'string';
}
