import assert from 'node:assert/strict';
import { makeFileSystem } from '../harness/file-systems.ts';
import { idmappedBind } from '../harness/idmapped-bind.ts';
import { missingTool } from '../harness/run.ts';
import { everyOptionIsTested, optionTest } from './by-option.ts';
import { mountinfo, negotiated, tracedMount } from './traced-mount.ts';

const AS_NOBODY = 'setpriv --reuid 65534 --regid 65534 --clear-groups';

optionTest('allowOther', 'other users come in, or not', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('becoming another user needs root');
  const open = await tracedMount();
  assert.equal(await open.sh(`${AS_NOBODY} cat $M/f`), 'old');
  assert.ok(mountinfo(open.mnt).all.includes('allow_other'));
  await open.mount.stop();
  const closed = await tracedMount(['--no-allow-other']);
  assert.match((await closed.attempt(`${AS_NOBODY} cat $M/f`)).stderr, /Permission denied/);
  assert.equal(await closed.sh('cat $M/f'), 'old');
  await closed.mount.stop();
});

optionTest('defaultPermissions', 'the kernel checks modes, or nobody does', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('becoming another user needs root');
  const script = `cat $M/f; chmod 600 $S/f; sleep 1.1; ${AS_NOBODY} cat $M/f`;
  const checked = await tracedMount();
  assert.match((await checked.attempt(script)).stderr, /Permission denied/);
  assert.ok(mountinfo(checked.mnt).all.includes('default_permissions'));
  assert.equal(checked.trace.requests('OPEN', ' uid=65534 ').length, 0);
  await checked.mount.stop();
  const unchecked = await tracedMount(['--no-default-permissions']);
  assert.equal(mountinfo(unchecked.mnt).all.includes('default_permissions'), false);
  await unchecked.attempt(script);
  // What the answer is depends on the daemon alone.
  assert.equal(unchecked.trace.requests('OPEN', ' uid=65534 ').length, 1);
  await unchecked.mount.stop();
});

optionTest('defaultPermissions', 'ACLs count as in the directory behind', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('becoming another user needs root');
  const missing = await missingTool('setfacl');
  if (missing !== undefined) return t.skip(missing);
  const { mount, sh, attempt } = await tracedMount();
  await sh('chown 0:12345 $S/f; chmod 660 $S/f; setfacl -m u:777:rwx,g::--- $S/f');
  await sh('mkdir $S/acl; setfacl -d -m u::rwx,g::rwx,o::rwx $S/acl; mkdir -m 777 $S/plain');
  const user = (uid: number, gid: number) => `setpriv --reuid ${uid} --regid ${gid} --clear-groups`;
  for (const where of ['S', 'M']) {
    assert.equal(await sh(`${user(777, 777)} cat $${where}/f`), 'old', where);
    const denied = await attempt(`${user(65534, 12345)} cat $${where}/f`);
    assert.match(denied.stderr, /Permission denied/, where);
    const create = `umask 077; touch $${where}/acl/${where} $${where}/plain/${where}`;
    const modes = await sh(`${create}; cd $S; stat -c %a acl/${where} plain/${where}`);
    assert.equal(modes, '666\n600', where);
  }
  await mount.stop();
});

optionTest('readOnly', 'nothing can be changed', async () => {
  const { mount, mnt, sh, attempt } = await tracedMount(['-o', 'ro']);
  assert.ok(mountinfo(mnt).flags.includes('ro'));
  for (const script of ['touch $M/new', 'echo x | tee -a $M/f', 'rm $M/f', 'chmod 600 $M/f']) {
    assert.match((await attempt(script)).stderr, /Read-only file system/, script);
  }
  assert.equal(await sh('cat $M/f; ls $S'), 'old\nd\nf');
  await mount.stop();
});

optionTest('suid', 'set-user-id programs change the user, or not', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('a set-user-id program of root needs root');
  const script = `cp $(command -v id) $S/id; chmod 4755 $S/id; ${AS_NOBODY} $M/id -u`;
  const on = await tracedMount();
  assert.equal(await on.sh(script), '0');
  assert.equal(mountinfo(on.mnt).flags.includes('nosuid'), false);
  await on.mount.stop();
  const off = await tracedMount(['-o', 'nosuid']);
  assert.equal(await off.sh(script), '65534');
  assert.ok(mountinfo(off.mnt).flags.includes('nosuid'));
  await off.mount.stop();
});

optionTest('dev', 'device nodes can be opened, or not', async (t) => {
  const on = await tracedMount();
  const script = 'rm -f $S/null; mknod $S/null c 1 3; cat $M/null';
  if (!(await on.attempt(script)).stdout.includes('code 0')) {
    return t.skip('no device nodes can be made and opened here');
  }
  await on.mount.stop();
  const off = await tracedMount(['-o', 'nodev']);
  assert.match((await off.attempt(script)).stderr, /Permission denied/);
  assert.ok(mountinfo(off.mnt).flags.includes('nodev'));
  await off.mount.stop();
});

