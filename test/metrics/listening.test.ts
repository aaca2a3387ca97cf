import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { defer } from '../harness/cleanup.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { tempDir, tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from '../input/refusal.ts';
import { ANY_PORT, ask, placesOf, urlOf } from './scrape.ts';

const TIME_LIMIT = { timeout: 60_000 };
const NOT_SERVED = /^metrics are not served: port \d+ on 127\.0\.0\.1 is in use/;

async function startWith(...flags: string[]): Promise<Mount> {
  const [source] = (await tempDirs('source')) as [string];
  return startMount({ source, flags });
}

/** Refused with status 1, one line, and nothing mounted. */
async function assertRefusedWith(flag: string, says: readonly [string, string, string]) {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  await assertRefused({ args: ['mount', source, mnt, flag], code: 1, says });
}

/** A port somebody listens at. */
async function takenPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(async () => {
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

test('a port that is in use and was asked for', TIME_LIMIT, async () => {
  const port = await takenPort();
  await assertRefusedWith(`--metrics-port=${port}`, [
    `metrics_port: ${port} on 127.0.0.1`,
    'is in use',
    'choose another port',
  ]);
});

test('the port of the default is done without when it is in use', TIME_LIMIT, async () => {
  // One of them gets it, unless somebody else on this host has it.
  const mounts = [await startWith(), await startWith(), await startWith()];
  const serving = mounts.filter((mount) => placesOf(mount).length > 0);
  assert.ok(serving.length <= 1);
  for (const mount of mounts) {
    const notes = mount.logs.filter(({ msg }) => NOT_SERVED.test(String(msg)));
    assert.equal(notes.length, serving.includes(mount) ? 0 : 1);
    for (const { level } of notes) assert.equal(level, 'info');
    await mount.stop();
  }
});

test('an address this host does not have, and what is none', TIME_LIMIT, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  await assertRefused({
    // Reserved for documentation (RFC 5737).
    args: ['mount', source, mnt, ANY_PORT, '--metrics-address=192.0.2.1'],
    code: 1,
    says: ['metrics_address: 192.0.2.1', 'no address of this host', 'give one that it has'],
  });
  await assertRefusedWith('--metrics-address=localhost', [
    'metrics_address: "localhost"',
    'no IP address',
    'give one of this host',
  ]);
});

test(
  'a socket is served at, with no port beside it, and goes with the daemon',
  TIME_LIMIT,
  async () => {
    const path = join(await tempDir('run'), 'metrics.sock');
    const mount = await startWith(`--metrics-socket=${path}`);
    assert.deepEqual(placesOf(mount), [`unix:${path}`]);
    assert.equal((await ask(`unix:${path}`, '/readyz')).status, 200);
    assert.match((await ask(`unix:${path}`, '/metrics')).body, /^sluice_ready 1$/m);
    await mount.stop();
    assert.equal(existsSync(path), false);
  },
);

test('a socket and a port are served at when both are asked for', TIME_LIMIT, async () => {
  const path = join(await tempDir('run'), 'metrics.sock');
  const mount = await startWith(`--metrics-socket=${path}`, ANY_PORT);
  assert.equal(placesOf(mount).length, 2);
  assert.equal((await ask(urlOf(mount), '/livez')).status, 200);
  assert.equal((await ask(`unix:${path}`, '/livez')).status, 200);
  await mount.stop();
});

/** Leaves a socket behind that nobody listens at, as a process that was killed does. */
async function leaveSocket(path: string): Promise<void> {
  const code = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}

test('a socket that a dead daemon left is replaced', TIME_LIMIT, async () => {
  const path = join(await tempDir('run'), 'metrics.sock');
  await leaveSocket(path);
  assert.ok(lstatSync(path).isSocket());
  const mount = await startWith(`--metrics-socket=${path}`);
  assert.equal((await ask(`unix:${path}`, '/livez')).status, 200);
  await mount.stop();
});

test('a socket that a live daemon has stays its own', TIME_LIMIT, async () => {
  const path = join(await tempDir('run'), 'metrics.sock');
  const first = await startWith(`--metrics-socket=${path}`);
  await assertRefusedWith(`--metrics-socket=${path}`, [
    `metrics_socket: ${path}`,
    'is in use by a daemon that runs',
    'choose another path',
  ]);
  assert.equal((await ask(`unix:${path}`, '/livez')).status, 200);
  await first.stop();
});

test('paths no socket can be at', TIME_LIMIT, async () => {
  const directory = await tempDir('run');
  const long = join(directory, 'x'.repeat(100));
  await assertRefusedWith(`--metrics-socket=${long}`, [
    'metrics_socket: ',
    `has ${Buffer.byteLength(long)} bytes and a socket's path 107 at the most`,
    'choose a shorter one',
  ]);
  const file = join(directory, 'file');
  writeFileSync(file, 'precious');
  await assertRefusedWith(`--metrics-socket=${file}`, [
    `metrics_socket: ${file}`,
    'is there and no socket',
    'choose another path',
  ]);
  assert.equal(lstatSync(file).size, 8);
  await assertRefusedWith('--metrics-socket=/nonexistent/metrics.sock', [
    'metrics_socket: /nonexistent',
    'is no directory',
    'create it',
  ]);
});

test('the longest path there can be', TIME_LIMIT, async () => {
  const directory = await tempDir('run');
  const path = join(directory, 'x'.repeat(107 - Buffer.byteLength(directory) - 1));
  assert.equal(Buffer.byteLength(path), 107);
  const mount = await startWith(`--metrics-socket=${path}`);
  assert.equal((await ask(`unix:${path}`, '/livez')).status, 200);
  await mount.stop();
});

test('a socket that the mount would hide, also by way of a link', TIME_LIMIT, async () => {
  const [source, mnt, other] = (await tempDirs('source', 'mnt', 'other')) as [
    string,
    string,
    string,
  ];
  const link = join(other, 'link');
  symlinkSync(mnt, link);
  for (const path of [join(mnt, 'x.sock'), join(link, 'x.sock'), mnt]) {
    const says = [`metrics_socket: ${path}`, 'lies below the mount point', 'give a path'] as const;
    const args = ['mount', source, mnt, `--metrics-socket=${path}`];
    await assertRefused({ args, code: 1, says });
  }
});
