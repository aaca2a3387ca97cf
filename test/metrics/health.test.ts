import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { LANES_WORK, type Mount, startMount } from '../harness/mount.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { ANY_PORT, type Answer, ask, sampleOf, scrape, urlOf } from './scrape.ts';

const TIME_LIMIT = { timeout: 60_000 };
const STUCK_SECONDS = 1;
/** The deadline, a beat, and a busy machine. */
const NOTICED_MS = 10_000;

/** Asks until the answer is of this status. */
async function untilStatus(place: string, path: string, status: number): Promise<Answer> {
  const untilMs = performance.now() + NOTICED_MS;
  for (;;) {
    const answer = await ask(place, path);
    if (answer.status === status) return answer;
    assert.ok(performance.now() < untilMs, `${path} still says ${answer.status} ${answer.body}`);
    await sleep(100);
  }
}

interface Stage {
  readonly mount: Mount;
  /** Every write to the source waits from here on. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

/** A mount over a file system of its own that can be frozen; a reason when there is none. */
async function makeStage(
  kind: FileSystemKind,
  ...flags: string[]
): Promise<Stage | { skip: string }> {
  const missing = await missingTool('fsfreeze');
  if (missing !== undefined) return { skip: missing };
  const made = await makeFileSystem(kind);
  if ('skip' in made) return made;
  const { path } = made;
  writeFileSync(join(path, 'file'), 'text');
  const mount = await startMount({
    source: path,
    flags: [ANY_PORT, `--stuck-timeout=${STUCK_SECONDS}`, ...flags],
    allowErrors: [/main is stuck in WRITE/],
  });
  let isFrozen = false;
  const thaw = async (): Promise<void> => {
    if (isFrozen) await runOk('fsfreeze', ['--unfreeze', path]);
    isFrozen = false;
  };
  defer(thaw);
  return {
    mount,
    freeze: async () => {
      await runOk('fsfreeze', ['--freeze', path]);
      isFrozen = true;
    },
    thaw,
  };
}

/** A command that may hang; its end is waited for by the function returned. */
function startClient(script: string, ...args: string[]): { go(): void; ended(): Promise<unknown> } {
  const child = spawn('sh', ['-euc', script, 'sh', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  defer(async () => {
    child.kill('SIGKILL');
  });
  return { go: () => child.stdin.write('go\n'), ended: () => ended };
}

test(
  'main that hangs in a call is not alive, and says in which',
  TIME_LIMIT,
  async (t: TestContext) => {
    // Reads and writes come to the daemon, and on xfs main tries writes in place. By io_uring it makes none.
    const stage = await makeStage('xfs', '--cache=never', '--engine=dev');
    if ('skip' in stage) return t.skip(stage.skip);
    const { mount } = stage;
    const url = urlOf(mount);
    assert.equal((await ask(url, '/livez')).status, 200);
    const client = startClient(
      'exec 3<> "$1"; read -r line; echo more >&3',
      join(mount.mountpoint, 'file'),
    );
    await untilOpen(mount);
    await stage.freeze();
    client.go();
    const { body } = await untilStatus(url, '/livez', 503);
    assert.match(body, /^main has not turned for \d+\.\d s, in WRITE of node \d+\n$/);
    assert.equal((await ask(url, '/healthz')).status, 503);
    const samples = await scrape(mount);
    assert.equal(sampleOf(samples, 'sluice_live'), 0);
    // The last beat may be older than the request.
    assert.ok(sampleOf(samples, 'sluice_oldest_request_seconds{where="main"}') > STUCK_SECONDS / 2);
    assert.ok(sampleOf(samples, 'sluice_kernel_waiting_requests') >= 1);
    const beat = sampleOf(samples, 'sluice_heartbeat_timestamp_seconds');
    assert.ok(Date.now() / 1000 - beat > STUCK_SECONDS);
    await stage.thaw();
    await client.ended();
    await untilStatus(url, '/livez', 200);
    await mount.stop();
  },
);

test('a lane that hangs is told of, and main goes on', TIME_LIMIT, async (t: TestContext) => {
  const stage = await makeStage('ext4', LANES_WORK);
  if ('skip' in stage) return t.skip(stage.skip);
  const { mount } = stage;
  const url = urlOf(mount);
  await stage.freeze();
  const client = startClient('mkdir "$1"', join(mount.mountpoint, 'made'));
  const { body } = await untilStatus(url, '/livez', 503);
  assert.match(body, /^lane \d has been stuck for \d+\.\d s, in MKDIR of node 1\n$/);
  // The mount is there, and main answers.
  assert.equal((await ask(url, '/readyz')).status, 200);
  const samples = await scrape(mount);
  assert.equal(sampleOf(samples, 'sluice_lanes{state="stuck"}'), 1);
  assert.equal(sampleOf(samples, 'sluice_requests_in_flight{state="executing"}'), 1);
  assert.ok(sampleOf(samples, 'sluice_oldest_request_seconds{where="lane"}') > STUCK_SECONDS);
  const busy = [0, 1, 2, 3].map((lane) =>
    sampleOf(samples, `sluice_lane_busy_seconds_total{lane="${lane}"}`),
  );
  assert.ok(
    busy.some((seconds) => seconds > STUCK_SECONDS),
    busy.join(),
  );
  assert.equal(sampleOf(samples, 'sluice_oldest_request_seconds{where="main"}'), 0);
  await stage.thaw();
  await client.ended();
  await untilStatus(url, '/livez', 200);
  await mount.stop();
});

/** Waits until the client has its file. */
async function untilOpen(mount: Mount): Promise<void> {
  const untilMs = performance.now() + NOTICED_MS;
  while (sampleOf(await scrape(mount), 'sluice_open_handles{kind="file"}') === 0) {
    assert.ok(performance.now() < untilMs, 'the file is not opened');
    await sleep(50);
  }
}

test('a mount that is gone from the tree is not ready', TIME_LIMIT, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  writeFileSync(join(source, 'file'), 'text');
  const mount = await startMount({ source, mountpoint, flags: [ANY_PORT] });
  const url = urlOf(mount);
  assert.equal((await ask(url, '/readyz')).status, 200);
  // Who holds a file keeps the daemon serving.
  const holder = startClient('exec 3< "$1"; read -r line', join(mountpoint, 'file'));
  await untilOpen(mount);
  await runOk('umount', ['-l', mountpoint]);
  const { status, body } = await ask(url, '/readyz');
  assert.deepEqual([status, body], [503, 'nothing is mounted any more\n']);
  assert.equal((await ask(url, '/livez')).status, 200);
  holder.go();
  await holder.ended();
  await mount.exited(NOTICED_MS);
  await mount.stop();
  const gone = await ask(url, '/livez').catch(({ code }: NodeJS.ErrnoException) => code);
  assert.equal(gone, 'ECONNREFUSED');
  assert.equal((await run('ls', [mountpoint])).stdout, '');
});
