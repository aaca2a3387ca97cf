import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { InodeTable, ROOT_SLOT } from '../../src/shared/memory/inode-table.ts';
import type { ThreadTables } from '../../src/shared/memory/shared-memory.ts';
import { addressOf, dup } from '../../src/shared/sys/libc.ts';
import {
  endRemoval,
  type FakeFile,
  freshTables,
  HANDLE_ROOM_BYTES,
  identityOf,
  makeMemory,
  tablesOf,
} from './tables.ts';

const TIME_LIMIT = { timeout: 60_000 };
const nullFd = openSync('/dev/null', 'r');

function keyOf(file: FakeFile): string {
  return `${file.mount}:${file.ino}:${file.handle}`;
}

/** What the table should know of one inode. */
interface Known {
  readonly slot: number;
  readonly epoch: number;
  lookups: number;
  holds: number;
  pins: number;
}

/** The inode table, and beside it a Map that must agree with it. */
class Model {
  readonly tables: ThreadTables = freshTables({ inodes: 200, fdBudget: 6 });
  readonly live = new Map<string, Known>();
  /** Forgotten while pinned. */
  readonly zombies: Known[] = [];
  readonly givenOut = new Set<string>();

  lookup(file: FakeFile): void {
    const { inodes, fds } = this.tables;
    const known = this.live.get(keyOf(file));
    const slot = inodes.lookup(identityOf(file));
    assert.equal(inodes.inserted, known === undefined);
    if (known !== undefined) {
      assert.equal(slot, known.slot);
      known.lookups++;
    } else {
      const nodeid = `${slot}.${inodes.epoch(slot)}.${inodes.generation(slot)}`;
      assert.ok(!this.givenOut.has(nodeid), `nodeid ${nodeid} was given out before`);
      this.givenOut.add(nodeid);
      // Without a handle an inode is held for life.
      const holds = file.handle === undefined ? 1 : 0;
      const entry = { slot, epoch: inodes.epoch(slot), lookups: 1, holds, pins: 0 };
      this.live.set(keyOf(file), entry);
    }
    if (inodes.fd(slot) >= 0 || !fds.reserve()) return;
    assert.ok(inodes.installFd(slot, dup(nullFd)));
    fds.enter(slot);
  }

  /** The number alone finds an entry that has a descriptor, and makes none. */
  lookupOpen({ mount, ino }: FakeFile): void {
    const { inodes } = this.tables;
    const withFd = [undefined, 0, 1]
      .map((handle) => this.live.get(keyOf({ mount, ino, handle })))
      .filter((known) => known !== undefined && inodes.fd(known.slot) >= 0);
    const slot = inodes.lookupOpen(identityOf({ mount, ino, handle: undefined }));
    assert.equal(inodes.inserted, false);
    const found = withFd.find((known) => known?.slot === slot);
    assert.equal(slot, found?.slot ?? -1);
    assert.equal(found === undefined, withFd.length === 0);
    if (found !== undefined) found.lookups++;
  }

  forget(file: FakeFile, count: number): void {
    const known = this.live.get(keyOf(file));
    if (known === undefined) return;
    const { inodes } = this.tables;
    const isGone = inodes.forget(known.slot, known.epoch, count);
    known.lookups = Math.max(0, known.lookups - count);
    assert.equal(isGone, known.lookups === 0 && known.pins === 0);
    if (isGone) endRemoval(this.tables);
    if (known.lookups > 0) return;
    this.live.delete(keyOf(file));
    if (known.pins > 0) this.zombies.push(known);
  }

  pin(file: FakeFile): void {
    const known = this.live.get(keyOf(file));
    if (known === undefined) return;
    this.tables.inodes.pin(known.slot);
    known.pins++;
  }

  unpin(file: FakeFile): void {
    const known = this.live.get(keyOf(file)) ?? this.zombies[0];
    if (known === undefined || known.pins === 0) return;
    known.pins--;
    const isGone = this.tables.inodes.unpin(known.slot);
    assert.equal(isGone, known.pins === 0 && known.lookups === 0);
    if (!isGone) return;
    endRemoval(this.tables);
    this.zombies.splice(this.zombies.indexOf(known), 1);
  }

