import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogLine } from '../harness/mount.ts';
import { runOk } from '../harness/run.ts';
import { sampleOf, scrape } from '../metrics/scrape.ts';
import { makeHangingStage, stageOrSkip } from './stage.ts';

const TIME_LIMIT = { timeout: 90_000 };
const TAKES_LONG = / takes long$/;
const WAITS_LONG = / waits long for a lane$/;
const HAS_ENDED = / that took long has ended$/;
const ONE_BY_ONE = /takes long$|waits long for a lane$/;
const SUMMARY = /^more operations take long/;

/** Slow operations by where they were. */
async function slowOperations(mount: Parameters<typeof scrape>[0]): Promise<number[]> {
  const samples = await scrape(mount);
  return ['queue', 'lane', 'main'].map((where) =>
    sampleOf(samples, `sluice_slow_operations_total{where="${where}"}`),
  );
}

function withoutTimes({ time, mount, ageMs, ...line }: LogLine): Partial<LogLine> {
  return line;
}

test(
  'an operation that hangs is logged once, and once when it has ended',
  TIME_LIMIT,
  async (t) => {
    const made = stageOrSkip(t, await makeHangingStage(['--slow-timeout=0.5', '--lanes=4']));
    if (made === undefined) return;
    const { stage, holder, hang, goOn } = made;
    const { mount } = stage;
    await runOk('ls', [stage.at('hung')]);
    await sleep(1200);
    hang();
    const stat = stage.start('stat', stage.at('hung', 'file-1'));
    const begun = await stage.line(TAKES_LONG);
    const { nodeid, wchan, syscall, stack, lane, msg, op, ...rest } = withoutTimes(begun);
    assert.match(String(op), /^(LOOKUP|GETATTR|STATX)$/);
    assert.equal(msg, `${op} takes long`);
    assert.equal(rest['callerPid'], stat.child.pid);
    assert.equal(rest['where'], 'lane');
    assert.equal(rest['level'], 'warn');
    assert.ok(Number(lane) >= 0 && Number(lane) < 4, String(lane));
    const inDirectory = op === 'LOOKUP';
    assert.equal(rest['path'], `${mount.source}/hung${inDirectory ? '' : '/file-1'}`);
    assert.equal(rest['entry'], inDirectory ? 'file-1' : undefined);
    // Of the kernel's FUSE client, which waits for the server that was stopped.
    assert.match(String(wchan), /^(request_wait_answer|fuse_\w+)$/);
    assert.match(String(stack), /request_wait_answer|fuse_/);
    assert.equal(typeof syscall, 'number');
    const ageMs = Number(begun['ageMs']);
    assert.ok(ageMs >= 500 && ageMs < 3000, String(ageMs));

    await sleep(1000);
    assert.equal(stage.lines(ONE_BY_ONE).length, 1, 'it is logged again and again');
    assert.deepEqual(await slowOperations(mount), [0, 1, 0]);
    goOn();
    assert.equal(await stat.ended, 0);
    const ended = await stage.line(HAS_ENDED);
    assert.deepEqual([ended['op'], ended['nodeid']], [op, nodeid]);
    const tookMs = Number(ended['tookMs']);
    assert.ok(tookMs >= ageMs + 1000 && tookMs < ageMs + 5000, `${ageMs}, then ${tookMs}`);
    await sleep(500);
    assert.equal(stage.lines(HAS_ENDED).length, 1);
    const written = mount.logs.filter(({ level }) => level === 'warn').length;
    const counted = sampleOf(await scrape(mount), 'sluice_log_lines_total{level="warn"}');
    assert.equal(counted, written, 'lines of the watchdog are not counted');
    holder.kill();
    await mount.stop();
  },
);

test('of many only some are logged one by one, and all are counted', TIME_LIMIT, async (t) => {
  const made = stageOrSkip(t, await makeHangingStage(['--slow-timeout=1', '--lanes=2']));
  if (made === undefined) return;
  const { stage, holder, hang, goOn } = made;
  await runOk('ls', ['-l', stage.at('hung')]);
  hang();
  const count = 40;
  const stats = Array.from({ length: count }, (_, i) =>
    stage.start('stat', stage.at('hung', `file-${i}`)),
  );
  const summary = await stage.line(SUMMARY);
  await sleep(2000);
  const [queued = 0, running = 0, onMain = 0] = await slowOperations(stage.mount);
  // One lane is left to the other file system.
  assert.deepEqual([queued + running, running, onMain], [count, 1, 0]);
  const oneByOne = stage.lines(ONE_BY_ONE).length;
  assert.ok(oneByOne >= 10 && oneByOne < 20, `${oneByOne} lines`);
  assert.ok(stage.lines(WAITS_LONG).length > 0);
  assert.equal(stage.lines(TAKES_LONG).length, 1, 'what runs is not logged first');
  assert.ok(Number(summary['operations']) > 0);
  goOn();
  for (const client of stats) assert.equal(await client.ended, 0);
  await sleep(600);
  assert.equal(stage.lines(HAS_ENDED).length, stage.lines(ONE_BY_ONE).length);
  assert.equal((await stage.mount.status())['slowOperations'], count);
  holder.kill();
  await stage.mount.stop();
});

test('without metrics, and as text, the lines come too', TIME_LIMIT, async (t) => {
  const flags = ['--slow-timeout=0.5', '--no-metrics', '--log-format=pretty'];
  const made = stageOrSkip(t, await makeHangingStage(flags));
  if (made === undefined) return;
  const { stage, holder, hang, goOn } = made;
  hang();
  const ls = stage.start('ls', stage.at('hung'));
  const line = await stage.line(/WARN: \w+ takes long \{.*"callerPid":/);
  assert.match(String(line['msg']), new RegExp(`"callerPid":${ls.child.pid}`));
  goOn();
  assert.equal(await ls.ended, 0);
  holder.kill();
  stage.mount.kill();
});
