import assert from 'node:assert/strict';
import { openSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { MOUNT_CAPACITY } from '../../src/shared/memory/mount-table.ts';
import { SLOT_STATE } from '../../src/shared/memory/request-slots.ts';
import { EFFECT, ThreadJournal } from '../../src/shared/memory/thread-journal.ts';
import { WorkRings } from '../../src/shared/memory/work-rings.ts';
import { dup } from '../../src/shared/sys/libc.ts';
import { endRemoval, freshTables, identityOf, makeMemory, tablesOf } from './tables.ts';

const nullFd = openSync('/dev/null', 'r');

function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

test('a handle is open until its last use ends, and never again by the same number', () => {
  const { handles } = freshTables({ handles: 2 });
  const before = openFds();
  const index = handles.allocate(dup(nullFd), 7, false);
  const epoch = handles.epoch(index);
  assert.equal(handles.openFiles(), 1);
  assert.equal(handles.use(index, epoch, 8, false), -1, 'of another inode');
  assert.equal(handles.use(index, epoch, 7, true), -1, 'of another kind');
  assert.equal(handles.use(index, epoch + 1, 7, false), -1, 'of another time');
  assert.equal(handles.use(0, 0, 7, false), -1);
  assert.equal(handles.use(3, 0, 7, false), -1);
  assert.equal(handles.use(-1, 0, 7, false), -1);
  assert.equal(handles.use(index, epoch, 7, false), index);
  assert.equal(handles.use(index, epoch, 7, false), index);
  handles.release(index);
  assert.equal(handles.use(index, epoch, 7, false), -1, 'released');
  handles.unuse(index);
  assert.equal(openFds(), before + 1, 'closed under a user');
  handles.unuse(index);
  assert.equal(openFds(), before);
  assert.equal(handles.openFiles(), 0);
  const again = handles.allocate(dup(nullFd), 7, false);
  assert.equal(again, index);
  assert.notEqual(handles.epoch(again), epoch);
  assert.equal(handles.use(again, epoch, 7, false), -1, 'a stale fh');
  assert.equal(handles.allocate(dup(nullFd), 7, true), 2);
  const refused = dup(nullFd);
  assert.equal(handles.allocate(refused, 7, false), -1, 'full');
  assert.deepEqual([handles.openFiles(), handles.openDirectories()], [1, 1]);
  handles.clear();
  assert.deepEqual([handles.openFiles(), handles.openDirectories()], [0, 0]);
  assert.equal(openFds(), before + 1);
});

test('a directory whose reader died is open to the next, from an unknown position', () => {
  const memory = makeMemory();
  const main = tablesOf(memory, 1).handles;
  const lane = tablesOf(memory, 3).handles;
  const index = lane.allocate(dup(nullFd), 1, true);
  lane.lockDirectory(index);
  assert.equal(lane.isDirectoryAt(index, 0, 0), true);
  lane.setDirectoryAt(index, 5, 6);
  main.recoverOwner(4, index);
  main.recoverOwner(3, index);
  main.lockDirectory(index);
  assert.equal(main.isDirectoryAt(index, 5, 6), false);
  main.setDirectoryAt(index, 5, 6);
  assert.equal(main.isDirectoryAt(index, 5, 6), true);
  assert.equal(main.isDirectoryAt(index, 6, 5), false);
  main.unlockDirectory(index);
  main.clear();
});

test('the descriptor budget is never exceeded, held and pinned ones stay', () => {
  const budget = 8;
  const inodeCount = 40;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: inodeCount - 1 }), fc.nat({ max: 5 })), { maxLength: 200 }),
      (steps) => {
        const before = openFds();
        const tables = freshTables({ fdBudget: budget });
        const { inodes, fds } = tables;
        const slots = Array.from({ length: inodeCount }, (_, ino) =>
          inodes.lookup(identityOf({ mount: 0, ino, handle: 0 })),
        );
        const guarded = new Map<number, { fd: number; isPin: boolean }>();
        for (const [which, action] of steps) {
          const slot = slots[which] as number;
          if (action < 4) {
            const isFull = guarded.size >= budget;
            if (inodes.fd(slot) < 0 && fds.reserve()) {
              assert.ok(!isFull, 'room was found where all is guarded');
              assert.ok(inodes.installFd(slot, dup(nullFd)));
              fds.enter(slot);
            }
            if (action === 3) inodes.touch(slot);
          } else if (inodes.fd(slot) >= 0 && !guarded.has(slot)) {
            const isPin = action === 4;
            if (isPin) inodes.pin(slot);
            else inodes.addHold(slot);
            guarded.set(slot, { fd: inodes.fd(slot), isPin });
          }
          assert.ok(fds.used() <= budget);
          assert.equal(fds.used(), slots.filter((s) => inodes.fd(s) >= 0).length);
          assert.equal(openFds(), before + fds.used());
          for (const [held, { fd }] of guarded) assert.equal(inodes.fd(held), fd);
        }
        for (const [slot, { isPin }] of guarded) if (isPin) inodes.unpin(slot);
        for (const slot of slots) {
          if (inodes.forget(slot, inodes.epoch(slot), 1)) endRemoval(tables);
        }
        assert.equal(fds.used(), 0);
        assert.equal(openFds(), before);
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: false },
  );
});

