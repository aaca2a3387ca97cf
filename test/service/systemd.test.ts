import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { cliPath } from '../harness/paths.ts';
import { missingTool, run } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { freshPlace, helpersInUse, installHelpers, type Place } from './helper.ts';
import { bootSystemd, deployedUnits, escapePath, noSystemd } from './systemd.ts';

const LIMIT = { timeout: 180_000 };
const noAnalyze = await missingTool('systemd-analyze', 'systemd-escape');
const noBoot = noAnalyze ?? (await noSystemd());

/** A unit whose command is this checkout's, for a place that no file in /etc describes. */
function withCommand(unit: string, { source }: Place): string {
  const command = `${process.execPath} ${cliPath} mount ${source} %f`;
  const here = unit
    .replace(/^ExecStart=.*$/m, `ExecStart=${command}`)
    .replace(/^ConditionPathExists=.*\n/m, '')
    .replace(/^WatchdogSec=.*$/m, 'WatchdogSec=3s');
  assert.notEqual(here, unit);
  return here;
}

async function serviceFor(place: Place) {
  const unit = withCommand(deployedUnits()['sluice@.service'] as string, place);
  const systemd = await bootSystemd({ 'sluice@.service': unit });
  const { mountpoint } = place;
  const name = (await escapePath(mountpoint, 'service')).replace(/^/, 'sluice@');
  return { systemd, name, mountpoint };
}