  hold(file: FakeFile): void {
    const known = this.live.get(keyOf(file));
    const slot = this.tables.inodes.holdAndPin(identityOf(file));
    assert.equal(slot, known?.slot ?? -1);
    if (known === undefined) return;
    known.holds++;
    known.pins++;
  }

  dropHold(file: FakeFile): void {
    const known = this.live.get(keyOf(file));
    if (known === undefined || known.holds === 0) return;
    this.tables.inodes.dropHold(known.slot);
    known.holds--;
  }

  evict(): void {
    const guarded = [...this.live.values()].filter((k) => k.holds > 0 || k.pins > 0);
    const before = guarded.map((known) => this.tables.inodes.fd(known.slot));
    this.tables.fds.evictOne();
    const after = guarded.map((known) => this.tables.inodes.fd(known.slot));
    assert.deepEqual(after, before, 'a held or pinned descriptor was evicted');
  }

  check(): void {
    const { inodes, fds } = this.tables;
    assert.equal(inodes.count(), this.live.size);
    let lookups = 0;
    let descriptors = 0;
    for (const known of this.live.values()) {
      lookups += known.lookups;
      assert.equal(inodes.lookups(known.slot), known.lookups);
      assert.equal(inodes.resolve(known.slot, known.epoch), known.slot);
      assert.equal(inodes.resolve(known.slot, known.epoch + 1), -1);
      assert.equal(inodes.isHeld(known.slot), known.holds > 0);
      if (inodes.fd(known.slot) >= 0) descriptors++;
    }
    for (const zombie of this.zombies) {
      assert.equal(inodes.resolve(zombie.slot, zombie.epoch), -1);
      if (inodes.fd(zombie.slot) >= 0) descriptors++;
    }
    assert.equal(inodes.countLookups(), lookups);
    assert.equal(fds.used(), descriptors);
    assert.ok(fds.used() <= fds.budget);
  }

  clear(): void {
    for (const known of [...this.live.values(), ...this.zombies]) {
      while (known.pins > 0) {
        known.pins--;
        if (this.tables.inodes.unpin(known.slot)) endRemoval(this.tables);
      }
    }
    for (const known of this.live.values()) {
      if (this.tables.inodes.forget(known.slot, known.epoch, known.lookups))
        endRemoval(this.tables);
    }
    assert.equal(this.tables.inodes.count(), 0);
    assert.equal(this.tables.fds.used(), 0);
  }
}

/** Of a file with and one without a handle, and the same number, the test after the next is. */
const anyFile: fc.Arbitrary<FakeFile> = fc.oneof(
  fc.record({ mount: fc.nat(1), ino: fc.nat(5), handle: fc.nat(1) }),
  fc.record({
    mount: fc.nat(1),
    ino: fc.integer({ min: 6, max: 9 }),
    handle: fc.constant(undefined),
  }),
);

const anyStep: fc.Arbitrary<(model: Model) => void> = fc.oneof(
  anyFile.map((file) => (m: Model) => m.lookup(file)),
  anyFile.map((file) => (m: Model) => m.lookup(file)),
  anyFile.map((file) => (m: Model) => m.lookupOpen(file)),
  fc.tuple(anyFile, fc.integer({ min: 1, max: 3 })).map(
    ([file, count]) =>
      (m: Model) =>
        m.forget(file, count),
  ),
  anyFile.map((file) => (m: Model) => m.pin(file)),
  anyFile.map((file) => (m: Model) => m.unpin(file)),
  anyFile.map((file) => (m: Model) => m.hold(file)),
  anyFile.map((file) => (m: Model) => m.dropHold(file)),
  fc.constant((m: Model) => m.evict()),
  fc.constant((m: Model) => m.tables.inodes.recoverOwner(m.tables.thread)),
);

test('any sequence of steps leaves the table as a Map would be', TIME_LIMIT, () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 150 }), (steps) => {
      const model = new Model();
      for (const step of steps) {
        step(model);
        model.check();
      }
      model.clear();
    }),
    { numRuns: 150, interruptAfterTimeLimit: 30_000, markInterruptAsFailure: false },
  );
});

