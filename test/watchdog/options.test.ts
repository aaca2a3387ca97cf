import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { tempDirs } from '../harness/temp-dir.ts';
import { everyOptionIsTested, optionTest } from '../options/by-option.ts';
import { makeHangingStage, stageOrSkip } from './stage.ts';

optionTest('slowTimeout', '0 logs nothing, else what takes longer is', async (t) => {
  for (const [flag, isLogged] of [
    ['--slow-timeout=0', false],
    ['--slow-timeout=0.5', true],
    ['--slow-timeout=60', false],
  ] as const) {
    const made = stageOrSkip(t, await makeHangingStage([flag]));
    if (made === undefined) return;
    const { stage, holder, hang, goOn } = made;
    hang();
    const stat = stage.start('stat', stage.at('hung', 'file-1'));
    await sleep(2000);
    assert.equal(await stat.endsWithin(1), false, 'nothing hangs: the test tests nothing');
    assert.equal(stage.lines(/ takes long$/).length, isLogged ? 1 : 0, flag);
    goOn();
    assert.equal(await stat.ended, 0);
    assert.equal((await stage.mount.status())['slowOperations'], isLogged ? 1 : 0, flag);
    holder.kill();
    await stage.mount.stop();
  }
});

optionTest('opTimeout', '0 waits for ever, else what only reads is answered', async (t) => {
  for (const [flag, isAnswered] of [
    ['--op-timeout=0', false],
    ['--op-timeout=0.5', true],
  ] as const) {
    const made = stageOrSkip(t, await makeHangingStage([flag]));
    if (made === undefined) return;
    const { stage, holder, hang, goOn } = made;
    const negotiated = stage.mount.logs.find(({ msg }) => msg === 'negotiated');
    const why = /^off: op_timeout/.test(String(negotiated?.['kernelPassthrough']));
    assert.equal(why, isAnswered, flag);
    hang();
    const stat = stage.start('stat', stage.at('hung', 'file-1'));
    assert.equal(await stat.endsWithin(3000), isAnswered, flag);
    goOn();
    assert.equal((await stat.ended) === 0, !isAnswered, flag);
    assert.equal((await stage.mount.status())['timeouts'], isAnswered ? 1 : 0, flag);
    holder.kill();
    await stage.mount.stop();
  }
});

test('a reload changes both, and forgets nothing that hangs', { timeout: 60_000 }, async (t) => {
  const [base] = (await tempDirs('base')) as [string];
  const file = join(base, 'sluice.toml');
  writeFileSync(file, 'slow_timeout = 0.5\n');
  const made = stageOrSkip(t, await makeHangingStage([`--config=${file}`]));
  if (made === undefined) return;
  const { stage, holder, hang, goOn } = made;
  hang();
  const first = stage.start('stat', stage.at('hung', 'file-1'));
  await stage.line(/ takes long$/);
  writeFileSync(file, 'slow_timeout = 100\nop_timeout = 1\n');
  process.kill(stage.mount.pid, 'SIGHUP');
  await stage.line(/^reloaded: slow_timeout 0\.5 -> 100, op_timeout 0 -> 1$/);
  assert.ok(await first.endsWithin(5000), 'op_timeout does not count');
  assert.equal(await first.ended, 1);
  // Its lane is still in the call.
  assert.deepEqual(stage.lines(/has ended$/), []);
  const second = stage.start('stat', stage.at('hung', 'file-2'));
  assert.ok(await second.endsWithin(5000));
  goOn();
  await stage.line(/ that took long has ended$/);
  assert.equal((await stage.mount.status())['slowOperations'], 1);

  // The thread that watches writes lines of its own, from the same level on.
  writeFileSync(file, 'slow_timeout = 0.5\nlog_level = "error"\n');
  process.kill(stage.mount.pid, 'SIGHUP');
  await sleep(1000);
  const lines = stage.mount.logs.length;
  hang();
  const third = stage.start('stat', stage.at('hung', 'file-3'));
  await sleep(1500);
  goOn();
  assert.equal(await third.ended, 0);
  // Its end is noticed at the next look.
  await sleep(600);
  writeFileSync(file, 'log_level = "info"\n');
  process.kill(stage.mount.pid, 'SIGHUP');
  await stage.line(/^reloaded: .*log_level error -> info/);
  assert.deepEqual(
    stage.mount.logs.slice(lines).filter(({ level }) => level === 'warn'),
    [],
  );
  assert.equal((await stage.mount.status())['slowOperations'], 2);
  holder.kill();
  await stage.mount.stop();
});

everyOptionIsTested('Slow operations');
