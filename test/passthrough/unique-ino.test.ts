import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import {
  DECODED,
  MAX_PAIR_ID,
  UNIQUE_INO_CELLS,
  UniqueInoGenerator,
} from '../../src/shared/passthrough/unique-ino.ts';

const U64_MAX = 2n ** 64n - 1n;
const MAX_HOST_INO = 2n ** 47n - 1n;

const high = (value: bigint) => Number(value >> 32n);
const low = (value: bigint) => Number(value & 0xffff_ffffn);
const joined = (hi: number, lo: number) => (BigInt(hi) << 32n) | BigInt(lo);

function freshState(): SharedArrayBuffer {
  return new SharedArrayBuffer(UniqueInoGenerator.byteLength);
}

/** The number of a host inode, or the negative result. */
function numberOf(generator: UniqueInoGenerator, ino: bigint, dev: bigint, mnt: bigint): bigint {
  const out = new Uint32Array(4);
  const result = generator.uniqueIno(
    high(dev),
    low(dev),
    high(mnt),
    low(mnt),
    high(ino),
    low(ino),
    out,
    1,
  );
  assert.deepEqual([out[0], out[3]], [0, 0], 'only the two cells asked for are written');
  if (result !== 0) assert.deepEqual([out[1], out[2]], [0, 0], 'an error writes nothing');
  return result === 0 ? joined(out[2], out[1]) : BigInt(result);
}

function decoded(generator: UniqueInoGenerator, unique: bigint) {
  const out = new Uint32Array(DECODED.CELLS + 2);
  const result = generator.decode(high(unique), low(unique), out, 1);
  assert.deepEqual([out[0], out[DECODED.CELLS + 1]], [0, 0]);
  if (result !== 0) return result;
  const at = (cell: number) => out[1 + cell];
  return {
    ino: joined(at(DECODED.inoHi), at(DECODED.inoLo)),
    dev: joined(at(DECODED.devHi), at(DECODED.devLo)),
    mnt: joined(at(DECODED.mntHi), at(DECODED.mntLo)),
    isVirtual: at(DECODED.isVirtual) === 1,
  };
}

const RACERS = 4;
/** A prime, so that every stride visits every pair. */
const RACE_PAIRS = 61;
const RACE_VIRTUALS = 5000;

/** One racing thread: every pair in an order of its own, then virtual numbers. */
function race(state: SharedArrayBuffer, gate: Int32Array, seed: number) {
  const generator = new UniqueInoGenerator(state, 0);
  Atomics.add(gate, 0, 1);
  while (Atomics.load(gate, 0) < RACERS);
  const numbers: string[] = [];
  for (let step = 0; step < RACE_PAIRS; step++) {
    const pair = BigInt((step * (2 * seed + 1) + seed) % RACE_PAIRS);
    numbers[Number(pair)] = String(numberOf(generator, 7n, pair, pair));
  }
  const virtuals: string[] = [];
  for (let step = 0; step < RACE_VIRTUALS; step++) {
    virtuals.push(String(numberOf(generator, U64_MAX, 0n, 0n) & MAX_HOST_INO));
  }
  return { numbers, virtuals };
}

function startRacer(state: SharedArrayBuffer, gate: Int32Array, seed: number) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { state, gate, seed } });
  return new Promise<ReturnType<typeof race>>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