test('a budget that is all in use refuses and counts it', () => {
  const { fds } = freshTables({ fdBudget: 2 });
  assert.ok(fds.reserve());
  assert.ok(fds.reserve());
  assert.equal(fds.reserveIfFree(), false);
  assert.equal(fds.exhausted(), 0);
  assert.equal(fds.reserve(), false);
  assert.equal(fds.exhausted(), 1);
  fds.release();
  assert.equal(fds.reserveIfFree(), true);
});

test('a mount has its place while it is referred to, and its permits are counted', () => {
  const { mounts, journal } = freshTables();
  assert.equal(mounts.acquireById(1, 2), -1);
  const place = mounts.add(1, 2, 8, 0xef53, 99, 0);
  assert.ok(mounts.added);
  assert.equal(mounts.add(1, 2, 8, 0xef53, 100, 0), place);
  assert.equal(mounts.added, false);
  assert.equal(mounts.fd(place), 99);
  assert.equal(mounts.acquireById(1, 2), place);
  assert.equal(mounts.refs(place), 3);
  assert.equal(mounts.enterLane(place, 2), true);
  assert.equal(mounts.enterLaneNoted(place, 2, journal), true);
  assert.equal(mounts.enterLane(place, 2), false);
  assert.equal(journal.group(), place);
  mounts.leaveLaneNoted(journal);
  mounts.leaveLaneNoted(journal);
  assert.equal(mounts.activeLanes(place), 1, 'a permit is given back once');
  assert.equal(mounts.release(place), -1);
  assert.equal(mounts.release(place), -1);
  assert.equal(mounts.release(place), 99);
  assert.equal(mounts.acquireById(1, 2), -1);
  assert.notEqual(mounts.add(3, 4, 9, 0, -1, 0), place, 'a lane still works for the old one');
  mounts.leaveLane(place);
  assert.equal(mounts.add(5, 6, 9, 0, -1, 0), place);
  let added = 2;
  while (mounts.add(100 + added, 0, 9, 0, -1, 0) >= 0) added++;
  assert.equal(added, MOUNT_CAPACITY);
});

test('slots come and go; a request is run, cancelled or handed over by one party only', () => {
  const { slots, mounts, journal } = freshTables({ smallSlots: 4 });
  const taken = [slots.takeSmall(), slots.takeSmall(), slots.takeSmall(), slots.takeSmall()];
  assert.deepEqual(new Set(taken), new Set([0, 1, 2, 3]));
  assert.equal(slots.takeSmall(), -1);
  assert.equal(slots.inUse(), 4);
  const [run, cancelled, handed] = taken as [number, number, number];
  for (const slot of taken) {
    mounts.addSlot(3);
    slots.describe(slot, 3, 1000 + slot, 0);
  }
  assert.equal(slots.findQueued(1000 + cancelled, 0), cancelled);
  assert.equal(slots.timeOut(run), false, 'no lane has begun');
  assert.equal(slots.start(run), true);
  assert.equal(slots.cancel(run), false);
  assert.equal(slots.cancel(cancelled), true);
  assert.equal(slots.findQueued(1000 + cancelled, 0), -1);
  assert.equal(slots.start(cancelled), false);
  journal.cells[journal.itemAt] = handed + 1;
  assert.equal(slots.start(handed), true);
  assert.equal(slots.handOver(handed, SLOT_STATE.EXECUTING, 5, journal), true);
  assert.equal(journal.slot(), -1);
  assert.equal(slots.handedTo(handed), 5);
  const seen: number[] = [];
  slots.forEachHanded((slot) => seen.push(slot));
  assert.deepEqual(seen, [handed]);
  assert.equal(slots.requeue(handed), true);
  assert.equal(slots.requeue(handed), false);
  assert.equal(slots.state(handed), SLOT_STATE.QUEUED);
  // Main and the lane cannot both answer, whoever comes first.
  const [, , , raced] = taken as [number, number, number, number];
  assert.equal(slots.timeOut(run), true);
  assert.equal(slots.replying(run), false);
  assert.equal(slots.handOver(run, SLOT_STATE.EXECUTING, 5, journal), false);
  assert.equal(slots.start(raced), true);
  assert.equal(slots.replying(raced), true);
  assert.equal(slots.timeOut(raced), false);
  assert.equal(slots.countIn(SLOT_STATE.TIMED_OUT, SLOT_STATE.REPLYING), 2);
  slots.askForWake();
  for (const slot of taken) {
    journal.cells[journal.itemAt] = slot + 1;
    assert.equal(journal.slot(), slot);
    slots.free(slot, mounts, journal);
    assert.equal(journal.slot(), -1);
  }
  assert.equal(slots.takeWake(), true);
  assert.equal(slots.takeWake(), false);
  assert.equal(slots.inUse(), 0);
  assert.equal(mounts.slotsInUse(3), 0);
});

