/** open(2) and truncate(2): flags, refusals, times, set-id bits of files that change. */
import { spawn } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import {
  F_SETFL,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_EXCL,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import * as libc from '../../../src/shared/sys/libc.ts';
import { ioAddress } from '../../differential/syscalls.ts';
import { copyMemory, syscall } from '../../harness/native.ts';
import type { Actor } from '../actor.ts';
import { each, family } from '../behaviour.ts';
import { MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE, SEEK, SYS } from '../numbers.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

const FILE_SIZE_MAX = Number.MAX_SAFE_INTEGER;

/** What open says to each type, without a peer at the other end. */
const OPENED: Readonly<Record<FileType, readonly [read: string | number, write: string | number]>> =
  {
    regular: [0, 0],
    dir: [0, 'EISDIR'],
    fifo: [0, 'ENXIO'],
    socket: ['ENXIO', 'ENXIO'],
    symlink: ['ENOENT', 'ENOENT'],
    char: [0, 0],
    block: ['ENXIO', 'ENXIO'],
  };

function opens(stage: Stage, type: FileType): void {
  stage.make(type, 'x', 0o666);
  const [read, write] = OPENED[type];
  stage.root.tryOpen('x', O_RDONLY | O_NONBLOCK).is(read);
  stage.root.tryOpen('x', O_WRONLY | O_NONBLOCK).is(write);
  stage.root.tryOpen('x', O_CREAT | O_EXCL | O_RDONLY | O_NONBLOCK, 0o644).is('EEXIST');
  stage.root
    .tryOpen('x', O_DIRECTORY | O_RDONLY | O_NONBLOCK)
    .is(type === 'dir' ? 0 : type === 'symlink' ? 'ENOENT' : 'ENOTDIR');
  stage.root.tryOpen('x', O_PATH | O_NOFOLLOW).ok();
  if (type === 'symlink') stage.root.tryOpen('x', O_RDONLY | O_NOFOLLOW).is('ELOOP');
  if (type === 'dir') stage.root.tryOpen('x', O_CREAT | O_RDONLY, 0o644).is('EISDIR');
  stage.root.has('x', { type });
}

function createsMovesTimes(stage: Stage): void {
  stage.root.mkdir('d').ok();
  stage.touches('d', 'mtime ctime', () => void stage.root.create('d/f').ok());
  stage.touches('d', '', () => void stage.root.tryOpen('d/f', O_CREAT | O_RDWR, 0o600).ok());
  stage.root.has('d/f', { mode: 0o644 });
  stage.touches('d/f', '', () => void stage.root.tryOpen('d/f', O_RDWR).ok());
}

function truncatesOnOpen(stage: Stage): void {
  stage.root.file('f', 'content');
  stage.touches('f', 'mtime ctime', () => void stage.root.tryOpen('f', O_WRONLY | O_TRUNC).ok());
  stage.root.has('f', { size: 0 });
  stage.touches('f', 'mtime ctime', () => void stage.root.tryOpen('f', O_RDWR | O_TRUNC).ok());
  stage.root.file('g', 'content');
  stage.root.tryOpen('g', O_CREAT | O_EXCL | O_TRUNC | O_RDWR, 0o600).is('EEXIST');
  stage.root.has('g', { size: 7 });
  stage.root.tryOpen('g', O_CREAT | O_TRUNC | O_RDWR, 0o600).ok();
  stage.root.has('g', { size: 0, mode: 0o644 });
}

function appends(stage: Stage): void {
  stage.root.file('f', 'one');
  const fds = [0, 1, 2].map(() => stage.root.open('f', O_WRONLY | O_APPEND).ok());
  for (const [index, fd] of fds.entries()) {
    stage.root.lseek(fd, 0, SEEK.SET).ok();
    stage.root.write(fd, ` ${index}`).is(2);
  }
  stage.root.truncate('f', 1).ok();
  stage.root.write(fds[0], 'x').is(1);
  stage.root.write(fds[1], 'yy', 0).is(2);
  stage.equal('content', stage.root.content('f'), 'oxyy');
}

/** Sets the flags of an open file that fcntl(2) may change. */
function setFlags(stage: Stage, fd: number, flags: number): void {
  stage.root.call(`fcntl F_SETFL ${flags}`, () => libc.fcntl(fd, F_SETFL, flags)).ok();
}

function changesAppending(stage: Stage, others: readonly number[]): void {
  stage.root.file('f', '0123456789');
  for (const flags of others) stage.root.open('f', flags).ok();
  const fd = stage.root.open('f', O_RDWR | O_APPEND).ok();
  stage.root.write(fd, 'a', 0).is(1);
  setFlags(stage, fd, 0);
  stage.root.write(fd, 'B', 0).is(1);
  stage.equal('content', stage.root.content('f'), 'B123456789a');
  setFlags(stage, fd, O_APPEND);
  stage.root.write(fd, 'c', 0).is(1);
  stage.equal('content', stage.root.content('f'), 'B123456789ac');
  const second = stage.root.open('f', O_RDWR).ok();
  setFlags(stage, second, O_APPEND);
  stage.root.write(second, 'd', 3).is(1);
  stage.equal('content', stage.root.read(fd, 20, 0), 'B123456789acd');
}

/** dd(1) writes its last block so. */
function changesDirect(stage: Stage): void {
  const opened = stage.root.open('f', O_CREAT | O_RDWR | O_DIRECT, 0o644);
  if (opened.value < 0) return;
  const fd = opened.ok();
  stage.root.write(fd, 'p'.repeat(4096), 0).is(4096);
  setFlags(stage, fd, 0);
  stage.root.write(fd, 'tail', 4096).is(4);
  stage.equal('tail', stage.root.read(fd, 10, 4094), 'pptail');
  stage.root.copyRange(fd, 4097, fd, 10, 2).is(2);
  stage.equal('copy', stage.root.read(fd, 4, 9), 'paip');
  setFlags(stage, fd, O_DIRECT);
  stage.root.write(fd, 'q'.repeat(4096), 0).is(4096);
  stage.equal('tail', stage.root.content('f', 5000).slice(4094), 'qqtail');
}

function isBusy(stage: Stage): void {
  copyFileSync('/bin/sleep', 'program');
  stage.root.chmod('program', 0o755).ok();
  const child = spawn(`${process.cwd()}/program`, ['60'], { stdio: 'ignore' });
  child.unref();
  stage.later(() => void child.kill('SIGKILL'));
  stage.root.tryOpen('program', O_WRONLY).is('ETXTBSY');
  stage.root.tryOpen('program', O_RDWR).is('ETXTBSY');
  stage.root.tryOpen('program', O_RDONLY | O_TRUNC).is('ETXTBSY');
  stage.root.truncate('program', 10).is('ETXTBSY');
  stage.root.tryOpen('program', O_RDONLY).ok();
  stage.root.chmod('program', 0o700).ok();
  stage.root.rename('program', 'renamed').ok();
  stage.root.unlink('renamed').ok();
}

function truncates(stage: Stage, resize: (path: string, size: number) => void): void {
  stage.root.file('f', 'content');
  stage.touches('f', 'mtime ctime', () => resize('f', 3));
  stage.root.has('f', { size: 3 });
  stage.touches('f', 'mtime ctime', () => resize('f', 6));
  stage.equal('content', stage.root.content('f'), 'con\0\0\0');
  resize('f', 0);
  resize('f', 5_000_000);
  stage.root.has('f', { size: 5_000_000 });
  stage.equal('zeros', stage.root.content('f', 10), '\0'.repeat(10));
  resize('f', 0x1_2345_6789);
  stage.root.has('f', { size: 0x1_2345_6789 });
}

function truncateRefuses(stage: Stage): void {
  stage.root.mkdir('d').ok();
  stage.root.truncate('d', 0).is('EISDIR');
  stage.root.mkfifo('fifo').ok();
  stage.root.truncate('fifo', 0).is('EINVAL');
  stage.root.create('f').ok();
  stage.root.truncate('f', -1).is('EINVAL');
  const fd = stage.root.open('f', O_RDONLY).ok();
  stage.root.ftruncate(fd, 0).is('EINVAL');
  const writable = stage.root.open('f', O_WRONLY).ok();
  stage.root.ftruncate(writable, -1).is('EINVAL');
  stage.root.truncate('f', FILE_SIZE_MAX);
  stage.root.chmod('.', 0o777).ok();
  stage.root.chmod('f', 0o444).ok();
  stage.alice.truncate('f', 0).is('EACCES');
}

/** Set-id bits go when somebody without CAP_FSETID changes the data; these calls change it. */
const CHANGES: Readonly<Record<string, (actor: Actor, path: string) => void>> = {
  write: (actor, path) => void actor.write(actor.open(path, O_WRONLY).ok(), 'x').is(1),
  'write at an offset': (actor, path) =>
    void actor.write(actor.open(path, O_RDWR).ok(), 'x', 2).is(1),
  append: (actor, path) => void actor.write(actor.open(path, O_WRONLY | O_APPEND).ok(), 'x').is(1),
  'a direct write': (actor, path) => {
    const opened = actor.open(path, O_WRONLY | O_DIRECT);
    if (opened.value >= 0) actor.write(opened.ok(), 'x'.repeat(4096), 0).is(4096);
  },
  'a write through a map': (actor, path) => {
    const fd = actor.open(path, O_RDWR).ok();
    const shared = [PROT_READ | PROT_WRITE, MAP_SHARED] as const;
    const map = actor.call('mmap', () => syscall(SYS.mmap, 0, 4, ...shared, fd, 0), 'address').ok();
    copyMemory(map, ioAddress, 1);
    actor.call('msync', () => syscall(SYS.msync, map, 4, MS_SYNC)).ok();
    syscall(SYS.munmap, map, 4);
  },
  truncate: (actor, path) => void actor.truncate(path, 1).ok(),
  'truncate to the same size': (actor, path) => void actor.truncate(path, 4).ok(),
  ftruncate: (actor, path) => void actor.ftruncate(actor.open(path, O_WRONLY).ok(), 9).ok(),
  'open with O_TRUNC': (actor, path) => void actor.tryOpen(path, O_WRONLY | O_TRUNC).ok(),
  fallocate: (actor, path) => void actor.fallocate(actor.open(path, O_RDWR).ok(), 0, 0, 99).ok(),
  'fallocate with KEEP_SIZE': (actor, path) =>
    void actor.fallocate(actor.open(path, O_RDWR).ok(), 1, 0, 9999).ok(),
  'punching a hole': (actor, path) =>
    void actor.fallocate(actor.open(path, O_RDWR).ok(), 3, 0, 2).ok(),
  'zeroing a range': (actor, path) =>
    void actor.fallocate(actor.open(path, O_RDWR).ok(), 16, 0, 2).ok(),
  copy_file_range: (actor, path) => {
    const from = actor.open('source', O_RDONLY).ok();
    actor.copyRange(from, 0, actor.open(path, O_WRONLY).ok(), 0, 3).is(3);
  },
  'write of no bytes': (actor, path) => void actor.write(actor.open(path, O_WRONLY).ok(), '').is(0),
  'reading only': (actor, path) => void actor.content(path),
};
/** By a descriptor that somebody else has opened: the mode of the file gives no right any more. */
const CHANGES_BY_DESCRIPTOR: Readonly<Record<string, (actor: Actor, fd: number) => void>> = {
  write: (actor, fd) => void actor.write(fd, 'x').is(1),
  'write at an offset': (actor, fd) => void actor.write(fd, 'x', 2).is(1),
  ftruncate: (actor, fd) => void actor.ftruncate(fd, 9).ok(),
  fallocate: (actor, fd) => void actor.fallocate(fd, 0, 0, 99).ok(),
  sendfile: (actor, fd) => {
    const from = actor.open('source', O_RDONLY).ok();
    actor.call('sendfile', () => syscall(SYS.sendfile, fd, from, 0, 3)).is(3);
  },
};
const DESCRIPTOR_MODES = [0o4755, 0o6755, 0o2755, 0o2745, 0o2765, 0o4700];

function clearsSetIdsByDescriptor(stage: Stage, what: string, flags: number): void {
  stage.root.chmod('.', 0o777).ok();
  stage.root.file('source', 'from');
  for (const who of ['root', 'alice', 'bob', 'carol'] as const) {
    for (const mode of DESCRIPTOR_MODES) {
      const path = `${who}-${mode.toString(8)}`;
      stage.root.file(path, 'text');
      stage.root.chown(path, stage.alice.uid, stage.alice.gid).ok();
      stage.root.chmod(path, mode).ok();
      const fd = stage.root.open(path, flags).ok();
      CHANGES_BY_DESCRIPTOR[what]?.(stage[who], fd);
      const now = stage.root.facts(path).mode;
      if (who === 'root') stage.equal('mode', now, mode);
      else stage.equal('setuid', now & 0o4000, 0);
    }
  }
}

const CHANGE_MODES = [0o4777, 0o2777, 0o6777, 0o4666, 0o2666, 0o6666, 0o2767, 0o6767, 0o1777];

function clearsSetIds(stage: Stage, what: string): void {
  stage.root.chmod('.', 0o777).ok();
  stage.root.file('source', 'from');
  for (const who of ['root', 'alice', 'bob', 'carol'] as const) {
    for (const mode of CHANGE_MODES) {
      const path = `${who}-${mode.toString(8)}`;
      stage.root.file(path, 'text');
      stage.root.chown(path, stage.alice.uid, stage.alice.gid).ok();
      stage.root.chmod(path, mode).ok();
      CHANGES[what]?.(stage[who], path);
      const now = stage.root.facts(path).mode;
      const isChanged = what !== 'reading only' && what !== 'write of no bytes';
      if (who === 'root' || !isChanged) stage.equal('mode', now, mode);
      else if (!/same size|map/.test(what)) stage.equal('setuid', now & 0o4000, 0);
    }
  }
}

function tmpfile(stage: Stage): void {
  stage.root.mkdir('d', 0o777).ok();
  const fd = stage.alice.open('d', O_TMPFILE | O_RDWR, 0o640).ok();
  stage.alice.write(fd, 'nameless').is(8);
  stage.equal('names', stage.root.names('d'), []);
  stage.alice.fchmod(fd, 0o600).ok();
  stage.touches('d', 'mtime ctime', () => void stage.alice.publish(fd, 'd/named').ok());
  stage.root.has('d/named', { uid: 65531, gid: 65531, mode: 0o600, nlink: 1, size: 8 });
  stage.alice.publish(fd, 'd/again').ok();
  stage.alice.publish(fd, 'd/named').is('EEXIST');
  stage.equal('content', stage.alice.content('d/again'), 'nameless');
  const sealed = stage.alice.open('d', O_TMPFILE | O_EXCL | O_RDWR, 0o600).ok();
  stage.alice.publish(sealed, 'd/sealed').is('ENOENT');
  stage.alice.tryOpen('d', O_TMPFILE | O_RDONLY, 0o600).is('EINVAL');
  stage.root.chmod('d', 0o555).ok();
  stage.alice.tryOpen('d', O_TMPFILE | O_RDWR, 0o600).is('EACCES');
  stage.alice.tryOpen('d/named', O_TMPFILE | O_RDWR, 0o600).is('ENOTDIR');
}

export const opening = family('opening', [
  ...each('open of', FILE_TYPES, opens),
  ...each('set-id bits go as Linux takes them', Object.keys(CHANGES), clearsSetIds),
  ...each(
    'set-id bits go when he writes who was given the descriptor',
    [
      ...Object.keys(CHANGES_BY_DESCRIPTOR).map((what) => [what, O_RDWR] as const),
      ['write, appending', O_RDWR | O_APPEND] as const,
    ],
    (stage, [what, flags]) =>
      clearsSetIdsByDescriptor(stage, what.replace(', appending', ''), flags),
    ([what]) => what,
  ),
  ['O_CREAT makes a file once', createsMovesTimes],
  ['O_TRUNC empties and moves times', truncatesOnOpen],
  ['O_APPEND writes at the end, whatever the offset', appends],
  ...each(
    'fcntl changes O_APPEND',
    [
      ['of the only open file', []],
      ['beside others', [O_RDWR, O_RDONLY, O_WRONLY | O_APPEND]],
    ] as const,
    (stage, [, others]) => changesAppending(stage, others),
    ([name]) => name,
  ),
  ['fcntl takes O_DIRECT off and puts it on', changesDirect],
  ['a running program is ETXTBSY', isBusy],
  [
    'truncate sets the size and moves times',
    (stage) => truncates(stage, (path, size) => void stage.root.truncate(path, size).ok()),
  ],
  [
    'ftruncate sets the size and moves times',
    (stage) =>
      truncates(stage, (path, size) => {
        const fd = stage.root.open(path, O_RDWR).ok();
        stage.root.ftruncate(fd, size).ok();
      }),
  ],
  ['truncate refuses what it cannot resize', truncateRefuses],
  ['O_TMPFILE makes a file without a name, which link gives it', tmpfile],
  [
    'descriptors read and write only as they were opened',
    (stage) => {
      stage.root.file('f', 'text');
      const readable = stage.root.open('f', O_RDONLY).ok();
      const writable = stage.root.open('f', O_WRONLY).ok();
      stage.root.write(readable, 'x').is('EBADF');
      stage.root.call('read', () => libc.read(writable, 0, 0)).is('EBADF');
      stage.root.fallocate(readable, 0, 0, 10).is('EBADF');
      stage.root.copyRange(writable, 0, readable, 0, 1).is('EBADF');
    },
  ],
  [
    'O_NOATIME is for the owner and root',
    (stage) => {
      stage.root.chmod('.', 0o777).ok();
      stage.alice.create('f', 0o666).ok();
      stage.alice.tryOpen('f', O_RDONLY | O_NOATIME).ok();
      stage.root.tryOpen('f', O_RDONLY | O_NOATIME).ok();
      stage.bob.tryOpen('f', O_RDONLY | O_NOATIME).is('EPERM');
    },
  ],
  [
    'O_CREAT through a dangling symlink makes what it points to',
    (stage) => {
      stage.root.mkdir('d').ok();
      stage.root.symlink('d/target', 'l').ok();
      stage.root.tryOpen('l', O_CREAT | O_EXCL | O_WRONLY, 0o644).is('EEXIST');
      stage.root.tryOpen('l', O_CREAT | O_WRONLY, 0o640).ok();
      stage.root.has('d/target', { type: 'regular', mode: 0o640 });
      stage.root.has('l', { type: 'symlink' });
    },
  ],
  [
    'a fifo passes data between its ends',
    (stage) => {
      stage.root.mkfifo('fifo', 0o666).ok();
      const reader = stage.alice.open('fifo', O_RDONLY | O_NONBLOCK).ok();
      const writer = stage.bob.open('fifo', O_WRONLY | O_NONBLOCK).ok();
      stage.bob.write(writer, 'through').is(7);
      stage.equal('data', stage.alice.read(reader, 20), 'through');
      stage.alice.call('read', () => libc.read(reader, 0, 1)).is('EAGAIN');
    },
  ],
  [
    'device nodes work: null, zero, full',
    (stage) => {
      stage.root.mknod('null', 0o020666, 0x103).ok();
      stage.root.mknod('zero', 0o020666, 0x105).ok();
      stage.root.mknod('full', 0o020666, 0x107).ok();
      stage.root.write(stage.alice.open('null', O_WRONLY).ok(), 'gone').is(4);
      stage.equal(
        'zeros',
        stage.root.read(stage.alice.open('zero', O_RDONLY).ok(), 4),
        '\0'.repeat(4),
      );
      stage.root.write(stage.alice.open('full', O_WRONLY).ok(), 'x').is('ENOSPC');
      stage.root.has('null', { size: 0, type: 'char' });
    },
  ],
]);
