import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { onlyReads } from '../../src/main/dispatch/op-deadline.ts';
import { OPCODES } from '../../src/shared/abi/opcodes.ts';
import { O_RDWR, O_TRUNC } from '../../src/shared/sys/constants.ts';
import type { Client } from '../faults/hanging.ts';
import { settle, standstill } from '../faults/settle.ts';
import type { Status } from '../harness/mount.ts';
import { runOk } from '../harness/run.ts';
import { sampleOf, scrape } from '../metrics/scrape.ts';
import { makeHangingStage, type Stage, stageOrSkip } from './stage.ts';

const TIME_LIMIT = { timeout: 90_000 };
const saboteur = new URL('../faults/saboteur.js', import.meta.url).href;
const TIMED_OUT = /Connection timed out/;
/** Of one second: noticed a quarter later, with some room on a busy machine. */
const ANSWERED_MS = 6000;

test('what may be answered before it is done only reads', () => {
  const names = OPCODES.filter(({ opcode }) => onlyReads(opcode, O_RDWR)).map(({ name }) => name);
  assert.deepEqual(
    names,
    [
      'LOOKUP',
      'GETATTR',
      'OPEN',
      'READLINK',
      'READ',
      'STATFS',
      'GETXATTR',
      'LISTXATTR',
      'OPENDIR',
      'READDIR',
      'GETLK',
      'ACCESS',
      'READDIRPLUS',
      'LSEEK',
      'STATX',
    ].toSorted((a, b) => opcodeOf(a) - opcodeOf(b)),
  );
  assert.equal(onlyReads(opcodeOf('OPEN'), O_RDWR | O_TRUNC), false);
});

function opcodeOf(name: string): number {
  return OPCODES.find((row) => row.name === name)?.opcode ?? -1;
}

interface Teller {
  readonly client: Client;
  /** All it has said, once it has ended. */
  readonly output: Promise<string>;
}

/** A process that does something on the hung file system and tells how that went. */
function teller(stage: Stage, script: string, ...args: string[]): Teller {
  const client = stage.start('sh', '-c', `exec 2>&1; ${script}`, 'sh', ...args);
  let output = '';
  client.child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return { client, output: once(client.child, 'close').then(() => output) };
}

const READ_OPEN_FILE = 'exec 3<"$1"; echo open; read x; exec cat <&3';
const WRITE_OPEN_FILE = 'exec 3<>"$1"; echo open; read x; printf written >&3; echo done';

test(
  'what reads is answered ETIMEDOUT, what writes waits, and nothing is left behind',
  TIME_LIMIT,
  async (t) => {
    const made = stageOrSkip(t, await makeHangingStage(['--op-timeout=1', '--lanes=4']));
    if (made === undefined) return;
    const { stage, holder, hang, goOn } = made;
    const { mount } = stage;
    const negotiated = mount.logs.find(({ msg }) => msg === 'negotiated');
    assert.match(String(negotiated?.['kernelPassthrough']), /^off: /);
    await runOk('ls', ['-l', mount.mountpoint, stage.at('hung')]);
    const rest = await standstill(mount);

    const reader = teller(stage, READ_OPEN_FILE, stage.at('hung', 'file-90'));
    const writer = teller(stage, WRITE_OPEN_FILE, stage.at('hung', 'file-91'));
    await Promise.all([reader.client.started(), writer.client.started()]);
    hang();
    writer.client.go();
    await sleep(100);
    reader.client.go();
    const readers = [
      // Known inodes, and names that have to be looked up.
      ...Array.from({ length: 30 }, (_, i) => ['stat', stage.at('hung', `file-${i}`)]),
      ...Array.from({ length: 30 }, (_, i) => ['cat', stage.at('hung', `file-${30 + i}`)]),
      ['ls', stage.at('hung')],
      ['readlink', '-v', stage.at('hung', 'link')],
      ['df', stage.at('hung')],
      ['getfattr', '-n', 'user.a', stage.at('hung', 'file-1')],
    ].map((command) => teller(stage, '"$@"', ...command));
    assert.equal(readers.length, 64);
    for (let i = 0; i < 5; i++) {
      assert.equal(await stage.endsSoon('cat', stage.at(`own-${i}`)), `own ${i}`);
      await stage.endsSoon('sh', '-c', 'echo new > "$1" && rm "$1"', 'sh', stage.at(`made-${i}`));
    }
    for (const { client, output } of readers) {
      assert.ok(await client.endsWithin(ANSWERED_MS), `${client.child.spawnargs} hangs`);
      assert.match(await output, TIMED_OUT, String(client.child.spawnargs));
      assert.notEqual(await client.ended, 0);
    }
    // For a page of the cache the kernel makes EIO of it.
    assert.ok(await reader.client.endsWithin(ANSWERED_MS));
    assert.match(await reader.output, /Input\/output error|Connection timed out/);
    assert.equal(await writer.client.endsWithin(1), false, 'a write was answered');
    const timeouts = sampleOf(await scrape(mount), 'sluice_timeouts_total');
    assert.ok(timeouts >= 60, String(timeouts));
    assert.equal(stage.lines(/^op_timeout has passed/).length, 1);
    assert.equal(await writer.client.endsWithin(1), false, 'a write was answered');

    goOn();
    assert.equal(await writer.client.ended, 0);
    assert.equal(
      readFileSync(join(mount.source, 'hung', 'file-91'), 'utf8').slice(0, 7),
      'written',
    );
    assert.equal(await stage.endsSoon('cat', stage.at('hung', 'file-90')), 'content 90');
    await settle(mount, rest);
    const samples = await scrape(mount);
    // One reply for each request: what a lane had for one that was answered it kept to itself.
    assert.equal(sampleOf(samples, 'sluice_dropped_replies_total'), 0);
    assert.equal(sampleOf(samples, 'sluice_exceptions_total'), 0);
    holder.kill();
    await mount.stop();
  },
);

