/** The control socket itself, without a mount behind it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlTarget } from '../../src/main/control/connection.ts';
import {
  ControlError,
  MAX_REQUEST_CHARS,
  type StatusReport,
  type TopReport,
} from '../../src/main/control/protocol.ts';
import { MAX_CONTROL_CONNECTIONS } from '../../src/main/control/runtime-dir.ts';
import { type ControlServer, openControl } from '../../src/main/control/server.ts';
import type { Logger } from '../../src/shared/log.ts';
import { defer } from '../harness/cleanup.ts';
import { run } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { codeOf, RawClient } from './raw-client.ts';

const BOUND = { timeout: 60_000 };
const STATUS = { v: 1, op: 'status' };

/** Counts what it is asked, and answers something long. */
class FakeTarget implements ControlTarget {
  asked = 0;
  attached = 0;
  defects: unknown[] = [];
  isBroken = false;
  readonly unmounts: unknown[] = [];
  refusal: ControlError | undefined;

  status(): StatusReport {
    this.asked++;
    if (this.isBroken) throw new TypeError('a defect');
    return { id: 'x'.repeat(20_000) } as unknown as StatusReport;
  }

  attachTop(): void {
    this.attached++;
  }

  detachTop(): void {
    this.attached--;
  }

  top(): TopReport {
    return { callers: [] } as unknown as TopReport;
  }

  async unmount(how: unknown): Promise<void> {
    this.unmounts.push(how);
    if (this.refusal !== undefined) throw this.refusal;
  }

  reportDefect(error: unknown): void {
    this.defects.push(error);
  }
}

interface Opened {
  readonly server: ControlServer | undefined;
  readonly target: FakeTarget;
  readonly path: string;
  readonly warnings: string[];
}

async function open(runtimeDir: string, id = 'a', mountpoint = '/mnt'): Promise<Opened> {
  const warnings: string[] = [];
  const logger = { info: () => undefined, warn: (text: string) => warnings.push(text) };
  const target = new FakeTarget();
  const settings = { runtimeDir, id, mountpoint, logger: logger as unknown as Logger };
  const server = await openControl(settings, target);
  defer(async () => server?.close({}));
  return { server, target, path: join(runtimeDir, `${id}.sock`), warnings };
}

async function opened(): Promise<Opened> {
  return open(join(await tempDir(), 'run'));
}

function client(path: string, options?: { reads: boolean }): RawClient {
  const made = new RawClient(path, options);
  defer(async () => made.end());
  return made;
}

/** Leaves the socket of a process that was killed, last used so long ago. */
async function deadSocket(path: string, ageSeconds: number): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await run(process.execPath, ['-e', script]);
  assert.ok(statSync(path).isSocket());
  const at = Date.now() / 1000 - ageSeconds;
  utimesSync(path, at, at);
}

test('directory and socket are for the owner alone, whatever the umask', BOUND, async () => {
  const before = process.umask(0);
  defer(async () => void process.umask(before));
  const { path, server } = await opened();
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(process.umask(), 0);
  server?.close({});
  assert.equal(existsSync(path), false);
});

test('a request is answered by a line, and several one after the other', BOUND, async () => {
  const { path, target } = await opened();
  const one = client(path);
  one.ask(STATUS);
  assert.deepEqual((await one.reply(1))['ok'], true);
  one.send(`${JSON.stringify(STATUS)}\n${JSON.stringify(STATUS)}\n`);
  await one.reply(3);
  assert.equal(target.asked, 3);
  assert.deepEqual(Object.keys(one.replies()[0] ?? {}), ['v', 'ok', 'result']);
});

test('what is no request is refused, and the next one is answered', BOUND, async () => {
  const { path, target } = await opened();
  const one = client(path);
  const bad = [
    'nonsense',
    '[]',
    'null',
    '{"op":"status"}',
    '{"v":2,"op":"status"}',
    '{"v":1,"op":"format"}',
    '{"v":1,"op":"unmount","lazy":1,"timeoutMs":0}',
    '{"v":1,"op":"unmount","lazy":true,"timeoutMs":-1}',
    '{"v":1,"op":"unmount","lazy":true,"timeoutMs":1e400}',
  ];
  for (const line of bad) one.send(`${line}\n`);
  one.ask(STATUS);
  await one.reply(bad.length + 1);
  const codes = one.replies().map(codeOf);
  const versions = ['bad-request', 'version', 'bad-request', 'version', 'version'];
  const requests = Array.from({ length: 4 }, () => 'bad-request');
  assert.deepEqual(codes, [...versions, ...requests, undefined]);
  assert.deepEqual(target.unmounts, []);
  assert.deepEqual(target.defects, []);
});

