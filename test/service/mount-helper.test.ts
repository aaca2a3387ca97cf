import assert from 'node:assert/strict';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { run, runOk, shell } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import {
  daemonsOf,
  freshPlace,
  helpersInUse,
  INSTALL,
  installHelpers,
  markedEnvironment,
  mountsAt,
  type Place,
  untilServedByNobody,
} from './helper.ts';

const LIMIT = { timeout: 60_000 };
const NOT_ROOT = process.geteuid?.() === 0 ? undefined : 'only root may put helpers into /sbin';
const skip = NOT_ROOT ?? helpersInUse() ?? false;

/** Runs mount(8) for a place, with a time limit. */
function mountCommand(place: Place, ...args: string[]) {
  return run('mount', args, { env: markedEnvironment(place), timeoutMs: 30_000 });
}

/** What the mount says is at the place. */
async function read(place: Place, file = 'f'): Promise<string> {
  return (await runOk('cat', [join(place.mountpoint, file)], { timeoutMs: 5000 })).stdout;
}

async function unmount(place: Place): Promise<void> {
  await runOk('umount', [place.mountpoint], { timeoutMs: 10_000 });
  await untilServedByNobody(place);
  assert.deepEqual(mountsAt(place.mountpoint), []);
}

suite('mount(8)', { skip }, () => {
  for (const type of ['sluice', 'fuse.sluice']) {
    test(
      `mount -t ${type} returns when the mount is usable, and umount ends it`,
      LIMIT,
      async () => {
        await installHelpers();
        const place = await freshPlace();
        const done = await mountCommand(place, '-t', type, place.source, place.mountpoint);
        assert.deepEqual([done.code, done.stdout, done.stderr], [0, '', '']);
        assert.equal(await read(place), 'content\n');
        assert.equal(mountsAt(place.mountpoint)[0]?.type, 'fuse.sluice');
        assert.equal((await daemonsOf(place)).length, 1, 'one process serves, mount has ended');
        await unmount(place);
      },
    );
  }

  test('by mount.fuse3, where only `sluice` is installed', LIMIT, async (context) => {
    if (!existsSync('/sbin/mount.fuse3')) {
      context.skip('mount.fuse3 is not installed (test/install-tools.sh installs it)');
      return;
    }
    const place = await freshPlace();
    const bin = await tempDir('bin');
    // Its own name is all that mount.fuse3 looks for; mount(8) would leave out PATH.
    await runOk('sh', ['-c', 'cp "$1" "$2/sluice"', 'sh', await writtenHelper(), bin]);
    const { source, mountpoint } = place;
    const args = [source, mountpoint, '-o', 'ro,nosuid', '-t', 'fuse.sluice'];
    const env = { ...markedEnvironment(place), PATH: `${bin}:${process.env['PATH']}` };
    await runOk('/sbin/mount.fuse3', args, { env, timeoutMs: 30_000 });
    assert.equal(await read(place), 'content\n');
    assert.match(await mountLine(place), / ro,.*nosuid/);
    await unmount(place);
  });

  test('a line of fstab with what stands in such lines', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const fstab = join(await tempDir('etc'), 'fstab');
    const options =
      'ro,nofail,_netdev,noauto,user,exec,defaults,noatime,comment=a,x-systemd.automount,' +
      'x-systemd.requires=/srv,x-systemd.mount-timeout=30,X-mount.mkdir,entry_timeout=5,lanes=2';
    writeFileSync(fstab, `${place.source} ${place.mountpoint} sluice ${options} 0 0\n`);
    const done = await mountCommand(place, '-T', fstab, place.mountpoint);
    assert.deepEqual([done.code, done.stderr], [0, '']);
    assert.equal(await read(place), 'content\n');
    const line = await mountLine(place);
    for (const option of ['ro', 'nosuid', 'nodev'])
      assert.match(line, new RegExp(`[ ,]${option},`));
    await unmount(place);
  });

  test('mount -a mounts it once, however often it is called', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const fstab = join(await tempDir('etc'), 'fstab');
    writeFileSync(fstab, `${place.source} ${place.mountpoint} sluice defaults 0 0\n`);
    for (const round of [1, 2]) {
      const done = await mountCommand(place, '-a', '-T', fstab);
      assert.deepEqual([done.code, done.stderr], [0, ''], `call ${round}`);
    }
    assert.equal(mountsAt(place.mountpoint).length, 1);
    await unmount(place);
  });

  test('a user mounts and unmounts by a line with `user`', LIMIT, async (context) => {
    const needed = await run('sh', ['-c', 'command -v fusermount3 setpriv unshare']);
    if (needed.code !== 0) {
      context.skip('fusermount3, setpriv or unshare is not installed');
      return;
    }
    await installHelpers();
    const place = await freshPlace();
    // A user has no choice of fstab: he gets /etc/fstab, here that of a mount namespace of its own.
    const script = `
      mount -t tmpfs none "$1/.."/etc
      echo "$1 $2 sluice user,noauto 0 0" >"$1/../etc/fstab"
      mknod -m 666 "$1/../etc/fuse" c 10 229
      mount --bind "$1/../etc/fstab" /etc/fstab
      mount --bind "$1/../etc/fuse" /dev/fuse
      chown 65534 "$2"
      as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
      as_user mount "$2"
      as_user cat "$2/f"
      grep -F " $2 " /proc/self/mountinfo
      as_user umount "$2"
      ! grep -qF " $2 " /proc/self/mountinfo`;
    await runOk('mkdir', [join(place.source, '../etc')]);
    const args = ['-m', 'sh', '-euc', script, 'sh', place.source, place.mountpoint];
    const env = markedEnvironment(place);
    const done = await runOk('unshare', args, { env, timeoutMs: 40_000 });
    assert.match(done.stdout, /^content\n/);
    assert.match(done.stdout, /fuse\.sluice .*user_id=65534/);
    await untilServedByNobody(place);
  });

  test('-N mounts in another mount namespace and not in this one', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const script = `
      unshare -m --propagation private sleep 60 &
      pid=$!
      trap 'kill $pid' EXIT
      until [ "$(readlink /proc/$pid/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; do sleep 0.1; done
      mount -N $pid -t sluice "$1" "$2"
      ! grep -qF " $2 " /proc/self/mountinfo
      nsenter -t $pid -m cat "$2/f"
      nsenter -t $pid -m umount "$2"`;
    const { source, mountpoint } = place;
    const env = markedEnvironment(place);
    const done = await shell(script, [source, mountpoint], { env, timeoutMs: 40_000 });
    assert.equal(done.stdout, 'content\n');
    await untilServedByNobody(place);
  });

  test('-v says what is mounted, -n changes nothing', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const { source, mountpoint } = place;
    const done = await mountCommand(place, '-v', '-n', '-t', 'sluice', source, mountpoint);
    assert.equal(done.code, 0);
    assert.match(done.stdout, /^sluice: \S+ is mounted on \S+ \(pid \d+\)$/m);
    await unmount(place);
  });

  test('-s passes over what nobody knows, and over nothing else', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const args = ['-s', '-t', 'sluice', place.source, place.mountpoint, '-o'];
    const refused = await mountCommand(place, ...args, 'no_such_thing=1,lanes=many');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^sluice: -o lanes: /);
    const done = await mountCommand(place, ...args, 'no_such_thing=1,ro');
    assert.equal(done.code, 0, done.stderr);
    assert.match(await mountLine(place), / ro,/);
    await unmount(place);
  });

  test('-f checks everything and mounts nothing', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const { source, mountpoint } = place;
    // mount(8) itself notes nothing of it: -n.
    const good = await mountCommand(place, '-fnv', '-t', 'sluice', source, mountpoint);
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stdout, /can be mounted on/);
    const bad = await mountCommand(place, '-fn', '-t', 'sluice', `${source}/none`, mountpoint);
    assert.equal(bad.code, 32);
    assert.deepEqual(mountsAt(mountpoint), []);
    assert.deepEqual(await daemonsOf(place), []);
  });

  test('what does not work is one line of the daemon and its status', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const { source, mountpoint } = place;
    const cases: [status: number, line: RegExp, ...args: string[]][] = [
      [1, /^sluice: -o no_such_thing: unknown option/, '-o', 'no_such_thing', source, mountpoint],
      [1, /^sluice: -o lanes: 0 is not valid/, '-o', 'lanes=0', source, mountpoint],
      [
        1,
        /^sluice: -o remount: .*a running mount cannot be changed/,
        '-o',
        'remount',
        source,
        mountpoint,
      ],
      [32, /^sluice: source \S+ does not exist/, `${source}/none`, mountpoint],
      [32, /^sluice: source \S+ is not a directory/, `${source}/f`, mountpoint],
      [32, /^sluice: mount point \S+ lies inside the source/, join(source, '..'), mountpoint],
    ];
    for (const [status, line, ...args] of cases) {
      const failed = await mountCommand(place, '-t', 'sluice', ...args);
      assert.equal(failed.code, status, failed.stderr);
      assert.match(failed.stderr, line);
      assert.equal(failed.stderr.trim().split('\n').length, 1, failed.stderr);
      assert.deepEqual(mountsAt(mountpoint), []);
    }
    const limits = ['--nofile=100:100', 'mount', '-t', 'sluice', source, mountpoint];
    const poor = await run('prlimit', limits, { env: markedEnvironment(place) });
    assert.equal(poor.code, 2);
    assert.match(poor.stderr, /^sluice: the limit of open files is 100/);
    assert.deepEqual(await daemonsOf(place), []);
  });

  test('a second mount on the same place is refused and the first goes on', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const args = ['-t', 'sluice', place.source, place.mountpoint];
    assert.equal((await mountCommand(place, ...args)).code, 0);
    const second = await mountCommand(place, ...args);
    assert.equal(second.code, 32);
    assert.match(second.stderr, /is already a sluice mount/);
    assert.equal(await read(place), 'content\n');
    await unmount(place);
  });

  test('the logs go to the journal where stderr is the journal', LIMIT, async () => {
    await installHelpers();
    const place = await freshPlace();
    const log = join(await tempDir('journal'), 'log');
    const fd = openSync(log, 'w');
    const { dev, ino } = fstatSync(fd);
    closeSync(fd);
    const { source, mountpoint } = place;
    const script = 'mount -t sluice "$1" "$2" 2>>"$3"';
    for (const [stream, isLogged] of [
      [`${dev}:${ino}`, true],
      [`${dev}:1`, false],
    ] as const) {
      const env = { ...markedEnvironment(place), JOURNAL_STREAM: stream };
      await shell(script, [source, mountpoint, log], { env, timeoutMs: 30_000 });
      await unmount(place);
      assert.equal(readFileSync(log, 'utf8').includes('"msg":"unmounted"'), isLogged, stream);
      writeFileSync(log, '');
    }
  });
});

