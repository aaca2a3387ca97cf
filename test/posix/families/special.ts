/** Programs, sockets, capabilities, inode flags, and the protected_ sysctls. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import {
  AT_FDCWD,
  O_APPEND,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import { addressOf, close, openat } from '../../../src/shared/sys/libc.ts';
import { bytes, io, ioAddress } from '../../differential/syscalls.ts';
import { copyMemory, syscall } from '../../harness/native.ts';
import type { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE, SYS } from '../numbers.ts';
import type { Stage } from '../stage.ts';

const COMMAND_TIMEOUT_MS = 30_000;
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IMMUTABLE_FL = 0x10;
const FS_APPEND_FL = 0x20;
const AF_UNIX = 1;
const SOCK_STREAM = 1;

/** A vfs_cap_data of version 2: CAP_NET_RAW, effective. */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');

function runs(stage: Stage, actor: Actor, path: string, args: readonly string[]): void {
  const done = spawnSync(`${process.cwd()}/${path}`, args, {
    timeout: COMMAND_TIMEOUT_MS,
    encoding: 'utf8',
    uid: actor.uid,
    gid: actor.gid,
  });
  const code = (done.error as NodeJS.ErrnoException | undefined)?.code;
  stage.note(`${actor.user.name} runs ${path}`, code ?? [done.status, done.stdout.trim()]);
}

function setIdPrograms(stage: Stage): void {
  for (const [mode, uid, gid] of [
    [0o755, 0, 0],
    [0o4755, 0, 0],
    [0o4755, 65532, 65532],
    [0o2755, 0, 65533],
    [0o6755, 65532, 65533],
  ] as const) {
    const path = `id-${mode.toString(8)}-${uid}`;
    copyFileSync('/usr/bin/id', path);
    stage.root.chown(path, uid, gid).ok();
    stage.root.chmod(path, mode).ok();
    runs(stage, stage.alice, path, ['-u']);
    runs(stage, stage.alice, path, ['-g']);
  }
}

/** Whoever changes a set-id program has taken its bits before anybody runs it. */
function changedPrograms(stage: Stage): void {
  copyFileSync('/usr/bin/id', 'id');
  stage.root.chown('id', 65532, 65533).ok();
  for (let round = 0; round < 3; round += 1) {
    stage.root.chmod('id', 0o6777).ok();
    runs(stage, stage.carol, 'id', ['-u']);
    const fd = stage.alice.open('id', O_WRONLY).ok();
    stage.alice.write(fd, '\x7f', 0).is(1);
    stage.alice.close(fd).ok();
    runs(stage, stage.carol, 'id', ['-u']);
    stage.root.has('id', { mode: 0o777 });
  }
}

function execution(stage: Stage): void {
  writeFileSync('script', '#!/bin/sh\necho ran as $(id -u)\n');
  for (const mode of [0o644, 0o755, 0o711, 0o700, 0o754, 0o111]) {
    stage.root.chmod('script', mode).ok();
    for (const actor of [stage.root, stage.alice]) runs(stage, actor, 'script', []);
  }
}

function socketAddress(path: string): number {
  const address = Buffer.from(new SharedArrayBuffer(110));
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  keptAddresses.push(address);
  return addressOf(address);
}

/** Only their addresses are used. */
const keptAddresses: Buffer[] = [];

function connects(actor: Actor, path: string): string | number {
  const fd = actor.call('socket', () => syscall(SYS.socket, AF_UNIX, SOCK_STREAM, 0), 'fd').ok();
  const address = socketAddress(path);
  const reply = actor.call(`connect ${path}`, () => syscall(SYS.connect, fd, address, 110));
  actor.close(fd);
  return reply.result;
}

