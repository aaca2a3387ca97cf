import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_CONNECTIONS } from '../../src/shared/exporter-messages.ts';
import { HttpServer, RESPONSE_TIMEOUT_MS } from '../../src/workers/exporter-http.ts';
import { defer } from '../harness/cleanup.ts';
import { ask } from './scrape.ts';

const TIME_LIMIT = { timeout: 60_000 };
/** Limits are looked after once a second. */
const SLACK_MS = 3000;

interface Stage {
  readonly place: string;
  readonly port: number;
  cuts: number;
  renderings: number;
}

interface Given {
  readonly body?: string;
  readonly renderMs?: number;
  readonly whyNotLive?: string;
  readonly whyNotReady?: string;
}

/** A server of its own over given answers. */
async function serve(given: Given = {}): Promise<Stage> {
  const stage = { place: '', port: 0, cuts: 0, renderings: 0 };
  const server = new HttpServer({
    metricsType: 'text/plain; version=0.0.4; charset=utf-8',
    metrics: async () => {
      stage.renderings++;
      await sleep(given.renderMs ?? 0);
      return given.body ?? 'a 1\n';
    },
    whyNotLive: () => given.whyNotLive,
    whyNotReady: () => given.whyNotReady,
    onCut: () => {
      stage.cuts++;
    },
  });
  stage.place = await server.listen({ host: '127.0.0.1', port: 0 });
  stage.port = Number(new URL(stage.place).port);
  defer(() => server.close());
  return stage;
}

async function connectTo({ port }: Stage, allowHalfOpen = false): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen });
  socket.on('error', () => undefined);
  defer(async () => {
    socket.destroy();
  });
  await once(socket, 'connect');
  return socket;
}

/** Waits for the end of a connection. @returns how long it took */
async function closedWithin(socket: Socket, limitMs: number): Promise<number> {
  const startedMs = performance.now();
  const isClosed = await Promise.race([
    once(socket, 'close').then(() => true),
    sleep(limitMs, false, { ref: false }),
  ]);
  assert.ok(isClosed, `the connection is open after ${limitMs} ms`);
  return performance.now() - startedMs;
}

test('what there is, and what is asked for otherwise', TIME_LIMIT, async () => {
  const { place } = await serve();
  assert.deepEqual(await ask(place, '/metrics?name[]=a'), {
    status: 200,
    type: 'text/plain; version=0.0.4; charset=utf-8',
    body: 'a 1\n',
  });
  for (const path of ['/livez', '/readyz', '/healthz']) {
    const { status, body } = await ask(place, path);
    assert.deepEqual([status, body], [200, 'ok\n'], path);
  }
  assert.equal((await ask(place, '/')).status, 404);
  assert.equal((await ask(place, '/metrics/')).status, 404);
  assert.equal((await ask(place, '/metrics', 'POST')).status, 405);
  const head = await ask(place, '/metrics', 'HEAD');
  assert.deepEqual([head.status, head.body], [200, '']);
});

test('health says why', TIME_LIMIT, async () => {
  const dead = await serve({ whyNotLive: 'main hangs', whyNotReady: 'no mount' });
  const answers = await Promise.all(
    ['/livez', '/readyz', '/healthz'].map((path) => ask(dead.place, path)),
  );
  assert.deepEqual(
    answers.map(({ status, body }) => [status, body]),
    [
      [503, 'main hangs\n'],
      [503, 'no mount\n'],
      [503, 'main hangs\n'],
    ],
  );
  const unready = await serve({ whyNotReady: 'no mount' });
  assert.equal((await ask(unready.place, '/livez')).status, 200);
  assert.equal((await ask(unready.place, '/healthz')).body, 'no mount\n');
});

test('scrapes at the same moment share one rendering', TIME_LIMIT, async () => {
  const stage = await serve({ renderMs: 200 });
  const answers = await Promise.all(Array.from({ length: 10 }, () => ask(stage.place, '/metrics')));
  assert.ok(answers.every(({ body }) => body === 'a 1\n'));
  assert.equal(stage.renderings, 1);
  await ask(stage.place, '/metrics');
  assert.equal(stage.renderings, 2);
});

test('a client that says nothing, or half of it, is sent away', TIME_LIMIT, async () => {
  const stage = await serve();
  const [silent, half] = [await connectTo(stage), await connectTo(stage)];
  let said = '';
  half.on('data', (chunk) => {
    said += String(chunk);
  });
  silent.resume();
  half.write('GET /metrics HTTP/1.1\r\nHost: here\r\n');
  await Promise.all([closedWithin(silent, 5000 + SLACK_MS), closedWithin(half, 5000 + SLACK_MS)]);
  assert.match(said, /^HTTP\/1\.1 408 /);
  assert.equal(stage.cuts, 2);
});

