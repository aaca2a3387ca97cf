import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { O_DIRECT } from '../../src/shared/sys/constants.ts';
import { defer } from '../harness/cleanup.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { runCli } from '../harness/mount.ts';
import { makeOverlay } from '../harness/overlay.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { type LockClient, lockClient } from '../locks/client.ts';
import { everyOptionIsTested, optionTest } from './by-option.ts';
import { negotiated, tracedMount } from './traced-mount.ts';

optionTest('noOpen', 'one OPEN at all, and the data is right', async () => {
  const { mount, trace, sh } = await tracedMount(['--cache=always', '--no-open']);
  await sh('cp $S/f $S/g; cat $M/g; cat $M/f; echo more >> $M/f; dd if=$M/g of=$M/h');
  assert.deepEqual(
    trace.replies('OPEN').map((line) => line.split(' ')[3]),
    ['ENOSYS'],
  );
  assert.equal(await sh('cat $M/f $S/f $S/h'), 'old\nmore\nold\nmore\nold');
  assert.equal((await mount.status())['openFiles'], 0);
  await mount.stop();
});

optionTest('noOpen', 'is switched off with a warning unless cache=always', async () => {
  const { mount, trace, sh } = await tracedMount(['--no-open']);
  await sh('cat $M/f; cat $M/f');
  assert.equal(trace.requests('OPEN').length, 2);
  assert.match(JSON.stringify(mount.logs), /no_open is switched off: it needs cache=always/);
  await mount.stop();
});

optionTest('noOpendir', 'one OPENDIR at all, and the listings are right', async () => {
  const { mount, trace, sh } = await tracedMount(['--cache=metadata', '--no-opendir']);
  assert.equal(await sh('touch $S/d/x; ls $M; ls $M/d; ls $M'), 'd\nf\nx\nd\nf');
  assert.equal(trace.requests('OPENDIR').length, 1);
  assert.match(trace.replies('OPENDIR').join(), / = ENOSYS /);
  await mount.stop();
});

optionTest('noReaddir', 'directories look empty, names work', async () => {
  const { mount, trace, sh } = await tracedMount(['--no-readdir']);
  assert.equal(await sh('ls -A $M; cat $M/f; ls -A $M/d; echo x > $M/d/x; ls -A $M/d'), 'old');
  assert.equal(await sh('cat $S/d/x'), 'x');
  assert.equal(trace.requests('READDIRPLUS').length, 0);
  await mount.stop();
});

optionTest('sealSize', 'no size changes, writes inside go', async () => {
  const { mount, sh, attempt } = await tracedMount(['--seal-size']);
  await sh('printf "NEW\\n" | dd of=$M/f conv=notrunc');
  assert.equal(await sh('cat $S/f'), 'NEW');
  for (const growing of [
    'echo more | tee -a $M/f && echo fine',
    'printf "12345" | dd of=$M/f conv=notrunc bs=5',
    'echo short > $M/f',
    'truncate -s 2 $M/f',
    'truncate -s 9 $M/f',
    'fallocate -l 100 $M/f',
  ]) {
    const { stdout, stderr } = await attempt(growing);
    assert.doesNotMatch(stdout, /code 0/, growing);
    assert.match(stderr, /Operation not permitted/, growing);
  }
  assert.equal(await sh('cat $S/f'), 'NEW');
  await mount.stop();
});

/** By the rule: pair of file system and mount in bits 47 to 54, the host's number below. */
function shownIno(pair: bigint, hostIno: string): string {
  return String((pair << 47n) | BigInt(hostIno));
}

optionTest('useHostIno', 'numbers follow the rule, one pair per file system', async (t) => {
  const other = await makeFileSystem('tmpfs', { sizeBytes: 1 << 20 });
  if ('skip' in other) return t.skip(other.skip);
  const { mount, sh, source } = await tracedMount(['--use-host-ino']);
  await runOk('mount', ['--bind', other.path, join(source, 'd')]);
  defer(async () => void (await run('umount', ['-l', join(source, 'd')])));
  await sh('touch $S/d/x');
  const host = (await sh('stat -c %i $S $S/f $S/d $S/d/x')).split('\n') as [string, string];
  const shown = (await sh('stat -c %i $M $M/f $M/d $M/d/x')).split('\n');
  assert.deepEqual(
    shown,
    host.map((ino, index) => shownIno(index < 2 ? 1n : 2n, ino)),
  );
  assert.equal(await sh("ls -i $M | awk '/ f/ { print $1 }'"), shownIno(1n, host[1]));
  await sh('umount -l $S/d');
  await mount.stop();
});