function sockets(stage: Stage): void {
  stage.root.mkdir('d', 0o777).ok();
  const fd = stage.alice
    .call('socket', () => syscall(SYS.socket, AF_UNIX, SOCK_STREAM, 0), 'fd')
    .ok();
  stage.later(() => void stage.root.close(fd));
  const address = socketAddress('d/s');
  stage.alice.call('bind', () => syscall(SYS.bind, fd, address, 110)).ok();
  stage.alice.call('listen', () => syscall(SYS.listen, fd, 20)).ok();
  stage.root.has('d/s', { type: 'socket', uid: 65531, mode: 0o777 });
  stage.equal('bob', connects(stage.bob, 'd/s'), 0);
  stage.alice.chmod('d/s', 0o700).ok();
  stage.equal('bob', connects(stage.bob, 'd/s'), 'EACCES');
  stage.equal('alice', connects(stage.alice, 'd/s'), 0);
  stage.alice.link('d/s', 'd/t').ok();
  stage.alice.rename('d/s', 'd/u').ok();
  stage.equal('by a link', connects(stage.alice, 'd/t'), 0);
  stage.equal('renamed', connects(stage.alice, 'd/u'), 0);
  stage.alice.unlink('d/t').ok();
  stage.equal('gone', connects(stage.alice, 'd/t'), 'ENOENT');
  stage.alice.create('d/file').ok();
  stage.equal('a file', connects(stage.alice, 'd/file'), 'ECONNREFUSED');
}

const CAPABILITY_CHANGES: Readonly<Record<string, (actor: Actor) => void>> = {
  write: (actor) => void actor.write(actor.open('f', O_WRONLY).ok(), 'x', 0).is(1),
  append: (actor) => void actor.write(actor.open('f', O_WRONLY | O_APPEND).ok(), 'x').is(1),
  truncate: (actor) => void actor.truncate('f', 1).ok(),
  fallocate: (actor) => void actor.fallocate(actor.open('f', O_RDWR).ok(), 0, 0, 99).ok(),
  'punching a hole': (actor) => void actor.fallocate(actor.open('f', O_RDWR).ok(), 3, 0, 2),
  chown: (actor) => void actor.chown('f', -1, actor.uid === 0 ? 65533 : 65541).ok(),
  chmod: (actor) => void actor.chmod('f', 0o777).ok(),
  rename: (actor) => void actor.rename('f', 'f').ok(),
  reading: (actor) => void actor.content('f'),
};

function capabilities(stage: Stage, what: string): void {
  stage.root.chmod('.', 0o777).ok();
  for (const actor of [stage.root, stage.alice]) {
    stage.alice.file('f', 'text', 0o755);
    stage.root.setxattr('f', 'security.capability', CAPABILITY).ok();
    stage.root.getxattr('f', 'security.capability').is(20);
    CAPABILITY_CHANGES[what]?.(actor);
    const left = stage.root.getxattr('f', 'security.capability').result;
    const keeps = ['chmod', 'rename', 'reading'].includes(what);
    stage.equal('left', left, keeps ? 20 : 'ENODATA');
    stage.root.unlink('f').ok();
  }
}

/** A sysctl that belongs to the whole machine, for as long as the behaviour takes. */
function withSysctl(stage: Stage, name: string, value: string, action: () => void): void {
  const path = `/proc/sys/fs/${name}`;
  const old = readFileSync(path, 'utf8').trim();
  try {
    writeFileSync(path, value);
  } catch {
    stage.skip(`${name} cannot be set here`);
  }
  try {
    action();
  } finally {
    writeFileSync(path, old);
  }
}

function protectedSymlinks(stage: Stage, value: string): void {
  stage.root.mkdir('t', 0o777).ok();
  stage.root.chmod('t', 0o1777).ok();
  stage.root.create('target', 0o666).ok();
  stage.alice.symlink('../target', 't/alices').ok();
  stage.root.symlink('../target', 't/roots').ok();
  withSysctl(stage, 'protected_symlinks', value, () => {
    stage.alice.tryOpen('t/alices', O_RDONLY).ok();
    stage.bob.tryOpen('t/alices', O_RDONLY).is(value === '1' ? 'EACCES' : 0);
    stage.root.tryOpen('t/alices', O_RDONLY).is(value === '1' ? 'EACCES' : 0);
    stage.bob.tryOpen('t/roots', O_RDONLY).ok();
  });
}

