/**
 * One client of the control socket. Everything is bounded: a request's length, the time until it is
 * complete, the replies that wait to be read (one), and how soon the next request has its turn.
 */
import type { Socket } from 'node:net';
import { z } from 'zod';
import {
  ControlError,
  type ControlReply,
  type ControlRequest,
  MAX_REQUEST_CHARS,
  PROTOCOL_VERSION,
  type StatusReport,
  TOP_IDLE_MS,
  type TopReport,
} from './protocol.ts';

/** What is controlled: a mount. */
export interface ControlTarget {
  status(): StatusReport;
  /** Callers are counted from the first attachment to the end of the last. */
  attachTop(): void;
  detachTop(): void;
  top(): TopReport;
  /**
   * Unmounts. The answer is the end of the daemon; so it settles only by rejecting, with a
   * ControlError, when the mount stays.
   */
  unmount(how: { lazy: boolean; timeoutMs: number }): Promise<void>;
  /** A defect met while answering. */
  reportDefect(error: unknown): void;
}

/** A client that is slower than this to complete a request or to read a reply is cut. */
const IDLE_MS = 10_000;
/** A client's next request has its turn after this, so that none keeps main busy: one takes it 0.3 ms. */
const PACE_MS = 50;
const MAX_TIMEOUT_MS = 86_400_000;

const requestSchema: z.ZodType<ControlRequest> = z.discriminatedUnion('op', [
  z.object({ op: z.literal('status') }),
  z.object({ op: z.literal('top') }),
  z.object({
    op: z.literal('unmount'),
    lazy: z.boolean(),
    timeoutMs: z.number().min(0).max(MAX_TIMEOUT_MS),
  }),
]);

export class Connection {
  readonly #socket: Socket;
  readonly #target: ControlTarget;
  #received = '';
  /** From a request's turn until the next one may have its own. */
  #isBusy = false;
  #isTop = false;
  #waitsForEnd = false;
  #deadline: NodeJS.Timeout | undefined;

  /** @param onClosed called once when the client is gone */
  constructor(socket: Socket, target: ControlTarget, onClosed: () => void) {
    this.#socket = socket;
    this.#target = target;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('drain', () => this.#next());
    // What ends a connection matters to the client alone.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(this.#deadline);
      if (this.#isTop) target.detachTop();
      onClosed();
    });
    this.#allow(IDLE_MS);
  }

  /** The daemon ends: who waits for that is told. */
  end(result: unknown): void {
    if (this.#waitsForEnd) this.#socket.end(lineOf({ v: PROTOCOL_VERSION, ok: true, result }));
    else this.#socket.destroy();
  }

  /** Cuts the client after this time unless it is renewed: bytes alone do not. */
  #allow(timeoutMs: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#socket.destroy(), timeoutMs).unref();
  }

  #receive(text: string): void {
    this.#received += text;
    if (this.#received.length > MAX_REQUEST_CHARS) {
      const message = `a request has ${MAX_REQUEST_CHARS} characters at the most`;
      this.#socket.end(lineOf(refusal(new ControlError('bad-request', message))));
      this.#received = '';
      this.#isBusy = true;
      return;
    }
    this.#next();
  }

  #next(): void {
    if (this.#isBusy || this.#waitsForEnd || this.#socket.writableLength > 0) return;
    const end = this.#received.indexOf('\n');
    if (end < 0) return;
    const line = this.#received.slice(0, end);
    this.#received = this.#received.slice(end + 1);
    this.#isBusy = true;
    this.#answer(line);
  }

  #answer(line: string): void {
    try {
      const request = readRequest(line);
      if (request.op === 'unmount') this.#unmount(request);
      else this.#reply({ v: PROTOCOL_VERSION, ok: true, result: this.#ask(request.op) });
    } catch (error) {
      this.#refuse(error);
    }
  }

  #ask(op: 'status' | 'top'): StatusReport | TopReport {
    if (op === 'status') return this.#target.status();
    if (!this.#isTop) this.#target.attachTop();
    this.#isTop = true;
    return this.#target.top();
  }

  #unmount(how: { lazy: boolean; timeoutMs: number }): void {
    clearTimeout(this.#deadline);
    this.#waitsForEnd = true;
    this.#target.unmount(how).catch((error: unknown) => {
      this.#waitsForEnd = false;
      this.#refuse(error);
    });
  }

  #refuse(error: unknown): void {
    if (!(error instanceof ControlError)) this.#target.reportDefect(error);
    this.#reply(refusal(error));
  }

  #reply(reply: ControlReply): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(lineOf(reply));
    this.#allow(this.#isTop ? TOP_IDLE_MS : IDLE_MS);
    setTimeout(() => {
      this.#isBusy = false;
      this.#next();
    }, PACE_MS).unref();
  }
}

/** Has the schema compiled, which takes milliseconds, before there are requests to delay. */
export function compileRequests(): void {
  requestSchema.safeParse({ op: 'unmount', lazy: false, timeoutMs: 0 });
}

/** @throws ControlError for what is no request of this version */
function readRequest(line: string): ControlRequest {
  const value = parse(line);
  if (value['v'] !== PROTOCOL_VERSION) {
    const message = `this daemon speaks version ${PROTOCOL_VERSION} of the protocol; use the sluice that started it`;
    throw new ControlError('version', message);
  }
  const request = requestSchema.safeParse(value);
  if (request.success) return request.data;
  const [issue] = request.error.issues;
  const where = issue?.path.join('.');
  throw new ControlError('bad-request', `not a request: ${where}: ${issue?.message}`);
}

function parse(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new ControlError('bad-request', 'a request is a line with one JSON object');
}

function refusal(error: unknown): ControlReply {
  const code = error instanceof ControlError ? error.code : 'failed';
  const message = error instanceof Error ? error.message : String(error);
  return { v: PROTOCOL_VERSION, ok: false, error: { code, message } };
}

function lineOf(reply: ControlReply): string {
  return `${JSON.stringify(reply)}\n`;
}
