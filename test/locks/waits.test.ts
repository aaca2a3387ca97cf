import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { settle } from '../faults/settle.ts';
import { type Mount, type Status, startMount } from '../harness/mount.ts';
import { missingTool, run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { lockClient } from './client.ts';
import { Herd, type HerdLock } from './herd.ts';
import { statusReaches } from './status.ts';

const TIME_LIMIT = { timeout: 240_000 };
const FLAGS = ['--posix-lock', '--flock'];
const MANY = 1000;
/** Other requests beside the waits, the start of a process on a busy machine included. */
const SOON_MS = 8000;
const HERD_START_MS = 60_000;
/** Polling takes a third of a second. */
const NOTICED_MS = 4000;
/** For all of a herd to get the lock one after the other. */
const HERD_END_MS = 90_000;

async function mountWithFile(flags: readonly string[] = []): Promise<Mount> {
  const [source] = (await tempDirs('source')) as [string];
  for (const name of ['f', 'g', 'h']) writeFileSync(join(source, name), name);
  return startMount({ source, flags: [...FLAGS, ...flags] });
}

function lockCounts(status: Status): unknown[] {
  return [status['lockOwners'], status['lockWaits'], status['exceptions'], status['laneRestarts']];
}

async function isSkipped(t: TestContext): Promise<boolean> {
  const missing = await missingTool('perl');
  if (missing !== undefined) t.skip(missing);
  return missing !== undefined;
}

/** The other requests of a mount go on, new files and locks of others among them. */
async function assertOthersGoOn(mount: Mount): Promise<void> {
  const client = await lockClient();
  assert.equal(await client.ask(`open g ${join(mount.mountpoint, 'g')} rw`), 'ok');
  for (let i = 0; i < 5; i++) {
    const startedMs = performance.now();
    const script = 'echo x > "$1/new-$2" && cat "$1/h" "$1/new-$2" && ls "$1" && rm "$1/new-$2"';
    const done = await run('sh', ['-c', script, 'sh', mount.mountpoint, String(i)], {
      timeoutMs: SOON_MS,
    });
    assert.equal(done.code, 0, `${done.stderr} after ${done.elapsedMs} ms`);
    assert.equal(await client.ask('wait g w 0 0'), 'ok');
    assert.equal(await client.ask('flock g e wait'), 'ok');
    assert.equal(await client.ask('set g u 0 0'), 'ok');
    assert.equal(await client.ask('flock g u'), 'ok');
    assert.ok(performance.now() - startedMs < SOON_MS);
  }
  await client.kill();
}

suite('a thousand who wait', () => {
  for (const kind of ['write', 'read', 'byte', 'flock'] as const satisfies HerdLock[]) {
    test(`${kind}: hold up nobody, and an unlock reaches all`, TIME_LIMIT, async (t) => {
      if (await isSkipped(t)) return;
      // Far fewer slots than waits.
      const mount = await mountWithFile(['--lanes=2', '--request-slots=32']);
      const start = await mount.status();
      const holder = await lockClient();
      await holder.ask(`open f ${join(mount.mountpoint, 'f')} rw`);
      assert.equal(await holder.ask(kind === 'flock' ? 'flock f e' : 'set f w 0 0'), 'ok');

      const herd = new Herd(join(mount.mountpoint, 'f'), MANY, kind);
      assert.ok(await herd.until('waiting', MANY, HERD_START_MS), herd.errors);
      await statusReaches(mount, 'lockWaits', MANY);
      const { lockOwners } = await mount.status();
      assert.equal(lockOwners, kind === 'flock' ? 0 : 1, 'who waits holds a descriptor');
      await assertOthersGoOn(mount);
      assert.equal(herd.granted, 0);

      const startedMs = performance.now();
      assert.equal(await holder.ask(kind === 'flock' ? 'flock f u' : 'set f u 0 0'), 'ok');
      assert.ok(performance.now() - startedMs < SOON_MS, 'an unlock waits behind the waits');
      assert.ok(await herd.until('granted', MANY, HERD_END_MS), `${herd.granted} ${herd.errors}`);
      t.diagnostic(`${MANY} granted in ${Math.round(performance.now() - startedMs)} ms`);
      assert.ok(await herd.endsWithin(SOON_MS));
      assert.equal(await herd.ended, 0, herd.errors);
      await holder.kill();
      assert.deepEqual(lockCounts(await settle(mount, start, 60_000)), [0, 0, 0, 0]);
      await mount.stop();
    });
  }

  test('are killed while they wait', TIME_LIMIT, async (t) => {
    if (await isSkipped(t)) return;
    const mount = await mountWithFile(['--lanes=2', '--request-slots=32']);
    const start = await mount.status();
    const holder = await lockClient();
    await holder.ask(`open f ${join(mount.mountpoint, 'f')} rw`);
    await holder.ask('set f w 0 0');
    const herd = new Herd(join(mount.mountpoint, 'f'), MANY, 'write');
    assert.ok(await herd.until('waiting', MANY, HERD_START_MS), herd.errors);
    await statusReaches(mount, 'lockWaits', MANY);
    herd.kill();
    assert.ok(await herd.endsWithin(HERD_START_MS), 'a process that waits cannot be killed');
    await statusReaches(mount, 'lockWaits', 0);
    assert.equal(herd.granted, 0);
    assert.equal(await holder.ask('set f w 0 0'), 'ok');
    await holder.kill();
    assert.deepEqual(lockCounts(await settle(mount, start, 60_000)), [0, 0, 0, 0]);
    await mount.stop();
  });
});

suite('a wait', () => {
  test('ends soon after an unlock behind the mount', TIME_LIMIT, async (t) => {
    if (await isSkipped(t)) return;
    const mount = await mountWithFile();
    const [behind, inside] = [await lockClient(), await lockClient()];
    await behind.ask(`open f ${join(mount.source, 'f')} rw`);
    await inside.ask(`open f ${join(mount.mountpoint, 'f')} rw`);
    for (const [take, wait, give] of [
      ['set f w 0 0', 'wait f r 5 5', 'set f u 0 0'],
      ['flock f e', 'flock f s wait', 'flock f u'],
    ] as const) {
      assert.equal(await behind.ask(take), 'ok');
      inside.begin(wait);
      // Long enough that polling has become slow.
      assert.equal(await inside.answer(1500), 'pending');
      const startedMs = performance.now();
      assert.equal(await behind.ask(give), 'ok');
      assert.equal(await inside.answer(), 'ok');
      const elapsedMs = performance.now() - startedMs;
      assert.ok(elapsedMs < NOTICED_MS, `${elapsedMs} ms`);
      await inside.ask(give);
    }
    for (const client of [behind, inside]) await client.kill();
    await mount.stop();
  });

  test('ends with the mount', TIME_LIMIT, async (t) => {
    if (await isSkipped(t)) return;
    const mount = await mountWithFile(['--stop-timeout=1']);
    const [holder, waiter, flocker] = [await lockClient(), await lockClient(), await lockClient()];
    for (const client of [holder, waiter, flocker]) {
      await client.ask(`open f ${join(mount.mountpoint, 'f')} rw`);
    }
    await holder.ask('set f w 0 0');
    await holder.ask('flock f e');
    waiter.begin('wait f w 0 0');
    flocker.begin('flock f e wait');
    await statusReaches(mount, 'lockWaits', 2);
    await mount.stop();
    for (const client of [waiter, flocker]) {
      assert.match(await client.answer(), /^(ENOTCONN|ECONNABORTED)$/);
    }
  });

  test('ends with an aborted connection', TIME_LIMIT, async (t) => {
    if (await isSkipped(t)) return;
    const mount = await mountWithFile();
    const [holder, waiter] = [await lockClient(), await lockClient()];
    for (const client of [holder, waiter]) {
      await client.ask(`open f ${join(mount.mountpoint, 'f')} rw`);
    }
    await holder.ask('set f w 0 0');
    waiter.begin('wait f w 0 0');
    await statusReaches(mount, 'lockWaits', 1);
    mount.kill();
    assert.match(await waiter.answer(), /^(ENOTCONN|ECONNABORTED)$/);
  });

  test('survives its lane', TIME_LIMIT, async (t) => {
    if (await isSkipped(t)) return;
    const [source] = (await tempDirs('source')) as [string];
    writeFileSync(join(source, 'f'), 'f');
    const saboteur = new URL('../faults/saboteur.js', import.meta.url).href;
    const mount = await startMount({
      source,
      flags: FLAGS,
      nodeFlags: ['--import', saboteur],
      // Between two requests: what a lane is at is lost with it, what waits is not.
      env: { FAULT_LANE: 'idle:throw:3' },
      allowErrors: [/a lane died/],
    });
    const [holder, waiter] = [await lockClient(), await lockClient()];
    for (const client of [holder, waiter]) {
      await client.ask(`open f ${join(mount.mountpoint, 'f')} rw`);
    }
    assert.equal(await holder.ask('set f w 0 0'), 'ok');
    waiter.begin('wait f w 0 0');
    assert.equal(await waiter.answer(4000), 'pending');
    assert.ok(((await mount.status())['laneRestarts'] as number) > 0, 'no lane died');
    assert.equal(await holder.ask('set f u 0 0'), 'ok');
    assert.equal(await waiter.answer(), 'ok');
    assert.equal(await waiter.ask('set f u 0 0'), 'ok');
    for (const client of [holder, waiter]) await client.kill();
    await statusReaches(mount, 'lockOwners', 0);
    await statusReaches(mount, 'slotsInUse', 0);
    await mount.stop();
  });

  for (const point of ['popped', 'executing', 'replying', 'replied', 'freeing']) {
    test(`leaves nothing when lanes die at it: ${point}`, TIME_LIMIT, async (t) => {
      if (await isSkipped(t)) return;
      const [source] = (await tempDirs('source')) as [string];
      writeFileSync(join(source, 'f'), 'f');
      const mount = await startMount({
        source,
        flags: [...FLAGS, '--lanes=2'],
        nodeFlags: ['--import', new URL('../faults/saboteur.js', import.meta.url).href],
        env: { FAULT_LANE: `${point}:throw:60` },
        allowErrors: [/a lane died/],
      });
      const start = await mount.status();
      const path = join(mount.mountpoint, 'f');
      const holder = await lockClient();
      await holder.ask(`open f ${path} rw`);
      assert.equal(await holder.ask('set f w 0 0'), 'ok');
      const herd = new Herd(path, 200, 'write');
      // A few do not get so far: their open fails with their lane.
      await herd.until('waiting', 190, HERD_START_MS);
      await sleep(500);
      await holder.kill();
      assert.ok(await herd.endsWithin(HERD_END_MS), `${herd.granted} granted, the rest hangs`);
      assert.ok(herd.granted > 100, `${herd.granted} granted; ${herd.errors.slice(0, 500)}`);
      const end = await settle(mount, start, 60_000);
      // A try that was lost with its lane is noticed a second later.
      await statusReaches(mount, 'lockWaits', 0);
      await statusReaches(mount, 'lockOwners', 0);
      assert.ok((end['laneRestarts'] as number) > 0, 'no lane died');
      await mount.stop();
    });
  }
});