if (isMainThread) {
  describe('UniqueInoGenerator', () => {
    it('keeps a small host number and adds the pair', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      assert.equal(numberOf(generator, 1n, 0n, 0n), 0x00800000000001n);
      assert.equal(numberOf(generator, 1n, 0n, 1n), 0x01000000000001n);
      assert.equal(numberOf(generator, 2n, 0n, 1n), 0x01000000000002n);
      assert.equal(numberOf(generator, MAX_HOST_INO, 0n, 1n), 0x017fffffffffffn);
    });

    it('counts virtual numbers for large host numbers, over all pairs', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      assert.equal(numberOf(generator, MAX_HOST_INO + 1n, U64_MAX, U64_MAX), 0x80800000000001n);
      assert.equal(numberOf(generator, MAX_HOST_INO + 2n, U64_MAX, U64_MAX), 0x80800000000002n);
      assert.equal(numberOf(generator, MAX_HOST_INO + 3n, U64_MAX, 0n), 0x81000000000003n);
      assert.equal(numberOf(generator, U64_MAX, U64_MAX, U64_MAX), 0x80800000000004n);
    });

    it('gives the same small number again, and a new virtual number every time', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      const first = numberOf(generator, 99n, 8n, 3n);
      numberOf(generator, 99n, 8n, 4n);
      assert.equal(numberOf(generator, 99n, 8n, 3n), first);
      const virtual = numberOf(generator, U64_MAX, 8n, 3n);
      assert.equal(numberOf(generator, U64_MAX, 8n, 3n), virtual + 1n);
    });

    it('tells apart pairs that differ in any one half, signed or not', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      const pairs: [bigint, bigint][] = [
        [0n, 0n],
        [1n, 0n],
        [1n << 32n, 0n],
        [0n, 1n],
        [0n, 1n << 32n],
        [0xffff_ffffn, 0n],
      ];
      const numbers = pairs.map(([dev, mnt]) => numberOf(generator, 5n, dev, mnt));
      assert.deepEqual(
        numbers.map((number) => number >> 47n),
        [1n, 2n, 3n, 4n, 5n, 6n],
      );
      const out = new Uint32Array(2);
      assert.equal(generator.uniqueIno(0, -1, 0, 0, 0, 5, out, 0), 0);
      assert.equal(joined(out[1], out[0]), numbers[5]);
    });

    it('refuses the 255th pair with EOVERFLOW and goes on serving the others', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      for (let pair = 1n; pair <= BigInt(MAX_PAIR_ID); pair++) {
        assert.equal(numberOf(generator, 1n, pair, 0n), (pair << 47n) | 1n);
      }
      assert.equal(numberOf(generator, 1n, 255n, 0n), BigInt(-ERRNO.EOVERFLOW));
      assert.equal(numberOf(generator, U64_MAX, 255n, 0n), BigInt(-ERRNO.EOVERFLOW));
      assert.equal(numberOf(generator, 1n, 254n, 0n), (254n << 47n) | 1n);
      assert.equal(numberOf(generator, U64_MAX, 254n, 0n) & MAX_HOST_INO, 1n);
    });

    it('carries the virtual counter over 31 and 32 bits', () => {
      const state = freshState();
      const cells = new Int32Array(state);
      const generator = new UniqueInoGenerator(state, 0);
      for (const last of [2n ** 31n - 2n, 2n ** 32n - 2n, 3n * 2n ** 31n - 2n]) {
        cells[UNIQUE_INO_CELLS.counterLow] = low(last);
        cells[UNIQUE_INO_CELLS.counterHalves] = Number(last >> 31n);
        for (let step = 1n; step <= 4n; step++) {
          assert.equal(numberOf(generator, U64_MAX, 0n, 0n) & MAX_HOST_INO, last + step);
        }
      }
    });

    it('says EOVERFLOW for good after the last virtual number', () => {
      const state = freshState();
      const cells = new Int32Array(state);
      cells[UNIQUE_INO_CELLS.counterLow] = low(MAX_HOST_INO - 1n);
      cells[UNIQUE_INO_CELLS.counterHalves] = Number(MAX_HOST_INO >> 31n);
      const generator = new UniqueInoGenerator(state, 0);
      assert.equal(numberOf(generator, U64_MAX, 0n, 0n), 0x80ffffffffffffn);
      for (let step = 0; step < 3; step++) {
        assert.equal(numberOf(generator, U64_MAX, 0n, 0n), BigInt(-ERRNO.EOVERFLOW));
      }
      assert.equal(numberOf(generator, 12n, 0n, 0n), 0x0080000000000cn);
    });

    it('decodes what it made', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      numberOf(generator, 1n, 0n, 0n);
      const dev = 0x8899_aabb_ccdd_eeffn;
      const mnt = 0xfedc_ba98_7654_3210n;
      const ino = 0x7abc_dead_beefn;
      assert.deepEqual(decoded(generator, numberOf(generator, ino, dev, mnt)), {
        ino,
        dev,
        mnt,
        isVirtual: false,
      });
      assert.deepEqual(decoded(generator, numberOf(generator, U64_MAX, dev, mnt)), {
        ino: 1n,
        dev,
        mnt,
        isVirtual: true,
      });
    });

    it('refuses to decode what it never made', () => {
      const generator = new UniqueInoGenerator(freshState(), 0);
      const made = numberOf(generator, 1n, 0n, 0n);
      assert.equal(decoded(generator, (2n ** 56n) | made), -ERRNO.EINVAL);
      assert.equal(decoded(generator, U64_MAX), -ERRNO.EINVAL);
      assert.equal(decoded(generator, 1n), -ERRNO.EINVAL, 'pair 0');
      assert.equal(decoded(generator, (2n << 47n) | 1n), -ERRNO.EINVAL, 'a pair not yet seen');
      assert.equal(decoded(generator, (255n << 47n) | 1n), -ERRNO.EINVAL, 'pair 255');
      assert.notEqual(decoded(generator, made), -ERRNO.EINVAL);
    });

    it('keeps its state in the given bytes, so that two instances agree', () => {
      const state = new SharedArrayBuffer(64 + UniqueInoGenerator.byteLength + 64);
      const one = new UniqueInoGenerator(state, 64);
      const two = new UniqueInoGenerator(state, 64);
      numberOf(one, 1n, 1n, 1n);
      assert.equal(numberOf(two, 1n, 2n, 2n), 0x01000000000001n);
      assert.equal(numberOf(one, 1n, 2n, 2n), 0x01000000000001n);
      numberOf(one, U64_MAX, 1n, 1n);
      assert.equal(numberOf(two, U64_MAX, 1n, 1n) & MAX_HOST_INO, 2n);
      const bytes = new Uint8Array(state);
      assert.ok(bytes.subarray(0, 64).every((byte) => byte === 0));
      assert.ok(bytes.subarray(64 + UniqueInoGenerator.byteLength).every((byte) => byte === 0));
    });

    it('gives one id to one pair and no virtual number twice under four threads', async () => {
      const state = freshState();
      const cells = new Int32Array(state);
      const start = 2n ** 31n - BigInt((RACERS * RACE_VIRTUALS) / 2);
      cells[UNIQUE_INO_CELLS.counterLow] = low(start);
      const gate = new Int32Array(new SharedArrayBuffer(4));
      const seeds = Array.from({ length: RACERS }, (_, seed) => seed);
      const results = await Promise.all(seeds.map((seed) => startRacer(state, gate, seed)));
      const [first] = results;
      for (const { numbers } of results) assert.deepEqual(numbers, first.numbers);
      const ids = new Set(first.numbers.map((number) => BigInt(number) >> 47n));
      assert.equal(ids.size, RACE_PAIRS);
      assert.deepEqual(
        [...ids].sort((a, b) => Number(a - b)),
        Array.from({ length: RACE_PAIRS }, (_, index) => BigInt(index + 1)),
      );
      const virtuals = results.flatMap((result) => result.virtuals.map(BigInt));
      const distinct = new Set(virtuals);
      assert.equal(distinct.size, RACERS * RACE_VIRTUALS);
      for (let step = 1; step <= RACERS * RACE_VIRTUALS; step++) {
        assert.ok(distinct.has(start + BigInt(step)));
      }
    });
  });
} else {
  const { state, gate, seed } = workerData;
  parentPort?.postMessage(race(state, gate, seed));
}