suite('the units of deploy/systemd', () => {
  test('systemd-analyze verify finds nothing', { ...LIMIT, skip: noAnalyze }, async () => {
    const units = deployedUnits();
    assert.deepEqual(Object.keys(units).sort(), ['mnt-data.mount', 'sluice@.service']);
    const folder = await tempDir('verify');
    for (const [name, text] of Object.entries(units)) {
      // Installed under this name it would be found; here it is the checkout's.
      const unit = text.replaceAll('/usr/local/bin/sluice', `${process.execPath} ${cliPath}`);
      const file = join(folder, name.replace('@.', '@mnt-data.'));
      writeFileSync(file, unit);
      const verified = await run('systemd-analyze', ['verify', '--man=no', file]);
      assert.deepEqual([verified.code, verified.stderr], [0, ''], name);
      const broken = `${unit}\n[Service]\nNoSuchSetting=1\n[Mount]\nNoSuchSetting=1\n`;
      writeFileSync(file, broken);
      const refused = await run('systemd-analyze', ['verify', '--man=no', file]);
      assert.match(refused.stderr, /NoSuchSetting/, 'verify looks at the file');
    }
  });

  test('nothing in the service hides the mount', () => {
    const unit = deployedUnits()['sluice@.service'] as string;
    const settings = unit.split('\n').filter((line) => !line.startsWith('#'));
    const namespaces =
      /^(Protect|Private|Read(Write|Only)|Inaccessible|Bind|Temporary|Dynamic|Root)/;
    assert.deepEqual(
      settings.filter((line) => namespaces.test(line)),
      [],
    );
  });

  test('the service is ready with its mount, seen by all, and stops', {
    ...LIMIT,
    skip: noBoot,
  }, async () => {
    const place = await freshPlace();
    const { systemd, name, mountpoint } = await serviceFor(place);
    await systemd.start(name);
    assert.equal((await systemd.mountsAt(mountpoint)).length, 1, 'the mount is on the host');
    assert.equal(await systemd.runOk('cat', join(mountpoint, 'f')), 'content\n');
    const status = await systemd.show(name, 'StatusText');
    assert.equal(status, `serving ${place.source} on ${mountpoint}`);
    await systemd.control('stop', name);
    assert.equal(await systemd.show(name, 'ActiveState'), 'inactive');
    assert.equal(await systemd.show(name, 'Result'), 'success');
    assert.deepEqual(await systemd.mountsAt(mountpoint), []);
  });

  test('what a root mount does works under the hardening', { ...LIMIT, skip: noBoot }, async () => {
    const place = await freshPlace();
    const { systemd, name, mountpoint } = await serviceFor(place);
    await systemd.start(name);
    const script = `
      cd "$1"
      chmod 1777 .
      as_user() { setpriv --reuid=1000 --regid=1000 --clear-groups "$@"; }
      as_user touch mine && [ "$(stat -c %u:%g mine)" = 1000:1000 ]
      ! as_user sh -c 'echo x >>f' 2>/dev/null
      mkdir d && mv f d/f && ln d/f d/g && ln -s f d/s
      mknod d/null c 1 3 && echo gone >d/null
      chown 5:6 d/f && chmod 4755 d/f && [ "$(stat -c %u:%g:%a d/f)" = 5:6:4755 ]
      truncate -s 1M d/f && fallocate -l 2M d/f
      rm -r d mine`;
    const done = await systemd.run('sh', '-euc', script, 'sh', mountpoint);
    assert.deepEqual([done.code, done.stderr], [0, '']);
    const pid = await systemd.show(name, 'MainPID');
    const processStatus = await systemd.runOk('cat', `/proc/${pid}/status`);
    assert.match(processStatus, /^Seccomp:\s+2$/m);
    assert.match(processStatus, /^NoNewPrivs:\s+1$/m);
  });

  test('one that was killed is started again over what it left', {
    ...LIMIT,
    skip: noBoot,
  }, async () => {
    const place = await freshPlace();
    const { systemd, name, mountpoint } = await serviceFor(place);
    await systemd.start(name);
    await systemd.runOk('kill', '-KILL', await systemd.show(name, 'MainPID'));
    await systemd.waitFor(name, 'NRestarts', '1');
    await systemd.waitFor(name, 'SubState', 'running');
    assert.equal((await systemd.mountsAt(mountpoint)).length, 1);
    assert.equal(await systemd.runOk('cat', join(mountpoint, 'f')), 'content\n');
  });

  test('one whose main loop stands still is ended by the watchdog', {
    ...LIMIT,
    skip: noBoot,
  }, async () => {
    const place = await freshPlace();
    const { systemd, name, mountpoint } = await serviceFor(place);
    await systemd.start(name);
    const pid = await systemd.show(name, 'MainPID');
    await systemd.run('sleep', '6');
    assert.equal(await systemd.show(name, 'MainPID'), pid, 'fed, it lives longer than the period');
    await systemd.runOk('kill', '-STOP', pid);
    await systemd.waitFor(name, 'NRestarts', '1');
    await systemd.waitFor(name, 'SubState', 'running');
    assert.equal(await systemd.runOk('cat', join(mountpoint, 'f')), 'content\n');
  });

  test("somebody else's mount on the place stays when the start fails", {
    ...LIMIT,
    skip: noBoot,
  }, async () => {
    const place = await freshPlace();
    const { systemd, name, mountpoint } = await serviceFor(place);
    await systemd.runOk('mount', '-t', 'tmpfs', 'theirs', mountpoint);
    await systemd.runOk('rm', '-r', place.source);
    const started = await systemd.control('start', name);
    assert.notEqual(started.code, 0);
    await systemd.control('stop', name);
    const [theirs] = await systemd.mountsAt(mountpoint);
    assert.match(String(theirs), / - tmpfs theirs /);
  });

  const skipMount = noBoot ?? helpersInUse();
  test('the mount unit mounts and unmounts', { ...LIMIT, skip: skipMount }, async () => {
    await installHelpers();
    const { source, mountpoint } = await freshPlace();
    const unit = (deployedUnits()['mnt-data.mount'] as string)
      .replace(/^What=.*$/m, `What=${source}`)
      .replace(/^Where=.*$/m, `Where=${mountpoint}`)
      .replace(/^RequiresMountsFor=.*\n/m, '');
    const name = await escapePath(mountpoint, 'mount');
    const systemd = await bootSystemd({ [name]: unit });
    await systemd.start(name);
    assert.match(String(await systemd.mountsAt(mountpoint)), / ro,.* - fuse\.sluice /);
    assert.equal(await systemd.runOk('cat', join(mountpoint, 'f')), 'content\n');
    await systemd.control('stop', name);
    assert.equal(await systemd.show(name, 'ActiveState'), 'inactive');
    assert.deepEqual(await systemd.mountsAt(mountpoint), []);
  });
});
