/** Quotas and full file systems: who hits a limit on the backing hits it on the mount. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';

const MIB = 1024 * 1024;
const QUOTA_BYTES = 16 * MIB;
const SMALL_BYTES = 24 * MIB;

/** Fills a directory as a user: the complaint, then whether there is room again after an unlink. */
const FILL = `
  cd "$1"
  export LC_ALL=C
  told=$(dd if=/dev/urandom of=f bs=1M count=64 conv=fsync 2>&1) && echo never full
  echo "$told" | grep -o 'No space left on device\\|Disk quota exceeded' | head -n 1
  rm f; sync -f .; sleep 0.2
  dd if=/dev/zero of=g bs=1M count=4 conv=fsync 2>/dev/null && stat -c %s g
`;
/** Makes names until none fits. */
const FILL_NAMES = `
  cd "$1"; i=0
  while [ $i -lt 500 ] && { true > "n$i"; } 2>/dev/null; do i=$((i+1)); done
  ls | wc -l
`;

async function asAlice(script: string, directory: string): Promise<string> {
  const user = ['--reuid=65531', '--regid=65531', '--clear-groups'];
  const done = await run('setpriv', [...user, 'sh', '-c', script, 'sh', directory]);
  assert.equal(done.timedOut, false);
  return done.stdout;
}

async function compare(
  plain: string,
  backing: string,
  script: string,
  expected: RegExp,
): Promise<void> {
  const mount = await startMount({ source: backing });
  const onPlain = await asAlice(script, plain);
  assert.match(onPlain, expected);
  await shell('find "$1" -mindepth 1 -delete', [plain]);
  assert.equal(await asAlice(script, mount.mountpoint), onPlain);
  await mount.stop();
}

suite('limits of the backing are limits of the mount', () => {
  test('a quota of btrfs is EDQUOT', async (t) => {
    const made = await makeFileSystem('btrfs');
    const missing = await missingTool('btrfs', 'setpriv');
    if ('skip' in made || missing !== undefined) {
      t.skip('skip' in made ? made.skip : missing);
      return;
    }
    const [plain, backing] = [`${made.path}/plain`, `${made.path}/backing`];
    const enabled = await run('btrfs', ['quota', 'enable', made.path]);
    if (enabled.code !== 0) {
      t.skip(`no quotas: ${enabled.stderr.trim()}`);
      return;
    }
    for (const path of [plain, backing]) {
      await runOk('btrfs', ['subvolume', 'create', path]);
      await runOk('btrfs', ['qgroup', 'limit', String(QUOTA_BYTES), path]);
      await shell('chmod 777 "$1"', [path]);
    }
    await compare(plain, backing, FILL, /^Disk quota exceeded\n4194304\n$/);
  });

  for (const kind of ['tmpfs', 'ext4'] as const satisfies readonly FileSystemKind[]) {
    test(`a full ${kind} is ENOSPC`, async (t) => {
      const made = await makeFileSystem(kind, { sizeBytes: SMALL_BYTES });
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      const [plain, backing] = [`${made.path}/plain`, `${made.path}/backing`];
      await shell('mkdir -m 777 "$1" "$2"', [plain, backing]);
      await compare(plain, backing, FILL, /^No space left on device\n4194304\n$/);
    });
  }

  test('a file system without inodes left is ENOSPC', async (t) => {
    const made = await makeFileSystem('tmpfs', { mountOptions: 'nr_inodes=200' });
    if ('skip' in made) {
      t.skip(made.skip);
      return;
    }
    const [plain, backing] = [`${made.path}/plain`, `${made.path}/backing`];
    await shell('mkdir -m 777 "$1" "$2"', [plain, backing]);
    await compare(plain, backing, FILL_NAMES, /^1\d\d\n$/);
  });
});