test('a file is known by its handle: a reused number is another file', () => {
  const { inodes } = freshTables();
  const first = inodes.lookup(identityOf({ mount: 0, ino: 7, handle: 1 }));
  const reused = inodes.lookup(identityOf({ mount: 0, ino: 7, handle: 2 }));
  const elsewhere = inodes.lookup(identityOf({ mount: 1, ino: 7, handle: 1 }));
  assert.equal(new Set([first, reused, elsewhere]).size, 3);
  assert.equal(inodes.lookup(identityOf({ mount: 0, ino: 7, handle: 1 })), first);
  assert.equal(inodes.lookup(identityOf({ mount: 0, ino: 7, handle: 2 })), reused);
  assert.equal(inodes.lookups(reused), 2);
});

test('a file is known by its number where its handle is not to be had', () => {
  const { inodes } = freshTables();
  const without = inodes.lookup(identityOf({ mount: 0, ino: 7, handle: undefined }));
  assert.equal(inodes.lookup(identityOf({ mount: 0, ino: 7, handle: undefined })), without);
  assert.equal(inodes.lookup(identityOf({ mount: 0, ino: 7, handle: 1 })), without);
  assert.equal(inodes.hasHandle(without), false);
  const other = inodes.lookup(identityOf({ mount: 0, ino: 8, handle: 1 }));
  assert.equal(inodes.lookup(identityOf({ mount: 0, ino: 8, handle: undefined })), other);
  assert.equal(inodes.hasHandle(other), true);
  assert.deepEqual([inodes.lookups(without), inodes.lookups(other)], [3, 2]);
});

test('the root outlives every forget, unknown nodeids are refused', () => {
  const { inodes } = freshTables();
  inodes.setRoot(identityOf({ mount: 0, ino: 2, handle: 0 }));
  assert.equal(inodes.forget(ROOT_SLOT, 0, 1000), false);
  assert.equal(inodes.resolve(ROOT_SLOT, 0), ROOT_SLOT);
  for (const [lo, hi] of [
    [0, 0],
    [-1, 0],
    [2, 0],
    [1001, 0],
    [1, 1],
  ] as const) {
    assert.equal(inodes.resolve(lo, hi), -1, `${lo} ${hi}`);
    assert.equal(inodes.forget(lo, hi, 1), false);
  }
});

test('a nodeid comes back only with another generation', TIME_LIMIT, () => {
  const { inodes } = freshTables({ inodes: 1 + 1 });
  const identity = identityOf({ mount: 0, ino: 9, handle: 3 });
  const epochs = 1 << 21;
  let lastEpoch = -1;
  let slotUsed = -1;
  for (let i = 0; i < epochs + 2; i++) {
    const slot = inodes.lookup(identity);
    assert.ok(slot > ROOT_SLOT);
    const epoch = inodes.epoch(slot);
    if (i > 0 && (slot !== slotUsed || epoch !== (lastEpoch + 1) % epochs)) {
      assert.fail(`cycle ${i}: slot ${slot} epoch ${epoch} after ${slotUsed} ${lastEpoch}`);
    }
    slotUsed = slot;
    lastEpoch = epoch;
    if (!inodes.forget(slot, epoch, 1)) assert.fail(`cycle ${i}: not removed`);
  }
  assert.equal(inodes.generation(slotUsed), 1);
});

test('a full table refuses, and takes again what was freed in any stripe', () => {
  const capacity = 300;
  const { inodes } = freshTables({ inodes: capacity });
  const slots: number[] = [];
  for (let ino = 0; ino < capacity - 1; ino++) {
    slots.push(inodes.lookup(identityOf({ mount: 0, ino, handle: 0 })));
  }
  assert.equal(new Set(slots).size, capacity - 1);
  assert.equal(inodes.lookup(identityOf({ mount: 0, ino: 100_000, handle: 0 })), -1);
  for (const slot of slots) assert.ok(inodes.forget(slot, inodes.epoch(slot), 1));
  for (let ino = 0; ino < capacity - 1; ino++) {
    assert.ok(inodes.lookup(identityOf({ mount: 0, ino: 5000 + ino, handle: 0 })) > 0);
  }
  assert.equal(inodes.count(), capacity - 1);
});

