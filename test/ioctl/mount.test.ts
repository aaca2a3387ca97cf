/** lsattr, chattr and ioctl(2) on the mount and on the directory behind it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { projectRoot } from '../harness/paths.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';

const SCRIPT = join(projectRoot, 'test/ioctl/flags.sh');
const COMPAT_SOURCE = join(projectRoot, 'test/ioctl/compat.c');
const CLIENT = fileURLToPath(new URL('./client.js', import.meta.url));
const KINDS: readonly FileSystemKind[] = ['ext4', 'xfs', 'btrfs', 'tmpfs'];

/** What the script prints, and the flags it leaves taken off, so that the directory can go. */
async function transcript(directory: string): Promise<string> {
  const { stdout } = await runOk('sh', [SCRIPT, directory]);
  await shell('chmod -R u+rwX "$1"; chattr -R -i -a -- "$1" 2>/dev/null || true', [directory]);
  return stdout;
}

suite('inode flags and project ids', () => {
  for (const kind of KINDS) {
    test(`on ${kind}: chattr and lsattr say the same on both sides, for root and for a user`, async (t) => {
      const made = await makeFileSystem(kind);
      const skip = 'skip' in made ? made.skip : await missingTool('chattr', 'lsattr', 'setpriv');
      if (skip !== undefined || 'skip' in made) {
        t.skip(skip);
        return;
      }
      const [plain, source] = [`${made.path}/plain`, `${made.path}/source`];
      await shell('mkdir "$1" "$2"; chmod 777 "$1" "$2"', [plain, source]);
      const expected = await transcript(plain);
      // The kernel does not know that SETFLAGS may change modes and times.
      const mount = await startMount({ source, flags: ['--attr-timeout=0'] });
      assert.equal(await transcript(mount.mountpoint), expected);
      assert.ok(expected.split('\n').length > 300, 'the script ran to its end');
      await mount.stop();
    });
  }

  test('a 32-bit program gets and sets them under its own numbers', async (t) => {
    const made = await makeFileSystem('ext4');
    const skip = 'skip' in made ? made.skip : await missingTool('cc');
    if (skip !== undefined || 'skip' in made) {
      t.skip(skip);
      return;
    }
    const [plain, source, program] = ['plain', 'source', 'compat'].map((n) => join(made.path, n));
    await shell('mkdir "$1"; touch "$1/f" "$2"', [source as string, plain as string]);
    const compiled = await run('cc', ['-Wall', '-Werror', '-o', program as string, COMPAT_SOURCE]);
    const expected =
      compiled.code === 0 ? await run(program as string, [plain as string]) : compiled;
    if (expected.code !== 0) {
      t.skip(`no 32-bit system calls here: ${expected.stderr.trim()} ${expected.signal ?? ''}`);
      return;
    }
    assert.match(expected.stdout, /^SETFLAGS 0\nGETFLAGS 0 \w*40$/m);
    const mount = await startMount({ source: source as string });
    const { stdout } = await runOk(program as string, [join(mount.mountpoint, 'f')]);
    assert.equal(stdout, expected.stdout);
    await mount.stop();
  });

  test('every other way to the flags is closed to a user', async (t) => {
    const made = await makeFileSystem('ext4');
    const skip = 'skip' in made ? made.skip : await missingTool('lsattr', 'setpriv');
    if (skip !== undefined || 'skip' in made) {
      t.skip(skip);
      return;
    }
    const [plain, source] = [`${made.path}/plain`, `${made.path}/source`];
    await shell(
      'for d in "$@"; do mkdir "$d"; echo > "$d/f"; mkdir "$d/d"; chmod 755 "$d"; chown -R 1001 "$d"; done',
      [plain, source],
    );
    const mount = await startMount({ source });
    const user = ['--reuid=1001', '--regid=1001', '--clear-groups', process.execPath, CLIENT];
    for (const name of ['f', 'd']) {
      const ofPlain = await runOk('setpriv', [...user, join(plain, name)]);
      const ofMount = await runOk('setpriv', [...user, join(mount.mountpoint, name)]);
      assert.equal(ofMount.stdout, ofPlain.stdout);
      assert.match(ofPlain.stdout, /FS_IOC_SETFLAGS nodump: 0$/m);
      assert.match(ofPlain.stdout, /FS_IOC_SETFLAGS immutable: EPERM$/m);
    }
    const { stdout } = await runOk('lsattr', ['-d', `${source}/f`, `${source}/d`]);
    assert.doesNotMatch(stdout, /^\S*[iaj]\S* /m);
    await mount.stop();
  });
});