/** A helper written to a folder of the test's. */
async function writtenHelper(): Promise<string> {
  const folder = await tempDir('sbin');
  await runOk('sh', [INSTALL, folder]);
  return join(folder, 'mount.sluice');
}

async function mountLine({ mountpoint }: Place): Promise<string> {
  return (await runOk('grep', ['-F', ` ${mountpoint} `, '/proc/self/mountinfo'])).stdout;
}

suite('install-helper.sh', () => {
  test('writes, writes again, and removes what it wrote', LIMIT, async () => {
    const folder = await tempDir('sbin');
    const files = ['mount.sluice', 'mount.fuse.sluice'].map((name) => join(folder, name));
    for (let round = 0; round < 2; round++) {
      const done = await runOk('sh', [INSTALL, folder]);
      assert.deepEqual(done.stdout.trim().split('\n'), files);
      for (const file of files) assert.match(readFileSync(file, 'utf8'), /^#!\/.*node\n/);
    }
    await runOk('sh', [INSTALL, '--remove', folder]);
    for (const file of files) assert.equal(existsSync(file), false);
  });

  test('leaves alone what is not of its making', LIMIT, async () => {
    const folder = await tempDir('sbin');
    const file = join(folder, 'mount.sluice');
    writeFileSync(file, 'mine');
    for (const args of [[folder], ['--remove', folder]]) {
      const refused = await run('sh', [INSTALL, ...args]);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /^install-helper: .* is not of this script/);
      assert.equal(readFileSync(file, 'utf8'), 'mine');
    }
  });

  test('says what is wrong with the folder', LIMIT, async () => {
    const refused = await run('sh', [INSTALL, '/proc']);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /install-helper: \/proc is not writable/);
  });
});
