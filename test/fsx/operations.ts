/** What the tester does to the file. Each operation chooses, says what it does, does it, and tells the model. */
import { ERRNO, errnoName } from '../../src/shared/abi/errno.ts';
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_UNSHARE_RANGE,
  FALLOC_FL_ZERO_RANGE,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import {
  copyMemory,
  dropPages,
  map,
  PROT_READ,
  PROT_WRITE,
  syncMapping,
  unmap,
} from './mapping.ts';
import { LARGEST_SIZE } from './model.ts';
import {
  type Descriptor,
  Finding,
  type Kind,
  must,
  pageAbove,
  pageBelow,
  type Subject,
} from './subject.ts';

/** What of the file an operation has changed. */
export type Changed = readonly [from: number, to: number];

const NOTHING: Changed = [0, 0];
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

export const FALLOCATE_MODES = {
  allocate: 0,
  'allocate keeping the size': FALLOC_FL_KEEP_SIZE,
  'punch a hole': FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  zero: FALLOC_FL_ZERO_RANGE,
  'zero keeping the size': FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
  collapse: FALLOC_FL_COLLAPSE_RANGE,
  insert: FALLOC_FL_INSERT_RANGE,
  unshare: FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE,
} as const;
export type FallocateMode = keyof typeof FALLOCATE_MODES;
const MODES = Object.keys(FALLOCATE_MODES) as FallocateMode[];
/** fs/fuse/file.c answers these itself. */
export const NOT_IN_FUSE: readonly FallocateMode[] = ['collapse', 'insert', 'unshare'];

export interface Surroundings {
  readonly subject: Subject;
  /** Modes of fallocate(2) that have to be refused. */
  readonly refused: ReadonlySet<FallocateMode>;
  readonly hasWriteback: boolean;
  /** Notes what is about to be done. */
  readonly say: (text: string) => void;
}

type Operation = (s: Surroundings) => Changed;

/** Short, long, and on a page's edge, so that all come about. */
function chooseLength({ random }: Subject, limit: number): number {
  const longest = Math.max(1, Math.min(limit, random.pick([16, 600, 5000, 20_000, 70_000])));
  const length = 1 + random.below(longest);
  return random.oneIn(4) ? Math.max(1, Math.min(limit, pageAbove(length))) : length;
}

function chooseOffset({ random }: Subject, limit: number): number {
  const offset = random.below(Math.max(1, limit));
  return random.oneIn(3) ? pageBelow(offset) : offset;
}

/** Near the end of the file or before it, and now and then far behind it. */
function chooseTarget(subject: Subject): number {
  const { random, model } = subject;
  const limit = random.oneIn(12) ? LARGEST_SIZE : Math.min(LARGEST_SIZE, model.size + 3000);
  return chooseOffset(subject, limit - 1);
}

/** Fills the memory with a short pattern, whose length fits no page: shifted data differs. */
function fillMemory({ random, memory }: Subject, length: number): Buffer {
  const pattern = Buffer.alloc(13);
  for (let i = 0; i < pattern.length; i++) pattern[i] = random.below(256);
  return memory.fill(pattern, 0, length).subarray(0, length);
}

function read({ subject, say }: Surroundings): Changed {
  const descriptor = subject.anyDescriptor();
  const offset = chooseTarget(subject);
  const length = chooseLength(subject, LARGEST_SIZE - offset);
  say(`read (${descriptor.kind}) ${length} at ${offset}`);
  subject.checkRead(descriptor, offset, length);
  return NOTHING;
}

function write({ subject, hasWriteback, say }: Surroundings): Changed {
  const { model } = subject;
  const { fd, kind } = subject.writable();
  let offset = chooseTarget(subject);
  let length = chooseLength(subject, LARGEST_SIZE - offset);
  if (kind === 'direct') {
    offset = pageBelow(offset);
    length = pageAbove(length);
  } else if (kind === 'append') {
    offset = model.size;
    length = Math.min(length, LARGEST_SIZE - offset);
    if (length === 0) return NOTHING;
  }
  const data = fillMemory(subject, length);
  say(`write (${kind}) ${length} at ${offset}`);
  const count = must('pwrite', libc.pwrite(fd, subject.address, length, offset));
  if (count !== length) throw new Finding(`pwrite of ${length} wrote ${count}`);
  model.write(offset, data);
  subject.isDirty ||= hasWriteback;
  return [offset, offset + length];
}