test('clients that never close lose their places all the same', TIME_LIMIT, async () => {
  const stage = await serve();
  const stubborn = Array.from({ length: MAX_CONNECTIONS }, () => connectTo(stage, true));
  for (const socket of await Promise.all(stubborn)) socket.resume();
  await assert.rejects(ask(stage.place, '/livez'));
  await sleep(5000 + SLACK_MS);
  assert.equal((await ask(stage.place, '/livez')).status, 200);
});

test('who keeps a connection makes way for who asks next', TIME_LIMIT, async () => {
  const stage = await serve();
  for (let i = 0; i < MAX_CONNECTIONS; i++) {
    const socket = await connectTo(stage);
    socket.write('GET /livez HTTP/1.1\r\nHost: here\r\n\r\n');
    await once(socket, 'data');
  }
  await assert.rejects(ask(stage.place, '/livez'));
  assert.equal((await ask(stage.place, '/livez')).status, 200);
});

test('what is no HTTP is said to be none', TIME_LIMIT, async () => {
  const stage = await serve();
  const socket = await connectTo(stage);
  socket.write('garbage\r\n\r\n');
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 400 /);
  assert.equal(stage.cuts, 0);
});

test('a header that does not end is refused', TIME_LIMIT, async () => {
  const stage = await serve();
  const socket = await connectTo(stage);
  let said = '';
  socket.on('data', (chunk) => {
    said += String(chunk);
  });
  socket.write(`GET /metrics HTTP/1.1\r\nHost: here\r\nX-Long: ${'x'.repeat(20_000)}`);
  await closedWithin(socket, SLACK_MS);
  assert.match(said, /^HTTP\/1\.1 431 /);
});

test('what is no HTTP ends the connection', TIME_LIMIT, async () => {
  const stage = await serve();
  const socket = await connectTo(stage);
  socket.resume();
  socket.write('\x16\x03\x01 this is no HTTP\r\n\r\n');
  await closedWithin(socket, SLACK_MS);
});

test('a client that never reads is cut, and nobody waits for it', TIME_LIMIT, async () => {
  // More than the buffers of a socket hold.
  const stage = await serve({ body: 'x'.repeat(32 * 1024 * 1024) });
  const socket = await connectTo(stage);
  socket.pause();
  socket.write('GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n');
  const startedMs = performance.now();
  for (let i = 0; i < 5; i++) assert.equal((await ask(stage.place, '/livez')).status, 200);
  assert.ok(performance.now() - startedMs < RESPONSE_TIMEOUT_MS, 'others were kept waiting');
  while (stage.cuts === 0 && performance.now() - startedMs < RESPONSE_TIMEOUT_MS + SLACK_MS) {
    await sleep(50);
  }
  assert.equal(stage.cuts, 1);
  // What is in the buffers may still be read; then comes the end, long before the body is whole.
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await closedWithin(socket, SLACK_MS);
  assert.ok(bytes < 32 * 1024 * 1024, `${bytes} bytes came`);
});

test('requests that are sent without reading the answers do not pile up', TIME_LIMIT, async () => {
  const stage = await serve({ body: 'x'.repeat(256 * 1024) });
  const socket = await connectTo(stage);
  socket.pause();
  socket.write('GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n'.repeat(1000));
  await sleep(1000);
  const before = stage.renderings;
  assert.ok(before < 200, `${before} were rendered for nobody`);
  assert.equal((await ask(stage.place, '/livez')).status, 200);
  const startedMs = performance.now();
  while (stage.cuts === 0 && performance.now() - startedMs < RESPONSE_TIMEOUT_MS + SLACK_MS) {
    await sleep(50);
  }
  assert.ok(stage.cuts > 0);
});

test('more connections than may be are closed at once', TIME_LIMIT, async () => {
  const stage = await serve();
  const sockets = await Promise.all(
    Array.from({ length: MAX_CONNECTIONS + 8 }, () => connectTo(stage)),
  );
  await sleep(500);
  assert.equal(stage.cuts, 8);
  for (const socket of sockets) socket.destroy();
  await sleep(200);
  assert.equal((await ask(stage.place, '/livez')).status, 200);
});
