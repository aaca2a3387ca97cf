/** Sources and mount points that cannot be. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startMount } from '../harness/mount.ts';
import { forceUnmount, isFuse, readMounts } from '../harness/mountinfo.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from './refusal.ts';

const BOUND = { timeout: 60_000 };
const needsRoot = process.getuid?.() === 0 ? false : 'needs root';

async function places(): Promise<{ source: string; mnt: string; base: string }> {
  const [source, mnt, base] = (await tempDirs('source', 'mnt', 'base')) as [string, string, string];
  return { source, mnt, base };
}

test('source missing, or below a file', BOUND, async () => {
  const { base, mnt } = await places();
  const none = join(base, 'none');
  await assertRefused({
    args: ['mount', none, mnt],
    code: 32,
    says: [`source ${none}`, 'does not exist', 'create it or correct the path'],
  });
  writeFileSync(join(base, 'file'), '');
  const below = join(base, 'file', 'x');
  await assertRefused({
    args: ['mount', below, mnt],
    code: 32,
    says: [`source ${below}`, 'a part of the path is not a directory', 'correct the path'],
  });
});

test('source not a directory', BOUND, async () => {
  const { base, mnt } = await places();
  const file = join(base, 'file');
  writeFileSync(file, '');
  await assertRefused({
    args: ['mount', file, mnt],
    code: 32,
    says: [`source ${file}`, 'is not a directory', 'name a directory'],
  });
});

test('source unreadable', { ...BOUND, skip: needsRoot }, async () => {
  const { source, mnt, base } = await places();
  chmodSync(source, 0o700);
  const says = [`source ${source}`, 'not readable by uid 65534', 'give it'] as const;
  const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  await assertRefused({ args: ['mount', source, mnt], prefix: asUser, code: 32, says });
  // Below a directory that may not be searched.
  mkdirSync(join(base, 'closed', 'in'), { recursive: true });
  chmodSync(join(base, 'closed'), 0o700);
  const hidden = join(base, 'closed', 'in');
  await assertRefused({
    args: ['mount', hidden, mnt],
    prefix: asUser,
    code: 32,
    says: [`source ${hidden}`, 'not readable by uid 65534', 'give it'],
  });
});

test('source unreadable for root without its capabilities', {
  ...BOUND,
  skip: needsRoot,
}, async () => {
  const { source, mnt } = await places();
  await runOk('chown', ['1:1', source]);
  chmodSync(source, 0o700);
  await assertRefused({
    args: ['mount', source, mnt],
    prefix: ['setpriv', '--bounding-set', '-dac_override,-dac_read_search'],
    code: 32,
    says: [`source ${source}`, 'not readable by uid 0', 'give it'],
  });
});

test('source behind a FUSE mount whose daemon is dead', {
  ...BOUND,
  skip: needsRoot,
}, async (t) => {
  const missing = await missingTool('bindfs', 'pgrep');
  if (missing !== undefined) return t.skip(missing);
  const { source, mnt, base } = await places();
  const dead = join(base, 'dead');
  mkdirSync(dead);
  await killedBindfs(source, dead);
  try {
    await assertRefused({
      args: ['mount', dead, mnt],
      code: 32,
      says: [`source ${dead}`, 'daemon is gone', 'umount -l'],
    });
    await assertRefused({
      args: ['mount', source, dead],
      code: 32,
      says: [`mount point ${dead}`, 'daemon is gone', `umount -l ${dead}`],
    });
  } finally {
    for (const row of readMounts()) if (row.mountpoint === dead && isFuse(row)) forceUnmount(row);
  }
});

/** A mount of another FUSE daemon, which is killed. */
async function killedBindfs(source: string, mountpoint: string): Promise<void> {
  await runOk('bindfs', [source, mountpoint]);
  const { stdout } = await runOk('pgrep', ['-f', `^bindfs ${source} ${mountpoint}$`]);
  process.kill(Number(stdout), 'SIGKILL');
  await shell('while kill -0 "$1" 2> /dev/null; do sleep 0.02; done', [stdout.trim()]);
}

test('mount point missing, a file, or below a file', BOUND, async () => {
  const { source, base } = await places();
  const file = join(base, 'file');
  writeFileSync(file, '');
  const cases = [
    [join(base, 'none'), 'does not exist', 'create it with `mkdir`'],
    [file, 'is not a directory', 'can only be mounted on a directory'],
    [join(file, 'x'), 'a part of the path is not a directory', 'correct the path'],
  ] as const;
  for (const [mnt, reason, cure] of cases) {
    await assertRefused({
      args: ['mount', source, mnt],
      code: 32,
      says: [`mount point ${mnt}`, reason, cure],
    });
  }
});

test('mount point not empty: allowed, and warned about', BOUND, async () => {
  const { source, mnt } = await places();
  writeFileSync(join(mnt, 'hidden'), 'x');
  writeFileSync(join(source, 'shown'), 'x');
  const mount = await startMount({ source, mountpoint: mnt });
  const warning = mount.logs.find((line) => line['level'] === 'warn');
  assert.equal(
    warning?.['msg'],
    `mount point ${mnt} is not empty; its content is hidden while the mount lasts`,
  );
  assert.equal((await runOk('ls', [mnt])).stdout, 'shown\n');
  await mount.stop();
  assert.equal((await runOk('ls', [mnt])).stdout, 'hidden\n');
});

test('mount point at, inside or around the source', BOUND, async () => {
  const { source, base } = await places();
  mkdirSync(join(source, 'in'));
  const link = join(base, 'link');
  symlinkSync(join(source, 'in'), link);
  for (const [mnt, reason] of [
    [source, 'is the source itself'],
    [join(source, 'in'), 'lies inside the source'],
    [link, 'lies inside the source'],
    [join(source, '..'), 'contains the source'],
    ['/', 'contains the source'],
  ] as const) {
    await assertRefused({
      args: ['mount', source, mnt],
      code: 32,
      says: [`mount point ${mnt}`, reason, 'choose a directory apart from the source'],
    });
  }
});

test('mount point that is a sluice mount already', BOUND, async () => {
  const { source, mnt, base } = await places();
  const first = await startMount({ source, mountpoint: mnt });
  const says = [`mount point ${mnt}`, 'is already a sluice mount', `umount ${mnt}`] as const;
  await assertRefused({ args: ['mount', source, mnt], code: 32, says });
  await assertRefused({ args: ['mount', base, mnt], code: 32, says });
  assert.equal((await run('ls', [mnt])).code, 0);
  await first.stop();
});

test(
  'paths with blanks and newlines are served, and their messages stay one line',
  BOUND,
  async () => {
    const { base } = await places();
    const source = join(base, 'a b\n\tc \\040');
    const mnt = join(base, 'm n\no "\u00e9"');
    for (const path of [source, mnt]) mkdirSync(path);
    writeFileSync(join(source, 'f g\nh'), 'text');
    const mount = await startMount({ source, mountpoint: mnt });
    assert.equal((await runOk('cat', [join(mnt, 'f g\nh')])).stdout, 'text');
    assert.equal(mount.output.length, 1);
    assert.match(
      mount.output[0] as string,
      /a b\\x0a\\x09c .* is mounted on .*m n\\x0ao "\u00e9" /,
    );
    await mount.stop();
    const none = join(base, 'no\nne');
    await assertRefused({
      args: ['mount', none, mnt],
      code: 32,
      says: [`source ${base}/no\\x0ane`, 'does not exist', 'create it'],
    });
  },
);