test('requests that main keeps for want of a slot are answered too', TIME_LIMIT, async (t) => {
  const flags = ['--op-timeout=1', '--request-slots=16', '--lanes=2'];
  const made = stageOrSkip(t, await makeHangingStage(flags));
  if (made === undefined) return;
  const { stage, holder, hang, goOn } = made;
  await runOk('ls', ['-l', stage.at('hung')]);
  const rest = await standstill(stage.mount);
  await runOk('ls', ['-l', stage.at('hung')]);
  hang();
  const stats = Array.from({ length: 50 }, (_, i) =>
    teller(stage, 'stat "$1"', stage.at('hung', `file-${i}`)),
  );
  for (const { client, output } of stats) {
    assert.ok(await client.endsWithin(ANSWERED_MS), 'one hangs');
    assert.match(await output, TIMED_OUT);
  }
  const status = await stage.mount.status();
  assert.ok(Number(status['parkedTotal']) > 0, 'none was kept: the test tests nothing');
  assert.equal(status['parked'], 0);
  assert.equal(await stage.endsSoon('cat', stage.at('own-1')), 'own 1');
  goOn();
  await settle(stage.mount, rest);
  holder.kill();
  await stage.mount.stop();
});

const LOOP = `for round in $(seq 40); do for i in $(seq $1 8 79); do
    cat "$2/file-$i" > /dev/null; ls "$2" > /dev/null; stat "$2/none-$i"
  done; done 2> /dev/null; echo done`;

async function assertOneAnswer(
  t: TestContext,
  env: NodeJS.ProcessEnv,
): Promise<Status | undefined> {
  const flags = ['--op-timeout=0.05', '--lanes=4'];
  const nodeFlags = ['--import', saboteur];
  const settings = { env, nodeFlags, allowErrors: [/a lane died/] };
  const made = stageOrSkip(t, await makeHangingStage(flags, settings));
  if (made === undefined) return undefined;
  const { stage, holder, hang, goOn } = made;
  const { mount } = stage;
  const rest = await standstill(mount);
  const loops = Array.from({ length: 8 }, (_, i) =>
    teller(stage, LOOP, String(i), stage.at('hung')),
  );
  for (let i = 0; i < 40; i++) {
    hang();
    // Around the deadline and the looks at it.
    await sleep(30 + i * 3);
    goOn();
    await sleep(20);
  }
  for (const { client } of loops) client.kill();
  const dropped = sampleOf(await scrape(mount), 'sluice_dropped_replies_total');
  const end = await settle(mount, rest);
  const samples = await scrape(mount);
  const timeouts = sampleOf(samples, 'sluice_timeouts_total');
  t.diagnostic(`${timeouts} requests were answered by the deadline, ${dropped} replies dropped`);
  assert.ok(timeouts > 20, `${timeouts}: the test tests nothing`);
  // Those of the callers that were killed at the end.
  assert.ok(dropped <= loops.length, `${dropped} replies came second`);
  assert.equal(sampleOf(samples, 'sluice_exceptions_total'), 0);
  holder.kill();
  await mount.stop();
  return end;
}

test('lane and deadline never both answer, however close they are', TIME_LIMIT, async (t) => {
  await assertOneAnswer(t, {});
});

test('a lane that dies after its time is up leaves nothing behind', TIME_LIMIT, async (t) => {
  const end = await assertOneAnswer(t, { FAULT_LANE: 'replying:throw:20' });
  if (end === undefined) return;
  t.diagnostic(`${end['laneRestarts']} deaths`);
  assert.ok(Number(end['laneRestarts']) > 20, 'no lane died');
});
