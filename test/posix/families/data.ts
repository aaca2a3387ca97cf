/** What is in files: holes, allocation, sizes, maps, copies, several writers. */
import { spawnSync } from 'node:child_process';
import {
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import * as libc from '../../../src/shared/sys/libc.ts';
import { io, ioAddress, ioText } from '../../differential/syscalls.ts';
import { copyMemory, syscall } from '../../harness/native.ts';
import { each, family } from '../behaviour.ts';
import { MAP_PRIVATE, MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE, SEEK, SYS } from '../numbers.ts';
import type { Stage } from '../stage.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const PAGE = 4096;
const COMMAND_TIMEOUT_MS = 30_000;

function letters(sizeBytes: number): string {
  return Array.from({ length: sizeBytes }, (_, at) =>
    String.fromCharCode(97 + ((at + (at >> 12)) % 26)),
  ).join('');
}

const TWENTY_PAGES = letters(20 * PAGE);

function filled(stage: Stage, path: string): number {
  const fd = stage.root.open(path, O_CREAT | O_RDWR, 0o644).ok();
  stage.root.write(fd, TWENTY_PAGES, 0).is(TWENTY_PAGES.length);
  return fd;
}

function contentAndSize(stage: Stage, fd: number): void {
  stage.root.call('fstat size', () => Number(libc.lseek(fd, 0, SEEK.END)));
  stage.root.read(fd, 40 * PAGE, 0);
}

const MODES: readonly (readonly [name: string, mode: number])[] = [
  ['allocate', 0],
  ['KEEP_SIZE', 1],
  ['PUNCH_HOLE', 3],
  ['PUNCH_HOLE without KEEP_SIZE', 2],
  ['COLLAPSE_RANGE', 8],
  ['ZERO_RANGE', 16],
  ['ZERO_RANGE and KEEP_SIZE', 17],
  ['INSERT_RANGE', 32],
  ['UNSHARE_RANGE', 64],
  ['COLLAPSE and INSERT', 40],
  ['an unknown mode', 0x1000],
];
const RANGES: readonly (readonly [offset: number, sizeBytes: number])[] = [
  [0, PAGE],
  [PAGE, 3 * PAGE],
  [100, 5000],
  [18 * PAGE, 4 * PAGE],
  [30 * PAGE, 2 * PAGE],
  [0, 0],
  [-1, PAGE],
  [PAGE, -1],
];

/** What a mode does to data and size, and which ranges it takes, is the backing's own. */
function fallocates(stage: Stage, mode: number): void {
  for (const [offset, sizeBytes] of RANGES) {
    const path = `f${offset}-${sizeBytes}`;
    const fd = filled(stage, path);
    stage.root.fsync(fd).ok();
    const reply = stage.root.fallocate(fd, mode, offset, sizeBytes);
    contentAndSize(stage, fd);
    if (sizeBytes <= 0 || offset < 0) reply.is('EINVAL', 'EOPNOTSUPP');
    stage.root.close(fd).ok();
  }
}

function findsHoles(stage: Stage): void {
  const fd = stage.root.open('f', O_CREAT | O_RDWR, 0o644).ok();
  stage.root.write(fd, letters(PAGE), 0);
  stage.root.write(fd, letters(PAGE), 4 * MIB);
  stage.root.ftruncate(fd, 8 * MIB).ok();
  stage.root.fsync(fd).ok();
  for (const offset of [0, 1, 2 * MIB, 4 * MIB, 4 * MIB + 10, 6 * MIB]) {
    stage.root.lseek(fd, offset, SEEK.DATA);
    stage.root.lseek(fd, offset, SEEK.HOLE);
  }
  stage.root.lseek(fd, 0, SEEK.DATA).is(0);
  stage.root.lseek(fd, 8 * MIB, SEEK.DATA).is('ENXIO');
  stage.root.lseek(fd, 9 * MIB, SEEK.HOLE).is('ENXIO');
  stage.root.lseek(fd, -1, SEEK.DATA).is('ENXIO', 'EINVAL');
  stage.root.lseek(fd, 3, SEEK.SET).is(3);
  stage.root.lseek(fd, 4, SEEK.CUR).is(7);
  stage.root.lseek(fd, -8, SEEK.CUR).is('EINVAL');
  stage.root.lseek(fd, 10, SEEK.END).is(8 * MIB + 10);
  stage.root.lseek(fd, 0, 9).is('EINVAL');
}

function beyondFourGib(stage: Stage): void {
  const fd = stage.root.open('f', O_CREAT | O_RDWR, 0o644).ok();
  for (const offset of [2 * GIB - 2, 4 * GIB - 2, 4 * GIB + 50, 100 * GIB]) {
    stage.root.write(fd, `at ${offset}`, offset).is(`at ${offset}`.length);
  }
  stage.root.fsync(fd).ok();
  for (const offset of [2 * GIB - 2, 4 * GIB - 2, 4 * GIB + 50, 100 * GIB]) {
    stage.equal('data', stage.root.read(fd, `at ${offset}`.length, offset), `at ${offset}`);
  }
  stage.equal('hole', stage.root.read(fd, 4, 50 * GIB), '\0\0\0\0');
  stage.root.has('f', { size: 100 * GIB + `at ${100 * GIB}`.length });
  stage.root.lseek(fd, 5 * GIB, SEEK.DATA);
  stage.root.truncate('f', 4 * GIB + 1).ok();
  stage.equal('end', stage.root.read(fd, 10, 4 * GIB - 2), 'at ');
}

function atTheLimit(stage: Stage): void {
  const fd = stage.root.open('f', O_CREAT | O_RDWR, 0o644).ok();
  for (const power of [41, 42, 43, 44, 45, 52]) {
    stage.root.ftruncate(fd, 2 ** power);
    stage.root.ftruncate(fd, 2 ** power - PAGE);
    stage.root.write(fd, 'x', 2 ** power - 1);
    stage.root.write(fd, 'x', 2 ** power);
    stage.root.facts('f');
    stage.root.ftruncate(fd, 0).ok();
  }
  stage.root.call('pwrite at the largest offset', () =>
    libc.pwrite(fd, ioAddress, 1, 2n ** 63n - 1n),
  );
  stage.root.call('ftruncate to the largest size', () => libc.ftruncate(fd, 2n ** 63n - 1n));
  stage.root.facts('f');
}

function shell(stage: Stage, what: string, script: string): void {
  const done = spawnSync('sh', ['-c', script], { timeout: COMMAND_TIMEOUT_MS, encoding: 'utf8' });
  stage.note(what, { status: done.status, signal: done.signal, stdout: done.stdout });
}

function limitedProcess(stage: Stage): void {
  shell(stage, 'killed', 'ulimit -f 8; exec dd if=/dev/zero of=f bs=3000 count=9 2>/dev/null');
  stage.root.has('f', { size: 4096 });
  shell(
    stage,
    'told',
    "trap '' XFSZ; ulimit -f 8; dd if=/dev/zero of=g bs=3000 count=9 2>/dev/null",
  );
  stage.root.has('g', { size: 4096 });
  shell(stage, 'truncate', "trap '' XFSZ; ulimit -f 8; truncate -s 99999 h 2>/dev/null");
  stage.root.facts('h');
}

function mapped(stage: Stage, fd: number, flags: number): number {
  const protection = PROT_READ | PROT_WRITE;
  const at = stage.root
    .call('mmap', () => syscall(SYS.mmap, 0, 4 * PAGE, protection, flags, fd, 0), 'address')
    .ok();
  stage.later(() => void syscall(SYS.munmap, at, 4 * PAGE));
  return at;
}

function fromMap(at: number, sizeBytes: number): string {
  copyMemory(ioAddress, at, sizeBytes);
  return ioText(0, sizeBytes);
}

function intoMap(at: number, text: string): void {
  io.write(text, 0, 'latin1');
  copyMemory(at, ioAddress, text.length);
}

function coherentMaps(stage: Stage): void {
  const fd = filled(stage, 'f');
  const map = mapped(stage, fd, MAP_SHARED);
  stage.equal('file in map', fromMap(map, 6), TWENTY_PAGES.slice(0, 6));
  stage.root.write(fd, 'WRITTEN', 10).is(7);
  stage.equal('write in map', fromMap(map + 10, 7), 'WRITTEN');
  intoMap(map + PAGE, 'MAPPED');
  stage.equal('map in read', stage.root.read(fd, 6, PAGE), 'MAPPED');
  const other = stage.root.open('f', O_RDWR).ok();
  stage.equal('map in another read', stage.root.read(other, 6, PAGE), 'MAPPED');
  const second = mapped(stage, other, MAP_SHARED);
  intoMap(second + 2 * PAGE, 'SECOND');
  stage.equal('map in map', fromMap(map + 2 * PAGE, 6), 'SECOND');
  stage.root.call('msync', () => syscall(SYS.msync, map, 4 * PAGE, MS_SYNC)).ok();
  stage.root.fsync(fd).ok();
  stage.root.read(fd, 20 * PAGE, 0);
}

function privateMaps(stage: Stage): void {
  const fd = filled(stage, 'f');
  const map = mapped(stage, fd, MAP_PRIVATE);
  intoMap(map, 'MINE ALONE');
  stage.equal('map', fromMap(map, 4), 'MINE');
  stage.equal('file', stage.root.read(fd, 4, 0), TWENTY_PAGES.slice(0, 4));
}

function mapsOfUnlinked(stage: Stage): void {
  const fd = filled(stage, 'f');
  const map = mapped(stage, fd, MAP_SHARED);
  stage.root.unlink('f').ok();
  stage.root.close(fd).ok();
  intoMap(map, 'STILL');
  stage.equal('map', fromMap(map + PAGE, 4), TWENTY_PAGES.slice(PAGE, PAGE + 4));
  stage.equal('map', fromMap(map, 5), 'STILL');
}

function direct(stage: Stage): void {
  stage.root.file('f', TWENTY_PAGES);
  const opened = stage.root.open('f', O_RDWR | O_DIRECT);
  if (opened.value < 0) return;
  const fd = opened.ok();
  stage.root.read(fd, 4 * PAGE, 0);
  stage.root.write(fd, letters(2 * PAGE).toUpperCase(), 4 * PAGE).is(2 * PAGE);
  stage.equal(
    'seen by others',
    stage.root.content('f', 20 * PAGE).slice(4 * PAGE, 4 * PAGE + 4),
    'ABCD',
  );
  stage.root.read(fd, 4 * PAGE, 18 * PAGE);
  stage.root.write(fd, letters(PAGE), 20 * PAGE).is(PAGE);
  stage.root.has('f', { size: 21 * PAGE });
  stage.root.read(fd, PAGE, 30 * PAGE);
}

const COPIES: readonly (readonly [what: string, from: number, to: number, sizeBytes: number])[] = [
  ['whole', 0, 0, 20 * PAGE],
  ['a part', 100, 5000, 7000],
  ['aligned pages', 4 * PAGE, 8 * PAGE, 4 * PAGE],
  ['beyond the end', 19 * PAGE, 0, 10 * PAGE],
  ['from the end', 20 * PAGE, 0, PAGE],
  ['nothing', 0, 0, 0],
  ['to far away', 0, 3 * MIB, 2 * PAGE],
];

function copies(stage: Stage, [, from, to, sizeBytes]: (typeof COPIES)[number]): void {
  const source = filled(stage, 'source');
  const target = stage.root.open('target', O_CREAT | O_RDWR, 0o644).ok();
  const must = Math.max(0, Math.min(sizeBytes, 20 * PAGE - from));
  stage.root.copyRange(source, from, target, to, sizeBytes).is(must);
  contentAndSize(stage, target);
  contentAndSize(stage, source);
}

function copiesWithin(stage: Stage): void {
  const fd = filled(stage, 'f');
  stage.root.copyRange(fd, 0, fd, 8 * PAGE, 4 * PAGE).is(4 * PAGE);
  stage.root.copyRange(fd, 0, fd, 100, 4 * PAGE).is('EINVAL');
  stage.root.copyRange(fd, 0, fd, 20 * PAGE, PAGE).is(PAGE);
  contentAndSize(stage, fd);
}

function copyRefuses(stage: Stage): void {
  const source = filled(stage, 'source');
  const appending = stage.root.open('target', O_CREAT | O_WRONLY | O_APPEND, 0o644).ok();
  stage.root.copyRange(source, 0, appending, 0, PAGE).is('EBADF');
  stage.root.mkdir('d').ok();
  const directory = stage.root.open('d', O_RDONLY).ok();
  const target = stage.root.open('target', O_WRONLY).ok();
  stage.root.copyRange(directory, 0, target, 0, 1).is('EISDIR');
  const device = stage.root.open('/dev/zero', O_RDONLY).ok();
  stage.root.copyRange(device, 0, target, 0, 1).is('EINVAL');
  stage.root.copyRange(source, -1, target, 0, 1).is('EINVAL', 'EOVERFLOW');
}

function reflinks(stage: Stage): void {
  stage.root.file('f', TWENTY_PAGES);
  shell(
    stage,
    'cp',
    'cp --reflink=auto f g && cmp f g && printf x | dd of=g conv=notrunc 2>/dev/null',
  );
  stage.root.read(stage.root.open('f', O_RDONLY).ok(), 20 * PAGE, 0);
  stage.root.read(stage.root.open('g', O_RDONLY).ok(), 20 * PAGE, 0);
  shell(stage, 'sparse', 'truncate -s 10M s && cp --sparse=always s t && cmp s t && stat -c %s t');
}

function manyAppend(stage: Stage): void {
  const writer =
    'i=0; while [ $i -lt 100 ]; do echo "$w $i ...................."; i=$((i+1)); done >> f';
  shell(stage, 'writers', `for w in a b c d; do ( ${writer} ) & done; wait`);
  const lines = stage.root.open('f', O_RDONLY);
  const text = ((fd: number) => {
    const length = libc.pread(fd, ioAddress, 200_000, 0);
    return ioText(0, Math.max(0, length));
  })(lines.ok());
  const whole = text.split('\n').filter((line) => /^[a-d] \d+ \.{20}$/.test(line));
  stage.equal('whole lines', [new Set(whole).size, text.split('\n').length - 1], [400, 400]);
}

function seesOthers(stage: Stage): void {
  stage.root.file('f', 'first');
  const fd = stage.root.open('f', O_RDWR).ok();
  stage.equal('data', stage.root.read(fd, 20, 0), 'first');
  shell(stage, 'another process', 'printf second-one > f');
  stage.equal('data', stage.root.read(fd, 20, 0), 'second-one');
  stage.root.write(fd, 'THIRD', 0).is(5);
  shell(stage, 'another process', 'cat f');
  shell(stage, 'another process', ': > f');
  stage.equal('data', stage.root.read(fd, 20, 0), '');
  stage.root.write(fd, 'x', 3).is(1);
  shell(stage, 'another process', 'od -An -tx1 f');
}

export const data = family('data', [
  ...each(
    'fallocate',
    MODES,
    (stage, [, mode]) => fallocates(stage, mode),
    ([name]) => name,
  ),
  ...each('copy_file_range of', COPIES, copies, ([what]) => what),
  ['copy_file_range within a file', copiesWithin],
  ['copy_file_range refuses', copyRefuses],
  ['cp reflinks or copies, and the copy is its own', reflinks],
  ['holes are found', findsHoles],
  ['beyond four GiB', beyondFourGib],
  ['at the limit of the file size', atTheLimit],
  ['at the limit of the process', limitedProcess],
  ['shared maps, reads and writes are coherent', coherentMaps],
  ['private maps are private', privateMaps],
  ['a map outlives name and descriptor', mapsOfUnlinked],
  ['O_DIRECT with pages', direct],
  ['appends of several processes are whole', manyAppend],
  ['what another process writes is seen', seesOthers],
  [
    'fallocate needs a file',
    (stage) => {
      stage.root.mkfifo('fifo').ok();
      stage.root.fallocate(stage.root.open('fifo', O_RDWR).ok(), 0, 0, 1).is('ESPIPE');
      stage.root.mkdir('d').ok();
      stage.root.fallocate(stage.root.open('d', O_RDONLY).ok(), 0, 0, 1).is('EBADF', 'EISDIR');
    },
  ],
  [
    'a gap between data is zeros',
    (stage) => {
      const fd = stage.root.open('f', O_CREAT | O_RDWR, 0o644).ok();
      stage.root.write(fd, 'start', 0);
      stage.root.write(fd, 'end', 10_000);
      stage.root.ftruncate(fd, 10_001).ok();
      stage.root.ftruncate(fd, 10_010).ok();
      stage.equal('data', stage.root.read(fd, 20, 9_998), `\0\0e${'\0'.repeat(9)}`);
      stage.root.read(fd, 20_000, 0);
    },
  ],
  [
    'O_SYNC and fsync answer',
    (stage) => {
      const fd = stage.root.open('f', O_CREAT | O_RDWR | O_SYNC, 0o644).ok();
      stage.root.write(fd, 'synced', 0).is(6);
      stage.root.fsync(fd).ok();
      stage.root.call('fdatasync', () => libc.fdatasync(fd)).ok();
      const directory = stage.root.open('.', O_RDONLY).ok();
      stage.root.fsync(directory).ok();
      stage.root.call('syncfs', () => libc.syncfs(directory)).ok();
    },
  ],
  [
    'reading at and behind the end',
    (stage) => {
      stage.root.file('f', 'text');
      const fd = stage.root.open('f', O_RDONLY).ok();
      stage.equal('data', stage.root.read(fd, 10, 2), 'xt');
      stage.equal('data', stage.root.read(fd, 10, 4), '');
      stage.equal('data', stage.root.read(fd, 10, 99_999), '');
      stage.root
        .call('pread before the start', () => libc.pread(fd, ioAddress, 1, -1))
        .is('EINVAL');
    },
  ],
  [
    'sendfile copies',
    (stage) => {
      const from = filled(stage, 'from');
      stage.root.lseek(from, 0, SEEK.SET).ok();
      const to = stage.root.open('to', O_CREAT | O_RDWR | O_TRUNC, 0o644).ok();
      stage.root
        .call('sendfile', () => syscall(SYS.sendfile, to, from, 0, 20 * PAGE))
        .is(20 * PAGE);
      contentAndSize(stage, to);
    },
  ],
]);
