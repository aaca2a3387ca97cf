import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { assertSameTree, COPY_FIELDS, readTree, VIEW_FIELDS } from '../harness/compare.ts';
import { startMount } from '../harness/mount.ts';
import { missingTool, runOk, shell } from '../harness/run.ts';
import { seconds } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const FILES = 3000;
const makeTreePath = fileURLToPath(new URL('../harness/make-tree.js', import.meta.url));

/** One of everything that a file can be and have, in the directory `$1`. */
const ODDITIES = `
  cd "$1"
  mkdir links times owners xattrs special 'blank and
newline' modes sparse
  echo hard > links/a; ln links/a links/b; ln links/a 'blank and
newline/c'
  ln -s a links/to-a; ln -s /nonexistent/dangling links/dangling; ln links/to-a links/to-a-too
  ln -s "$(printf '%0255d' 0)" links/long-target

  touch -d @0.000000001 times/epoch
  touch -d '1960-02-29 12:00:00.123456789 UTC' times/before-the-epoch
  touch -d '2106-02-07 06:28:16.999999999 UTC' times/after-32-bits
  touch -h -d '2001-09-09 01:46:40.5 UTC' links/dangling

  touch owners/other; chown 12345:54321 owners/other
  for mode in 0000 0111 0400 1755 2755 4755 6711 0777; do
    echo $mode > modes/file-$mode; chmod $mode modes/file-$mode
    mkdir modes/dir-$mode; chmod $mode modes/dir-$mode
  done

  touch xattrs/file; mkdir xattrs/dir
  setfattr -n user.text -v 'some text' xattrs/file
  setfattr -n user.empty xattrs/file
  setfattr -n user.binary -v 0x00ff0a0d2200 xattrs/dir
  setfattr -n user.large -v "$(printf '%03000d' 7)" xattrs/file
  setfattr -n trusted.of.root -v 1 xattrs/file
  touch xattrs/acl; setfacl -m u:12345:rw,g:54321:r,m::rw xattrs/acl
  setfacl -m d:u:12345:rwx,d:g::r-x,u:4242:x xattrs/dir
  cp /bin/true xattrs/capable
  setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 xattrs/capable

  mkfifo special/fifo; mknod special/null c 1 3; mknod special/disk b 7 200; chmod 640 special/*
  truncate -s 512M sparse/large
  printf first | dd of=sparse/large conv=notrunc status=none
  printf middle | dd of=sparse/large bs=1 seek=268435456 conv=notrunc status=none
  truncate -s 1M sparse/all-hole
`;

const RSYNC = ['-aHAXS', '--numeric-ids'];

async function sync(from: string, to: string): Promise<number> {
  const done = await runOk('rsync', [...RSYNC, `${from}/`, `${to}/`], { timeoutMs: 120_000 });
  return done.elapsedMs;
}

/** What rsync itself finds different, contents included. */
async function itemized(from: string, to: string): Promise<string> {
  const flags = ['-naHAXc', '--numeric-ids', '--delete', '--itemize-changes'];
  const { stdout } = await runOk('rsync', [...flags, `${from}/`, `${to}/`], { timeoutMs: 120_000 });
  return stdout;
}

test('rsync -aHAX into the mount and back', { timeout: 400_000 }, async (t) => {
  const missing = await missingTool('rsync', 'setfattr', 'getfattr', 'setfacl');
  if (missing !== undefined) return t.skip(missing);
  if (process.getuid?.() !== 0) return t.skip('devices and other owners need root');
  const [original, source, back] = (await tempDirs('original', 'source', 'back')) as [
    string,
    string,
    string,
  ];
  await runOk(process.execPath, [makeTreePath, original, String(FILES)]);
  await shell(ODDITIES, [original]);
  // Names are bytes: 255 of them, and some that are no UTF-8.
  const names = join(original, 'names');
  await mkdir(names);
  await writeFile(join(names, 'n'.repeat(255)), 'long');
  for (const name of [[0xff, 0xfe, 0x80], [0x5c, 0x6e], [0x20], [0x2d, 0x72, 0x66]]) {
    await writeFile(Buffer.concat([Buffer.from(`${names}/`), Buffer.from(name)]), 'odd');
  }
  const inventory = await readTree(original);
  const types = new Set([...inventory.values()].map((entry) => entry.type));
  assert.ok(['fifo', 'symlink', 'block device', 'character device'].every((x) => types.has(x)));
  assert.match(inventory.get('xattrs/acl')?.xattrs ?? '', /system\.posix_acl_access/);

  const mount = await startMount({ source });
  const inMs = await sync(original, mount.mountpoint);
  await assertSameTree(original, mount.mountpoint, { fields: COPY_FIELDS });
  await assertSameTree(source, mount.mountpoint, { fields: VIEW_FIELDS });
  assert.equal(await itemized(original, mount.mountpoint), '');
  const sparse = (await readTree(join(mount.mountpoint, 'sparse'))).get('large');
  assert.ok(
    (sparse?.blocks ?? Infinity) < 2048,
    `the file of 512 MiB of holes has ${sparse?.blocks} blocks`,
  );

  const outMs = await sync(mount.mountpoint, back);
  const files = await assertSameTree(original, back, { fields: COPY_FIELDS });
  t.diagnostic(`${files} files: in ${seconds(inMs)}, back out ${seconds(outMs)}`);
  await mount.stop();
});