function protectedHardlinks(stage: Stage, value: string): void {
  stage.root.chmod('.', 0o777).ok();
  stage.root.create('closed', 0o600).ok();
  stage.root.create('open', 0o666).ok();
  stage.root.create('setuid', 0o4777).ok();
  stage.root.mkfifo('fifo', 0o666).ok();
  withSysctl(stage, 'protected_hardlinks', value, () => {
    const must = value === '1' ? 'EPERM' : 0;
    stage.alice.link('closed', 'l1').is(must);
    stage.alice.link('setuid', 'l2').is(must);
    stage.alice.link('fifo', 'l3').is(must);
    stage.alice.link('open', 'l4').ok();
    stage.root.link('closed', 'l5').ok();
  });
}

function protectedCreation(stage: Stage, name: string, value: string): void {
  const isFifo = name === 'protected_fifos';
  stage.root.mkdir('t', 0o777).ok();
  stage.root.chmod('t', 0o1777).ok();
  if (isFifo) stage.alice.mkfifo('t/x', 0o666).ok();
  else stage.alice.create('t/x', 0o666).ok();
  withSysctl(stage, name, value, () => {
    const must = value === '0' ? 0 : 'EACCES';
    stage.bob.tryOpen('t/x', O_CREAT | O_RDWR, 0o666).is(must);
    stage.bob.tryOpen('t/x', O_RDWR).ok();
    stage.alice.tryOpen('t/x', O_CREAT | O_RDWR, 0o666).ok();
    stage.root.tryOpen('t/x', O_CREAT | O_RDWR, 0o666).is(must);
  });
}

function setFlags(stage: Stage, path: string, flags: number): void {
  const fd = stage.root.open(path, O_RDONLY).ok();
  const get = stage.root.call('FS_IOC_GETFLAGS', () =>
    syscall(SYS.ioctl, fd, FS_IOC_GETFLAGS, ioAddress),
  );
  if (get.value < 0) stage.skip(`no inode flags: ${get.result}`);
  const kept = io.readUInt32LE(0) & ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
  const set = () => {
    io.writeBigUInt64LE(BigInt(kept | flags));
    return syscall(SYS.ioctl, fd, FS_IOC_SETFLAGS, ioAddress);
  };
  stage.root.call(`FS_IOC_SETFLAGS ${flags}`, set).ok();
}

function withFlags(stage: Stage, path: string, flags: number, action: () => void): void {
  setFlags(stage, path, flags);
  try {
    action();
  } finally {
    setFlags(stage, path, 0);
  }
}

function immutable(stage: Stage): void {
  stage.root.file('f', 'text');
  stage.root.create('other').ok();
  const fd = stage.root.open('f', O_RDONLY).ok();
  withFlags(stage, 'f', FS_IMMUTABLE_FL, () => {
    stage.root.tryOpen('f', O_WRONLY).is('EPERM');
    stage.root.truncate('f', 0).is('EPERM');
    stage.root.chmod('f', 0o600).is('EPERM');
    stage.root.fchmod(fd, 0o600).is('EPERM');
    stage.root.chown('f', 1, 1).is('EPERM');
    stage.root.utimens('f', [1, 1], [1, 1]).is('EPERM');
    stage.root.utimens('f', 'now', 'now').is('EPERM');
    stage.root.unlink('f').is('EPERM');
    stage.root.rename('f', 'g').is('EPERM');
    stage.root.rename('other', 'f').is('EPERM');
    stage.root.link('f', 'h').is('EPERM');
    stage.root.setxattr('f', 'user.a', 'v').is('EPERM');
    stage.equal('content', stage.root.content('f'), 'text');
  });
  stage.root.unlink('f').ok();
}

