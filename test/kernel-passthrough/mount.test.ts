/** FUSE_PASSTHROUGH: data that does not pass the daemon, and when it does. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dropCaches, settle } from '../faults/settle.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { makeOverlay } from '../harness/overlay.ts';
import { run, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const TIME_LIMIT = { timeout: 300_000 };
const clientPath = fileURLToPath(new URL('./client.js', import.meta.url));
const CLIENTS = 4;
const MIB = 1024 * 1024;

function verdictOf(mount: Mount): string {
  return String(mount.logs.find((line) => line['msg'] === 'negotiated')?.['kernelPassthrough']);
}

/** A mount of a fresh directory, or a skip where the kernel has none of it. */
async function mountOrSkip(
  t: TestContext,
  flags: readonly string[] = [],
): Promise<Mount | undefined> {
  const [source] = (await tempDirs('source')) as [string];
  const mount = await startMount({ source, flags });
  const verdict = verdictOf(mount);
  if (!/does not offer/.test(verdict)) return mount;
  t.skip(`kernel passthrough is ${verdict}`);
  await mount.stop();
  return undefined;
}

suite('kernel passthrough', TIME_LIMIT, () => {
  test('reads, writes and maps do not pass the daemon', async (t) => {
    const mount = await mountOrSkip(t);
    if (mount === undefined) return;
    const script = `cd "$1"
      dd if=/dev/urandom of=f bs=1M count=4 2>/dev/null
      dd if=/dev/zero of=f bs=4k seek=100 count=5 conv=notrunc 2>/dev/null
      cmp f "$2/f"
      python3 -c 'import mmap; f = open("f", "r+b"); m = mmap.mmap(f.fileno(), 0); m[5:9] = b"mmap"; m.flush(); print(f.read(9)[5:])'
      cmp f "$2/f"
      stat -c %s f "$2/f"`;
    const done = await shell(script, [mount.mountpoint, mount.source]);
    assert.equal(done.stdout, `b'mmap'\n${4 * MIB}\n${4 * MIB}\n`);
    const status = await mount.status();
    assert.deepEqual([status['readBytes'], status['writtenBytes']], [0, 0]);
    assert.ok((status['kernelOpens'] as number) >= 4);
    assert.equal(status['daemonOpens'], 0);
    await mount.stop();
  });

  test('opens for appending and for direct I/O send their data to the daemon', async (t) => {
    const mount = await mountOrSkip(t);
    if (mount === undefined) return;
    await shell('cd "$1"; echo one > f; exec 3< f; echo two >> f; cat f', [mount.mountpoint]);
    assert.equal((await mount.status())['writtenBytes'], 4);
    await shell('dd if=/dev/zero of="$1/g" bs=4096 count=2 oflag=direct', [mount.mountpoint]);
    assert.equal((await mount.status())['writtenBytes'], 4 + 8192);
    await mount.stop();
  });

  for (const [flags, why] of [
    [['--no-kernel-passthrough'], /switched off/],
    [['--cache=never'], /cache=never/],
    [['--writeback'], /writeback/],
    [['--cache=always', '--no-open'], /no_open/],
    [['--seal-size'], /seal_size/],
    [['--no-allow-direct-io'], /allow_direct_io/],
    [['--no-killpriv-v2'], /killpriv_v2/],
    [['-o', 'noatime'], /noatime/],
    [['-o', 'sync'], /sync/],
    [['--xattrmap=:map::user.virtiofs.:'], /xattrmap/],
  ] as const) {
    test(`it is off, and that is said, with ${flags.join(' ')}`, async (t) => {
      const mount = await mountOrSkip(t, flags);
      if (mount === undefined) return;
      writeFileSync(join(mount.source, 'f'), 'data');
      const said = mount.logs.filter((line) => why.test(String(line['kernelPassthrough'])));
      assert.equal(said.length, 1, verdictOf(mount));
      assert.equal((await shell('cat "$1/f"', [mount.mountpoint])).stdout, 'data');
      const status = await mount.status();
      assert.deepEqual([status['kernelOpens'], status['openInodes']], [0, 0]);
      await mount.stop();
    });
  }

  test('what is stacked too high goes through the daemon, and nobody gets an error', async (t) => {
    const bottom = await mountOrSkip(t);
    if (bottom === undefined) return;
    writeFileSync(join(bottom.source, 'f'), 'data');
    const middle = await startMount({ source: bottom.mountpoint });
    const top = await startMount({ source: middle.mountpoint });
    const script = `cat "$1/f"; echo more > "$1/g"; cat "$1/g"; cat "$1/g"`;
    const nameless = `python3 - "$1" <<END
import os, sys
fd = os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b'abc')
print(os.pread(fd, 9, 0).decode())
END`;
    for (const mount of [middle, top]) {
      assert.equal((await shell(nameless, [mount.mountpoint])).stdout, 'abc\n');
    }
    assert.equal((await shell(script, [top.mountpoint])).stdout, 'datamore\nmore\n');
    const status = await top.status();
    assert.equal(status['kernelOpens'], 0);
    assert.ok((status['daemonOpens'] as number) >= 4);
    const warnings = top.logs.filter((line) => /stacked/.test(String(line['msg'])));
    assert.equal(warnings.length, 1, top.logTail());
    assert.ok(((await bottom.status())['kernelOpens'] as number) > 0);
    for (const mount of [top, middle, bottom]) await mount.stop();
  });

  for (const cache of ['auto', 'metadata', 'always']) {
    test(`stores of a mapping are seen in the times when it is closed, cache=${cache}`, async (t) => {
      const mount = await mountOrSkip(t, [`--cache=${cache}`]);
      if (mount === undefined) return;
      const script = `echo text > "$1/f"; touch -d @1000000000 "$1/f"; stat -c %Y "$1/f"
        python3 - "$1/f" <<END
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
os.fstat(fd)
m[0:1] = b'T'
m.close()
os.close(fd)
END
        sleep 0.3
        test "$(stat -c %Y "$1/f")" = "$(stat -c %Y "$2/f")" && cat "$1/f"`;
      const done = await shell(script, [mount.mountpoint, mount.source]);
      assert.equal(done.stdout, '1000000000\nText\n');
      await mount.stop();
    });
  }

  test('it passes through to an overlay', async (t) => {
    const overlay = await makeOverlay(t);
    if (overlay === undefined) return;
    const { lower, upper, merged } = overlay;
    writeFileSync(join(lower, 'f'), 'below');
    const mount = await startMount({ source: merged });
    const script = 'cat "$1/f"; echo above > "$1/f"; cat "$1/f" "$2/f"';
    const done = await shell(script, [mount.mountpoint, upper]);
    assert.equal(done.stdout, 'belowabove\nabove\n');
    await mount.stop();
  });

  test('names that an overlay parts at a write are not one file before', async (t) => {
    for (const flags of [[], ['--cache=never'], ['--no-kernel-passthrough']]) {
      const overlay = await makeOverlay(t);
      if (overlay === undefined) return;
      const { lower, merged } = overlay;
      await shell('echo one > "$1/a"; ln "$1/a" "$1/b"', [lower]);
      const mount = await startMount({ source: merged, flags });
      const script = 'cd "$1"; cat a b; echo a >> a; echo b >> b; cat a b; rm a; cat b; ln b a';
      const inside = await shell(script, [mount.mountpoint]);
      await mount.stop();
      assert.equal(inside.stdout, 'one\none\none\na\none\nb\none\nb\n', String(flags));
    }
  });

  for (const flags of [
    [],
    ['--cache=always'],
    ['--cache=metadata'],
    ['--inode-file-handles=never'],
  ]) {
    test(`many open one file in all ways at once (${flags.join(' ') || 'defaults'})`, async (t) => {
      const mount = await mountOrSkip(t, flags);
      if (mount === undefined) return;
      writeFileSync(join(mount.source, 'f'), 'x'.repeat(8192));
      const start = await mount.status();
      const clients = Array.from({ length: CLIENTS }, () =>
        run(process.execPath, [clientPath, join(mount.mountpoint, 'f'), '2'], {
          timeoutMs: 20_000,
        }),
      );
      for (const { stdout, stderr } of await Promise.all(clients)) {
        const said = JSON.parse(stdout || `{"failures":"${stderr}"}`) as { failures: unknown };
        assert.deepEqual(said.failures, {});
      }
      await dropCaches();
      await settle(mount, start);
      await mount.stop();
    });
  }

  test('O_SYNC and -o sync reach the disk before the write returns', async (t) => {
    const disk = await makeFileSystem('ext4');
    if ('skip' in disk) return t.skip(disk.skip);
    const device = (
      await shell('basename "$(findmnt -no SOURCE "$1")"', [disk.path])
    ).stdout.trim();
    const written = () =>
      Number(readFileSync(`/sys/block/${device}/stat`, 'latin1').trim().split(/\s+/)[4]);
    const writes = 20;
    const dd = (flags: string) =>
      `dd if=/dev/urandom of="$1/f" bs=4k count=${writes} conv=notrunc ${flags}`;
    const python = (flags: string, rwf: string) => `python3 - "$1/f" <<END
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | ${flags})
for i in range(${writes}):
    os.pwritev(fd, [os.urandom(4096)], i * 4096, ${rwf})
END`;
    for (const [how, mountFlags, script, isSynced] of [
      ['neither', [], dd(''), false],
      ['O_SYNC', [], dd('oflag=sync'), true],
      ['-o sync', ['--sync'], dd(''), true],
      ['-o sync, nothing cached', ['--sync', '--cache=never'], dd(''), true],
      ['RWF_DSYNC', [], python('0', 'os.RWF_DSYNC'), true],
      ['RWF_SYNC while appending', [], python('os.O_APPEND', 'os.RWF_SYNC'), true],
      ['RWF_DSYNC, nothing cached', ['--cache=never'], python('0', 'os.RWF_DSYNC'), true],
      ['nothing cached', ['--cache=never'], python('0', '0'), false],
    ] as const) {
      const mount = await startMount({ source: disk.path, flags: mountFlags });
      if (/does not offer/.test(verdictOf(mount))) t.diagnostic(verdictOf(mount));
      await shell('dd if=/dev/zero of="$1/f" bs=4k count=20; sync "$1/f"', [mount.mountpoint]);
      const before = written();
      await shell(script, [mount.mountpoint]);
      const more = written() - before;
      t.diagnostic(`${how}: ${more} writes to the disk`);
      assert.equal(more >= writes, isSynced, `${how}: ${more}`);
      await mount.stop();
    }
  });

  test('an open file outlives its name, and its inode is given back at its end', async (t) => {
    const mount = await mountOrSkip(t);
    if (mount === undefined) return;
    const start = await mount.status();
    const script = `cd "$1"
      echo first > f
      exec 3<> f
      rm f
      echo second > f
      cat <&3
      echo third >&3
      cat f
      exec 4< "/proc/self/fd/3"
      cat <&4
      exec 3<&- 4<&-
      rm f`;
    const done = await shell(script, [mount.mountpoint]);
    assert.equal(done.stdout, 'first\nsecond\nfirst\nthird\n');
    await dropCaches();
    await settle(mount, start);
    await mount.stop();
  });

  test('a program that was written through the mount runs at once, on both sides', async (t) => {
    const mount = await mountOrSkip(t);
    if (mount === undefined) return;
    const script = `cp /bin/true "$1/t"
      exec 3< "$1/t"
      "$1/t"; "$2/t"
      exec 4<> "$1/t"
      "$1/t" && echo ran while open for writing
      exit 0`;
    const done = await shell(script, [mount.mountpoint, mount.source]).catch(
      (e: Error) => e.message,
    );
    assert.match(
      String(typeof done === 'string' ? done : done.stdout + done.stderr),
      /Text file busy/,
    );
    await mount.stop();
  });
});