optionTest('useHostIno', 'off, numbers are those of the host', async () => {
  const { mount, sh } = await tracedMount();
  assert.equal(await sh('stat -c %i $M $M/f $M/d'), await sh('stat -c %i $S $S/f $S/d'));
  assert.equal(await sh('ls -i $M'), await sh('ls -i $S'));
  await mount.stop();
});

optionTest('xattr', 'attributes and ACLs, or none', async (t) => {
  const missing = await missingTool('setfattr', 'getfattr');
  if (missing !== undefined) return t.skip(missing);
  const set = 'setfattr -n user.k -v v $M/f';
  const on = await tracedMount();
  assert.match(await on.sh(`${set}; getfattr -n user.k $S/f`), /user\.k="v"/);
  if (process.getuid?.() === 0) {
    // Trusted names are for those the host would show them to.
    const list = 'getfattr -h -m - $M/f 2>/dev/null | grep -c trusted || true';
    await on.sh('setfattr -n trusted.t -v v $M/f');
    assert.equal(await on.sh(list), '1');
    assert.equal(await on.sh(`setpriv --reuid 65534 --clear-groups sh -c '${list}'`), '0');
  }
  await on.mount.stop();
  const off = await tracedMount(['--no-xattr']);
  await off.sh('setfattr -n user.s -v v $S/f');
  for (const script of [set, 'getfattr -n user.s $M/f', 'setfattr -x user.s $M/f']) {
    assert.match((await off.attempt(script)).stderr, /Operation not supported/, script);
  }
  assert.equal(await off.sh('getfattr $M/f 2>&1 | grep user.s || true'), '');
  await off.mount.stop();
});

optionTest('posixAcl', 'ACLs count, or are not there', async (t) => {
  const missing = await missingTool('setfacl', 'getfacl', 'setpriv');
  if (missing !== undefined) return t.skip(missing);
  if (process.getuid?.() !== 0) return t.skip('other users need root');
  const read =
    'setpriv --reuid 65531 --clear-groups cat $M/f >/dev/null 2>&1 && echo yes || echo no';
  const grant = 'chmod 600 $S/f; setfacl -m u:65531:r $S/f';
  const names = 'getfattr -m - $M/f 2>/dev/null | grep -c posix_acl || true';
  const on = await tracedMount();
  await on.sh(grant);
  assert.equal(await on.sh(read), 'yes');
  assert.equal(await on.sh(names), '1');
  await on.mount.stop();
  const off = await tracedMount(['--no-posix-acl']);
  await off.sh(grant);
  assert.equal(await off.sh(names), '0');
  assert.match((await off.attempt('setfacl -m u:65532:r $M/f')).stderr, /not supported/);
  assert.match(await off.sh('getfacl -n $S/f'), /user:65531:r--/);
  await off.mount.stop();
});

