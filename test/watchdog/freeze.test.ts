import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, sampleOf, scrape, urlOf } from '../metrics/scrape.ts';
import { makeFreezingStage, type Stage, stageOrSkip } from './stage.ts';

const TIME_LIMIT = { timeout: 90_000 };
const WRITE = 'exec 3<>"$1"; echo open; read x; printf written >&3; echo done';

/** Reads below the frozen file system, of what the kernel does not have cached from the mount. */
async function assertReadsGoOn(stage: Stage, from: number): Promise<void> {
  for (let i = from; i < from + 3; i++) {
    assert.equal(await stage.endsSoon('cat', stage.at(`own-${i}`)), `own ${i}`);
  }
  await stage.endsSoon('ls', '-l', stage.mount.mountpoint);
}

/** The other file system, also written to. */
async function assertOtherGoesOn(stage: Stage, from: number): Promise<void> {
  for (let i = from; i < from + 3; i++) {
    assert.equal(await stage.endsSoon('cat', stage.at('tmp', `tmp-${i}`)), `tmp ${i}`);
    const made = stage.at('tmp', `made-${i}`);
    await stage.endsSoon('sh', '-c', 'echo new > "$1" && rm "$1"', 'sh', made);
  }
}

async function assertFreezeHoldsWritesOnly(t: TestContext, flags: string[]): Promise<void> {
  const made = stageOrSkip(
    t,
    await makeFreezingStage('ext4', ['--slow-timeout=1', '--stuck-timeout=3', ...flags]),
  );
  if (made === undefined) return;
  const { stage, source, freeze, thaw } = made;
  const writers = [0, 1].map((i) => stage.start('sh', '-c', WRITE, 'sh', stage.at(`own-${i}`)));
  for (const writer of writers) await writer.started();
  await freeze();
  for (const writer of writers) writer.go();
  await sleep(500);
  await assertReadsGoOn(stage, 10);
  await assertOtherGoesOn(stage, 10);
  const line = await stage.line(/^WRITE takes long$/);
  assert.match(`${line['wchan']} ${line['stack']}`, /percpu_rwsem_wait|percpu_down_read|sb_start/);
  // The lanes are stuck, which is bad enough for /livez; main is not.
  await sleep(3000);
  const { status, body } = await ask(urlOf(stage.mount), '/livez');
  assert.deepEqual(
    [status, /^lane \d+ has been stuck .*, in WRITE of node/.test(body)],
    [503, true],
  );
  for (const writer of writers) {
    assert.equal(await writer.endsWithin(1), false, 'nothing hangs: the test tests nothing');
  }
  await assertReadsGoOn(stage, 20);
  await thaw();
  for (const writer of writers) assert.equal(await writer.ended, 0);
  for (const i of [0, 1]) {
    assert.equal(readFileSync(join(source, `own-${i}`), 'utf8').slice(0, 7), 'written');
  }
  assert.equal((await ask(urlOf(stage.mount), '/livez')).status, 200);
  const samples = await scrape(stage.mount);
  assert.equal(sampleOf(samples, 'sluice_main_stuck_total'), 0);
  assert.equal(sampleOf(samples, 'sluice_mounts_lanes_only'), 0);
  await stage.mount.stop();
}

test(
  'with op_timeout main waits for no disk: a frozen ext4 holds up writes only',
  TIME_LIMIT,
  (t) => assertFreezeHoldsWritesOnly(t, ['--no-kernel-passthrough', '--op-timeout=60']),
);

test('what the kernel writes by itself hangs in the kernel alone', TIME_LIMIT, async (t) => {
  const made = stageOrSkip(t, await makeFreezingStage('ext4', ['--stuck-timeout=1']));
  if (made === undefined) return;
  const { stage, source, freeze, thaw } = made;
  const { mount } = stage;
  const negotiated = mount.logs.find(({ msg }) => msg === 'negotiated');
  const how = String(negotiated?.['kernelPassthrough']);
  if (how !== 'on') return t.skip(`kernel passthrough is ${how}`);
  const writer = stage.start('sh', '-c', WRITE, 'sh', stage.at('own-0'));
  await writer.started();
  await freeze();
  writer.go();
  await sleep(2500);
  assert.equal(await writer.endsWithin(1), false, 'nothing hangs: the test tests nothing');
  await assertReadsGoOn(stage, 10);
  await assertOtherGoesOn(stage, 10);
  assert.equal((await ask(urlOf(mount), '/livez')).status, 200);
  await thaw();
  assert.equal(await writer.ended, 0);
  assert.equal(readFileSync(join(source, 'own-0'), 'utf8').slice(0, 7), 'written');
  assert.equal(sampleOf(await scrape(mount), 'sluice_main_stuck_total'), 0);
  await mount.stop();
});

