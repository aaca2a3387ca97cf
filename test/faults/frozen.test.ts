/**
 * A local file system that stands still under calls of the main thread: its deputy receives meanwhile,
 * and everything that does not need that file system goes on.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defer } from '../harness/cleanup.ts';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { type Mount, type MountOptions, startMount } from '../harness/mount.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';
import { NotifyReceiver } from '../service/notify-socket.ts';
import { switchOn } from '../uring/engine.ts';
import { Client } from './hanging.ts';
import { dropCaches, settle } from './settle.ts';

const TIME_LIMIT = { timeout: 90_000 };
const clientPath = fileURLToPath(new URL('./client.js', import.meta.url));
const FILES = 20;
const REST_MS = 5500;
/** The service manager is fed so often. */
const FEED_MS = 50;

interface Settings extends Pick<MountOptions, 'allowErrors' | 'env' | 'nodeFlags'> {
  readonly kind?: FileSystemKind;
}

interface Frozen {
  readonly mount: Mount;
  readonly disk: string;
}

/** A mount of a disk that can be frozen, with a memory file system inside it; undefined: skipped. */
async function makeStage(
  t: TestContext,
  flags: readonly string[] = [],
  { kind = 'ext4', ...settings }: Settings = {},
): Promise<Frozen | undefined> {
  const missing = await missingTool('fsfreeze');
  const made = missing === undefined ? await makeFileSystem(kind) : { skip: missing };
  if ('skip' in made) {
    t.skip(made.skip);
    return undefined;
  }
  const disk = made.path;
  mkdirSync(join(disk, 'memory'));
  mkdirSync(join(disk, 'sub'));
  await runOk('mount', ['-t', 'tmpfs', 'tmpfs', join(disk, 'memory')]);
  const release = async () => void (await run('umount', ['-l', join(disk, 'memory')]));
  defer(release, () => undefined);
  for (let i = 0; i < FILES; i++) writeFileSync(join(disk, `f${i}`), `file ${i}`);
  const all = ['--log-level=debug', ...flags];
  const mount = await startMount({ source: disk, flags: all, ...settings });
  return { mount, disk };
}

async function freeze(disk: string): Promise<void> {
  const thaw = async () => void (await run('fsfreeze', ['-u', disk]));
  defer(thaw, () => undefined);
  await runOk('fsfreeze', ['-f', disk]);
}

function standIns(mount: Mount): readonly Readonly<Record<string, unknown>>[] {
  return mount.logs.filter((line) => /deputy received/.test(String(line['msg'])));
}

/** $2: whether to open files of the disk, too. */
const WHILE_FROZEN = `for i in 1 2 3 4 5; do
    stat "$1/f1" "$1/f2" > /dev/null; ! "$2" || cat "$1/f1" > /dev/null
    echo more >> "$1/memory/m"; mkdir "$1/memory/d$i"; cat "$1/memory/m" > /dev/null
  done; ls "$1/memory" | wc -l`;

/** Freezes the disk under writers, and does meanwhile what needs no write to it. @returns how long that took */
async function workWhileFrozen(
  { mount, disk }: Frozen,
  opens: boolean,
  whileFrozen: () => Promise<void>,
): Promise<number> {
  const at = mount.mountpoint;
  await freeze(disk);
  const writers = ['a', 'b', 'c'].map((name) =>
    // Not at the top: the kernel keeps that locked, for names that it has dropped meanwhile.
    run('mkdir', [join(at, 'sub', name)], { timeoutMs: 60_000 }),
  );
  await sleep(300);
  const startedMs = performance.now();
  const args = ['-euc', WHILE_FROZEN, 'sh', at, String(opens)];
  const done = await run('sh', args, { timeoutMs: 20_000 });
  const elapsedMs = performance.now() - startedMs;
  await whileFrozen();
  await runOk('fsfreeze', ['-u', disk]);
  assert.equal(done.timedOut, false, 'what needs no write waits for the disk');
  assert.equal(done.stdout.trim(), '6', done.stderr);
  for (const { code, timedOut } of await Promise.all(writers)) {
    assert.deepEqual([code, timedOut], [0, false]);
  }
  await shell('rmdir "$1/sub"/[abc] "$1"/memory/d?', [at]);
  return elapsedMs;
}

