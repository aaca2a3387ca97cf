/** engine=fuse-native: how it starts, what it keeps, how it ends, and what it refuses. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMount } from '../harness/mount.ts';
import { projectRoot } from '../harness/paths.ts';
import { run, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from '../input/refusal.ts';
import { statusReaches } from '../locks/status.ts';
import { ANY_PORT, ask, urlOf } from '../metrics/scrape.ts';

const ENGINE = '--engine=fuse-native';
const TIMEOUT_MS = 240_000;

async function mounted(flags: readonly string[] = [], prefix: readonly string[] = []) {
  const [source] = (await tempDirs('source')) as [string];
  await shell('cd "$1"; mkdir d; echo content > d/f', [source]);
  const mount = await startMount({ source, flags: [ENGINE, ...flags], prefix });
  return { source, mount, mnt: mount.mountpoint };
}

function messageOf(mount: { logs: readonly Record<string, unknown>[] }, text: string) {
  return mount.logs.find((line) => line['msg'] === text);
}

suite('engine=fuse-native', { timeout: TIMEOUT_MS }, () => {
  test('a file that is removed while it is open is gone behind, and can be read', async () => {
    const { source, mount, mnt } = await mounted();
    const script = `cd "$1"; exec 5<d/f; rm d/f; ls -A "$2/d"; ls -A d; stat -L -c %h /dev/fd/5; cat <&5; rmdir d`;
    const { stdout, stderr } = await run('sh', ['-c', script, 'sh', mnt, source]);
    assert.equal(stderr, '');
    assert.equal(stdout, '0\ncontent\n');
    // RELEASE comes after close(2) has returned.
    await statusReaches(mount, 'handles', 0);
    await statusReaches(mount, 'inodes', 1);
    await mount.stop();
  });

  test('names of the form libfuse hides files by are names', async () => {
    const { source, mount, mnt } = await mounted();
    const name = '.fuse_hidden0000000000000000';
    await shell(`exec 5<"$1/d/f"; mv "$1/d/f" "$1/${name}"; cat "$1/${name}"`, [mnt]);
    assert.deepEqual(readdirSync(source).sort(), [name, 'd']);
    await mount.stop();
  });

  test('both times that are set arrive', async () => {
    const { source, mount, mnt } = await mounted();
    const script = `require('fs').utimesSync(process.argv[1], 978307200.5, 2211854706.789)`;
    await run(process.execPath, ['-e', script, join(mnt, 'd/f')]);
    const { stdout } = await run('stat', ['-c', '%.3X %.3Y', join(source, 'd/f')]);
    assert.equal(stdout, '978307200.500 2211854706.789\n');
    await mount.stop();
  });

  test('log, status and metrics tell the engine', async () => {
    const { mount, mnt } = await mounted([ANY_PORT]);
    assert.equal(messageOf(mount, 'negotiated')?.['engine'], 'fuse-native');
    const status = await run(process.execPath, [
      join(projectRoot, 'dist/src/main/cli.js'),
      'status',
      mnt,
    ]);
    assert.match(status.stdout, /engine fuse-native/);
    const { body } = await ask(urlOf(mount), '/metrics');
    assert.match(body, /^sluice_session_info\{.*engine="fuse-native".*\} 1$/m);
    assert.match(body, /^sluice_ready 1$/m);
    await mount.stop();
  });

  for (const [how, command] of [
    ['umount(8)', 'umount "$1"'],
    ['sluice umount', `"${process.execPath}" dist/src/main/cli.js umount "$1"`],
  ] as const) {
    test(`${how} ends it`, async () => {
      const { mount, mnt } = await mounted();
      await shell(`cd "${projectRoot}"; cat "$1/d/f" && ${command}`, [mnt]);
      await mount.exited(10_000);
      assert.equal(mount.exitCode, 0);
    });
  }

  test('an aborted connection ends it, and nothing stays in the tree', async () => {
    const { mount, mnt } = await mounted();
    const connection = messageOf(mount, 'mounted by fuse-native')?.['connection'];
    await shell('echo 1 > "/sys/fs/fuse/connections/$1/abort"', [String(connection)]);
    await mount.exited(10_000);
    assert.equal((await run('ls', ['-A', mnt])).stdout, '');
  });

  test('many at once are served by lanes, and a SIGTERM finishes what is in flight', async () => {
    const { source, mount, mnt } = await mounted();
    const work = `cd "$1"; for i in 1 2 3 4 5 6 7 8; do (mkdir p$i; for j in 1 2 3 4 5; do head -c 300000 /dev/zero > p$i/f$j; cat p$i/f$j > /dev/null; done) & done; wait`;
    await shell(work, [mnt]);
    const { stdout } = await run('sh', ['-c', 'cat "$1"/p*/f* | wc -c', 'sh', source]);
    assert.equal(stdout.trim(), String(8 * 5 * 300_000));
    await sleep(100);
    await mount.stop();
    assert.equal(mount.exitCode, 0);
  });

  test('without libfuse.so.2 on the host it takes that of the package', async (t) => {
    if (process.arch !== 'x64') {
      t.skip('the package has no binary for this machine');
      return;
    }
    const hide =
      'for f in $(ldconfig -p | sed -n "s/.*libfuse.so.2 .*=> //p"); do mount --bind /dev/null "$f"; done; exec "$@"';
    const { mount } = await mounted([], ['unshare', '-m', 'sh', '-c', hide, 'sh']);
    assert.equal(messageOf(mount, 'mounted by fuse-native')?.['libfuse'], 'package');
    await mount.stop();
  });

  test('what it cannot be safe with, or cannot do, is refused in a line', async () => {
    const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
    await assertRefused({
      args: ['mount', ENGINE, '-o', 'allow_other', source, mnt],
      code: 1,
      says: ['allow_other', 'does not tell who the caller is', 'engine=dev'],
    });
    await assertRefused({
      prefix: [
        'unshare',
        '-m',
        'sh',
        '-c',
        `mount -t tmpfs none "${projectRoot}/node_modules/fuse-native"; exec "$@"`,
        'sh',
      ],
      args: ['mount', ENGINE, source, mnt],
      code: 1,
      says: ['engine=fuse-native', 'which is not installed', 'npm install'],
    });
  });
});