optionTest('exec', 'programs run, or not', async () => {
  const script = 'printf "#!/bin/sh\\necho ran\\n" > $S/p; chmod 755 $S/p; $M/p';
  const on = await tracedMount();
  assert.equal(await on.sh(script), 'ran');
  await on.mount.stop();
  const off = await tracedMount(['--no-exec']);
  assert.match((await off.attempt(script)).stderr, /Permission denied/);
  assert.ok(mountinfo(off.mnt).flags.includes('noexec'));
  await off.mount.stop();
});

optionTest('sync', 'every write is followed by its FSYNC, or not', async () => {
  for (const isSync of [true, false]) {
    const flags = ['--no-kernel-passthrough', ...(isSync ? ['--sync'] : [])];
    const { mount, mnt, trace, sh } = await tracedMount(flags);
    await sh('dd if=/dev/zero of=$M/f bs=10 count=3 conv=notrunc');
    assert.equal(trace.requests('FSYNC').length, isSync ? 3 : 0, trace.lines().join('\n'));
    assert.equal(mountinfo(mnt).all.includes('sync'), isSync);
    await mount.stop();
  }
});

for (const [key, flag, shown] of [
  ['dirsync', '--dirsync', 'dirsync'],
  ['atime', '--no-atime', 'noatime'],
] as const) {
  optionTest(key, `${flag} is set on the mount, and not without`, async () => {
    const on = await tracedMount([flag]);
    assert.ok(mountinfo(on.mnt).all.includes(shown));
    await on.mount.stop();
    const off = await tracedMount();
    assert.equal(mountinfo(off.mnt).all.includes(shown), false);
    await off.mount.stop();
  });
}

optionTest('atime', 'off, reading leaves access times alone', async (t) => {
  const disk = await makeFileSystem('tmpfs', { mountOptions: 'strictatime' });
  if ('skip' in disk) return t.skip(disk.skip);
  for (const isKept of [true, false]) {
    const { mount, sh } = await tracedMount(isKept ? [] : ['-o', 'noatime'], { source: disk.path });
    const old = 'touch -ad @1000000000 $S/f $S/d;';
    const times = await sh(`${old} cat $M/f; ls $M/d; stat -c %X $S/f $S/d`);
    assert.equal(times === 'old\n1000000000\n1000000000', !isKept, times);
    await mount.stop();
  }
});

optionTest('dirsync', 'a change of names is written before it is answered', async (t) => {
  const missing = await missingTool('strace');
  if (missing !== undefined) return t.skip(missing);
  for (const [flags, count] of [
    [['--dirsync'], 6],
    [['--sync'], 6],
    [[], 0],
  ] as const) {
    const { mount, sh } = await tracedMount([...flags]);
    await sh(`strace -f -e trace=fsync -o $S/../calls -p ${mount.pid} & sleep 0.7
      mkdir $M/e; ln -s x $M/l; mv $M/l $M/d/l; ln $M/d/l $M/e/k; rmdir $M/none 2>/dev/null || true
      rm $M/e/k; sleep 0.2; kill $!; wait`);
    assert.equal(await sh('grep -c "fsync(" $S/../calls || true'), String(count));
    await mount.stop();
  }
});

optionTest('fsname', 'is what df shows; else the source', async () => {
  const named = await tracedMount(['-o', 'fsname=my\\,data']);
  assert.equal(mountinfo(named.mnt).source, 'my,data');
  assert.match(await named.sh('df $M'), /^my,data /m);
  await named.mount.stop();
  const plain = await tracedMount();
  assert.equal(mountinfo(plain.mnt).source, plain.source);
  await plain.mount.stop();
});

optionTest('readOnly', 'a list as mount(8) passes it sets all at once', async () => {
  const list = 'rw,nosuid,nodev,noauto,x-systemd.automount,entry_timeout=100,fsname=listed';
  const { mount, mnt, trace, sh } = await tracedMount(['-o', list, '-o', 'ro']);
  const { flags, source } = mountinfo(mnt);
  assert.deepEqual(
    ['ro', 'nosuid', 'nodev'].filter((flag) => !flags.includes(flag)),
    [],
  );
  assert.equal(source, 'listed');
  // Open, so that the name stays also where somebody drops the caches of the host.
  await sh('exec 3<$M/f; stat $M/f; sleep 1.1; stat $M/f');
  assert.equal(trace.requests('LOOKUP', '"f"').length, 1);
  await mount.stop();
});