/** A call that was slow keeps main away from its file system, for five seconds at the most. */
const LONGEST_REST_MS = 5000;

/** Waits until main writes itself. */
async function mainWrites(stage: Stage): Promise<void> {
  const written = async (): Promise<number> =>
    sampleOf(await scrape(stage.mount), 'sluice_requests_total{op="write",where="main"}');
  const untilMs = performance.now() + 2 * LONGEST_REST_MS;
  for (let before = -1; before < 0 || (await written()) === before; ) {
    assert.ok(performance.now() < untilMs, 'main does not write');
    await sleep(200);
    before = await written();
    await stage.endsSoon('sh', '-c', 'echo text > "$1"', 'sh', stage.at('own-99'));
  }
  await sleep(200);
}

test('main that waits in a call is noticed, and the mount left to the lanes', TIME_LIMIT, (t) =>
  assertMainIsCaughtOnce(t, 'ext4', []),
);

// On xfs pwritev2(RWF_NOWAIT) works, and waits for a file system that is frozen.
test('a call that should not wait and does holds up main, once', TIME_LIMIT, (t) =>
  assertMainIsCaughtOnce(t, 'xfs', ['--op-timeout=60']),
);

async function assertMainIsCaughtOnce(
  t: TestContext,
  kind: 'ext4' | 'xfs',
  flags: readonly string[],
): Promise<void> {
  const all = ['--no-kernel-passthrough', '--slow-timeout=2', '--stuck-timeout=3', ...flags];
  const made = stageOrSkip(t, await makeFreezingStage(kind, all));
  if (made === undefined) return;
  const { stage, source, freeze, thaw } = made;
  const { mount } = stage;
  const writers = [0, 1].map((i) => stage.start('sh', '-c', WRITE, 'sh', stage.at(`own-${i}`)));
  for (const writer of writers) await writer.started();
  await mainWrites(stage);
  await freeze();
  writers[0]?.go();
  const line = await stage.line(/^main is stuck in WRITE/);
  assert.equal(
    line['msg'],
    'main is stuck in WRITE; its deputy reads requests; its backing mount is left to the lanes for 5 minutes',
  );
  assert.equal(line['level'], 'warn');
  assert.equal(line['op'], 'WRITE');
  assert.equal(line['path'], join(source, 'own-0'));
  assert.equal(line['mount'], mount.logs[0]?.['mount']);
  assert.match(String(line['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.match(`${line['wchan']} ${line['stack']}`, /percpu_rwsem_wait|percpu_down_read|sb_start/);
  const stuckMs = Number(line['stuckMs']);
  assert.ok(stuckMs >= 900 && stuckMs < 5000, String(stuckMs));
  // This does not depend on main.
  const cat = stage.start('cat', stage.at('tmp', 'tmp-1'));
  await sleep(3500);
  const live = await ask(urlOf(mount), '/livez');
  assert.deepEqual(
    [live.status, /^main has not turned .*, in WRITE of node/.test(live.body)],
    [503, true],
  );
  const during = await scrape(mount);
  assert.equal(sampleOf(during, 'sluice_main_stuck_total'), 1);
  assert.equal(sampleOf(during, 'sluice_mounts_lanes_only'), 1);
  assert.equal(sampleOf(during, 'sluice_slow_operations_total{where="main"}'), 1);
  assert.equal(await cat.endsWithin(1), true);
  await assertReadsGoOn(stage, 10);
  await assertOtherGoesOn(stage, 10);
  assert.equal(await writers[0]?.endsWithin(1), false, 'nothing hangs: the test tests nothing');
  await thaw();
  assert.equal(await cat.ended, 0);
  assert.equal(await writers[0]?.ended, 0);
  const on = await stage.line(/^main goes on after WRITE$/);
  assert.ok(Number(on['tookMs']) > stuckMs + 3000, String(on['tookMs']));

  // The same again: now the write goes to a lane.
  await freeze();
  writers[1]?.go();
  assert.equal((await stage.line(/^WRITE takes long$/))['where'], 'lane');
  assert.equal(await writers[1]?.endsWithin(1), false, 'nothing hangs: the test tests nothing');
  await assertReadsGoOn(stage, 30);
  await assertOtherGoesOn(stage, 30);
  await thaw();
  assert.equal(await writers[1]?.ended, 0);
  const status = await mount.status();
  assert.equal(status['lanesOnlyMounts'], 1);
  assert.equal(stage.lines(/^main is stuck/).length, 1);
  for (const i of [0, 1]) {
    assert.equal(readFileSync(join(source, `own-${i}`), 'utf8').slice(0, 7), 'written');
  }
  await mount.stop();
}
