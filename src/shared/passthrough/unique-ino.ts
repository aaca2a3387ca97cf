/**
 * The 56-bit inode numbers shown under `--use-host-ino`: one number space for several file systems
 * below one source, that keeps the host's own number readable in the low bits.
 *
 *     bit 55        the number is virtual: its low bits are a counter, not the host's number
 *     bits 47..54   the pair (device, mount id), 1..254 in order of first sight
 *     bits 0..46    the host's inode number, or the counter of virtual numbers
 *
 * The state lives in a SharedArrayBuffer and is shared by all threads, each with an instance of its
 * own. There is no lock: a thread that dies anywhere in here leaves nothing behind that another one
 * would wait for. Numbers of 64 bits travel as two unsigned halves.
 */
import { ERRNO } from '../abi/errno.ts';

/** Upper half of the largest host number that is shown as it is (2^47 - 1); the lower is all ones. */
export const MAX_HOST_INO_HI = 0x7fff;
/** Upper half of the largest number made here (2^56 - 1). */
export const MAX_UNIQUE_INO_HI = 0xff_ffff;
/** Pair ids run from 1 to this one: 0 and 255 are never given out. */
export const MAX_PAIR_ID = 254;

/** What `decode` writes, as cells relative to its `at`. */
export const DECODED = {
  inoLo: 0,
  inoHi: 1,
  devLo: 2,
  devHi: 3,
  mntLo: 4,
  mntHi: 5,
  isVirtual: 6,
  CELLS: 7,
} as const;

/**
 * The cells of the shared state, all 32 bits wide. A fresh state is all zeros.
 *
 * - `counterLow`: how many virtual numbers were given out, modulo 2^32. Only ever added to.
 * - `counterHalves`: the same count in units of 2^31, up to one behind. Only ever incremented.
 * - `recordsTaken`: pair records handed to threads. Only ever added to.
 * - `pairs[id]`: 0, or 1 + the index of the record of this pair id. Written once, by
 *   compare-and-swap from 0, and always the first free id.
 * - `records`: device and mount id, four cells each; owned by one thread until it is published in
 *   `pairs`, and never changed after.
 */
export const UNIQUE_INO_CELLS = {
  counterLow: 0,
  counterHalves: 1,
  recordsTaken: 2,
  pairs: 16,
  records: 16 + MAX_PAIR_ID + 2,
} as const;

const RECORD_CELLS = 4;
/** More than there are ids: a thread may keep one record that lost the race for an id. */
const RECORD_COUNT = 512;
const COUNTER_HALVES_LIMIT = 0x1_0000;
const VIRTUAL_FLAG_HI = 1 << 23;
const PAIR_SHIFT_HI = 15;

export class UniqueInoGenerator {
  /** Bytes of shared memory that the state takes. */
  static readonly byteLength = (UNIQUE_INO_CELLS.records + RECORD_COUNT * RECORD_CELLS) * 4;

  readonly #cells: Int32Array;
  /** A record taken by this instance whose pair was published by another thread first. */
  #spareRecord = -1;