/** What the owners of names are, in this order: "uid:gid uid:gid". */
const owners = (...paths: string[]): string => `stat -c %u:%g ${paths.join(' ')} | paste -sd ' '`;

const as = (uid: number, gid: number): string =>
  `setpriv --reuid ${uid} --regid ${gid} --clear-groups`;

for (const [key, options] of [
  ['translateUid', ['--translate-uid=map:0:70000:10', '--translate-gid', 'map:0:80000:10']],
  ['translateGid', ['-o', 'translate_uid=map:0:70000:10,translate_gid=map:0:80000:10']],
] as const) {
  optionTest(key, 'a range of ids is another one on the source, in both directions', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('owning files as another user needs root');
    const { mount, sh } = await tracedMount(options);
    await sh(
      'chown 70003:80004 $S/f; chown 70000:80000 $S $S/d; chmod 777 $S; touch $S/g; chown 500:600 $S/g',
    );
    assert.equal(await sh(owners('$M/f', '$M/d', '$M/g')), '3:4 0:0 500:600');
    // The same by READDIRPLUS, and by STATX.
    assert.match(await sh('ls -ln $M'), / 3 +4 .* f$/m);
    assert.match(await sh('stat -c "%W %u" $M/f'), / 3$/);
    await sh(`${as(5, 6)} sh -c "echo a > $M/new; mkdir $M/dir; ln -s x $M/link; mkfifo $M/fifo"`);
    const made = ['new', 'dir', 'link', 'fifo'];
    assert.equal(await sh(owners(...made.map((name) => `$M/${name}`))), '5:6 5:6 5:6 5:6');
    const behind = await sh(owners(...made.map((name) => `$S/${name}`)));
    assert.equal(behind, '70005:80006 70005:80006 70005:80006 70005:80006');
    await sh('chown 7:8 $M/f; chown -h 9 $M/link; chgrp 500 $M/new');
    assert.equal(
      await sh(owners('$S/f', '$S/link', '$S/new')),
      '70007:80008 70009:80006 70005:500',
    );
    // The kernel checks by the ids it is shown.
    await sh('chmod 600 $M/f');
    assert.equal(await sh(`${as(7, 8)} cat $M/f`), 'old');
    await mount.stop();
  });
}

optionTest('translateUid', 'the kinds of rules: squash, forbid, one direction', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('owning files as another user needs root');
  const rules = [
    'squash-guest:0:70000:1000',
    'host:70000:1000:1',
    'forbid-guest:3000:1',
    'squash-host:71000:42:10',
  ];
  const { mount, sh, attempt } = await tracedMount(
    rules.flatMap((rule) => [`--translate-uid=${rule}`, `--translate-gid=${rule}`]),
  );
  await sh('chmod 777 $S; touch $S/a $S/b; chown 71003:71009 $S/a; chown 5:5 $S/b');
  assert.equal(await sh(owners('$M/a', '$M/b')), '42:42 5:5');
  await sh('touch $M/root; chown 5:5 $M/b');
  assert.equal(await sh(owners('$S/root', '$M/root', '$S/b')), '70000:70000 1000:1000 70000:70000');
  for (const [uid, gid] of [
    [3000, 4000],
    [4000, 3000],
  ] as const) {
    const denied = await attempt(`${as(uid, gid)} touch $M/x`);
    assert.match(denied.stderr, /Operation not permitted/);
  }
  assert.match((await attempt('chown 3000 $M/b')).stderr, /Operation not permitted/);
  assert.match((await attempt('chgrp 3000 $M/b')).stderr, /Operation not permitted/);
  assert.equal(await sh(`ls $S/x 2>/dev/null || true; ${as(3000, 3000)} cat $M/f`), 'old');
  await sh(`${as(4000, 4001)} touch $M/other`);
  assert.equal(await sh(owners('$S/other')), '4000:4001');
  await mount.stop();
});

optionTest('translateGid', 'ids in ACLs are translated, and count', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('becoming another user needs root');
  const missing = await missingTool('setfacl', 'getfacl');
  if (missing !== undefined) return t.skip(missing);
  const { mount, sh, attempt } = await tracedMount([
    '--translate-uid=map:1000:71000:10',
    '--translate-gid=map:2000:82000:10',
    '--translate-gid=forbid-guest:3000:1',
  ]);
  await sh('chmod 600 $S/f; setfacl -m u:71001:r,g:82002:r $S/f; setfacl -d -m g:82003:rwx $S/d');
  const shown = await sh('getfacl -nc $M/f; getfacl -ndc $M/d');
  assert.match(shown, /user:1001:r--[\s\S]*group:2002:r--[\s\S]*group:2003:rwx/);
  assert.equal(await sh(`${as(1001, 1)} cat $M/f; ${as(5, 2002)} cat $M/f`), 'old\nold');
  for (const [uid, gid] of [
    [71001, 1],
    [5, 82002],
    [1002, 1],
  ] as const) {
    assert.match((await attempt(`${as(uid, gid)} cat $M/f`)).stderr, /Permission denied/, `${uid}`);
  }
  await sh('setfacl -m u:1005:rw,g:7:r $M/f; touch $M/d/new');
  assert.match(
    await sh('getfacl -nc $S/f'),
    /user:71001:r--\nuser:71005:rw-[\s\S]*group:7:r--\ngroup:82002:r--/,
  );
  assert.match(await sh('getfacl -nc $S/d/new'), /group:82003:rwx/);
  assert.match((await attempt('setfacl -m g:3000:r $M/f')).stderr, /Operation not permitted/);
  await mount.stop();
});

