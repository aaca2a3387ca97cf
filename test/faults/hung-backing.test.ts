import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { Client, type HangingServer, mountHanging } from './hanging.ts';
import { dropCaches, settle, standstill } from './settle.ts';

const TIME_LIMIT = { timeout: 90_000 };
/** What goes on beside a hung mount has to go on within this. */
const SOON_MS = 1000;
/** Starting a process on a busy machine comes on top. */
const PROCESS_MS = 1500;
const LARGE_WRITES = 40;
const READERS = 30;
const STATERS = 70;

interface Stage extends HangingServer {
  readonly mount: Mount;
  readonly source: string;
  readonly clients: Client[];
}

/** A source with a FUSE file system and a tmpfs mounted below it. */
async function makeStage(flags: readonly string[]): Promise<Stage> {
  const [backing, source, mountpoint] = (await tempDirs('backing', 'source', 'mnt')) as [
    string,
    string,
    string,
  ];
  for (const name of ['hung', 'tmp']) mkdirSync(join(source, name));
  for (let i = 0; i < 200; i++) writeFileSync(join(backing, `file-${i}`), `content ${i}`);
  for (let i = 0; i < 100; i++) writeFileSync(join(source, `own-${i}`), `own ${i}`);
  const hung = join(source, 'hung');
  const tmp = join(source, 'tmp');
  await runOk('mount', ['-t', 'tmpfs', 'tmpfs', tmp]);
  defer(async () => void (await run('umount', ['-l', tmp])));
  for (let i = 0; i < 300; i++) writeFileSync(join(tmp, `tmp-${i}`), `tmp ${i}`);
  const server = await mountHanging(backing, hung);
  const mount = await startMount({ source, mountpoint, flags });
  const clients: Client[] = [];
  defer(async () => {
    server.goOn();
    for (const client of clients) client.kill();
  });
  return {
    mount,
    source,
    clients,
    ...server,
  };
}

/** Fails unless a command on the mount ends well, and soon. */
async function endsSoon(command: string, ...args: string[]): Promise<string> {
  const done = await run(command, args, { timeoutMs: SOON_MS + PROCESS_MS });
  assert.equal(done.timedOut, false, `${command} ${args.join(' ')} hangs`);
  assert.equal(done.code, 0, done.stderr);
  return done.stdout;
}

const POSIX_LOCK = `use Fcntl; $| = 1; open(F, "+<", $ARGV[0]) or die;
  my $lock = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
  fcntl(F, F_SETLKW, $lock) or die;
  print "locked\\n"; sleep 60 if $ARGV[1];`;

async function skipReason(t: TestContext): Promise<boolean> {
  const missing = await missingTool('bindfs', 'perl', 'flock');
  const reason = missing ?? (process.getuid?.() === 0 ? undefined : 'mounting needs root');
  if (reason !== undefined) t.skip(reason);
  return reason !== undefined;
}

