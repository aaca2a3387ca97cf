import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectServiceManager } from '../../src/main/notify.ts';
import { runCli, startMount } from '../harness/mount.ts';
import { runOk } from '../harness/run.ts';
import { tempDir, tempDirs } from '../harness/temp-dir.ts';
import { NotifyReceiver } from './notify-socket.ts';

const LIMIT = { timeout: 60_000 };

/** A manager over `env`, and the warnings it gave. */
function connect(env: Record<string, string | undefined>) {
  const warnings: string[] = [];
  const log = { warn: (text: string) => warnings.push(text) };
  return { manager: connectServiceManager(env, log as never), warnings };
}

async function freshNames(): Promise<[string, string]> {
  const folder = await tempDir('notify');
  return [join(folder, 'socket'), `@sluice-test/${process.pid}/${folder}`];
}

suite('what the service manager is told', () => {
  test('by a path and by an abstract name: ready, reloading, stopping', LIMIT, async () => {
    for (const name of await freshNames()) {
      const receiver = new NotifyReceiver(name);
      const { manager, warnings } = connect({ NOTIFY_SOCKET: name });
      const beforeUs = process.hrtime.bigint() / 1000n;
      manager.ready('serving /a\nREADY=0 on /b');
      manager.reloading();
      manager.stopping('bye');
      receiver.receive();
      const [ready, reloading, stopping] = receiver.news;
      assert.equal(ready, 'READY=1\nSTATUS=serving /a\\x0aREADY=0 on /b');
      const atUs = BigInt(/^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(String(reloading))?.[1] ?? 0);
      assert.ok(atUs >= beforeUs && atUs <= process.hrtime.bigint() / 1000n, String(atUs));
      assert.equal(stopping, 'STOPPING=1\nSTATUS=bye');
      assert.equal(receiver.news.length, 3);
      assert.deepEqual(warnings, []);
    }
  });

  test('the variables do not reach programs started later', LIMIT, async () => {
    const env = { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '1', WATCHDOG_PID: '1', OTHER: 'stays' };
    connect(env);
    assert.deepEqual(env, { OTHER: 'stays' });
  });

  test('the watchdog is fed at half its period, from ready on', LIMIT, async () => {
    const [name] = await freshNames();
    const receiver = new NotifyReceiver(name);
    const { manager } = connect({ NOTIFY_SOCKET: name, WATCHDOG_USEC: '200000' });
    await sleep(300);
    receiver.receive();
    assert.deepEqual(receiver.news, []);
    manager.ready('a');
    manager.ready('a second time, after a reload');
    await sleep(1050);
    receiver.receive();
    const fed = receiver.news.filter((text) => text === 'WATCHDOG=1').length;
    // Ten by the clock; a busy machine may be late, but nothing feeds twice as often.
    assert.ok(fed >= 4 && fed <= 11, `${fed} times`);
  });

  test('a watchdog for another process is not fed, nor one that never barks', LIMIT, async () => {
    const [name] = await freshNames();
    const receiver = new NotifyReceiver(name);
    const others = [
      { WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' },
      { WATCHDOG_USEC: '18446744073709551615' },
      { WATCHDOG_USEC: 'soon' },
    ];
    for (const other of others) connect({ NOTIFY_SOCKET: name, ...other }).manager.ready('a');
    await sleep(200);
    receiver.receive();
    assert.equal(receiver.news.filter((text) => text === 'WATCHDOG=1').length, 0);
    const own = { WATCHDOG_USEC: '20000', WATCHDOG_PID: String(process.pid) };
    connect({ NOTIFY_SOCKET: name, ...own }).manager.ready('a');
    await receiver.waitFor(/^WATCHDOG=1$/);
  });

  test('a full queue delays the news and not the caller', LIMIT, async () => {
    const [name] = await freshNames();
    const receiver = new NotifyReceiver(name);
    const { manager, warnings } = connect({ NOTIFY_SOCKET: name });
    assert.ok(receiver.fill() > 0);
    const startMs = performance.now();
    manager.ready('a');
    manager.stopping('b');
    assert.ok(performance.now() - startMs < 1000, 'a call waited for the queue');
    await receiver.waitFor(/^STOPPING=1/);
    const own = receiver.news.filter((text) => text.includes('='));
    assert.deepEqual(own, ['READY=1\nSTATUS=a', 'STOPPING=1\nSTATUS=b'], 'in order, each once');
    assert.deepEqual(warnings, []);
  });

  test('a manager that cannot be reached is said once', LIMIT, async () => {
    const [gone] = await freshNames();
    const unusable: [string, RegExp][] = [
      [gone, /NOTIFY_SOCKET.*ENOENT/],
      [`@${gone}`, /NOTIFY_SOCKET.*ECONNREFUSED/],
      [`/${'x'.repeat(107)}`, /is no Unix socket/],
      ['vsock:2:1234', /is no Unix socket/],
      ['', /is no Unix socket/],
    ];
    for (const [name, warning] of unusable) {
      const { manager, warnings } = connect({ NOTIFY_SOCKET: name, WATCHDOG_USEC: '20000' });
      manager.ready('a');
      manager.reloading();
      await sleep(60);
      manager.stopping('b');
      assert.equal(warnings.length, 1, name);
      assert.match(String(warnings[0]), warning);
    }
    const { manager, warnings } = connect({});
    manager.ready('a');
    manager.stopping('b');
    assert.deepEqual(warnings, []);
  });
});

suite('a mount under a service manager', () => {
  test(
    'is ready when it is usable, feeds the watchdog, and says that it stops',
    LIMIT,
    async () => {
      for (const name of await freshNames()) {
        const receiver = new NotifyReceiver(name);
        const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
        const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '400000' };
        const starting = startMount({ source, mountpoint, env });
        const ready = await receiver.waitFor(/^READY=1/);
        assert.equal(ready, `READY=1\nSTATUS=serving ${source} on ${mountpoint}`);
        await runOk('stat', ['-f', '-c', '%T', mountpoint], { timeoutMs: 5000 });
        const mount = await starting;
        assert.equal(receiver.news.indexOf(ready), 0, 'nothing is told before');
        await receiver.waitFor(/^WATCHDOG=1$/);
        await mount.stop();
        await receiver.waitFor(/^STOPPING=1\nSTATUS=finishing/);
        await receiver.waitFor(/^STOPPING=1\nSTATUS=unmounted \(stopped\)$/);
      }
    },
  );

  test('that is unmounted by somebody else stops', LIMIT, async () => {
    const [name] = await freshNames();
    const receiver = new NotifyReceiver(name);
    const [source] = (await tempDirs('source')) as [string];
    const mount = await startMount({ source, env: { NOTIFY_SOCKET: name } });
    await runOk('umount', [mount.mountpoint]);
    // Before the signal of stop(): whichever the daemon meets first is the reason.
    await receiver.waitFor(/^STOPPING=1\nSTATUS=unmounted \(external\)$/);
    await mount.stop();
  });

  test('that does not come about is never ready', LIMIT, async () => {
    const [name] = await freshNames();
    const receiver = new NotifyReceiver(name);
    const [source] = (await tempDirs('source')) as [string];
    const env = { ...process.env, NOTIFY_SOCKET: name };
    const failed = await runCli(['mount', source, `${source}/none`], { env });
    assert.equal(failed.code, 32);
    receiver.receive();
    assert.deepEqual(receiver.news, []);
  });
});