function mapRead({ subject, say }: Surroundings): Changed {
  const descriptor = subject.anyDescriptor();
  const offset = chooseOffset(subject, subject.model.size);
  const length = chooseLength(subject, LARGEST_SIZE - offset);
  const isHeld = subject.random.oneIn(2);
  const which = isHeld ? 'the mapping that stays' : `a mapping (${descriptor.kind})`;
  say(`read ${which}, ${length} at ${offset}`);
  if (isHeld) subject.checkHeld(offset, length);
  else subject.checkMapping(descriptor, offset, length);
  return NOTHING;
}

function mapWrite({ subject, say }: Surroundings): Changed {
  const { model, random } = subject;
  if (model.size === 0) return NOTHING;
  const { fd, kind } = subject.writable();
  const offset = chooseOffset(subject, model.size);
  const length = chooseLength(subject, model.size - offset);
  const syncs = random.oneIn(3);
  const isHeld = random.oneIn(2);
  const data = fillMemory(subject, length);
  const which = isHeld ? 'the mapping that stays' : `a mapping (${kind})`;
  say(`write ${which}, ${length} at ${offset}${syncs ? ', msync' : ''}`);
  const start = pageBelow(offset);
  const bytes = offset + length - start;
  const address = isHeld
    ? subject.held + start
    : must('mmap', map(fd, bytes, PROT_READ | PROT_WRITE, start));
  copyMemory(address + offset - start, subject.address, length);
  if (syncs) must('msync', syncMapping(address, bytes));
  if (!isHeld) must('munmap', unmap(address, bytes));
  model.write(offset, data);
  subject.isDirty ||= !syncs;
  return [offset, offset + length];
}

function remap({ subject, say }: Surroundings): Changed {
  const descriptor = subject.writable();
  say(`map all of the file (${descriptor.kind})`);
  subject.holdMapping(descriptor);
  return NOTHING;
}

function truncate({ subject, say }: Surroundings): Changed {
  const { model, random } = subject;
  const before = model.size;
  const size = random.oneIn(3) ? chooseOffset(subject, LARGEST_SIZE) : chooseTarget(subject);
  const byPath = random.oneIn(4);
  say(`truncate ${byPath ? 'by path ' : ''}from ${before} to ${size}`);
  const { fd } = subject.writable();
  must('truncate', byPath ? libc.truncate(subject.path, size) : libc.ftruncate(fd, size));
  model.truncate(size);
  return [Math.min(size, before), Math.max(size, before)];
}

function fallocate({ subject, refused, say }: Surroundings): Changed {
  const { model } = subject;
  const { fd } = subject.writable();
  const mode = subject.random.pick(MODES);
  let offset = chooseTarget(subject);
  let length = chooseLength(subject, LARGEST_SIZE - offset);
  if (mode === 'collapse' || mode === 'insert') {
    // Whole blocks inside the file.
    offset = pageBelow(chooseOffset(subject, model.size));
    length = pageAbove(Math.min(length, 40_000));
    const fits =
      mode === 'collapse'
        ? offset + length < model.size
        : offset < model.size && model.size + length <= LARGEST_SIZE;
    if (!fits) return NOTHING;
  }
  say(`fallocate: ${mode}, ${length} at ${offset}`);
  const error = libc.fallocate(fd, FALLOCATE_MODES[mode], offset, length);
  if (error === -ERRNO.EOPNOTSUPP && refused.has(mode)) return NOTHING;
  must(`fallocate (${mode})`, error);
  switch (mode) {
    case 'allocate':
      model.grow(offset + length);
      break;
    case 'punch a hole':
    case 'zero keeping the size':
      model.zero(offset, length, false);
      break;
    case 'zero':
      model.zero(offset, length, true);
      break;
    case 'collapse':
      model.collapse(offset, length);
      return [offset, LARGEST_SIZE];
    case 'insert':
      model.insert(offset, length);
      return [offset, LARGEST_SIZE];
  }
  return [offset, offset + length];
}

const cells = new BigInt64Array(new SharedArrayBuffer(16));
const cellsAddress = libc.addressOf(cells);

/** copy_file_range(2) refuses O_APPEND, and with O_DIRECT what is not on a block's edge on some file systems. */
function forCopying(subject: Subject, wanted: Descriptor): Descriptor {
  const isRefused = wanted.kind === 'append' || wanted.kind === 'direct';
  return isRefused ? (subject.descriptors[0] as Descriptor) : wanted;
}

