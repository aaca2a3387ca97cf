/** Loops that move data: sequential and at random places, buffered, direct and mapped. */
import { join } from 'node:path';
import {
  O_CREAT,
  O_DIRECT,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import * as libc from '../../../src/shared/sys/libc.ts';
import { copyMemory, dropPages, map, PROT_READ, unmap } from '../../../test/fsx/mapping.ts';
import { LAYOUT, MOST_CLIENTS } from '../tree.ts';
import {
  data,
  type Figure,
  MIB,
  must,
  mustEqual,
  PAGE,
  type Run,
  repeat,
  type Workload,
  withOpen,
} from './workload.ts';

/** Of the file behind and of the one on the mount, so that the next read goes to the disk. */
function forgetPages(name: string): (run: Run) => void {
  return ({ root, source }) => {
    for (const directory of new Set([source, root])) {
      withOpen(join(directory, name), O_RDONLY, (fd) => must(dropPages(fd), 'fadvise'));
    }
  };
}

/** Reads the file behind, so that the page cache has all of it: a cold run before left only parts. */
function fillPages(name: string): (run: Run) => void {
  return ({ source }) =>
    withOpen(join(source, name), O_RDONLY, (fd) => {
      while (must(libc.read(fd, data.address, MIB), 'read') > 0);
    });
}

function sequentialRead(openFlags: number): (run: Run) => Figure {
  return (run) =>
    withOpen(join(run.root, LAYOUT.sequential), O_RDONLY | openFlags, (fd) =>
      repeat(run, run.sizes.sequentialMib, () => {
        mustEqual(libc.read(fd, data.address, MIB), MIB, 'read');
      }),
    );
}

function writtenPath({ root, tag }: Run): string {
  return join(root, LAYOUT.made, `written-${tag}`);
}

function sequentialWrite(openFlags: number): (run: Run) => Figure {
  return (run) =>
    withOpen(writtenPath(run), O_WRONLY | O_CREAT | O_EXCL | openFlags, (fd) =>
      repeat(run, run.sizes.sequentialMib, () => {
        mustEqual(libc.write(fd, data.address, MIB), MIB, 'write');
      }),
    );
}

function removeWritten(run: Run): void {
  const path = new libc.CString(writtenPath(run));
  must(libc.unlinkat(-1, path.address, 0), 'unlink');
}

/** Distinct page offsets, in an order of its own for each round and client. */
function shuffledOffsets({ round, client, sizes }: Run, fileMib: number): number[] {
  const pages = Array.from({ length: (fileMib * MIB) / PAGE }, (_, page) => page * PAGE);
  let seed = round * MOST_CLIENTS + client + 1;
  for (let last = pages.length - 1; last > 0; last--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (last + 1);
    [pages[last], pages[other]] = [pages[other], pages[last]];
  }
  return pages.slice(0, sizes.randomOperations);
}

function randomRead(openFlags: number): (run: Run) => Figure {
  return (run) => {
    const offsets = shuffledOffsets(run, run.sizes.randomMib);
    return withOpen(join(run.root, LAYOUT.random), O_RDONLY | openFlags, (fd) =>
      repeat(run, offsets.length, (step) => {
        mustEqual(libc.pread(fd, data.address, PAGE, offsets[step]), PAGE, 'pread');
      }),
    );
  };
}

function randomWrite(openFlags: number): (run: Run) => Figure {
  return (run) => {
    const offsets = shuffledOffsets(run, LAYOUT.overwrittenMib);
    return withOpen(join(run.root, LAYOUT.overwritten), O_WRONLY | openFlags, (fd) =>
      repeat(run, offsets.length, (step) => {
        mustEqual(libc.pwrite(fd, data.address, PAGE, offsets[step]), PAGE, 'pwrite');
      }),
    );
  };
}

/** Maps the file anew, so that every page is met for the first time. */
function mappedRead(run: Run): Figure {
  const sizeBytes = run.sizes.sequentialMib * MIB;
  return withOpen(join(run.root, LAYOUT.sequential), O_RDONLY, (fd) => {
    const address = must(map(fd, sizeBytes, PROT_READ, 0), 'mmap');
    const figure = repeat(run, run.sizes.sequentialMib, (step) => {
      copyMemory(data.address, address + step * MIB, MIB);
    });
    must(unmap(address, sizeBytes), 'munmap');
    return figure;
  });
}

type Facts = Pick<Workload, 'name' | 'operation' | 'run'> & Partial<Workload>;

function large(facts: Facts): Workload {
  return { group: 'data', clients: 1, operationSizeBytes: MIB, ...facts };
}

/** The same with one client and with several. */
function small(facts: Facts, ...clients: readonly number[]): Workload[] {
  return clients.map((count) => ({
    group: 'data',
    operationSizeBytes: PAGE,
    ...facts,
    clients: count,
    name: count === 1 ? facts.name : `${facts.name}-${count}`,
    operation: count === 1 ? facts.operation : `${facts.operation}, ${count} clients`,
  }));
}

export const DATA_WORKLOADS: readonly Workload[] = [
  large({
    name: 'read-1m',
    operation: '1 MiB of a sequential read, from the page cache',
    prepare: fillPages(LAYOUT.sequential),
    run: sequentialRead(0),
  }),
  large({
    name: 'read-1m-cold',
    operation: 'the same, from the disk',
    isCold: true,
    prepare: forgetPages(LAYOUT.sequential),
    run: sequentialRead(0),
  }),
  large({ name: 'read-1m-direct', operation: 'the same, O_DIRECT', run: sequentialRead(O_DIRECT) }),
  large({
    name: 'write-1m',
    operation: '1 MiB of a sequential write to a new file, without fsync',
    run: sequentialWrite(0),
    finish: removeWritten,
  }),
  large({
    name: 'write-1m-direct',
    operation: 'the same, O_DIRECT',
    run: sequentialWrite(O_DIRECT),
    finish: removeWritten,
  }),
  large({
    name: 'mmap-read',
    operation: '1 MiB of a new mapping, copied out, from the page cache',
    prepare: fillPages(LAYOUT.sequential),
    run: mappedRead,
  }),
  large({
    name: 'mmap-read-cold',
    operation: 'the same, from the disk',
    isCold: true,
    prepare: forgetPages(LAYOUT.sequential),
    run: mappedRead,
  }),
  ...small(
    {
      name: 'read-4k',
      operation: '4 KiB read at a random place, no place twice',
      prepare: fillPages(LAYOUT.random),
      run: randomRead(0),
    },
    1,
    4,
  ),
  ...small(
    {
      name: 'read-4k-cold',
      operation: 'the same, from the disk',
      isCold: true,
      prepare: forgetPages(LAYOUT.random),
      run: randomRead(0),
    },
    1,
    4,
    MOST_CLIENTS,
  ),
  ...small(
    { name: 'read-4k-direct', operation: 'the same, O_DIRECT', run: randomRead(O_DIRECT) },
    1,
    4,
  ),
  ...small(
    { name: 'write-4k', operation: '4 KiB written at a random place', run: randomWrite(0) },
    1,
    4,
  ),
  ...small(
    { name: 'write-4k-direct', operation: 'the same, O_DIRECT', run: randomWrite(O_DIRECT) },
    1,
    4,
  ),
];
