/** A program for worker threads: one side of each stress test of the shared tables. */
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { lockCell, unlockCell } from '../../src/shared/memory/lock.ts';
import type { SharedMemory } from '../../src/shared/memory/shared-memory.ts';
import { WorkRings } from '../../src/shared/memory/work-rings.ts';
import { close, dup } from '../../src/shared/sys/libc.ts';
import { endRemoval, identityOf, tablesOf } from './tables.ts';

export type StressTask =
  | {
      readonly kind: 'inodes';
      readonly memory: SharedMemory;
      readonly thread: number;
      readonly files: number;
      readonly rounds: number;
      readonly nullFd: number;
    }
  | {
      readonly kind: 'lock';
      readonly cells: Int32Array;
      readonly thread: number;
      readonly rounds: number;
    }
  | {
      readonly kind: 'backings';
      readonly memory: SharedMemory;
      readonly thread: number;
      readonly files: number;
      readonly rounds: number;
    }
  | { readonly kind: 'die-locked'; readonly cells: Int32Array; readonly thread: number }
  | {
      readonly kind: 'rings';
      readonly memory: SharedMemory;
      readonly thread: number;
      readonly seen: Int32Array;
      readonly last: number;
    };

/** A small generator of its own for each thread, so that a run can be repeated. */
function randomOf(seed: number): (limit: number) => number {
  let state = seed * 2654435761;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % limit;
  };
}

interface Taken {
  readonly slot: number;
  readonly epoch: number;
}

/** Looks up, caches descriptors, pins, holds and forgets; gives all back at the end. */
function stressInodes(task: Extract<StressTask, { kind: 'inodes' }>): string {
  const tables = tablesOf(task.memory, task.thread);
  const { inodes, fds } = tables;
  const random = randomOf(task.thread);
  const identity = new Int32Array(64);
  const mine: Taken[] = [];
  const forget = (at: number): void => {
    const { slot, epoch } = mine[at] as Taken;
    mine[at] = mine[mine.length - 1] as Taken;
    mine.pop();
    if (inodes.forget(slot, epoch, 1)) endRemoval(tables);
  };
  for (let i = 0; i < task.rounds; i++) {
    const file = { mount: 0, ino: random(task.files), handle: 0 };
    identityOf(file, identity);
    if (random(4) === 0) {
      const held = inodes.holdAndPin(identity);
      if (held > 0) {
        inodes.dropHold(held);
        if (inodes.unpin(held)) endRemoval(tables);
      }
    }
    const known = random(2) === 0 ? inodes.lookupOpen(identity) : -1;
    const slot = known > 0 ? known : inodes.lookup(identity);
    if (slot < 0) return `the table is full at round ${i}`;
    const epoch = inodes.epoch(slot);
    if (inodes.resolve(slot, epoch) !== slot) return `round ${i}: a lookup does not hold its inode`;
    if (inodes.inoLo(slot) !== file.ino) return `round ${i}: ${inodes.inoLo(slot)} for ${file.ino}`;
    mine.push({ slot, epoch });
    inodes.pin(slot);
    while (inodes.isLocked(slot));
    if (inodes.fd(slot) < 0 && fds.reserve()) {
      const fd = dup(task.nullFd);
      if (fd < 0) return `round ${i}: dup failed ${fd}`;
      if (inodes.installFd(slot, fd)) fds.enter(slot);
      else {
        fds.release();
        close(fd);
      }
    }
    if (inodes.unpin(slot)) endRemoval(tables);
    if (fds.used() > fds.budget) return `round ${i}: ${fds.used()} descriptors of ${fds.budget}`;
    while (mine.length > random(20)) forget(random(mine.length));
  }
  while (mine.length > 0) forget(0);
  return 'ok';
}

/** Adds to a plain cell under the lock: a second holder would lose an addition. */
function stressLock({ cells, thread, rounds }: Extract<StressTask, { kind: 'lock' }>): string {
  for (let i = 0; i < rounds; i++) {
    lockCell(cells, 0, thread);
    const seen = cells[1] as number;
    for (let spin = i % 7; spin > 0; spin--) cells[2] = spin;
    cells[1] = seen + 1;
    unlockCell(cells, 0);
  }
  return 'ok';
}

/** Opens and closes files; each id that is not kept has to be given back by exactly one thread. */
function stressBackings(task: Extract<StressTask, { kind: 'backings' }>): string {
  const { backings, journal } = tablesOf(task.memory, task.thread);
  const random = randomOf(task.thread);
  const mine: number[] = [];
  // Ids of this thread alone: what leave() returns says whose id the table had.
  let balance = 0;
  for (let i = 1; i <= task.rounds; i++) {
    const nodeLo = 1 + random(task.files);
    let index = backings.join(nodeLo, 5, journal);
    if (index === 0) {
      const id = task.thread * 0x1000000 + i;
      index = backings.enter(nodeLo, 5, id, journal);
      if (index === 0) return `round ${i}: the table is full`;
      if (backings.id(index) === id) balance++;
    }
    if (backings.id(index) === 0) return `round ${i}: an entry in use has no id`;
    journal.dropBacking();
    mine.push(index);
    while (mine.length > random(6)) if (backings.leave(mine.pop() as number) > 0) balance--;
  }
  for (const index of mine) if (backings.leave(index) > 0) balance--;
  return `balance ${balance}`;
}

/** Sleeps and takes as a lane does, and counts each item it got. */
function stressRings(task: Extract<StressTask, { kind: 'rings' }>): string {
  const { rings, journal } = tablesOf(task.memory, task.thread);
  for (;;) {
    const item = rings.pop(0, journal);
    if (item !== WorkRings.EMPTY) {
      journal.cells[journal.itemAt] = 0;
      if (item === task.last) return 'ok';
      Atomics.add(task.seen, item, 1);
      continue;
    }
    journal.announceSleep();
    if (rings.depth(0) > 0) {
      journal.announceRunning();
      continue;
    }
    const sleptMs = performance.now();
    journal.sleep(20_000);
    if (performance.now() - sleptMs > 19_000) return 'a wake-up was lost';
    journal.announceRunning();
  }
}

function run(task: StressTask): string {
  switch (task.kind) {
    case 'inodes':
      return stressInodes(task);
    case 'lock':
      return stressLock(task);
    case 'rings':
      return stressRings(task);
    case 'backings':
      return stressBackings(task);
    case 'die-locked':
      lockCell(task.cells, 0, task.thread);
      return basename(readlinkSync('/proc/thread-self'));
  }
}

// Only when started as a worker: the type is imported by the tests.
if (parentPort !== null) parentPort.postMessage(run(workerData as StressTask));
