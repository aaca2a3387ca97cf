/** Reading directories: every entry once, cookies, small buffers, changes meanwhile. */
import { O_DIRECTORY, O_RDONLY } from '../../../src/shared/sys/constants.ts';
import * as libc from '../../../src/shared/sys/libc.ts';
import { io, ioAddress, ioText } from '../../differential/syscalls.ts';
import { each, family } from '../behaviour.ts';
import { SEEK } from '../numbers.ts';
import { FILE_TYPES, type FileType, type Stage } from '../stage.ts';

interface Entry {
  readonly name: string;
  readonly ino: number;
  readonly type: number;
  /** Where the next entry is read; ext4 uses all of 63 bits. */
  readonly next: bigint;
}

const CHUNKS = [80, 280, 512, 4096, 32_768];
const DT: Readonly<Record<FileType, number>> = {
  fifo: 1,
  char: 2,
  dir: 4,
  block: 6,
  regular: 8,
  symlink: 10,
  socket: 12,
};

/** One getdents64(2); empty at the end. */
function readChunk(stage: Stage, fd: number, chunkBytes: number): Entry[] {
  const filled = libc.getdents64(fd, ioAddress, chunkBytes);
  if (filled < 0) stage.root.call(`getdents64 ${chunkBytes}`, () => filled).ok();
  return entriesOf(filled);
}

function entriesOf(filled: number): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < filled; at += io.readUInt16LE(at + 16)) {
    entries.push({
      ino: Number(io.readBigUInt64LE(at)),
      next: io.readBigInt64LE(at + 8),
      type: io[at + 18],
      name: ioText(at + 19, io.indexOf(0, at + 19)),
    });
  }
  return entries;
}

function readAll(stage: Stage, fd: number, chunkBytes: number): Entry[] {
  const all: Entry[] = [];
  for (;;) {
    const entries = readChunk(stage, fd, chunkBytes);
    if (entries.length === 0) return all;
    all.push(...entries);
  }
}

function openDirectory(stage: Stage, path: string): number {
  return stage.root.open(path, O_RDONLY | O_DIRECTORY).ok();
}

function fill(stage: Stage, path: string, count: number): string[] {
  stage.root.mkdir(path).ok();
  const names = Array.from({ length: count }, (_, at) => `entry-${at}-${'x'.repeat(at % 40)}`);
  for (const name of names) stage.root.mknod(`${path}/${name}`, 0o100644).ok();
  return names;
}

/** Names in order, with their multiplicity. */
function sortedNames(entries: readonly Entry[]): string[] {
  return entries.map(({ name }) => name).sort();
}

function everyEntryOnce(stage: Stage, chunkBytes: number): void {
  const names = fill(stage, 'd', 300);
  const entries = readAll(stage, openDirectory(stage, 'd'), chunkBytes);
  stage.equal(
    'all once',
    sortedNames(entries).join() === ['.', '..', ...names].sort().join(),
    true,
  );
}

/** From every cookie the rest follows: none lost, none twice. */
function cookiesLead(stage: Stage): void {
  fill(stage, 'd', 60);
  const fd = openDirectory(stage, 'd');
  const entries = readAll(stage, fd, 4096);
  for (const [index, { next }] of entries.entries()) {
    libc.lseek(fd, next, SEEK.SET);
    const rest = readAll(stage, fd, index % 2 === 0 ? 280 : 4096);
    const must = entries.slice(index + 1).map(({ name }) => name);
    stage.equal(`after ${index}`, rest.map(({ name }) => name).join() === must.join(), true);
  }
  libc.lseek(fd, 0, SEEK.SET);
  stage.equal('rewound', readAll(stage, fd, 4096).length, entries.length);
}

function rewindSeesChanges(stage: Stage): void {
  fill(stage, 'd', 5);
  const fd = openDirectory(stage, 'd');
  readAll(stage, fd, 4096);
  stage.root.create('d/new').ok();
  stage.root.unlink('d/entry-1-x').ok();
  stage.root.lseek(fd, 0, SEEK.SET).is(0);
  stage.note('names', sortedNames(readAll(stage, fd, 4096)));
  stage.equal('names', stage.root.names('d').includes('new'), true);
}

/** What is there all the time is seen once, whatever comes and goes. */
function changesWhileReading(stage: Stage, chunkBytes: number): void {
  const names = fill(stage, 'd', 400);
  const stays = names.filter((_, at) => at % 3 === 0);
  const fd = openDirectory(stage, 'd');
  const seen: string[] = [];
  for (let round = 0; ; round += 1) {
    const entries = readChunk(stage, fd, chunkBytes);
    if (entries.length === 0) break;
    seen.push(...entries.map(({ name }) => name));
    stage.root.mknod(`d/added-${round}`, 0o100644);
    for (const { name } of entries) {
      if (name.startsWith('entry-') && !stays.includes(name)) stage.root.unlink(`d/${name}`);
    }
  }
  stage.log.length = 0;
  const counts = stays.map((name) => seen.filter((other) => other === name).length);
  stage.equal('what stays is seen once', new Set(counts).size === 1 && counts[0] === 1, true);
  const entries = seen.filter((name) => name.startsWith('entry-'));
  stage.equal('nothing is seen twice', new Set(entries).size, entries.length);
  stage.equal('nothing is missed', entries.length, names.length);
}

