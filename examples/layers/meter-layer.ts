/** Counts the bytes that each user reads and writes, in memory that all lanes and the program share. */
import type { LayerFactory } from 'sluicefs';

/** Users there is room for; those on top are counted together, in the last row. */
export const ROWS = 256;
const READ = 0;
const WRITTEN = 1;

/** What program and lanes share; made by newMeter(). */
export interface Meter {
  /** Uid + 1 of each row, 0 while it is free. Written once, by compare-and-swap, by any lane. */
  readonly uids: Int32Array;
  /** Bytes read and written, two for each row. Added to atomically by any lane. */
  readonly bytes: BigInt64Array;
}

export function newMeter(): Meter {
  return {
    uids: new Int32Array(new SharedArrayBuffer(4 * ROWS)),
    bytes: new BigInt64Array(new SharedArrayBuffer(8 * 2 * ROWS)),
  };
}

function rowOf({ uids }: Meter, uid: number): number {
  const key = (uid + 1) | 0;
  for (let row = 0; row < ROWS - 1; row++) {
    const found = Atomics.compareExchange(uids, row, 0, key);
    if (found === 0 || found === key) return row;
  }
  return ROWS - 1;
}

/** What has been counted so far, by uid. */
export function readMeter({ uids, bytes }: Meter): Map<number, { read: bigint; written: bigint }> {
  const byUid = new Map<number, { read: bigint; written: bigint }>();
  for (let row = 0; row < ROWS - 1 && Atomics.load(uids, row) !== 0; row++) {
    byUid.set((Atomics.load(uids, row) - 1) >>> 0, {
      read: Atomics.load(bytes, 2 * row + READ),
      written: Atomics.load(bytes, 2 * row + WRITTEN),
    });
  }
  return byUid;
}

const makeMeter: LayerFactory<Meter> = (meter) => {
  const count = (uid: number, what: number, bytes: number) => {
    Atomics.add(meter.bytes, 2 * rowOf(meter, uid) + what, BigInt(bytes));
  };
  return {
    name: 'meter',
    read(request, next) {
      const data = next.read(request);
      if (typeof data !== 'number') count(request.caller.uid, READ, data.length);
      return data;
    },
    write(request, next) {
      const written = next.write(request);
      if (written > 0) count(request.caller.uid, WRITTEN, written);
      return written;
    },
  };
};

export default makeMeter;