test('a request that is too long ends the connection', BOUND, async () => {
  const { path } = await opened();
  const one = client(path);
  one.send('x'.repeat(MAX_REQUEST_CHARS + 1));
  assert.equal(codeOf(await one.reply(1)), 'bad-request');
  await one.closed(2000);
  const two = client(path);
  two.ask(STATUS);
  assert.equal((await two.reply(1))['ok'], true);
});

test('a client gets its answers at a pace, however fast it asks', BOUND, async () => {
  const { path, target } = await opened();
  const one = client(path);
  one.send(`${JSON.stringify(STATUS)}\n`.repeat(100));
  await one.reply(1);
  await sleep(500);
  // One every 50 ms: its own timers are not early, and ours may be late.
  assert.ok(target.asked >= 2 && target.asked <= 25, String(target.asked));
});

test('clients that do not read, do not ask, or ask by the byte are cut', BOUND, async () => {
  const { path, target } = await opened();
  const silent = client(path);
  const trickling = client(path);
  const deaf = client(path, { reads: false });
  const asking = setInterval(() => {
    trickling.send(' ');
    deaf.send(`${JSON.stringify(STATUS)}\n`);
  }, 50);
  defer(async () => clearInterval(asking));
  await Promise.all([silent, trickling, deaf].map((one) => one.closed(30_000)));
  for (const one of [silent, trickling]) assert.ok(one.closedAfterMs > 8000);
  // Replies of 20 KB: the kernel takes some, and then there are no more.
  assert.ok(target.asked < 200, String(target.asked));
  const later = client(path);
  later.ask(STATUS);
  assert.equal((await later.reply(1))['ok'], true);
});

test(
  'more connections than are allowed are closed, and their places come free',
  BOUND,
  async () => {
    const { path } = await opened();
    const held: RawClient[] = [];
    for (let n = 0; n < MAX_CONTROL_CONNECTIONS; n++) {
      const one = client(path);
      one.ask(STATUS);
      await one.reply(1);
      held.push(one);
    }
    const tooMany = client(path);
    await tooMany.closed(2000);
    assert.equal(tooMany.received, '');
    held[0]?.end();
    await sleep(100);
    const next = client(path);
    next.ask(STATUS);
    assert.equal((await next.reply(1))['ok'], true);
  },
);

test('callers are counted while somebody is attached, and no longer', BOUND, async () => {
  const { path, target } = await opened();
  const one = client(path);
  const two = client(path);
  for (const each of [one, two]) {
    each.ask({ v: 1, op: 'top' });
    each.ask({ v: 1, op: 'top' });
    await each.reply(2);
  }
  assert.equal(target.attached, 2);
  one.end();
  await sleep(100);
  assert.equal(target.attached, 1);
  two.end();
  await sleep(100);
  assert.equal(target.attached, 0);
});

test('a defect in an answer is reported and ends nothing', BOUND, async () => {
  const { path, target } = await opened();
  target.isBroken = true;
  const one = client(path);
  one.ask(STATUS);
  assert.equal(codeOf(await one.reply(1)), 'failed');
  assert.equal(target.defects.length, 1);
  target.isBroken = false;
  one.ask(STATUS);
  assert.equal((await one.reply(2))['ok'], true);
});

test(
  'an unmount is answered by the end, or by a refusal after which all goes on',
  BOUND,
  async () => {
    const { path, target, server } = await opened();
    const unmount = { v: 1, op: 'unmount', lazy: true, timeoutMs: 5 };
    const one = client(path);
    target.refusal = new ControlError('busy', 'in use');
    one.ask(unmount);
    assert.equal(codeOf(await one.reply(1)), 'busy');
    assert.deepEqual(target.defects, []);
    target.refusal = undefined;
    one.ask(unmount);
    const idle = client(path);
    await sleep(100);
    assert.equal(one.replies().length, 1);
    server?.close({ reason: 'stopped' });
    assert.deepEqual((await one.reply(2))['result'], { reason: 'stopped' });
    await Promise.all([one.closed(2000), idle.closed(2000)]);
    assert.equal(existsSync(path), false);
  },
);

