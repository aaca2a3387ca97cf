/** The HTTP server of metrics and health, with a limit on everything a client can do to it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { MAX_CONNECTIONS } from '../shared/exporter-messages.ts';

export interface HttpRoutes {
  /** The metrics, rendered. */
  metrics(): Promise<string>;
  readonly metricsType: string;
  /** Why not; undefined: all is well. */
  whyNotLive(): string | undefined;
  whyNotReady(): string | undefined;
  /** A limit closed a connection. */
  onCut(): void;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const MAX_HEADER_BYTES = 8192;
/** A request has to be there whole within this time after the connection, or after the last one. */
const REQUEST_TIMEOUT_MS = 5000;
/** A response has to be read within this time. */
export const RESPONSE_TIMEOUT_MS = 5000;
/** Longer than the usual interval of scrapes, so that a scraper keeps its connection. */
const KEEP_ALIVE_MS = 75_000;
const CHECK_INTERVAL_MS = 1000;
/** How long responses under way may take when the server ends. */
const CLOSE_GRACE_MS = 500;

const PLAIN = 'text/plain; charset=utf-8';

export class HttpServer {
  readonly #routes: HttpRoutes;
  readonly #server: Server;
  /** Scrapes at the same moment share one rendering. */
  #rendering: Promise<string> | undefined;

  constructor(routes: HttpRoutes) {
    this.#routes = routes;
    this.#server = createServer({
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('drop', () => {
      routes.onCut();
      // Who only keeps a connection makes way for who asks next.
      this.#server.closeIdleConnections();
    });
    this.#server.on('clientError', (error, socket) => this.#onClientError(error, socket));
    this.#server.on('request', (request, response) => {
      this.#limit(response);
      void this.#answer(request, response);
    });
  }

  /**
   * Listens at a port or a path.
   * @returns where, as a URL or `unix:` and the path
   * @throws what listen() meets, with the `code` of the system
   */
  async listen(at: { host: string; port: number } | { path: string }): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ ...at, readableAll: true, writableAll: true }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    const address = this.#server.address();
    if (address === null || typeof address === 'string') return `unix:${address}`;
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return `http://${host}:${address.port}`;
  }

  /** Ends; responses under way get a moment. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  /** A response nobody reads fills the socket and never ends. */
  #limit(response: ServerResponse): void {
    const timer = setTimeout(() => {
      this.#routes.onCut();
      response.destroy();
    }, RESPONSE_TIMEOUT_MS);
    response.on('close', () => clearTimeout(timer));
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const { code = '' } = error;
    const isLimit = code in STATUS_BY_CODE;
    if (isLimit) this.#routes.onCut();
    if (!socket.writable || !(isLimit || code.startsWith('HPE_'))) {
      socket.destroy();
      return;
    }
    const status = STATUS_BY_CODE[code] ?? '400 Bad Request';
    const text = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
    // Not left half open: a client that never closes would keep its place for good.
    socket.end(text, () => socket.destroy());
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answerOf(request);
    } catch (error) {
      answer = text(500, `the metrics cannot be rendered: ${String(error)}`);
    }
    const { status, type, body } = answer;
    response.writeHead(status, {
      'Content-Type': type,
      'Content-Length': Buffer.byteLength(body),
      'Cache-Control': 'no-store',
      ...(status === 405 ? { Allow: 'GET, HEAD' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  async #answerOf({ method, url = '/' }: IncomingMessage): Promise<Answer> {
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'only GET and HEAD are answered');
    const routes = this.#routes;
    switch (url.split('?', 1)[0]) {
      case '/metrics':
        this.#rendering ??= routes.metrics().finally(() => {
          this.#rendering = undefined;
        });
        return { status: 200, type: routes.metricsType, body: await this.#rendering };
      case '/livez':
        return health(routes.whyNotLive());
      case '/readyz':
        return health(routes.whyNotReady());
      case '/healthz':
        return health(routes.whyNotLive() ?? routes.whyNotReady());
      default:
        return text(404, 'there are /metrics, /livez, /readyz and /healthz');
    }
  }
}

/** What is said when a limit ends a connection, by Node's code. */
const STATUS_BY_CODE: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
};

function health(why: string | undefined): Answer {
  return why === undefined ? text(200, 'ok') : text(503, why);
}

function text(status: number, line: string): Answer {
  return { status, type: PLAIN, body: `${line}\n` };
}