test('clear() gives no nodeid out twice, also not one that was pinned', () => {
  const { inodes } = freshTables();
  const identity = identityOf({ mount: 0, ino: 4, handle: 0 });
  const slot = inodes.lookup(identity);
  const epoch = inodes.epoch(slot);
  inodes.pin(slot);
  inodes.forget(slot, epoch, 1);
  inodes.clear();
  for (let ino = 0; ino < 900; ino++) {
    const other = inodes.lookup(identityOf({ mount: 0, ino, handle: 0 }));
    assert.ok(other !== slot || inodes.epoch(other) !== epoch);
  }
});

/** A table alone, as large as it takes. */
function bareTable(capacity: number): InodeTable {
  const geometry = { capacity, handleRoomBytes: HANDLE_ROOM_BYTES };
  const buffer = new SharedArrayBuffer(InodeTable.byteLength(geometry));
  const table = new InodeTable(buffer, geometry, 1, addressOf(new Uint8Array(buffer, 0, 8)));
  table.clear();
  return table;
}

test('a million inodes are all found again, and all go', TIME_LIMIT, () => {
  const count = 1_000_000;
  const table = bareTable(count + 1);
  const identity = new Int32Array(64);
  const slots = new Int32Array(count);
  for (let ino = 0; ino < count; ino++) {
    slots[ino] = table.lookup(identityOf({ mount: 0, ino, handle: ino ^ 0x5555 }, identity));
  }
  assert.equal(table.count(), count);
  for (let ino = 0; ino < count; ino++) {
    const slot = table.lookup(identityOf({ mount: 0, ino, handle: ino ^ 0x5555 }, identity));
    if (slot !== slots[ino] || table.inserted) assert.fail(`inode ${ino} was lost`);
  }
  for (let ino = 0; ino < count; ino++) {
    const slot = slots[ino] as number;
    if (!table.forget(slot, table.epoch(slot), 2)) assert.fail(`inode ${ino} stays`);
  }
  assert.equal(table.count(), 0);
  assert.ok(table.bytesPerInode() <= 128);
});

test('what a thread left half-way in a stripe is rebuilt with nothing lost', () => {
  const memory = makeMemory({ inodes: 2000 });
  const { inodes } = tablesOf(memory, 1);
  inodes.clear();
  const slots = new Map<number, number>();
  for (let ino = 0; ino < 1800; ino++) {
    slots.set(ino, inodes.lookup(identityOf({ mount: 0, ino, handle: 0 })));
  }
  for (let ino = 0; ino < 1800; ino += 3) {
    const slot = slots.get(ino) as number;
    inodes.forget(slot, inodes.epoch(slot), 1);
    slots.delete(ino);
  }
  // As if thread 5 had died in every stripe with the chains taken apart.
  const cells = new Int32Array(memory.inodes);
  const stripes = 64;
  const stripesAt = 16;
  const bucketsAt = stripesAt + stripes * 16;
  for (let s = 0; s < stripes; s++) cells[stripesAt + s * 16] = 5;
  cells.fill(0, bucketsAt, bucketsAt + stripes * 16);
  inodes.recoverOwner(5);
  assert.equal(inodes.count(), slots.size);
  for (const [ino, slot] of slots) {
    assert.equal(inodes.lookup(identityOf({ mount: 0, ino, handle: 0 })), slot);
    assert.equal(inodes.inserted, false);
  }
  // The free slots are free still: what was forgotten fits in again, and all the rest.
  let added = 0;
  while (inodes.lookup(identityOf({ mount: 0, ino: 10_000 + added, handle: 0 })) > 0) added++;
  assert.equal(added, 2000 - 1 - slots.size);
});

test('a few inodes take few pages of a large table, huge ones or not', () => {
  const before = process.memoryUsage.rss();
  const { inodes } = tablesOf(makeMemory({ inodes: 10_000_000 }), 1);
  inodes.clear();
  const identity = new Int32Array(64);
  for (let ino = 0; ino < 1000; ino++) {
    inodes.lookup(identityOf({ mount: 0, ino, handle: 0 }, identity));
  }
  const growthBytes = process.memoryUsage.rss() - before;
  assert.ok(growthBytes < 16 << 20, `RSS grew by ${growthBytes} bytes`);
});