test('sockets of dead daemons go, others stay', BOUND, async () => {
  const { path } = await opened();
  const directory = join(path, '..');
  const [dead, young, file] = [1, 2, 3].map(
    (digit) => `00000000-0000-7000-8000-00000000000${digit}.sock`,
  ) as [string, string, string];
  await deadSocket(join(directory, dead), 60);
  await deadSocket(join(directory, young), 0);
  writeFileSync(join(directory, file), '');
  utimesSync(join(directory, file), 0, 0);
  // Whoever shares the directory has sockets of his own.
  await deadSocket(join(directory, 'other.sock'), 60);
  // The live one is old, too.
  utimesSync(path, 0, 0);
  await open(directory, 'b');
  assert.deepEqual(readdirSync(directory).sort(), [young, file, 'a.sock', 'b.sock', 'other.sock']);
});

test('the path of a dead daemon is taken over, that of a live one is not', BOUND, async () => {
  const { path } = await opened();
  const directory = join(path, '..');
  await deadSocket(join(directory, 'b.sock'), 0);
  const { path: taken } = await open(directory, 'b');
  const one = client(taken);
  one.ask(STATUS);
  assert.equal((await one.reply(1))['ok'], true);
  await assert.rejects(open(directory, 'a'), {
    code: 'ERR_SLUICE_OPTION',
    message: `runtime_dir: ${path} is in use by a running daemon; give another directory, or end that daemon`,
  });
  const two = client(path);
  two.ask(STATUS);
  assert.equal((await two.reply(1))['ok'], true);
});

test('a live daemon that does not accept is no dead one', BOUND, async () => {
  const directory = await tempDir();
  const path = join(directory, 'a.sock');
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => { console.log('up'); process.kill(process.pid, 'SIGSTOP') })`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  defer(async () => void child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  utimesSync(path, 0, 0);
  await assert.rejects(open(directory, 'a'), /in use by a running daemon/);
  await open(directory, 'b');
  assert.ok(existsSync(path));
});

test('directories that cannot be', BOUND, async () => {
  const base = await tempDir();
  const long = join(base, 'l'.repeat(107 - base.length));
  await assert.rejects(
    open(long),
    /the path of the socket in it has \d+ bytes, .* 107; give a dir/,
  );
  assert.equal(existsSync(long), false);
  writeFileSync(join(base, 'file'), '');
  await assert.rejects(open(join(base, 'file')), /no socket can be made in .*\(EEXIST\)/);
  await assert.rejects(open(join(base, 'none', 'x')), /no socket can be made in .*\(ENOENT\)/);
  await assert.rejects(open('/proc/sluice'), /no socket can be made in .*; give a directory/);
  mkdirSync(join(base, 'open'));
  chmodSync(join(base, 'open'), 0o777);
  await assert.rejects(open(join(base, 'open')), /may be written to by others; give a directory/);
  chmodSync(join(base, 'open'), 0o1777);
  await open(join(base, 'open'));
});

test('a directory below the mount point is refused before it is made', BOUND, async () => {
  const base = await tempDir();
  mkdirSync(join(base, 'mnt'));
  await assert.rejects(open(join(base, 'mnt', 'run'), 'a', join(base, 'mnt')), /below the mount/);
  assert.deepEqual(readdirSync(join(base, 'mnt')), []);
  mkdirSync(join(base, 'mnt', 'in'));
  symlinkSync('mnt/in', join(base, 'link'));
  await assert.rejects(open(join(base, 'link'), 'a', join(base, 'mnt')), /below the mount/);
});

test('the longest path that a socket may have works', BOUND, async () => {
  const base = await tempDir();
  const directory = join(base, 'l'.repeat(107 - '/a.sock'.length - base.length - 1));
  const { path } = await open(directory);
  assert.equal(path.length, 107);
  const one = client(path);
  one.ask(STATUS);
  assert.equal((await one.reply(1))['ok'], true);
});