optionTest(
  'allowIdmap',
  'the mount can be idmapped, and files belong to who they should',
  async (t) => {
    if (process.getuid?.() !== 0) return t.skip('idmapped mounts need root');
    const missing = await missingTool('perl', 'unshare');
    if (missing !== undefined) return t.skip(missing);
    const off = await tracedMount();
    assert.equal((await negotiated(off.mount)).features.includes('ALLOW_IDMAP'), false);
    const refused = await idmappedBind(off.mnt, '0 1000 10');
    assert.match('failure' in refused ? refused.failure : 'it is mounted', /errno 22/);
    await off.mount.stop();
    const on = await tracedMount(['--allow-idmap']);
    if (!(await negotiated(on.mount)).features.includes('ALLOW_IDMAP')) {
      await on.mount.stop();
      return t.skip('this kernel has no idmapped FUSE mounts (Linux 6.12)');
    }
    await on.sh('chmod 777 $S; chown 3:4 $S/f; chown 500:500 $S/d');
    const bind = await idmappedBind(on.mnt, '0 1000 10');
    assert.ok('path' in bind, JSON.stringify(bind));
    const script = (text: string): string => `I=${bind.path}; ${text}`;
    assert.equal(await on.sh(script(owners('$I/f', '$M/f'))), '1003:1004 3:4');
    // Ids outside the map are nobody's, and nobody with such ids can make anything.
    assert.equal(await on.sh(script(owners('$I/d'))), '65534:65534');
    const outside = await on.attempt(script(`${as(2000, 2000)} touch $I/x`));
    assert.match(outside.stderr, /Value too large/);
    await on.sh(script(`${as(1005, 1006)} sh -c "echo a > $I/new; mkdir $I/dir; ln -s x $I/link"`));
    assert.equal(await on.sh(script(owners('$S/new', '$S/dir', '$S/link'))), '5:6 5:6 5:6');
    assert.equal(
      await on.sh(script(owners('$I/new', '$I/dir', '$I/link'))),
      '1005:1006 1005:1006 1005:1006',
    );
    await on.sh(script('chown 1007:1008 $I/f; chmod 600 $I/f'));
    assert.equal(await on.sh(owners('$S/f')), '7:8');
    assert.equal(await on.sh(script(`${as(1007, 1)} cat $I/f`)), 'old');
    assert.match((await on.attempt(script(`${as(7, 8)} cat $I/f`))).stderr, /Permission denied/);
    await on.sh(script('umount $I'));
    await on.mount.stop();
  },
);

optionTest('allowIdmap', 'and translated ids: one after the other', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('idmapped mounts need root');
  const { mount, mnt, sh } = await tracedMount([
    '--allow-idmap',
    '--translate-uid=map:0:70000:10',
    '--translate-gid=map:0:80000:10',
  ]);
  const bind = await idmappedBind(mnt, '0 1000 10');
  if ('failure' in bind) {
    await mount.stop();
    return t.skip(`no idmapped FUSE mounts here: ${bind.failure.slice(0, 200)}`);
  }
  await sh('chmod 777 $S; chown 70003:80004 $S/f');
  assert.equal(await sh(owners(`${bind.path}/f`)), '1003:1004');
  await sh(`${as(1005, 1006)} touch ${bind.path}/new; chown 1001:1002 ${bind.path}/f`);
  assert.equal(await sh(owners('$S/new', '$S/f')), '70005:80006 70001:80002');
  await sh(`umount ${bind.path}`);
  await mount.stop();
});

optionTest('allowIdmap', 'is switched off with a warning without default_permissions', async () => {
  const { mount } = await tracedMount(['--allow-idmap', '--no-default-permissions']);
  assert.match(
    JSON.stringify(mount.logs),
    /allow_idmap is switched off: it needs default_permissions/,
  );
  assert.equal((await negotiated(mount)).features.includes('ALLOW_IDMAP'), false);
  await mount.stop();
});

everyOptionIsTested('Access');
