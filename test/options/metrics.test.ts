import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveOptions } from '../../src/shared/options.ts';
import { startMount } from '../harness/mount.ts';
import { tempDir, tempDirs } from '../harness/temp-dir.ts';
import { ANY_PORT, ask, placesOf, urlOf } from '../metrics/scrape.ts';
import { everyOptionIsTested, optionTest } from './by-option.ts';

async function mountWith(...flags: string[]) {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  writeFileSync(join(source, 'f'), 'text');
  return startMount({ source, mountpoint, flags });
}

optionTest('metrics', 'off: nothing is served, whatever else is given', async () => {
  const path = join(await tempDir('run'), 'sock');
  const mount = await mountWith('--no-metrics', ANY_PORT, `--metrics-socket=${path}`);
  assert.deepEqual(placesOf(mount), []);
  await assert.rejects(ask(`unix:${path}`, '/livez'), /ENOENT/);
  await mount.stop();
});

optionTest('metricsPort', 'the port metrics are served at; 0: any free one', async () => {
  const first = await mountWith(ANY_PORT);
  const { port } = new URL(urlOf(first));
  await first.stop();
  const second = await mountWith(`--metrics-port=${port}`);
  assert.equal(new URL(urlOf(second)).port, port);
  assert.equal((await ask(urlOf(second), '/metrics')).status, 200);
  await second.stop();
});

optionTest('metricsAddress', 'the address of the port, and no other', async () => {
  const mount = await mountWith(ANY_PORT, '--metrics-address=127.0.0.2');
  const [place] = placesOf(mount) as [string];
  assert.equal(new URL(place).hostname, '127.0.0.2');
  assert.equal((await ask(place, '/readyz')).status, 200);
  await assert.rejects(ask(place.replace('127.0.0.2', '127.0.0.1'), '/readyz'), /ECONNREFUSED/);
  await mount.stop();
});

optionTest('metricsSocket', 'a relative path is one of the working directory', async () => {
  const { options } = resolveOptions(
    { source: '/s', mountpoint: '/m', metricsSocket: 'run/sock' },
    { isRoot: true, workingDirectory: '/work' },
  );
  assert.equal(options.metricsSocket, '/work/run/sock');
  const path = join(await tempDir('run'), 'sock');
  const mount = await mountWith(`--metrics-socket=${path}`);
  assert.equal((await ask(`unix:${path}`, '/readyz')).status, 200);
  await mount.stop();
});

// What happens after that time: test/metrics/health.test.ts.
optionTest('stuckTimeout', 'is kept in milliseconds, and a mount that works is alive', async () => {
  const given = { source: '/s', mountpoint: '/m', stuckTimeout: 1.5 };
  assert.equal(resolveOptions(given).options.stuckTimeoutMs, 1500);
  const mount = await mountWith(ANY_PORT, '--stuck-timeout=1');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal((await ask(urlOf(mount), '/livez')).status, 200);
  await mount.stop();
});

everyOptionIsTested('Metrics');