function removesAll(stage: Stage, chunkBytes: number): void {
  fill(stage, 'd', 300);
  const fd = openDirectory(stage, 'd');
  for (;;) {
    const entries = readChunk(stage, fd, chunkBytes);
    if (entries.length === 0) break;
    for (const { name } of entries) {
      if (name !== '.' && name !== '..') stage.root.unlink(`d/${name}`).ok();
    }
  }
  stage.log.length = 0;
  stage.root.rmdir('d').ok();
}

/** Names that move ahead of the reader must not keep it reading for ever. */
function renamesWhileReading(stage: Stage): void {
  fill(stage, 'd', 200);
  const fd = openDirectory(stage, 'd');
  let seen = 0;
  for (let round = 0; seen < 2000; round += 1) {
    const entries = readChunk(stage, fd, 512);
    if (entries.length === 0) break;
    for (const { name } of entries) {
      if (!name.startsWith('.')) stage.root.rename(`d/${name}`, `d/moved-${seen}-${round}`);
      seen += 1;
    }
  }
  stage.log.length = 0;
  stage.equal('it ends', seen < 2000, true);
  stage.equal('names', stage.root.names('d').length, 200);
}

function tellsTypes(stage: Stage): void {
  stage.root.mkdir('d').ok();
  for (const type of FILE_TYPES) stage.make(type, `d/${type}`);
  const entries = readAll(stage, openDirectory(stage, 'd'), 4096);
  for (const type of FILE_TYPES) {
    const entry = entries.find(({ name }) => name === type);
    stage.equal(type, entry?.type, DT[type]);
    stage.equal('ino', entry?.ino === stage.root.ino(`d/${type}`), true);
  }
}

function dotsLead(stage: Stage): void {
  stage.root.mkdir('d').ok();
  stage.root.mkdir('d/e').ok();
  const entries = readAll(stage, openDirectory(stage, 'd/e'), 4096);
  const inoOf = (name: string) => entries.find((entry) => entry.name === name)?.ino;
  stage.equal('names', sortedNames(entries), ['.', '..']);
  stage.equal('.', inoOf('.') === stage.root.ino('d/e'), true);
  stage.equal('..', inoOf('..') === stage.root.ino('d'), true);
}

function buffersTooSmall(stage: Stage): void {
  stage.root.mkdir('d').ok();
  stage.root.create(`d/${'n'.repeat(255)}`).ok();
  const fd = openDirectory(stage, 'd');
  for (const size of [0, 8, 23]) {
    stage.root.call(`getdents64 ${size}`, () => libc.getdents64(fd, ioAddress, size)).is('EINVAL');
  }
  // A buffer with room for the dots alone ends before the long name, wherever that stands.
  const dots: Entry[] = [];
  for (let round = 0; round < 3; round += 1) {
    const filled = libc.getdents64(fd, ioAddress, 48);
    if (filled > 0) dots.push(...entriesOf(filled));
  }
  const all = [...dots, ...readAll(stage, fd, 280)];
  stage.equal('entries', all.map(({ name }) => name.length).sort(), [1, 2, 255]);
}

export const directories = family('directories', [
  ...each('every entry once, in buffers of', CHUNKS, everyEntryOnce),
  ...each('changes while reading, in buffers of', CHUNKS, changesWhileReading),
  ...each('removing while reading, in buffers of', CHUNKS, removesAll),
  ['renaming while reading comes to an end', renamesWhileReading],
  ['every cookie leads to what follows', cookiesLead],
  ['rewinddir sees what has changed', rewindSeesChanges],
  ['types and inode numbers are told', tellsTypes],
  ['. and .. are there', dotsLead],
  ['buffers too small are EINVAL and lose nothing', buffersTooSmall],
  [
    'a directory that is gone is empty',
    (stage) => {
      stage.root.mkdir('d').ok();
      const fd = openDirectory(stage, 'd');
      stage.root.rmdir('d').ok();
      stage.root.call('getdents64', () => libc.getdents64(fd, ioAddress, 4096)).is('ENOENT', 0);
    },
  ],
  [
    'reading needs no more than the open descriptor',
    (stage) => {
      stage.root.chmod('.', 0o777).ok();
      stage.alice.mkdir('d', 0o700).ok();
      stage.alice.create('d/f').ok();
      const fd = stage.alice.open('d', O_RDONLY).ok();
      stage.root.chown('d', 0, 0).ok();
      stage.alice.call('getdents64', () => libc.getdents64(fd, ioAddress, 4096), 'entries').ok();
      stage.alice.tryOpen('d', O_RDONLY).is('EACCES');
    },
  ],
  [
    'two readers have a position each',
    (stage) => {
      fill(stage, 'd', 50);
      const [first, second] = [openDirectory(stage, 'd'), openDirectory(stage, 'd')];
      const seen: Entry[][] = [[], []];
      for (let rest = 2; rest > 0; ) {
        rest = 0;
        for (const [index, fd] of [first, second].entries()) {
          const entries = readChunk(stage, fd, 280);
          seen[index].push(...entries);
          if (entries.length > 0) rest += 1;
        }
      }
      stage.equal(
        'entries',
        seen.map((entries) => new Set(sortedNames(entries)).size),
        [52, 52],
      );
    },
  ],
]);