for (const lanes of [4, 2]) {
  test(
    `what needs no write goes on while the disk is frozen, with ${lanes} lanes`,
    TIME_LIMIT,
    async (t) => {
      const manager = new NotifyReceiver(`@sluice-test/${process.pid}/frozen-${lanes}`);
      const env = {
        NOTIFY_SOCKET: `@sluice-test/${process.pid}/frozen-${lanes}`,
        WATCHDOG_USEC: String(2000 * FEED_MS),
      };
      const stage = await makeStage(t, [`--lanes=${lanes}`], { env });
      if (stage === undefined) return;
      let feeds = 0;
      /** Whoever receives feeds the watchdog. */
      const countFeeds = async (): Promise<void> => {
        manager.receive();
        const before = manager.news.length;
        await sleep(10 * FEED_MS);
        manager.receive();
        feeds = manager.news.length - before;
      };
      const { mount } = stage;
      // Names and pages are known before: cold ones may need the disk.
      const warmUp = 'cat "$1"/f* > /dev/null; ls -l "$1" "$1/memory"; echo x > "$1/memory/m"';
      await shell(warmUp, [mount.mountpoint]);
      // After a slow call main leaves the disk to the lanes for up to five seconds: then it is not held up.
      const isHeldUp = () => standIns(mount).some((line) => Number(line['requests']) > 0);
      for (let tries = 0; tries < 5 && !isHeldUp(); tries++) {
        if (tries > 0) await sleep(REST_MS);
        // Of two lanes one is all that the disk may have: an open waits when a writer is in that one.
        const elapsedMs = await workWhileFrozen(stage, lanes > 2, countFeeds);
        t.diagnostic(`${elapsedMs.toFixed(0)} ms for what goes on`);
        assert.ok(elapsedMs < 10_000);
        assert.ok(feeds >= 3, `the service manager would end it: fed ${feeds} times`);
      }
      assert.ok(isHeldUp(), 'main was never held up: nothing was tried');
      await mount.stop();
    },
  );
}

test(
  'threads of io_uring queues change nothing on a disk, which may be frozen',
  TIME_LIMIT,
  async (t) => {
    const reason = switchOn();
    if (reason !== undefined) return t.skip(reason);
    const stage = await makeStage(t, ['--engine=uring', '--no-kernel-passthrough']);
    if (stage === undefined) return;
    const { mount } = stage;
    assert.ok(mount.logs.some(({ msg }) => msg === 'requests come by io_uring'));
    const warmUp = 'cat "$1"/f* > /dev/null; ls -l "$1" "$1/memory"; echo x > "$1/memory/m"';
    await shell(warmUp, [mount.mountpoint]);
    const elapsedMs = await workWhileFrozen(stage, true, async () => undefined);
    t.diagnostic(`${elapsedMs.toFixed(0)} ms for what goes on`);
    assert.ok(elapsedMs < 5000, `${elapsedMs} ms`);
    await mount.stop();
  },
);

