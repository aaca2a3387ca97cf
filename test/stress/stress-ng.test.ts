/** The file system stressors of stress-ng on a mount, each with four workers, and what is left afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertOpenFiles, openFilesOf, settle } from '../faults/settle.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { missingTool, run, shell } from '../harness/run.ts';
import { isLongRun } from '../harness/seconds.ts';

const WORKERS = 4;
/** Forty stressors: ten minutes, or three quarters of one. */
const SECONDS_EACH = isLongRun ? 15 : 1;
const END_LIMIT_MS = 60_000;

/**
 * The class `filesystem` without what works elsewhere than in its directory (bind-mount, binderfs,
 * eventfd, fanotify, io, ioprio, procfs) and what FUSE does not carry at all (fiemap, verity).
 */
const STRESSORS: readonly (readonly [name: string, ...options: string[]])[] = [
  ['access'],
  ['chattr'],
  // What all workers have open is one daemon's: more than its limit of descriptors allows is ENFILE.
  ['chdir', '--chdir-dirs', '1024'],
  ['chmod'],
  ['chown'],
  ['copy-file', '--copy-file-bytes', '128m'],
  ['dentry'],
  ['dir'],
  ['dirdeep', '--dirdeep-inodes', '4096'],
  ['dirmany'],
  ['dnotify'],
  ['dup'],
  ['fallocate', '--fallocate-bytes', '32m'],
  ['fcntl'],
  ['file-ioctl'],
  ['filename'],
  ['flock'],
  ['fpunch'],
  ['fsize'],
  ['fstat'],
  ['getdent'],
  ['handle'],
  ['hdd', '--hdd-bytes', '32m'],
  ['inode-flags'],
  ['inotify'],
  ['iomix', '--iomix-bytes', '16m'],
  ['lease'],
  ['link'],
  ['locka'],
  ['lockf'],
  ['lockofd'],
  ['mknod'],
  ['open', '--open-max', '2048'],
  ['rename'],
  ['symlink'],
  ['sync-file', '--sync-file-bytes', '32m'],
  ['touch'],
  ['utime'],
  ['xattr'],
];

/** What a stressor has to complain of in a directory; nothing when all went well. */
async function complaints(stressor: readonly string[], directory: string): Promise<string> {
  const [name, ...options] = stressor;
  const ran = await run(
    'stress-ng',
    [
      `--${name}`,
      String(WORKERS),
      ...options,
      ...['--timeout', String(SECONDS_EACH), '--verify', '--temp-path', directory],
    ],
    { timeoutMs: SECONDS_EACH * 1000 + END_LIMIT_MS },
  );
  const lines = `${ran.stdout}\n${ran.stderr}`.split('\n');
  const bad = lines.filter((line) => /\b(fail|error|warn):/.test(line));
  if (bad.length === 0 && ran.code === 1) {
    throw new Error(`stress-ng does not take ${stressor.join(' ')}: ${ran.stderr}`);
  }
  if (ran.timedOut) bad.push(`did not end within ${END_LIMIT_MS} ms of its time`);
  if (ran.code !== 0) bad.push(`ended with ${ran.code ?? ran.signal}`);
  return bad.join('\n');
}

test('stress-ng finds no fault in the mount, and nothing is left behind', async (t) => {
  const made = await makeFileSystem('ext4', { sizeBytes: 4 * 1024 ** 3 });
  const skip = 'skip' in made ? made.skip : await missingTool('stress-ng');
  if (skip !== undefined || 'skip' in made) {
    t.skip(skip);
    return;
  }
  const [plain, source] = [`${made.path}/plain`, `${made.path}/source`];
  await shell('mkdir "$1" "$2"; chmod 777 "$1" "$2"', [plain, source]);
  const mount = await startMount({ source });
  await shell('ls -la "$1"', [mount.mountpoint]);
  const start = await settle(mount, await mount.status());
  const open = openFilesOf(mount);
  const faults: string[] = [];
  for (const stressor of STRESSORS) {
    const found = await complaints(stressor, mount.mountpoint);
    if (found === '') continue;
    const ofPlain = await complaints(stressor, plain);
    const line = `${stressor[0]}: ${found}`;
    if (ofPlain === '') faults.push(line);
    else t.diagnostic(`on the plain directory too: ${line}`);
  }
  assert.deepEqual(faults, []);
  await settle(mount, start, END_LIMIT_MS);
  await assertOpenFiles(mount, open);
  await mount.stop();
});
