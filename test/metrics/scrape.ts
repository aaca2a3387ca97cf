/** Asks a daemon under test for its metrics and its health. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import type { Mount } from '../harness/mount.ts';

const TIMEOUT_MS = 10_000;

/** A port of its own, so that tests do not meet. */
export const ANY_PORT = '--metrics-port=0';

export interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: string;
}

/** Where a daemon says that it serves. */
export function placesOf(mount: Mount): string[] {
  const line = mount.logs.find(({ msg }) => msg === 'metrics and health are served');
  return (line?.['places'] ?? []) as string[];
}

/** Where a mount started with ANY_PORT serves. */
export function urlOf(mount: Mount): string {
  const place = placesOf(mount).find((found) => found.startsWith('http://127.0.0.1:'));
  assert.ok(place !== undefined, `no port in the log\n${mount.logTail()}`);
  return place;
}

/** One request; `place` as the log names it. */
export function ask(place: string, path: string, method = 'GET'): Promise<Answer> {
  const at = place.startsWith('unix:')
    ? { socketPath: place.slice('unix:'.length) }
    : { host: new URL(place).hostname, port: new URL(place).port };
  return new Promise((resolve, reject) => {
    const asked = request(
      { ...at, path, method, agent: false, timeout: TIMEOUT_MS },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers['content-type'],
            body,
          }),
        );
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`no answer to ${path}`)));
    asked.on('error', reject);
    asked.end();
  });
}

/** Values by series: `name{label="value"}` as it stands in the text. */
export type Samples = ReadonlyMap<string, number>;

export function parseMetrics(text: string): Samples {
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const end = line.lastIndexOf(' ');
    const series = line.slice(0, end);
    assert.ok(!samples.has(series), `${series} stands twice`);
    samples.set(series, line.slice(end + 1) === 'Nan' ? Number.NaN : Number(line.slice(end + 1)));
  }
  return samples;
}

/** All series of a mount at this moment. */
export async function scrape(mount: Mount): Promise<Samples> {
  const { status, body } = await ask(urlOf(mount), '/metrics');
  assert.equal(status, 200, body);
  return parseMetrics(body);
}

/** One value. */
export function sampleOf(samples: Samples, series: string): number {
  const value = samples.get(series);
  assert.ok(value !== undefined, `there is no series ${series}`);
  return value;
}