/** Has clients work on a disk that is frozen again and again. @returns the errors they got, by code */
async function workUnderFreezes(
  { mount, disk }: Frozen,
  seconds: number,
): Promise<Record<string, number>> {
  const clients = [0, 1, 2].map((i) => {
    mkdirSync(join(disk, `work-${i}`));
    return run(process.execPath, [clientPath, join(mount.mountpoint, `work-${i}`), `${seconds}`], {
      timeoutMs: 60_000,
    });
  });
  let isOver = false;
  const over = Promise.all(clients).finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await freeze(disk);
    await sleep(40);
    await runOk('fsfreeze', ['-u', disk]);
    await sleep(60);
  }
  const errors: Record<string, number> = {};
  for (const { stdout, stderr, timedOut } of await over) {
    assert.equal(timedOut, false, `a client hangs\n${mount.logTail()}`);
    const outcome = JSON.parse(stdout || `{"wrong":[${JSON.stringify(stderr)}]}`) as {
      wrong: string[];
      errors: Record<string, number>;
    };
    assert.deepEqual(outcome.wrong, []);
    Object.assign(errors, outcome.errors);
  }
  await shell('rm -rf "$1"/work-*', [mount.mountpoint]);
  await dropCaches();
  return errors;
}

test('a disk that is frozen again and again costs time and nothing else', TIME_LIMIT, async (t) => {
  const stage = await makeStage(t);
  if (stage === undefined) return;
  const { mount } = stage;
  const start = await mount.status();
  assert.deepEqual(await workUnderFreezes(stage, 6), {});
  t.diagnostic(`${standIns(mount).length} times the deputy received`);
  assert.ok(standIns(mount).length > 0);
  await settle(mount, start);
  await mount.stop();
});

const saboteur = new URL('./saboteur.js', import.meta.url).href;

for (const kind of ['throw', 'heap']) {
  test(`a deputy that dies by ${kind} with a request loses none`, TIME_LIMIT, async (t) => {
    const stage = await makeStage(t, [], {
      env: { FAULT_DEPUTY: `${kind}:1` },
      nodeFlags: ['--import', saboteur],
      allowErrors: [/deputy died/],
    });
    if (stage === undefined) return;
    const { mount } = stage;
    const start = await mount.status();
    const errors = await workUnderFreezes(stage, 3);
    const deaths = mount.logs.filter(({ msg }) => /deputy died/.test(String(msg))).length;
    t.diagnostic(`${deaths} deaths, ${JSON.stringify(errors)}`);
    assert.ok(deaths > 0, 'no deputy died');
    // EIO is the answer of the request it died with; the others are what may come of that.
    const allowed = ['EIO', 'EEXIST', 'ENOENT', 'ENOTEMPTY'];
    assert.deepEqual(
      Object.keys(errors).filter((code) => !allowed.includes(code)),
      [],
    );
    await settle(mount, start);
    await mount.stop();
  });
}

const WRITE = 'exec 3<>"$1"; echo open; read x; printf written >&3';

test(
  'neither main nor its deputy waits for xfs with a write that should not',
  TIME_LIMIT,
  async (t) => {
    const stage = await makeStage(t, ['--no-kernel-passthrough'], { kind: 'xfs' });
    if (stage === undefined) return;
    const { mount, disk } = stage;
    const at = mount.mountpoint;
    await shell('cat "$1"/f* > /dev/null; echo x | tee "$1/memory/m" >> "$1/f1"', [at]);
    const writers = [1, 2].map((i) => new Client('sh', '-c', WRITE, 'sh', join(at, `f${i}`)));
    for (const writer of writers) await writer.started();
    // The first freeze holds main up in a mkdir, and its deputy gets the write. In the second, right
    // after, main keeps away from the disk, but for writes that say they do not wait.
    for (const [i, writer] of writers.entries()) {
      await freeze(disk);
      const maker =
        i === 0 ? run('mkdir', [join(at, 'sub', 'made')], { timeoutMs: 30_000 }) : undefined;
      await sleep(100);
      writer.go();
      await sleep(200);
      const goesOn = 'for i in 1 2 3; do cat "$1/memory/m"; echo y > "$1/memory/m"; done';
      const done = await run('sh', ['-euc', goesOn, 'sh', at], { timeoutMs: 5000 });
      await runOk('fsfreeze', ['-u', disk]);
      assert.equal(done.timedOut, false, 'what needs no disk waits for it');
      assert.equal(await writer.ended, 0);
      await maker;
    }
    await mount.stop();
  },
);
