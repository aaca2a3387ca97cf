/** The waits alone, with lanes that are played by the test. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { type LockWait, LockWaits } from '../../src/main/dispatch/lock-waits.ts';
import { LOCK_ROUNDS_PER_MOUNT, LOCK_TRY_LOST_MS } from '../../src/main/dispatch/policy.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { LK_IN } from '../../src/shared/abi/structs.ts';
import { F_RDLCK, F_WRLCK } from '../../src/shared/sys/constants.ts';
import { defer } from '../harness/cleanup.ts';
import { message, struct } from '../rules/messages.ts';

const TIME_LIMIT = { timeout: 30_000 };
const LOOK_MS = 5;
const WHOLE = { start: 0n, end: 0x7fffffffffffffffn };

interface Stage {
  readonly waits: LockWaits;
  /** What lanes got, in order. */
  readonly tried: LockWait[];
  /** Whether there is room to try. */
  hasRoom: boolean;
  isUnderWay: boolean;
  count: number;
}

function stage(limit?: number): Stage {
  const tried: LockWait[] = [];
  const made: Stage = {
    tried,
    hasRoom: true,
    isUnderWay: true,
    count: 0,
    waits: new LockWaits(
      {
        tryAgain: (wait) => {
          if (made.hasRoom) tried.push(wait);
          return made.hasRoom;
        },
        isUnderWay: () => made.isUnderWay,
        onCount: (count) => {
          made.count = count;
        },
      },
      limit,
    ),
  };
  defer(async () => made.waits.clear());
  return made;
}

/** A round that was asked for has begun by then, however busy the machine is: immediates have an order. */
async function begun(): Promise<void> {
  await nextTurn();
}

let owners = 0n;

function setlkw(inode: number, type: number, range = WHOLE): Buffer {
  return message(OP.SETLKW, inode, struct(LK_IN, { owner: ++owners, type, ...range }));
}

function add({ waits }: Stage, request: Buffer): void {
  assert.equal(waits.add(request, 0, 0), 'waits');
}

/** A lane answers what it got last, or gives it back. */
function lane(s: Stage, isGranted: boolean): void {
  const wait = s.tried.at(-1) as LockWait;
  if (isGranted) s.waits.answered(wait.uniqueLo, wait.uniqueHi, true);
  else assert.equal(s.waits.add(wait.message, 0, 0), 'waits');
}

function interrupt(s: Stage, request: Buffer): LockWait | undefined {
  return s.waits.interrupt(request.readInt32LE(8), request.readInt32LE(12));
}