optionTest('xattrmap', 'names are others on the source', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('trusted and security attributes need root');
  const missing = await missingTool('setfattr', 'getfattr', 'setcap', 'getcap');
  if (missing !== undefined) return t.skip(missing);
  const { mount, sh, attempt } = await tracedMount(['--xattrmap=:map::user.client.:']);
  await sh(
    'setfattr -n user.host -v h $S/f; setfattr -n trusted.t -v t $M/f; setfattr -n user.u -v u $M/f',
  );
  const names = (path: string): string =>
    `getfattr -h -m - ${path} | sed 1d | sort | paste -sd ' '`;
  assert.equal(await sh(names('$M/f')), 'trusted.t user.u');
  assert.equal(await sh(names('$S/f')), 'user.client.trusted.t user.client.user.u user.host');
  assert.match((await attempt('getfattr -n user.host $M/f')).stderr, /No such attribute/);
  await sh('setfattr -x trusted.t $M/f');
  assert.equal(await sh(names('$S/f')), 'user.client.user.u user.host');
  const long = `user.${'n'.repeat(245)}`;
  assert.match((await attempt(`setfattr -n ${long} -v v $M/f`)).stderr, /out of range/);
  // The host does not know it for a capability, so the daemon takes it when the file changes.
  for (const change of [
    'echo more >> $M/c',
    ': > $M/c',
    'truncate -s 9 $M/c',
    'chown 5 $M/c',
    'fallocate -l 9000 $M/c',
  ]) {
    await sh('cp /bin/true $M/c; setcap cap_chown=ep $M/c');
    assert.match(
      await sh('getcap $M/c; getfattr -h -m - $S/c'),
      /cap_chown=ep[\s\S]*user.client.security.capability/,
    );
    await sh(change);
    assert.equal(await sh('getcap $M/c; getfattr -h -m security $S/c'), '', change);
  }
  await mount.stop();
});

optionTest('xattrmap', 'an append-only file can be appended to', async (t) => {
  const missing = await missingTool('chattr');
  if (missing !== undefined) return t.skip(missing);
  const disk = await makeFileSystem('ext4');
  if ('skip' in disk) return t.skip(disk.skip);
  const { mount, sh } = await tracedMount(['--xattrmap=:map::user.client.:'], {
    source: disk.path,
  });
  await sh('chattr +a $S/f; echo more >> $M/f; chattr -a $S/f');
  assert.equal(await sh('cat $S/f'), 'old\nmore');
  await mount.stop();
});

optionTest(
  'xattrmap',
  'what it denies clients is EPERM or not supported; access goes on',
  async (t) => {
    if (process.getuid?.() !== 0) return t.skip('becoming another user needs root');
    const missing = await missingTool('setfattr', 'getfattr');
    if (missing !== undefined) return t.skip(missing);
    const { mount, sh, attempt } = await tracedMount([
      '--xattrmap=:bad:all:user.no:user.no: :unsupported:all:user.un:user.un:',
      '--xattrmap=/bad/client/system.// /ok/all///',
    ]);
    await sh(
      'setfattr -n user.no -v v $S/f; setfattr -n user.un -v v $S/f; setfattr -n user.yes -v v $M/f',
    );
    assert.equal(await sh('getfattr -m - $M/f | sed 1d | tr -d "\n"'), 'user.yes');
    assert.match((await attempt('getfattr -n user.no $M/f')).stderr, /Operation not permitted/);
    assert.match(
      (await attempt('setfattr -n user.un2 -v v $M/f')).stderr,
      /Operation not supported/,
    );
    // No ACLs for clients: then the kernel must not ask for them when it checks an access.
    assert.equal((await negotiated(mount)).features.includes('POSIX_ACL'), false);
    assert.equal(
      await sh(
        'chmod 640 $S/f; chgrp 4242 $S/f; setpriv --reuid 65534 --regid 4242 --clear-groups cat $M/f',
      ),
      'old',
    );
    await mount.stop();
  },
);

optionTest('securityLabel', 'is negotiated, and files are made with it', async (t) => {
  const on = await tracedMount(['--security-label']);
  const { features } = await negotiated(on.mount);
  if (!features.includes('SECURITY_CTX')) {
    await on.mount.stop();
    return t.skip('this kernel does not offer FUSE_SECURITY_CTX');
  }
  // Without a security module the kernel sends an extension that holds no label.
  await on.sh(
    'echo a > $M/a; mkdir $M/b; ln -s x $M/c; mkfifo $M/e; cat $M/a; test -p $S/e -a -d $S/b -a -L $S/c',
  );
  await on.mount.stop();
  const off = await tracedMount();
  assert.equal((await negotiated(off.mount)).features.includes('SECURITY_CTX'), false);
  await off.mount.stop();
  const { mount } = await tracedMount(['--security-label', '--no-xattr']);
  assert.match(JSON.stringify(mount.logs), /security_label is switched off: a label is an xattr/);
  await mount.stop();
});

