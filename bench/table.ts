/**
 * Speaks to the inode table directly: how much memory an inode takes, what an operation costs on one
 * thread, and that memory does not grow when inodes come and go.
 */
import { Command, InvalidArgumentError } from 'commander';
import { adviseHugePages } from '../src/shared/memory/huge-pages.ts';
import { IDENTITY, InodeTable } from '../src/shared/memory/inode-table.ts';
import { S_IFREG } from '../src/shared/sys/constants.ts';
import { addressOf } from '../src/shared/sys/libc.ts';
import { parseCount } from './arguments.ts';
import { describeHost } from './host.ts';

interface TableOptions {
  readonly inodes: number;
  readonly cycles: number;
  readonly handleBytes: number;
}

/** The room that the 128 byte limit of the table speaks of. */
const HANDLE_ROOM_BYTES = 32;
const HANDLE_TYPE = 1;
const OWNER = 1;
/** A prime, so that steps of it visit every inode once, far from the one before. */
const STRIDE = 999_983;
const CYCLE_INODES = 1000;
/** What lookups in the large table are compared with. */
const FEW_INODES = 10_000;
/** Lookups that are timed one by one. */
const TIMED_LOOKUPS = 1_000_000;
const FLAT_LIMIT_BYTES = 16 << 20;

function parseHandleBytes(text: string): number {
  const sizeBytes = Number(text);
  if (Number.isInteger(sizeBytes) && sizeBytes >= 8 && sizeBytes <= HANDLE_ROOM_BYTES) {
    return sizeBytes;
  }
  throw new InvalidArgumentError(`a number from 8 to ${HANDLE_ROOM_BYTES}.`);
}

function parseOptions(): TableOptions {
  return new Command('table')
    .description('Measures the inode table by itself.')
    .option('--inodes <n>', 'inodes to insert', parseCount, 10_000_000)
    .option(
      '--cycles <n>',
      'lookups and forgets of inodes that come and go',
      parseCount,
      10_000_000,
    )
    .option('--handle-bytes <n>', 'bytes of each file handle', parseHandleBytes, HANDLE_ROOM_BYTES)
    .parse()
    .opts<TableOptions>();
}

function mib(sizeBytes: number): string {
  return `${(sizeBytes / 2 ** 20).toFixed(0)} MiB`;
}

