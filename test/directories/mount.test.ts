/** Large directories, directories that change, tiny buffers and seeking: on a directory, then on mounts of it. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  type FileSystemKind,
  type FileSystemOptions,
  makeFileSystem,
} from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { type RunResult, runOk, shell } from '../harness/run.ts';

const CLIENT = fileURLToPath(new URL('./client.js', import.meta.url));
const KINDS: readonly FileSystemKind[] = ['ext4', 'xfs', 'btrfs', 'tmpfs'];
const FLAGS = [[], ['--cache=always'], ['--cache=always', '--no-opendir']];
const LARGE = 200_000;
const CHANGING = 1000;
const TINY = 100;
const LARGE_LIMIT_MS = 300_000;
/** ext4 makes an inode for 16 KiB. */
const LARGE_SIZE_BYTES = 4 * 1024 ** 3;

function client(task: string, directory: string, count = 0): Promise<RunResult> {
  const args = [CLIENT, task, directory, String(count)];
  return runOk(process.execPath, args, { timeoutMs: LARGE_LIMIT_MS });
}

async function directoryOn(
  t: TestContext,
  kind: FileSystemKind,
  options: FileSystemOptions = {},
): Promise<string | undefined> {
  const made = await makeFileSystem(kind, options);
  if ('path' in made) {
    await shell('mkdir "$1/source"', [made.path]);
    return `${made.path}/source`;
  }
  t.skip(made.skip);
  return undefined;
}

suite('directories', () => {
  for (const kind of KINDS) {
    test(`${LARGE} entries on ${kind}: each once, and each place can be sought`, async (t) => {
      const source = await directoryOn(t, kind, { sizeBytes: LARGE_SIZE_BYTES });
      if (source === undefined) return;
      await client('fill', source, LARGE);
      await client('complete', source, LARGE);
      for (const flags of [[], ['--cache=always']]) {
        const mount = await startMount({ source, flags });
        await client('complete', mount.mountpoint, LARGE);
        await mount.stop();
      }
    });

    test(`entries on ${kind} that come and go while they are read; buffers for one record`, async (t) => {
      const source = await directoryOn(t, kind);
      if (source === undefined) return;
      const fresh = async (path: string, count: number) => {
        await shell('rm -rf "$1"; mkdir "$1"', [path]);
        await client('fill', path, count);
      };
      await fresh(`${source}/d`, CHANGING);
      await client('changing', `${source}/d`, CHANGING);
      await fresh(`${source}/d`, TINY);
      await client('tiny', `${source}/d`, TINY);
      for (const flags of FLAGS) {
        const mount = await startMount({ source, flags });
        await fresh(`${mount.mountpoint}/d`, CHANGING);
        await client('changing', `${mount.mountpoint}/d`, CHANGING);
        await fresh(`${mount.mountpoint}/d`, TINY);
        await client('tiny', `${mount.mountpoint}/d`, TINY);
        await mount.stop();
      }
    });
  }

  test('a file system that does not tell types in its directories', async (t) => {
    // xfs has this with -n ftype=0, which needs version 4 of its format; new kernels do not mount
    // that.
    const source = await directoryOn(t, 'ext4', { mkfsFlags: ['-O', '^filetype'] });
    if (source === undefined) return;
    await shell('cd "$1"; mkdir d; touch f; ln -s f l; mkfifo p', [source]);
    const plain = await client('types', source);
    assert.match(plain.stdout, /^d 0$/m);
    const mount = await startMount({ source });
    const listed = await client('types', mount.mountpoint);
    assert.equal(listed.stdout.replace(/ \d+$/gm, ''), plain.stdout.replace(/ \d+$/gm, ''));
    const found = await runOk('find', [mount.mountpoint, '-mindepth', '1', '-printf', '%P %y\n']);
    assert.deepEqual(found.stdout.trim().split('\n').sort(), ['d d', 'f f', 'l l', 'p p']);
    await mount.stop();
  });
});