/** Opens a file with O_DIRECT and keeps it open. */
async function holdDirect(path: string): Promise<ChildProcess> {
  const script = `require('fs').openSync(${JSON.stringify(path)}, ${O_DIRECT});
    console.log('open'); process.stdin.resume();`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  defer(
    async () => void child.kill('SIGKILL'),
    () => child.kill('SIGKILL'),
  );
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  return child;
}

/** Flags of the descriptors by which a process reads or writes a file. */
function openFlags(pid: number, path: string): number[] {
  const fds = readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`) === path;
    } catch {
      return false;
    }
  });
  const infos = fds.map((fd) => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'));
  const flags = infos.map((info) => Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? '', 8));
  // O_PATH descriptors hold the inode and open nothing.
  return flags.filter((word) => (word & 0o10000000) === 0);
}

for (const isAllowed of [true, false]) {
  const what = isAllowed ? 'O_DIRECT reaches the backing file' : 'off, it does not';
  optionTest('allowDirectIo', what, async (t) => {
    const flags = isAllowed ? [] : ['--no-allow-direct-io'];
    const disk = await makeFileSystem('ext4', { sizeBytes: 16 << 20 });
    if ('skip' in disk) return t.skip(disk.skip);
    const { mount, mnt, source } = await tracedMount(flags, { source: disk.path });
    const child = await holdDirect(join(mnt, 'f'));
    const [word, ...more] = openFlags(mount.pid, join(source, 'f'));
    assert.deepEqual(more, []);
    assert.equal(((word as number) & O_DIRECT) !== 0, isAllowed);
    const gone = once(child, 'exit');
    child.stdin?.end();
    await gone;
    await mount.stop();
  });
}

for (const isOn of [true, false]) {
  optionTest('kernelPassthrough', isOn ? 'the kernel reads' : 'off, the daemon reads', async () => {
    const { mount, trace, sh } = await tracedMount(isOn ? [] : ['--no-kernel-passthrough']);
    const { features } = await negotiated(mount);
    assert.equal(/\bPASSTHROUGH\b/.test(features), isOn);
    await sh('cat $M/f; echo new > $M/g; cat $M/g');
    assert.equal(trace.requests('READ').length > 0, !isOn);
    assert.equal(trace.requests('WRITE').length > 0, !isOn);
    await mount.stop();
  });
}

const AS_NOBODY = 'setpriv --reuid 65534 --regid 65534 --clear-groups';

for (const isOn of [true, false]) {
  const what = isOn ? 'the daemon clears set-id bits' : 'off, the kernel asks to clear them';
  optionTest('killprivV2', what, async () => {
    const flags = isOn ? [] : ['--no-killpriv-v2'];
    const { mount, trace, sh } = await tracedMount(flags);
    const { features } = await negotiated(mount);
    assert.equal(/\bHANDLE_KILLPRIV_V2\b/.test(features), isOn);
    await sh('chmod 6777 $S/f; cat $M/f');
    trace.forget();
    await sh(`${AS_NOBODY} sh -c 'echo x >> "$1"' sh $M/f`);
    assert.equal(await sh('stat -c %a $S/f $M/f'), '777\n777');
    // With it the kernel asks for no mode: it only says that somebody writes.
    const setsMode = trace.requests('SETATTR').some((line) => !/ valid=0x0 /.test(line));
    assert.equal(setsMode, !isOn, trace.lines().join('\n'));
    await mount.stop();
  });
}

optionTest('doImport', 'a root is taken in and names are checked either way', async () => {
  // The kernel sends no bad names: seen from outside, a mount without the check works the same.
  const { mount, sh, attempt } = await tracedMount(['--no-do-import']);
  assert.equal(
    await sh('cat $M/f; echo x > $M/d/x; ls $M $M/d; cat $S/d/x'),
    await sh('cat $S/f; ls $M $M/d; cat $S/d/x'),
  );
  assert.match((await attempt('cat $M/d/../none')).stderr, /No such file/);
  await mount.stop();
});

for (const [key, flag, take, lockFlags] of [
  ['posixLock', '--posix-lock', 'set f w 0 0', '0x0'],
  ['flock', '--flock', 'flock f e', '0x1'],
] as const) {
  for (const isOn of [true, false]) {
    const what = isOn ? 'who locks the file behind sees it' : 'off, the lock stays in the mount';
    optionTest(key, what, async (t) => {
      const missing = await missingTool('perl');
      if (missing !== undefined) return t.skip(missing);
      const { mount, source, mnt, trace } = await tracedMount(isOn ? [flag] : []);
      const answers: string[] = [];
      const clients: LockClient[] = [];
      for (const place of [mnt, source, mnt]) {
        const client = await lockClient();
        clients.push(client);
        await client.ask(`open f ${join(place, 'f')} rw`);
        answers.push(await client.ask(take));
      }
      assert.deepEqual(answers, ['ok', isOn ? 'EAGAIN' : 'ok', 'EAGAIN']);
      const asked = trace.requests('SETLK', `lk_flags=${lockFlags}`);
      assert.equal(asked.length, isOn ? 2 : 0);
      for (const client of clients) await client.kill();
      await mount.stop();
    });
  }

  optionTest(key, 'switches no_open off', async () => {
    const { mount } = await tracedMount(['--cache=always', '--no-open', flag]);
    assert.match(JSON.stringify(mount.logs), /no_open is switched off: posix_lock and flock have/);
    assert.doesNotMatch((await negotiated(mount)).features, /NO_OPEN_SUPPORT/);
    await mount.stop();
  });
}

const STAT_MANY =
  'i=0; while [ $i -lt 200 ]; do : > $S/d/$i; i=$((i+1)); done; stat $M/d/* > $S/../out';

optionTest('inodeFileHandles', 'prefer: many inodes need few descriptors', async () => {
  const { mount, sh } = await tracedMount(['--fd-budget=64']);
  await sh(STAT_MANY);
  const status = await mount.status();
  assert.ok((status['inodes'] as number) > 200, JSON.stringify(status));
  assert.ok((status['fdsUsed'] as number) <= 64, JSON.stringify(status));
  await mount.stop();
});

optionTest('inodeFileHandles', 'never: every inode has its descriptor', async () => {
  const { mount, sh } = await tracedMount(['--inode-file-handles=never']);
  await sh(STAT_MANY);
  const { inodes, fdsUsed } = (await mount.status()) as { inodes: number; fdsUsed: number };
  assert.ok(inodes > 200 && fdsUsed >= inodes, `${inodes} inodes, ${fdsUsed} descriptors`);
  await mount.stop();
});

optionTest('inodeFileHandles', 'never: an exhausted budget is ENFILE, said once', async () => {
  const { mount, attempt, sh } = await tracedMount(
    ['--inode-file-handles=never', '--fd-budget=64'],
    { allowErrors: [/descriptor budget \(64\) is used up/] },
  );
  assert.match((await attempt(STAT_MANY)).stderr, /Too many open files in system/);
  const told = mount.logs.filter((line) => /descriptor budget/.test(String(line['msg'])));
  assert.equal(told.length, 1, mount.logTail());
  assert.ok(((await mount.status())['fdExhausted'] as number) > 100);
  assert.equal(await sh('stat -c %s $M'), await sh('stat -c %s $S'));
  await mount.stop();
});

optionTest('inodeFileHandles', 'mandatory: works with handles, refused without', async (t) => {
  const disk = await tracedMount(['--inode-file-handles=mandatory']);
  assert.equal(await disk.sh('cat $M/f'), 'old');
  await disk.mount.stop();
  // An overlay without nfs_export has no file handles.
  const overlay = await makeOverlay(t, ',nfs_export=off');
  if (overlay === undefined) return;
  const { merged } = overlay;
  const [mnt] = (await tempDirs('mnt')) as [string];
  const refused = await runCli(['mount', merged, mnt, '--inode-file-handles=mandatory'], {
    timeoutMs: 20_000,
  });
  assert.equal(refused.code, 32, refused.stderr);
  assert.match(
    refused.stderr,
    /source .*\/merged: .*no file handles .*--inode-file-handles=prefer/,
  );
  const preferred = await tracedMount([], { source: merged });
  assert.equal(await preferred.sh('cat $M/f'), 'old');
  await preferred.mount.stop();
  await shell('rm -rf "$1"/*', [merged]);
});

everyOptionIsTested('Modes');
