import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';
import { cliPath } from '../harness/paths.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { freshPlace, mountsAt } from './helper.ts';

const HAND_OVER = join(dirname(cliPath), 'hand-over.js');
const LIMIT = { timeout: 90_000 };
const NOBODY = 65534;
const skip =
  (process.geteuid?.() === 0 ? undefined : 'mounting takes root') ??
  (await missingTool('setpriv')) ??
  false;

/** One of the two processes; it ends with the test. */
function start(command: string, ...args: string[]) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const process = {
    child,
    said: '',
    ended: new Promise<number | null>((end) => child.on('close', end)),
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      process.said += data;
    });
  }
  const kill = () => child.kill('SIGKILL');
  defer(async () => {
    kill();
    await process.ended;
  }, kill);
  return process;
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 20_000; !(await condition()); await sleep(50)) {
    if (performance.now() > endMs) throw new Error(`never came: ${what}`);
  }
}

/** Runs `serve` as a user without any capability, with no way to get one. */
function startServer(socket: string, source: string) {
  const who = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--no-new-privs'];
  const bounds = ['--bounding-set=-all', '--inh-caps=-all'];
  const serve = ['serve', socket, 'mount', source, '/dev/fd/N', '--log-level=warn'];
  return start('setpriv', ...who, ...bounds, process.execPath, HAND_OVER, ...serve);
}

suite('mounting and serving by two processes', { skip }, () => {
  test(
    'the one who serves has no privileges; a second one takes the place of a dead one',
    LIMIT,
    async () => {
      const { source, mountpoint } = await freshPlace();
      await runOk('chown', ['-R', `${NOBODY}:${NOBODY}`, source]);
      const socket = join(source, '../socket');
      const mounter = start(process.execPath, HAND_OVER, 'mount', socket, mountpoint);
      for (const round of [1, 2]) {
        await until('the socket', () => existsSync(socket));
        const server = startServer(socket, source);
        await until('a mount', () => server.said.includes('is mounted on /dev/fd/'));
        const status = readFileSync(`/proc/${server.child.pid}/status`, 'latin1');
        assert.match(status, /^CapEff:\s+0+$/m);
        assert.match(status, new RegExp(`^Uid:\\s+${NOBODY}\\s`, 'm'));
        assert.match(readFileSync(`/proc/${server.child.pid}/cmdline`, 'latin1'), /^sluice/);
        const file = join(mountpoint, `by-${round}`);
        const script = 'cat "$1/f"; echo new >"$2"; stat -c %u "$2"';
        const used = await runOk('sh', ['-euc', script, 'sh', mountpoint, file], {
          timeoutMs: 10_000,
        });
        assert.equal(used.stdout, `content\n${NOBODY}\n`);
        assert.equal(readFileSync(join(source, `by-${round}`), 'utf8'), 'new\n');
        assert.equal(mountsAt(mountpoint).length, 1);
        server.child.kill('SIGKILL');
        await server.ended;
        const dead = await run('cat', [file], { timeoutMs: 5000 });
        assert.match(dead.stderr, /not connected/, 'no one waits for a server that is gone');
      }
      mounter.child.kill('SIGTERM');
      assert.equal(await mounter.ended, 0, mounter.said);
      assert.deepEqual(mountsAt(mountpoint), []);
      assert.equal(existsSync(socket), false);
    },
  );

  test('a mount that cannot be made is said on both sides', LIMIT, async () => {
    const { source, mountpoint } = await freshPlace();
    const socket = join(source, '../socket');
    const mounter = start(process.execPath, HAND_OVER, 'mount', socket, `${mountpoint}/none`);
    await until('the socket', () => existsSync(socket));
    rmdirSync(`${mountpoint}/none`);
    const server = startServer(socket, source);
    assert.equal(await server.ended, 32);
    assert.match(server.said, /^sluice: no mount came from .*its log says why$/m);
    assert.match(mounter.said, /^sluice: cannot mount on .*ENOENT/m);
    assert.equal(mounter.child.exitCode, null, 'and the next one may come');
  });

  test('bad arguments are one line and 1', LIMIT, async () => {
    const calls = [
      [],
      ['mount', '/s'],
      ['serve', '/s', 'mount', '/data', '/mnt'],
      ['serve', 'relative', 'mount', '/data', '/dev/fd/N'],
    ];
    for (const args of calls) {
      const refused = await run(process.execPath, [HAND_OVER, ...args]);
      assert.equal(refused.code, 1, args.join(' '));
      assert.match(refused.stderr, /^sluice: .*give.*\n$/);
    }
    const file = await run(process.execPath, [HAND_OVER, 'mount', '/tmp/none', '/etc/passwd']);
    assert.equal(file.code, 32);
    assert.match(file.stderr, /^sluice: mount point \/etc\/passwd cannot be made/);
    const taken = await run(process.execPath, [HAND_OVER, 'mount', '/proc/none/socket', '/mnt']);
    assert.equal(taken.code, 2);
  });
});