async function assertStopsNothingElse(t: TestContext, flags: readonly string[]): Promise<void> {
  if (await skipReason(t)) return;
  const stage = await makeStage(['--request-slots=32', '--lanes=4', ...flags]);
  const { mount, source, clients } = stage;
  const at = (...names: string[]): string => join(mount.mountpoint, ...names);
  const start = (command: string, ...args: string[]): Client => {
    const client = new Client(command, ...args);
    clients.push(client);
    return client;
  };
  await runOk('ls', ['-l', mount.mountpoint, at('hung'), at('tmp')]);
  const rest = await standstill(mount);

  // Opened while all is well: what they do later is a WRITE or a READ and nothing else.
  const writers = Array.from({ length: LARGE_WRITES }, (_, i) =>
    start(
      'sh',
      '-c',
      'exec 3<>"$1"; echo open; read x; dd if=/dev/zero bs=1M count=1 >&3 2>/dev/null',
      'sh',
      at('hung', `file-${i}`),
    ),
  );
  const readers = Array.from({ length: READERS }, (_, i) =>
    start(
      'sh',
      '-c',
      'exec 3<"$1"; echo open; read x; exec cat <&3 >/dev/null',
      'sh',
      at('hung', `file-${50 + i}`),
    ),
  );
  const lockFile = at('own-0');
  const flocker = start('flock', lockFile, 'sh', '-c', 'echo locked; exec sleep 60');
  const posixLocker = start('perl', '-e', POSIX_LOCK, at('tmp', 'tmp-0'), 'stay');
  await Promise.all([...writers, ...readers, flocker, posixLocker].map((c) => c.started()));
  await runOk('sh', ['-c', 'stat "$1"/tmp-* > /dev/null', 'sh', at('tmp')]);
  const known = (await mount.status())['lookups'] as number;

  stage.hang();
  const staters = Array.from({ length: STATERS }, (_, i) =>
    start('stat', at('hung', `file-${100 + i}`)),
  );
  for (const client of [...writers, ...readers]) client.go();
  const listers = Array.from({ length: 10 }, () => start('ls', '-l', mount.mountpoint));
  const flockWaiters = Array.from({ length: 5 }, () => start('flock', lockFile, 'true'));
  const posixWaiters = Array.from({ length: 5 }, () =>
    start('perl', '-e', POSIX_LOCK, at('tmp', 'tmp-0')),
  );
  await sleep(1500);

  const during = await mount.status();
  assert.ok((during['parked'] as number) > 0, 'nothing had to wait: the test tests nothing');
  // New names, so that requests are sent, on every healthy mount.
  for (let i = 0; i < 5; i++) {
    assert.equal(await endsSoon('cat', at('tmp', `tmp-${200 + i}`)), `tmp ${200 + i}`);
    assert.equal(await endsSoon('cat', at(`own-${50 + i}`)), `own ${50 + i}`);
    await endsSoon('sh', '-c', 'echo new > "$1" && rm "$1"', 'sh', at(`made-${i}`));
    await endsSoon('sh', '-c', 'echo new > "$1" && rm "$1"', 'sh', at('tmp', `made-${i}`));
  }

  await dropCaches();
  await sleep(200);
  const forgotten = (await mount.status())['lookups'] as number;
  assert.ok(forgotten < known - 200, `FORGET is not processed: ${known} then ${forgotten} lookups`);

  flocker.kill();
  posixLocker.kill();
  for (const waiter of [...flockWaiters, ...posixWaiters]) {
    assert.ok(await waiter.endsWithin(5000), 'an unlock wakes nobody');
  }

  // One whose request no lane has begun ends at once, one in the middle of it when the server
  // answers.
  const interruptsBefore = (await mount.status())['interrupts'] as number;
  const queued = staters.slice(-20);
  for (const client of queued) client.kill();
  for (const client of queued) {
    assert.ok(await client.endsWithin(3000), 'a killed process that waits does not end');
  }
  assert.ok(((await mount.status())['interrupts'] as number) > interruptsBefore);
  for (const client of staters) client.kill();
  await sleep(500);
  const inKernel = [...staters, ...writers, ...readers, ...listers].filter(
    (client) => client.child.exitCode === null && client.child.signalCode === null,
  );
  assert.ok(inKernel.length > 0, 'nothing hangs any more');

  stage.goOn();
  for (const client of clients)
    assert.ok(await client.endsWithin(20_000), 'a client hangs for ever');
  for (const client of [...writers, ...readers, ...listers]) assert.equal(await client.ended, 0);
  for (let i = 0; i < LARGE_WRITES; i++) {
    const bytes = readFileSync(join(source, 'hung', `file-${i}`));
    assert.equal(bytes.length, 1 << 20);
    assert.ok(bytes.every((byte) => byte === 0));
  }
  await settle(mount, rest);
  await mount.stop();
}

test('a backing mount that hangs stops nothing but itself', TIME_LIMIT, (t) =>
  assertStopsNothingElse(t, []),
);

test('neither does it where locks are taken behind', TIME_LIMIT, (t) =>
  assertStopsNothingElse(t, ['--posix-lock', '--flock']),
);

test('a mount that hangs before anybody met it stops nothing but itself', TIME_LIMIT, async (t) => {
  if (await skipReason(t)) return;
  const { mount, clients, hang, goOn } = await makeStage(['--lanes=4']);
  hang();
  for (let i = 0; i < 20; i++) clients.push(new Client('ls', '-l', mount.mountpoint));
  await sleep(1500);
  for (let i = 0; i < 3; i++) {
    assert.equal(await endsSoon('cat', join(mount.mountpoint, `own-${i}`)), `own ${i}`);
    assert.equal(await endsSoon('cat', join(mount.mountpoint, 'tmp', `tmp-${i}`)), `tmp ${i}`);
  }
  goOn();
  for (const client of clients)
    assert.ok(await client.endsWithin(20_000), 'a client hangs for ever');
  await mount.stop();
});