  /** `byteOffset` is a multiple of 4, at the start of `byteLength` bytes that began as zeros. */
  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#cells = new Int32Array(buffer, byteOffset, UniqueInoGenerator.byteLength / 4);
  }

  /**
   * Writes the number of a host inode to `out[at]` (low half) and `out[at + 1]` (high half).
   *
   * A host number up to 2^47 - 1 always gives the same result. A larger one takes a new virtual
   * number at every call: the caller keeps it for as long as the inode lives.
   *
   * Returns 0, or `-EOVERFLOW` with `out` untouched: 254 pairs of device and mount id are known and
   * this is another one (or 512 threads died or hold a record, with the same effect for a new pair),
   * or 2^47 - 1 virtual numbers were given out.
   */
  uniqueIno(
    devHi: number,
    devLo: number,
    mntHi: number,
    mntLo: number,
    inoHi: number,
    inoLo: number,
    out: Uint32Array,
    at: number,
  ): number {
    const pairId = this.#pairId(devHi | 0, devLo | 0, mntHi | 0, mntLo | 0);
    if (pairId < 0) return pairId;
    if (inoHi >>> 0 > MAX_HOST_INO_HI) return this.#virtual(pairId, out, at);
    out[at] = inoLo;
    out[at + 1] = (pairId << PAIR_SHIFT_HI) | inoHi;
    return 0;
  }

  /**
   * Takes a number apart into `out` at the cells named by `DECODED`. `isVirtual` is 1 when the ino
   * cells hold the counter of virtual numbers and 0 when they hold the host's number.
   *
   * Returns 0, or `-EINVAL` with `out` untouched: above 56 bits, or of a pair that was never seen.
   */
  decode(hi: number, lo: number, out: Uint32Array, at: number): number {
    const high = hi >>> 0;
    if (high > MAX_UNIQUE_INO_HI) return -ERRNO.EINVAL;
    const pairId = (high >>> PAIR_SHIFT_HI) & 0xff;
    if (pairId === 0 || pairId > MAX_PAIR_ID) return -ERRNO.EINVAL;
    // Pairs with the compare-and-swap in #publish.
    const published = Atomics.load(this.#cells, UNIQUE_INO_CELLS.pairs + pairId);
    if (published === 0) return -ERRNO.EINVAL;
    const record = recordCell(published - 1);
    out[at + DECODED.inoLo] = lo;
    out[at + DECODED.inoHi] = high & MAX_HOST_INO_HI;
    out[at + DECODED.devLo] = this.#cells[record];
    out[at + DECODED.devHi] = this.#cells[record + 1];
    out[at + DECODED.mntLo] = this.#cells[record + 2];
    out[at + DECODED.mntHi] = this.#cells[record + 3];
    out[at + DECODED.isVirtual] = high & VIRTUAL_FLAG_HI ? 1 : 0;
    return 0;
  }

  /** The id of a pair, given out now if it is new; or `-EOVERFLOW`. */
  #pairId(devHi: number, devLo: number, mntHi: number, mntLo: number): number {
    for (let id = 1; id <= MAX_PAIR_ID; id++) {
      // Pairs with the compare-and-swap in #publish.
      let published = Atomics.load(this.#cells, UNIQUE_INO_CELLS.pairs + id);
      if (published === 0) {
        published = this.#publish(id, devHi, devLo, mntHi, mntLo);
        if (published < 0) return published;
      }
      const record = recordCell(published - 1);
      if (
        this.#cells[record] === devLo &&
        this.#cells[record + 1] === devHi &&
        this.#cells[record + 2] === mntLo &&
        this.#cells[record + 3] === mntHi
      ) {
        return id;
      }
    }
    return -ERRNO.EOVERFLOW;
  }

  /**
   * Gives a free id to a pair. Returns what `pairs[id]` holds afterwards, which is another pair when
   * another thread was first; or `-EOVERFLOW` when no record is left.
   */
  #publish(id: number, devHi: number, devLo: number, mntHi: number, mntLo: number): number {
    let index = this.#spareRecord;
    if (index < 0) {
      // Pairs with itself on the other threads: every record has one owner.
      index = Atomics.add(this.#cells, UNIQUE_INO_CELLS.recordsTaken, 1);
      if (index >>> 0 >= RECORD_COUNT) {
        Atomics.sub(this.#cells, UNIQUE_INO_CELLS.recordsTaken, 1);
        return -ERRNO.EOVERFLOW;
      }
    }
    const record = recordCell(index);
    this.#cells[record] = devLo;
    this.#cells[record + 1] = devHi;
    this.#cells[record + 2] = mntLo;
    this.#cells[record + 3] = mntHi;
    // Publishes the record: pairs with the loads in #pairId and decode.
    const before = Atomics.compareExchange(this.#cells, UNIQUE_INO_CELLS.pairs + id, 0, index + 1);
    this.#spareRecord = before === 0 ? -1 : index;
    return before === 0 ? index + 1 : before;
  }

  /**
   * A 47-bit counter in two cells without a lock. Bit 31 of the low cell is the parity of the halves,
   * and the halves were read before the low cell moved, so they are exact or one behind; that holds
   * as long as no thread sleeps through 2^31 calls of the others.
   */
  #virtual(pairId: number, out: Uint32Array, at: number): number {
    // Pairs with the compare-and-swap below: at least as many halves as are seen here have begun.
    let halves = Atomics.load(this.#cells, UNIQUE_INO_CELLS.counterHalves);
    if (halves >= COUNTER_HALVES_LIMIT) return -ERRNO.EOVERFLOW;
    // Pairs with itself on the other threads: every value has one owner.
    const low = (Atomics.add(this.#cells, UNIQUE_INO_CELLS.counterLow, 1) + 1) | 0;
    if (low >>> 31 !== (halves & 1)) {
      // Whoever sees the step first makes it: pairs with the load above.
      Atomics.compareExchange(this.#cells, UNIQUE_INO_CELLS.counterHalves, halves, halves + 1);
      halves++;
      if (halves >= COUNTER_HALVES_LIMIT) return -ERRNO.EOVERFLOW;
    }
    out[at] = low;
    out[at + 1] = VIRTUAL_FLAG_HI | (pairId << PAIR_SHIFT_HI) | (halves >>> 1);
    return 0;
  }
}

function recordCell(index: number): number {
  return UNIQUE_INO_CELLS.records + index * RECORD_CELLS;
}
