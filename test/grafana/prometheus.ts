/** A Prometheus of the test's own, with the configuration and the rules of grafana/. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { projectRoot } from '../harness/paths.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { PrometheusApi } from '../tools/prometheus-api.ts';

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;
const LISTENING = /msg="Listening on".* address=([^ ]+)/;

/**
 * Starts Prometheus on the shipped configuration, which differs in two things: it scrapes `target`,
 * and once a second. It ends with the test.
 *
 * @param target host and port
 * @returns where it answers
 * @throws Error with its last lines when it does not come up in time
 */
export async function startPrometheus(target: string): Promise<PrometheusApi> {
  const directory = await tempDir('prometheus');
  cpSync(join(projectRoot, 'grafana'), join(directory, 'grafana'), { recursive: true });
  const configuration = join(directory, 'grafana/prometheus/prometheus.yml');
  replaceIn(configuration, /(_interval: )15s/g, '$11s');
  replaceIn(join(directory, 'grafana/prometheus/sluice-mounts.yaml'), /127.0.0.1:\d+/g, target);
  const child = spawn(
    'prometheus',
    [
      `--config.file=${configuration}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      '--web.listen-address=127.0.0.1:0',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const exited = once(child, 'exit');
  defer(
    () => end(child, exited),
    () => child.kill('SIGKILL'),
  );
  return new PrometheusApi(`http://${await listening(child, exited)}`);
}

async function end(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  child.kill('SIGTERM');
  const isOver = await Promise.race([
    exited.then(() => true),
    sleep(STOP_TIMEOUT_MS, false, { ref: false }),
  ]);
  if (!isOver) child.kill('SIGKILL');
  await exited;
}

/** Waits for the line that says where it listens. */
async function listening(child: ChildProcess, exited: Promise<unknown>): Promise<string> {
  const lines: string[] = [];
  const address = new Promise<string>((resolve) => {
    createInterface({ input: child.stderr as Readable }).on('line', (line) => {
      lines.push(line);
      const found = LISTENING.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  const place = await Promise.race([
    address,
    exited.then(() => undefined),
    sleep(READY_TIMEOUT_MS, undefined, { ref: false }),
  ]);
  if (place === undefined) {
    throw new Error(`Prometheus does not start:\n${lines.slice(-10).join('\n')}`);
  }
  return place;
}

function replaceIn(file: string, pattern: RegExp, by: string): void {
  const text = readFileSync(file, 'utf8');
  const replaced = text.replaceAll(pattern, by);
  if (replaced === text) throw new Error(`${file} has no ${pattern}`);
  writeFileSync(file, replaced);
}