suite('waits for locks', () => {
  test('are tried one after the other, in the order they came', TIME_LIMIT, async () => {
    const s = stage();
    const requests = [0, 1, 2].map(() => setlkw(7, F_RDLCK));
    for (const request of requests) add(s, request);
    assert.equal(s.count, 3);
    s.waits.unlocked(7);
    assert.equal(s.tried.length, 0, 'main may be in the middle of a request');
    await begun();
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(s.tried.at(-1)?.message, requests[i]);
      assert.equal(s.tried.length, i + 1);
      lane(s, true);
    }
    assert.equal(s.count, 0);
  });

  test('an unlock costs two tries, however many wait for the same', TIME_LIMIT, async () => {
    const s = stage();
    for (let i = 0; i < 1000; i++) add(s, setlkw(7, F_WRLCK));
    s.waits.unlocked(7);
    await begun();
    lane(s, true);
    assert.deepEqual([s.tried.length, s.count], [1, 999], 'others cannot have what he has');
    s.waits.unlocked(7);
    await begun();
    lane(s, false);
    // One more is tried whatever the first met: he may hold the lock himself.
    lane(s, false);
    assert.equal(s.tried.length, 3);
    assert.equal(s.count, 999);
  });

  test('who is left out comes by turns all the same', TIME_LIMIT, async () => {
    const s = stage();
    const requests = [0, 1, 2, 3].map(() => setlkw(7, F_WRLCK));
    for (const request of requests) add(s, request);
    for (let turn = 0; turn < 4; turn++) {
      s.waits.unlocked(7);
      await begun();
      lane(s, false);
      if (turn > 0) lane(s, false);
    }
    const met = new Set(s.tried.map((wait) => wait.uniqueLo));
    assert.equal(met.size, 4);
  });

  test('other ranges have their try, behind one that fails', TIME_LIMIT, async () => {
    const s = stage();
    add(s, setlkw(7, F_WRLCK, { start: 0n, end: 9n }));
    add(s, setlkw(7, F_WRLCK, { start: 5n, end: 14n }));
    add(s, setlkw(7, F_RDLCK, { start: 0n, end: 9n }));
    add(s, setlkw(7, F_WRLCK, { start: 0n, end: 20n }));
    s.waits.unlocked(7);
    await begun();
    for (let i = 0; i < 3; i++) lane(s, false);
    assert.equal(s.tried.length, 3, 'the last asks for all that the first could not have');
  });

  test('are polled when nobody tells of an unlock', TIME_LIMIT, async () => {
    const s = stage();
    add(s, setlkw(7, F_WRLCK));
    for (let polls = 1; polls <= 4; polls++) {
      while (s.tried.length < polls) await sleep(LOOK_MS);
      lane(s, false);
    }
    lane(s, true);
    assert.equal(s.count, 0);
  });

  test('an unlock during a round makes another one', TIME_LIMIT, async () => {
    const s = stage();
    add(s, setlkw(7, F_WRLCK));
    s.waits.unlocked(7);
    await begun();
    s.waits.unlocked(7);
    lane(s, false);
    await begun();
    assert.equal(s.tried.length, 2);
  });

  test(
    'a signal ends a wait; one that is tried ends when the lane returns',
    TIME_LIMIT,
    async () => {
      const s = stage();
      const [first, second] = [setlkw(7, F_WRLCK), setlkw(7, F_WRLCK)];
      add(s, first);
      add(s, second);
      s.waits.unlocked(7);
      await begun();
      assert.deepEqual(interrupt(s, second)?.message, second);
      assert.equal(interrupt(s, first), undefined);
      assert.equal(s.waits.add(first, 0, 0), 'interrupted');
      assert.equal(s.count, 0);
      // One whose first try a lane is at.
      const third = setlkw(7, F_WRLCK);
      assert.equal(interrupt(s, third), undefined);
      assert.equal(s.waits.add(third, 0, 0), 'interrupted');
      assert.equal(s.waits.add(third, 0, 0), 'waits');
    },
  );

  test('a signal for what nobody has is forgotten', TIME_LIMIT, async () => {
    const s = stage();
    s.isUnderWay = false;
    const request = setlkw(7, F_WRLCK);
    assert.equal(interrupt(s, request), undefined);
    assert.equal(s.waits.add(request, 0, 0), 'waits');
  });

  test('there is a limit', TIME_LIMIT, async () => {
    const s = stage(2);
    add(s, setlkw(7, F_WRLCK));
    add(s, setlkw(8, F_WRLCK));
    assert.equal(s.waits.add(setlkw(9, F_WRLCK), 0, 0), 'tooMany');
    assert.equal(s.count, 2);
  });

  test('few inodes of a mount are tried at a time', TIME_LIMIT, async () => {
    const s = stage();
    const inodes = Array.from({ length: 3 * LOCK_ROUNDS_PER_MOUNT }, (_, i) => 10 + i);
    for (const inode of inodes) add(s, setlkw(inode, F_WRLCK));
    for (const inode of inodes) s.waits.unlocked(inode);
    await begun();
    assert.equal(s.tried.length, LOCK_ROUNDS_PER_MOUNT);
    for (const wait of [...s.tried]) s.waits.answered(wait.uniqueLo, wait.uniqueHi, true);
    while (s.tried.length < 2 * LOCK_ROUNDS_PER_MOUNT) await sleep(LOOK_MS);
    assert.equal(s.tried.length, 2 * LOCK_ROUNDS_PER_MOUNT);
  });

  test('without room they wait on', TIME_LIMIT, async () => {
    const s = stage();
    s.hasRoom = false;
    add(s, setlkw(7, F_WRLCK));
    s.waits.unlocked(7);
    await sleep(100);
    assert.equal(s.tried.length, 0);
    s.hasRoom = true;
    while (s.tried.length === 0) await sleep(LOOK_MS);
    lane(s, true);
    assert.equal(s.count, 0);
  });

  test('a try whose lane died is not waited for', TIME_LIMIT, async () => {
    const s = stage();
    add(s, setlkw(7, F_WRLCK));
    add(s, setlkw(7, F_WRLCK));
    s.waits.unlocked(7);
    await sleep(LOCK_TRY_LOST_MS + 500);
    assert.equal(s.tried.length, 1, 'a lane may take its time');
    s.isUnderWay = false;
    while (s.tried.length < 2) await sleep(LOOK_MS);
    assert.equal(s.count, 1);
  });
});
