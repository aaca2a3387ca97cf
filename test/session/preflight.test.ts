import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mountFuse } from '../../src/main/session/mount.ts';
import { checkFuse, checkMountpoint, checkSource } from '../../src/main/session/preflight.ts';
import { O_CLOEXEC, O_RDWR, RLIMIT_NOFILE } from '../../src/shared/sys/constants.ts';
import { CString, close, mount, open } from '../../src/shared/sys/libc.ts';
import { hardLimit, raiseSoftLimit, softLimit } from '../../src/shared/sys/rlimit.ts';
import { keepingLog, makeScratch, mountSkip, request } from './fake-session.ts';

const CHILD = fileURLToPath(new URL('./session-child.js', import.meta.url));
const scratch = makeScratch();
const { folder, mountpoint } = scratch;
const source = path.join(folder, 'source');
mkdirSync(path.join(source, 'deep', 'er'), { recursive: true });
after(() => scratch.remove());

function refuses(check: () => unknown, code: string, message: RegExp): void {
  assert.throws(check, (error: Error & { code?: string }) => {
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

function folderNamed(...names: string[]): string {
  const made = path.join(folder, ...names);
  mkdirSync(made, { recursive: true });
  return made;
}

function bind(from: string, to: string): void {
  assert.equal(spawnSync('mount', ['--bind', from, to], { timeout: 10_000 }).status, 0);
}

test('a good source comes back as its real path', () => {
  const link = path.join(folder, 'link to source');
  symlinkSync('source', link);
  assert.deepEqual(checkSource(link), { path: source, pathBytes: Buffer.from(source) });
});

test('a source is refused when missing, no directory, or below a file', () => {
  const file = path.join(folder, 'file');
  writeFileSync(file, '');
  refuses(
    () => checkSource(path.join(folder, 'none')),
    'ERR_SLUICE_SOURCE',
    /none does not exist; /,
  );
  refuses(() => checkSource(file), 'ERR_SLUICE_SOURCE', /file is not a directory; /);
  refuses(() => checkSource(path.join(file, 'x')), 'ERR_SLUICE_SOURCE', /part of the path/);
});

test('a source that may not be read is refused', { skip: mountSkip }, () => {
  const closed = folderNamed('closed');
  chmodSync(closed, 0o700);
  chmodSync(folder, 0o755);
  process.seteuid?.(65534);
  try {
    // access(2) goes by the real uid, which stays root: the search below is what is refused.
    refuses(() => checkSource(path.join(closed, 'x')), 'ERR_SLUICE_SOURCE', /not readable by uid/);
  } finally {
    process.seteuid?.(0);
  }
});

test('a good mount point comes back as its real path, with a warning when not empty', () => {
  const link = path.join(folder, 'link to mnt');
  symlinkSync(mountpoint, link);
  assert.deepEqual(checkMountpoint(link, source), { path: mountpoint, warning: undefined });
  const roundabout = `${folder}//source/../link to mnt/.`;
  assert.equal(checkMountpoint(roundabout, source).path, mountpoint);
  const full = folderNamed('full', 'of something');
  const checked = checkMountpoint(path.dirname(full), source);
  assert.match(checked.warning ?? '', /is not empty/);
});

test('a relative mount point and names with blanks and newlines are resolved', () => {
  const odd = folderNamed('odd \n\t\\name');
  assert.equal(checkMountpoint(odd, source).path, odd);
  const relative = path.relative(realpathSync(process.cwd()), odd);
  assert.equal(checkMountpoint(relative, source).path, odd);
});

test('a mount point is refused when missing, a file, below a file, or a loop of links', () => {
  const file = path.join(folder, 'plain');
  writeFileSync(file, '');
  const loop = path.join(folder, 'loop');
  symlinkSync('loop', loop);
  const code = 'ERR_SLUICE_MOUNTPOINT';
  refuses(() => checkMountpoint(path.join(folder, 'no'), source), code, /does not exist; .*mkdir/);
  refuses(() => checkMountpoint(file, source), code, /is not a directory/);
  refuses(() => checkMountpoint(path.join(file, 'x'), source), code, /part of the path/);
  refuses(() => checkMountpoint(loop, source), code, /symbolic links/);
});

test('a mount point at, inside or around the source is refused', () => {
  const code = 'ERR_SLUICE_MOUNTPOINT';
  refuses(() => checkMountpoint(source, source), code, /is the source itself: .*deadlock/);
  refuses(() => checkMountpoint(path.join(source, 'deep'), source), code, /lies inside the source/);
  refuses(() => checkMountpoint(folder, source), code, /contains the source/);
  refuses(() => checkMountpoint('/', source), code, /contains the source/);
  refuses(() => checkMountpoint(mountpoint, '/'), code, /lies inside the source/);
  const neighbour = folderNamed('source and more');
  assert.equal(checkMountpoint(neighbour, source).warning, undefined);
});

test('bind mounts do not hide the source', { skip: mountSkip }, () => {
  const code = 'ERR_SLUICE_MOUNTPOINT';
  const whole = folderNamed('bound source');
  const part = folderNamed('bound part');
  const above = folderNamed('bound folder');
  bind(source, whole);
  bind(path.join(source, 'deep'), part);
  bind(folder, above);
  refuses(() => checkMountpoint(whole, source), code, /is the source itself/);
  refuses(() => checkMountpoint(path.join(whole, 'deep'), source), code, /lies inside/);
  refuses(() => checkMountpoint(path.join(part, 'er'), source), code, /lies inside/);
  refuses(() => checkMountpoint(above, source), code, /contains the source/);
});

test('a sluice mount is refused without being touched', {
  skip: mountSkip,
  timeout: 20_000,
}, () => {
  // Nobody serves this mount: whoever asks it anything waits for ever.
  const ours = folderNamed('ours');
  const device = mountFuse(request(ours), keepingLog().log);
  refuses(
    () => checkMountpoint(ours, source),
    'ERR_SLUICE_MOUNTPOINT',
    /already a sluice mount; .*umount -l/,
  );
  close(device.fuseFd);
  refuses(() => checkMountpoint(ours, source), 'ERR_SLUICE_MOUNTPOINT', /already a sluice mount/);
});

test('the dead mount of another FUSE daemon is refused with the cure', { skip: mountSkip }, () => {
  const dead = folderNamed('dead');
  const fuseFd = open(new CString('/dev/fuse').address, O_RDWR | O_CLOEXEC);
  const data = `fd=${fuseFd},rootmode=40000,user_id=0,group_id=0`;
  const [name, type] = [new CString('x'), new CString('fuse.other')];
  const target = new CString(dead);
  assert.equal(mount(name.address, target.address, type.address, 0, new CString(data).address), 0);
  close(fuseFd);
  refuses(
    () => checkMountpoint(dead, source),
    'ERR_SLUICE_MOUNTPOINT',
    /daemon is gone; unmount it with `umount -l .*dead`/,
  );
});

test('the FUSE device and a way to mount are found', { skip: mountSkip }, () => {
  assert.doesNotThrow(checkFuse);
});

test('a device that does not open is one line', { skip: mountSkip, timeout: 30_000 }, () => {
  // Another mount namespace, in which the device's name shows an empty file.
  const script = 'mount --bind "$0" /dev/fuse && exec "$@"';
  const file = path.join(folder, 'no device');
  writeFileSync(file, '');
  chmodSync(file, 0);
  const hidden = ['unshare', '-m', 'sh', '-c', script, file];
  const noOverride = ['setpriv', '--bounding-set', '-dac_override,-dac_read_search'];
  const answer = runChild([...hidden, ...noOverride], 'check-fuse');
  assert.equal(answer['code'], 'ERR_SLUICE_NO_DEVICE');
  assert.match(String(answer['message']), /^cannot open \/dev\/fuse: EACCES; allow/);
});

function runChild(prefix: string[], command: string, env = process.env): Record<string, unknown> {
  const [program = '', ...args] = [...prefix, process.execPath, CHILD, command];
  const run = spawnSync(program, args, { encoding: 'utf8', timeout: 20_000, env });
  assert.equal(run.status, 0, run.stderr);
  return JSON.parse(run.stdout);
}

const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

test('no privileges and no fusermount3 is one line', { skip: mountSkip, timeout: 30_000 }, () => {
  const setpriv = spawnSync('sh', ['-c', 'command -v setpriv'], { encoding: 'utf8' }).stdout.trim();
  const prefix = [setpriv, ...asUser.slice(1)];
  const answer = runChild(prefix, 'check-fuse', { PATH: '/nowhere' });
  assert.equal(answer['code'], 'ERR_SLUICE_PERMISSION');
  assert.match(String(answer['message']), /no fusermount3 in PATH; /);
});

test('too few descriptors end with exit code 2', { timeout: 30_000 }, () => {
  const answer = runChild(['sh', '-c', 'ulimit -n 100 && exec "$@"', 'sh'], 'fd-limit');
  assert.equal(answer['exitCode'], 2);
  assert.match(String(answer['message']), /limit of open files is 100, .*LimitNOFILE=/);
});

test('the soft limit is raised to the hard one', { timeout: 30_000 }, () => {
  const answer = runChild(
    ['sh', '-c', 'ulimit -Sn 200; ulimit -Hn 900; exec "$@"', 'sh'],
    'fd-limit',
  );
  assert.equal(answer['limit'], 900);
  assert.equal(raiseSoftLimit(RLIMIT_NOFILE), hardLimit(RLIMIT_NOFILE));
  assert.equal(softLimit(RLIMIT_NOFILE), hardLimit(RLIMIT_NOFILE));
  assert.equal(softLimit(999), -22);
});