test('messages of slots do not overlap, and payloads of WRITE stand on a page', () => {
  const { slots } = freshTables({ smallSlots: 4 });
  const starts = [0, 1, 2, 3, 4, 5].map((slot) => slots.messageAt(slot));
  for (const at of starts) assert.equal((at + 80) % 4096, 0);
  for (let i = 1; i < 4; i++)
    assert.ok((starts[i] as number) - (starts[i - 1] as number) >= 4096 + 80);
  assert.ok((starts[5] as number) - (starts[4] as number) >= slots.largeMessageBytes());
});

test('a ring gives back what was put in, in order, and never more', () => {
  const capacity = 8;
  const ring = 2;
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (pushes) => {
      const rings = new WorkRings(
        new SharedArrayBuffer(WorkRings.byteLength(capacity, 1)),
        capacity,
        1,
        0,
      );
      const journal = new ThreadJournal(new SharedArrayBuffer(ThreadJournal.byteLength(8)), 2);
      const model: number[] = [];
      let next = 0;
      for (const isPush of pushes) {
        if (isPush) {
          const item = next % 3 === 0 ? ~next : next;
          next++;
          assert.equal(rings.push(ring, item), model.length < capacity);
          if (model.length < capacity) model.push(item);
        } else {
          journal.cells[journal.itemAt] = 0;
          const item = model.shift();
          assert.equal(rings.pop(ring, journal), item ?? WorkRings.EMPTY);
          assert.equal(journal.slot(), item !== undefined && item >= 0 ? item : -1);
          assert.equal(journal.closing(), item !== undefined && item < 0 ? ~item : -1);
        }
        assert.equal(rings.depth(ring), model.length);
        assert.equal(rings.depth(ring + 1), 0);
      }
    }),
    { numRuns: 200 },
  );
});

test('a journal keeps what a request holds, and forgets it when told', () => {
  const buffer = new SharedArrayBuffer(ThreadJournal.byteLength(8));
  const journal = new ThreadJournal(buffer, 2);
  const neighbour = new ThreadJournal(buffer, 3);
  for (const fd of [4, 0, 9]) journal.noteFd(fd);
  journal.dropFd(4);
  assert.equal(journal.hasFd(0), true);
  assert.deepEqual([journal.takeFd(), journal.takeFd(), journal.takeFd()].sort(), [-1, 0, 9]);
  journal.notePin(5);
  journal.notePin(5);
  journal.dropPin(5);
  assert.deepEqual([journal.takePin(), journal.takePin()], [5, 0]);
  journal.effectLookup(7, 8);
  journal.effectHandle(9);
  assert.equal(journal.effect(), EFFECT.LOOKUP | EFFECT.HANDLE);
  assert.deepEqual(
    [journal.effectSlot(), journal.effectEpoch(), journal.effectHandleIndex()],
    [7, 8, 9],
  );
  assert.equal(neighbour.effect(), EFFECT.NONE);
  assert.equal(neighbour.takeFd(), -1);
  journal.clear();
  assert.equal(journal.effect(), EFFECT.NONE);
  assert.equal(journal.group(), -1);
  assert.equal(journal.slot(), -1);
});

test('a journal notes everything there is to note at once', () => {
  const journal = new ThreadJournal(new SharedArrayBuffer(ThreadJournal.byteLength(8)), 2);
  journal.setThreadId(1000);
  assert.equal(journal.takeFd(), -1);
  assert.equal(journal.takePin(), 0);
  const fds = [11, 12, 13, 14, 15, 16, 17, 18];
  for (const fd of fds) journal.noteFd(fd);
  const pins = [21, 22, 23, 24, 25, 26, 27, 28];
  for (const pin of pins) journal.notePin(pin);
  for (const use of [31, 32]) journal.noteUse(use);
  journal.setGroup(41);
  journal.setDirectory(42);
  journal.setMountRef(43);
  journal.addReserved(44);
  journal.effectDirectoryEntries(45);
  assert.deepEqual(
    fds.map(() => journal.takeFd()),
    fds,
  );
  assert.deepEqual(
    pins.map(() => journal.takePin()),
    pins,
  );
  assert.deepEqual([journal.takeUse(), journal.takeUse()], [31, 32]);
  assert.equal(journal.threadId(), 1000);
  assert.equal(journal.group(), 41);
  assert.equal(journal.directory(), 42);
  assert.equal(journal.mountRef(), 43);
  assert.equal(journal.reserved(), 44);
  assert.equal(journal.effectBytes(), 45);
});