function copyRange({ subject, hasWriteback, say }: Surroundings): Changed {
  const { model } = subject;
  const from = chooseTarget(subject);
  const to = chooseTarget(subject);
  // A range onto itself is EINVAL.
  const room = LARGEST_SIZE - Math.max(from, to);
  const length = Math.min(chooseLength(subject, room), Math.abs(from - to));
  if (length === 0) return NOTHING;
  const source = forCopying(subject, subject.anyDescriptor());
  const target = forCopying(subject, subject.writable());
  say(`copy_file_range (${source.kind} to ${target.kind}) of ${length} from ${from} to ${to}`);
  const wanted = Math.max(0, Math.min(length, model.size - from));
  let done = 0;
  while (done < wanted) {
    cells[0] = BigInt(from + done);
    cells[1] = BigInt(to + done);
    const count = libc.copyFileRange(
      source.fd,
      cellsAddress,
      target.fd,
      cellsAddress + 8,
      length - done,
      0,
    );
    must('copy_file_range', count);
    if (count === 0) throw new Finding(`copy_file_range ended after ${done} of ${wanted}`);
    if (count > wanted - done) throw new Finding(`copy_file_range copied ${count}, past the end`);
    model.copy(from + done, to + done, count);
    done += count;
  }
  subject.isDirty ||= hasWriteback;
  return [to, to + done];
}

function sync({ subject, say }: Surroundings): Changed {
  const { fd, kind } = subject.anyDescriptor();
  const isData = subject.random.oneIn(2);
  say(`${isData ? 'fdatasync' : 'fsync'} (${kind})`);
  must('fsync', isData ? libc.fdatasync(fd) : libc.fsync(fd));
  subject.isDirty = false;
  return NOTHING;
}

function reopen({ subject, say }: Surroundings): Changed {
  const { random } = subject;
  const index = random.below(subject.descriptors.length);
  const kind: Kind = random.weighted({ plain: 4, append: 2, direct: 2, sync: 1, readonly: 2 });
  say(`reopen ${index} for ${index === 0 ? 'plain' : kind}`);
  subject.reopen(index, kind);
  return NOTHING;
}

function drop({ subject, say }: Surroundings): Changed {
  const syncs = subject.random.oneIn(2);
  say(`drop pages${syncs ? ' after fsync' : ''}`);
  if (syncs) subject.sync();
  must('posix_fadvise', dropPages(subject.anyDescriptor().fd));
  return NOTHING;
}

/** A hole holds zeros. What is dirty and not sent is no data to the kernel yet. */
function seek({ subject, say }: Surroundings): Changed {
  const { model } = subject;
  if (subject.isDirty) subject.sync();
  const offset = chooseOffset(subject, model.size);
  if (offset >= model.size) return NOTHING;
  say(`seek to data and to a hole from ${offset}`);
  const { fd } = subject.anyDescriptor();
  const data = Number(libc.lseek(fd, offset, SEEK_DATA));
  const firstByte = model.nextData(offset);
  const isEnd = data === -ERRNO.ENXIO;
  if (data < 0 && !isEnd) throw new Finding(`SEEK_DATA failed with ${errnoName(data)}`);
  if (isEnd ? firstByte < model.size : data > firstByte) {
    throw new Finding(`SEEK_DATA from ${offset} gave ${data}, and there is data at ${firstByte}`);
  }
  const hole = must('SEEK_HOLE', Number(libc.lseek(fd, offset, SEEK_HOLE)));
  if (hole > model.size || hole < offset) {
    throw new Finding(`SEEK_HOLE from ${offset} gave ${hole} of ${model.size}`);
  }
  if (hole < model.size && model.nextData(hole) === hole) {
    throw new Finding(`SEEK_HOLE from ${offset} gave ${hole}, where there is data`);
  }
  return NOTHING;
}

export const OPERATIONS = {
  read,
  write,
  mapRead,
  mapWrite,
  remap,
  truncate,
  fallocate,
  copyRange,
  sync,
  reopen,
  drop,
  seek,
} as const satisfies Record<string, Operation>;

/** How often each is done. */
export const WEIGHTS: Readonly<Record<keyof typeof OPERATIONS, number>> = {
  read: 16,
  write: 24,
  mapRead: 10,
  mapWrite: 14,
  remap: 1,
  truncate: 8,
  fallocate: 14,
  copyRange: 6,
  sync: 2,
  reopen: 3,
  drop: 2,
  seek: 3,
};