function appendOnly(stage: Stage): void {
  stage.root.file('f', 'text');
  withFlags(stage, 'f', FS_APPEND_FL, () => {
    stage.root.tryOpen('f', O_WRONLY).is('EPERM');
    stage.root.truncate('f', 0).is('EPERM');
    stage.root.unlink('f').is('EPERM');
    stage.root.rename('f', 'g').is('EPERM');
    stage.root.chmod('f', 0o600).is('EPERM');
    stage.root.utimens('f', 'now', 'now').ok();
    stage.root.write(stage.root.open('f', O_WRONLY | O_APPEND).ok(), ' more').is(5);
    stage.equal('content', stage.root.content('f'), 'text more');
    storeThroughMap(stage, 'f');
    stage.equal('content', stage.root.content('f'), 'text more');
  });
  stage.equal('content', stage.root.content('f'), 'text more');
}

/** What a map of an append-only file lets one do is not compared: where there is one, it changes nothing. */
function storeThroughMap(stage: Stage, path: string): void {
  // Not compared, either: it may be EBUSY while somebody has had the file open since before.
  const fd = openat(AT_FDCWD, bytes(path).address, O_RDWR | O_APPEND, 0);
  if (fd < 0) return;
  stage.later(() => close(fd));
  const map = syscall(SYS.mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map < 0) return;
  io.write('EVIL', 0, 'latin1');
  copyMemory(map, ioAddress, 4);
  syscall(SYS.msync, map, 4096, MS_SYNC);
  syscall(SYS.munmap, map, 4096);
}

function flaggedDirectory(stage: Stage, flags: number): void {
  stage.root.mkdir('d').ok();
  stage.root.create('d/f').ok();
  stage.root.create('x').ok();
  withFlags(stage, 'd', flags, () => {
    const isFixed = flags === FS_IMMUTABLE_FL;
    stage.root.create('d/new').is(isFixed ? 'EPERM' : 0, 'EACCES');
    stage.root.mkdir('d/newdir').is(isFixed ? 'EPERM' : 0, 'EACCES');
    stage.root.unlink('d/f').is('EPERM');
    stage.root.rename('d/f', 'd/g').is('EPERM');
    stage.root.rename('x', 'd/x').is(isFixed ? 'EPERM' : 0, 'EACCES');
    stage.root.rmdir('d').is('EPERM');
    stage.root.write(stage.root.open('d/f', O_WRONLY).ok(), 'x').is(1);
  });
}

export const special = family('special', [
  ...each('a write takes file capabilities', Object.keys(CAPABILITY_CHANGES), capabilities),
  ...each('protected_symlinks', ['0', '1'], protectedSymlinks),
  ...each('protected_hardlinks', ['0', '1'], protectedHardlinks),
  ...each('protected_regular', ['0', '1', '2'], (stage, value) =>
    protectedCreation(stage, 'protected_regular', value),
  ),
  ...each('protected_fifos', ['0', '1', '2'], (stage, value) =>
    protectedCreation(stage, 'protected_fifos', value),
  ),
  ['set-id programs run with their ids', setIdPrograms],
  ['set-id programs that were written to run as their caller', changedPrograms],
  ['programs run by their mode', execution],
  ['sockets are bound, reached and moved', sockets],
  ['an immutable file stays as it is', immutable],
  ['an append-only file only grows', appendOnly],
  ...each('a flagged directory', [FS_IMMUTABLE_FL, FS_APPEND_FL], flaggedDirectory, (flags) =>
    flags === FS_IMMUTABLE_FL ? 'immutable' : 'append-only',
  ),
  [
    'an unknown ioctl is ENOTTY',
    (stage) => {
      stage.root.file('f', 'x');
      const fd = stage.root.open('f', O_RDONLY).ok();
      stage.root.call('ioctl', () => syscall(SYS.ioctl, fd, 0x5401, ioAddress)).is('ENOTTY');
      stage.root.call('ioctl', () => syscall(SYS.ioctl, fd, 0xc0de, ioAddress)).is('ENOTTY');
    },
  ],
]);
