/** Cookies that are no offset for lseek(2), and types that nobody tells: from a file system made for it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { READ_IN } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { defer } from '../harness/cleanup.ts';
import { startMount } from '../harness/mount.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { struct } from '../rules/messages.ts';
import { ROOT, type Stage, stage } from '../rules/stage.ts';
import { cookieOf, ENTRIES, nameOf } from './strange.ts';

const SERVER = fileURLToPath(new URL('./strange-server.js', import.meta.url));
const NAMES = Array.from({ length: ENTRIES }, (_, i) => nameOf(i));
/** One record as READDIR gives it: inode 100, the first cookie, 9 bytes of name, DT_UNKNOWN. */
const FIRST_RECORD =
  '6400000000000000' +
  '157c4a7fb979379e' +
  '0900000000000000' +
  Buffer.from('strange-0').toString('hex') +
  '00000000000000';

async function serveStrange(): Promise<string> {
  const [path] = (await tempDirs('strange')) as [string];
  const server = spawn(process.execPath, [SERVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  defer(async () => {
    await run('umount', ['-l', path]);
    server.kill('SIGKILL');
  });
  const [line] = (await Promise.race([
    once(server.stdout, 'data'),
    once(server, 'exit').then(() => ['nothing, and ended']),
  ])) as [unknown];
  assert.equal(String(line).trim(), 'mounted');
  return path;
}

async function onStrange(): Promise<Stage> {
  return await stage({ inodeFileHandles: 'never', fdBudget: 1000 }, await serveStrange());
}

const skip = process.getuid?.() !== 0 && 'mounting needs root';

suite('cookies beyond 2^63 and DT_UNKNOWN', { skip, timeout: 120_000 }, () => {
  for (const plus of [false, true]) {
    const operation = plus ? 'READDIRPLUS' : 'READDIR';

    for (const size of [400, 4096, 65536]) {
      test(`${operation} in replies of ${size}: every name once, with the host's cookies`, async () => {
        const { client } = await onStrange();
        const listed = client.listAll(ROOT, size, plus);
        assert.deepEqual(
          listed.map(({ name, offset, type }) => [name, offset, type]),
          NAMES.map((name, i) => [name, cookieOf(i), 0]),
        );
      });
    }

    test(`${operation} goes on from any of them, in any order, with a handle and without`, async () => {
      const { client, layer } = await onStrange();
      const follow = (fh: bigint) => {
        for (const index of [150, 3, 298, 0, 297, 299]) {
          const next = client.list(ROOT, fh, cookieOf(index), 4096, plus);
          assert.ok(typeof next !== 'string');
          assert.deepEqual(
            next.map(({ name }) => name),
            NAMES.slice(index + 1, index + 1 + next.length),
          );
          assert.equal(next.length === 0, index === ENTRIES - 1);
        }
      };
      follow(client.opendir(ROOT).fh);
      layer.fs.init(NEGOTIATED.NO_OPENDIR);
      follow(0n);
    });
  }

  test('the bytes of a record', async () => {
    const { client } = await onStrange();
    const { fh } = client.opendir(ROOT);
    const answer = client.call(OP.READDIR, ROOT, struct(READ_IN, { fh, offset: 0n, size: 40 }));
    assert.equal(Buffer.from(answer).toString('hex'), FIRST_RECORD);
  });

  test('through a mount: ls and find see every name and its type', async () => {
    const source = await serveStrange();
    const mount = await startMount({ source });
    const found = await runOk('find', [mount.mountpoint, '-mindepth', '1', '-printf', '%P %y\n']);
    assert.deepEqual(
      found.stdout.trim().split('\n').sort(),
      NAMES.map((name) => `${name} f`).sort(),
    );
    const listed = await runOk('ls', ['-f', mount.mountpoint]);
    assert.deepEqual(listed.stdout.trim().split('\n'), NAMES);
    await mount.stop();
  });
});
