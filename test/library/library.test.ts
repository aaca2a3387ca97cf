import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defer } from '../harness/cleanup.ts';
import { forceUnmount, readMounts } from '../harness/mountinfo.ts';
import { runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const PROGRAM = fileURLToPath(new URL('./program.js', import.meta.url));
const TIMEOUT_MS = 40_000;
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

type Facts = Record<string, unknown>;

/** Plays a scene to the program's own end: what keeps its event loop alive would run it out of time. */
async function play(scene: string) {
  const dirs = (await tempDirs('one', 'mnt1', 'two', 'mnt2')) as [string, string, string, string];
  const [one, mnt1, two, mnt2] = dirs;
  const isOurs = (mountpoint: string) => mountpoint === mnt1 || mountpoint === mnt2;
  defer(async () => {
    for (const left of readMounts().filter((m) => isOurs(m.mountpoint))) forceUnmount(left);
  });
  writeFileSync(`${one}/f`, 'one');
  writeFileSync(`${two}/f`, 'two');
  const ran = await runOk(process.execPath, [PROGRAM, scene, one, mnt1, two, mnt2], {
    timeoutMs: TIMEOUT_MS,
  });
  assert.equal(ran.stderr, '', 'nothing is logged at level error');
  assert.deepEqual(
    readMounts().filter((m) => isOurs(m.mountpoint)),
    [],
  );
  const said = ran.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Facts);
  return { one, mnt1, two, said };
}

suite('the library', () => {
  test('mounts, serves, tells about itself, and unmounts; a second unmount() changes nothing', async () => {
    const { one, mnt1, said } = await play('unmount');
    const [work, facts, end] = said as [Facts, Facts, Facts];
    assert.match(String(work['id']), UUID_V7);
    assert.deepEqual(work['warnings'], []);
    assert.equal(work['read'], 'onef\nmade\n');
    assert.equal(readFileSync(`${one}/made`, 'utf8'), 'new\n');
    assert.ok((work['requests'] as number) > 5);
    assert.ok((work['inodes'] as number) >= 3);
    assert.ok((work['lookups'] as number) >= 2);
    assert.equal(work['handles'], 2);
    assert.equal(facts['mountpoint'], mnt1);
    const fds = facts['keepFds'] as number[];
    assert.ok(fds.length === 2 && fds.every((fd) => Number.isInteger(fd) && fd > 2));
    assert.deepEqual((facts['paths'] as string[]).toSorted(), [one, `${one}/f`, `${one}/made`]);
    assert.deepEqual(end, { reason: 'stopped' });
  });

  test('metrics are served only to who asks for them', async () => {
    assert.deepEqual((await play('metrics')).said, [{ saidOfMetrics: false, status: 200 }]);
  });

  test('there is a control socket only for who gives a runtime directory', async () => {
    const { said } = await play('control');
    assert.deepEqual(said, [{ byDefault: false, isThere: true, left: [] }]);
  });

  test('an unmount by somebody else is told as such', async () => {
    assert.deepEqual((await play('external')).said, [{ reason: 'external' }]);
  });

  test('abort() cuts the connection and takes the mount away', async () => {
    assert.deepEqual((await play('abort')).said, [{ reason: 'aborted' }]);
  });

  test('one process serves two mounts', async () => {
    const { two, said } = await play('two');
    const [work, end] = said as [Facts, Facts];
    assert.equal(new Set(work['ids'] as string[]).size, 2);
    assert.equal(work['read'], 'two');
    assert.equal(readFileSync(`${two}/from-one`, 'utf8'), 'one');
    assert.deepEqual(end, { reasons: ['stopped', 'stopped'], stillThere: 'one' });
  });

  test('failures are SluiceError with a code and an exit status, and leave no mount', async () => {
    const { said } = await play('errors');
    const isError = { name: 'SluiceError', isOneLine: true };
    assert.deepEqual(said, [
      { ...isError, code: 'ERR_SLUICE_SOURCE', exitCode: 32 },
      { ...isError, code: 'ERR_SLUICE_MOUNTPOINT', exitCode: 32 },
      { ...isError, code: 'ERR_SLUICE_MOUNTPOINT', exitCode: 32 },
      { ...isError, code: 'ERR_SLUICE_OPTION', exitCode: 1 },
      { ...isError, code: 'ERR_SLUICE_OPTION', exitCode: 1 },
    ]);
  });
});
