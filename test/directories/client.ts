/** Reads a directory in one of several ways, and fails where it is not as POSIX has it. */
import assert from 'node:assert/strict';
import { ERRNO, errnoName } from '../../src/shared/abi/errno.ts';
import { AT_FDCWD, S_IFREG } from '../../src/shared/sys/constants.ts';
import { CString, mknodat, unlinkat } from '../../src/shared/sys/libc.ts';
import { Random } from '../fsx/random.ts';
import { DirectoryReader, type Entry, LARGEST_RECORD } from './reader.ts';

const LIBC_BUFFER = 32 * 1024;
const [task, directory, count] = process.argv.slice(2) as [string, string, string];

function make(name: string): void {
  const error = mknodat(AT_FDCWD, new CString(`${directory}/${name}`).address, S_IFREG | 0o644, 0);
  assert.equal(error, 0, errnoName(error));
}

function remove(name: string): void {
  const error = unlinkat(AT_FDCWD, new CString(`${directory}/${name}`).address, 0);
  assert.equal(error, 0, errnoName(error));
}

function namesOf(entries: readonly Entry[]): string[] {
  return entries.map(({ name }) => name);
}

function numbered(total: number): string[] {
  return Array.from({ length: total }, (_, i) => `entry-${i}`);
}

/** Every name once, with the dots. */
function assertComplete(entries: readonly Entry[], total: number): void {
  assert.equal(entries.length, total + 2);
  const seen = new Set(namesOf(entries));
  assert.equal(seen.size, total + 2, 'a name comes twice');
  for (const name of ['.', '..', ...numbered(total)]) assert.ok(seen.has(name), name);
}

/** telldir, seekdir and rewinddir, to places near and far. */
function assertSeekable(reader: DirectoryReader, all: readonly Entry[], random: Random): void {
  for (let i = 0; i < 60; i++) {
    const index = random.below(all.length - 1);
    reader.seek((all[index] as Entry).cookie);
    const some = reader.next(LARGEST_RECORD * (1 + random.below(20)));
    assert.deepEqual(namesOf(some), namesOf(all.slice(index + 1, index + 1 + some.length)));
    assert.ok(some.length > 0);
  }
  reader.seek((all.at(-1) as Entry).cookie);
  assert.deepEqual(reader.next(LIBC_BUFFER), []);
  reader.seek(0n);
  assert.deepEqual(namesOf(reader.rest(LIBC_BUFFER)), namesOf(all), 'after rewinddir');
}

const TASKS: Readonly<Record<string, () => void>> = {
  /** Fills the directory. */
  fill() {
    for (const name of numbered(Number(count))) make(name);
  },

  complete() {
    const reader = new DirectoryReader(directory);
    const all = reader.rest(LIBC_BUFFER);
    assertComplete(all, Number(count));
    assertSeekable(reader, all, new Random(1));
    reader.close();
  },

  /** Buffers for one record and hardly more: what does not fit is EINVAL, and nothing is lost. */
  tiny() {
    const reader = new DirectoryReader(directory);
    const all: Entry[] = [];
    let tooSmall = 0;
    for (let room = 24; ; ) {
      const some = reader.tryNext(room);
      if (typeof some === 'number') {
        assert.equal(some, -ERRNO.EINVAL, errnoName(some));
        tooSmall++;
        room += 8;
        assert.ok(room <= LARGEST_RECORD);
        continue;
      }
      if (some.length === 0) break;
      assert.equal(some.length, 1);
      all.push(...some);
      room = 24;
    }
    assert.ok(tooSmall > Number(count) / 2);
    assertComplete(all, Number(count));
    assertSeekable(reader, all, new Random(2));
    reader.close();
  },

  /** Entries come and go between two calls; those that stay are listed once. */
  changing() {
    const random = new Random(3);
    const total = Number(count);
    const staying = numbered(total).filter((_, i) => i % 3 !== 0);
    const going = numbered(total).filter((_, i) => i % 3 === 0);
    const made: string[] = [];
    let names = 0;
    const reader = new DirectoryReader(directory);
    const listed: string[] = [];
    for (;;) {
      const some = reader.next(LARGEST_RECORD);
      if (some.length === 0) break;
      listed.push(...namesOf(some));
      for (let i = random.below(4); i > 0 && going.length > 0; i--) {
        remove(going.splice(random.below(going.length), 1)[0] as string);
      }
      // Not more than are read, or a file system that lists them last would never end.
      for (let i = random.below(3); i > 0 && names < total; i--) {
        const name = `new-${names++}`;
        make(name);
        made.push(name);
      }
      if (made.length > 0 && random.oneIn(3)) {
        remove(made.splice(random.below(made.length), 1)[0] as string);
      }
    }
    reader.close();
    const times = new Map<string, number>();
    for (const name of listed) times.set(name, (times.get(name) ?? 0) + 1);
    for (const name of ['.', '..', ...staying]) {
      assert.equal(times.get(name), 1, `${name} is listed ${times.get(name) ?? 0} times`);
    }
    for (const [name, seen] of times) assert.equal(seen, 1, `${name} is listed ${seen} times`);
    assert.ok(going.length < total / 4 && names > 50, 'hardly anything has changed');
  },

  /** The types of the entries, which may be DT_UNKNOWN. */
  types() {
    const reader = new DirectoryReader(directory);
    const types = reader.rest(LIBC_BUFFER).map(({ name, type }) => `${name} ${type}`);
    console.log(types.sort().join('\n'));
    reader.close();
  },
};

const run = TASKS[task];
assert.ok(run, `no task ${task}`);
run();