function expect(actual: number, expected: number, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${actual}, expected ${expected}`);
}

/** @returns nanoseconds per operation */
function phase(name: string, operations: number, body: () => void): number {
  const startMs = performance.now();
  body();
  const ns = ((performance.now() - startMs) * 1e6) / operations;
  const { rss, heapUsed } = process.memoryUsage();
  console.log(
    `${name.padEnd(40)} ${operations.toString().padStart(9)} ops ${ns.toFixed(0).padStart(6)} ns/op` +
      `   RSS ${mib(rss).padStart(9)}   JS heap ${mib(heapUsed).padStart(7)}`,
  );
  return ns;
}

/** A table with inodes of file handles, and the slots they have. */
class FilledTable {
  readonly table: InodeTable;
  readonly inodes: number;
  readonly slots: Int32Array;
  readonly #identity = new Int32Array(IDENTITY.HANDLE + HANDLE_ROOM_BYTES / 4);

  constructor(inodes: number, handleBytes: number) {
    const geometry = { capacity: inodes + 1, handleRoomBytes: HANDLE_ROOM_BYTES };
    const memory = new SharedArrayBuffer(InodeTable.byteLength(geometry));
    adviseHugePages(memory);
    const words = new Uint8Array(memory, 0, 8);
    this.table = new InodeTable(memory, geometry, OWNER, addressOf(words));
    this.inodes = inodes;
    this.slots = new Int32Array(inodes).fill(-1);
    const identity = this.#identity;
    identity[IDENTITY.MOUNT] = 1;
    identity[IDENTITY.TYPE] = S_IFREG;
    identity[IDENTITY.HANDLE_BYTES] = handleBytes;
    identity[IDENTITY.HANDLE_TYPE] = HANDLE_TYPE;
    this.table.setRoot(this.identify(inodes));
  }

  identify(file: number): Int32Array {
    this.#identity[IDENTITY.INO_LO] = file;
    this.#identity[IDENTITY.HANDLE] = file;
    return this.#identity;
  }

  insertAll(): void {
    for (let file = 0; file < this.inodes; file++) {
      this.slots[file] = this.table.lookup(this.identify(file));
      if (!this.table.inserted) throw new Error(`file ${file} was there before it was inserted`);
    }
  }

  /** What the loops below cost without the table: the identity, the step, and the driver's own array. */
  visitFar(lookups: number): void {
    for (let step = 0; step < lookups; step++) {
      const file = (step * STRIDE) % this.inodes;
      expect(this.identify(file)[IDENTITY.INO_LO], file, 'file');
      if (this.slots[file] < 0) throw new Error(`file ${file} has no slot`);
    }
  }

  /** Nanoseconds of single lookups, sorted; the clock is in them. */
  timeFar(lookups: number): Float64Array {
    const ns = new Float64Array(lookups);
    for (let step = 0; step < lookups; step++) {
      const file = (step * STRIDE) % this.inodes;
      const identity = this.identify(file);
      const startMs = performance.now();
      const slot = this.table.lookup(identity);
      ns[step] = (performance.now() - startMs) * 1e6;
      expect(slot, this.slots[file], 'slot of a file');
    }
    return ns.sort();
  }

  /** Each far in memory from the one before. */
  lookupFar(lookups: number): void {
    for (let step = 0; step < lookups; step++) {
      const file = (step * STRIDE) % this.inodes;
      expect(this.table.lookup(this.identify(file)), this.slots[file], 'slot of a file');
    }
  }
}

/** What a lookup takes where there are few inodes. */
function lookupAmongFew(lookups: number, handleBytes: number): LookupCost {
  const few = new FilledTable(FEW_INODES, handleBytes);
  few.insertAll();
  return lookupCost(few, lookups, `lookup among ${FEW_INODES} inodes`);
}

interface LookupCost {
  readonly ns: number;
  /** Without what the driver takes for itself. */
  readonly netNs: number;
}

function lookupCost(filled: FilledTable, lookups: number, name: string): LookupCost {
  const ownNs = phase('the driver alone', lookups, () => filled.visitFar(lookups));
  const ns = phase(name, lookups, () => filled.lookupFar(lookups));
  const timed = filled.timeFar(Math.min(lookups, TIMED_LOOKUPS));
  const at = (share: number): string => timed[Math.floor(timed.length * share)].toFixed(0);
  console.log(
    `  ${(ns - ownNs).toFixed(0)} ns net of the driver; singly, with the clock: ` +
      `p50 ${at(0.5)} ns, p99 ${at(0.99)} ns`,
  );
  return { ns, netNs: ns - ownNs };
}

function ratio(many: number, few: number): string {
  return `x${(many / few).toFixed(2)}`;
}

function run({ inodes, cycles, handleBytes }: TableOptions): void {
  const geometry = { capacity: inodes + 1, handleRoomBytes: HANDLE_ROOM_BYTES };
  const sizeBytes = InodeTable.byteLength(geometry);
  console.log(
    `${inodes} inodes, file handles of ${handleBytes} bytes: ${mib(sizeBytes)} of shared memory, ` +
      `${(sizeBytes / inodes).toFixed(1)} bytes per inode\n`,
  );
  const few = lookupAmongFew(inodes, handleBytes);
  const filled = new FilledTable(inodes, handleBytes);
  const { table, slots } = filled;
  phase('insert', inodes, () => filled.insertAll());
  expect(table.count(), inodes + 1, 'live inodes after the inserts');
  const many = lookupCost(filled, inodes, 'lookup, far from the one before');
  const timed = Math.min(inodes, TIMED_LOOKUPS);
  console.log(
    `  ${ratio(many.ns, few.ns)} of a lookup among ${FEW_INODES} inodes, ` +
      `${ratio(many.netNs, few.netNs)} net of the driver`,
  );
  phase('resolve a nodeid', inodes, () => {
    for (let step = 0; step < inodes; step++) {
      const slot = slots[(step * STRIDE) % inodes];
      expect(table.resolve(slot, 0), slot, 'resolved slot');
    }
  });
  phase('forget of all its lookups', inodes, () => {
    for (let step = 0; step < inodes; step++) {
      const slot = slots[(step * STRIDE) % inodes];
      if (!table.forget(slot, 0, step < timed ? 3 : 2))
        throw new Error('an inode outlived its forget');
    }
  });
  expect(table.count(), 1, 'live inodes after the forgets');
  comeAndGo(filled, cycles);
}

/** Inodes that are looked up and forgotten again take no more memory with time. */
function comeAndGo(filled: FilledTable, cycles: number): void {
  const { table } = filled;
  const rssBefore = process.memoryUsage.rss();
  phase(`lookup and forget, over ${CYCLE_INODES} files`, cycles, () => {
    for (let cycle = 0; cycle < cycles; cycle++) {
      const slot = table.lookup(filled.identify(cycle % CYCLE_INODES));
      if (!table.forget(slot, table.epoch(slot), 1))
        throw new Error('an inode outlived its forget');
    }
  });
  expect(table.count(), 1, 'live inodes after the cycles');
  const growthBytes = process.memoryUsage.rss() - rssBefore;
  if (growthBytes > FLAT_LIMIT_BYTES) throw new Error(`RSS grew by ${mib(growthBytes)} meanwhile`);
}

const host = describeHost();
console.log(
  `${host.date}  ${host.cpuCount} x ${host.cpu}, load ${host.load}  Linux ${host.kernel}  ` +
    `Node ${host.node}  one thread`,
);
try {
  run(parseOptions());
} catch (error) {
  console.error(`table: ${(error as Error).message}`);
  process.exitCode = 1;
}
