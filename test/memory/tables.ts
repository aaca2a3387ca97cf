/** Tables of their own for a test, and identities to look up in them. */
import { IDENTITY } from '../../src/shared/memory/inode-table.ts';
import { NO_RINGS, type RingGeometry } from '../../src/shared/memory/ring-entries.ts';
import {
  allocateSharedMemory,
  type MemoryGeometry,
  openTables,
  type SharedMemory,
  type ThreadTables,
} from '../../src/shared/memory/shared-memory.ts';
import { close } from '../../src/shared/sys/libc.ts';

export const HANDLE_ROOM_BYTES = 16;
const S_IFREG = 0o100000;

export interface SmallGeometry {
  readonly inodes?: number;
  readonly fdBudget?: number;
  readonly handles?: number;
  readonly smallSlots?: number;
  readonly lanes?: number;
  readonly ringEntries?: RingGeometry;
}

export function makeMemory(given: SmallGeometry = {}): SharedMemory {
  const geometry: MemoryGeometry = {
    inodes: { capacity: given.inodes ?? 1000, handleRoomBytes: HANDLE_ROOM_BYTES },
    slots: {
      smallSlots: given.smallSlots ?? 16,
      largeSlots: 2,
      largeSlotBytes: 1 << 16,
      ringThreads: given.ringEntries?.threads ?? 0,
      ringSlotsPerThread: 2 * (given.ringEntries?.entriesPerThread ?? 0),
    },
    ringEntries: given.ringEntries ?? NO_RINGS,
    handles: given.handles ?? 64,
    fdBudget: given.fdBudget ?? 64,
    maxLanes: given.lanes ?? 8,
    maxReplyBytes: 4096,
    layerMessageBytes: 0,
    statCells: 1,
    lookupsStat: 0,
    extraBytes: 64,
  };
  return allocateSharedMemory(geometry);
}

/** What a removal leaves to its caller, done as the file system does it. */
export function endRemoval({ inodes, fds }: ThreadTables): void {
  fds.leave(inodes.removedPlace, inodes.removedSlot);
  if (inodes.removedFd < 0) return;
  fds.release();
  close(inodes.removedFd);
}

/** The tables of one thread. */
export function tablesOf(memory: SharedMemory, thread: number): ThreadTables {
  const tables: ThreadTables = openTables(memory, thread, {
    onInodeRemoved: () => endRemoval(tables),
    onHandleFree: (fd) => close(fd),
  });
  return tables;
}

/** Tables of a thread, empty and ready. */
export function freshTables(given: SmallGeometry = {}, thread = 1): ThreadTables {
  const tables = tablesOf(makeMemory(given), thread);
  tables.inodes.clear();
  tables.slots.initialise();
  return tables;
}

/** A host file as the tests think of it. */
export interface FakeFile {
  readonly mount: number;
  readonly ino: number;
  /** Tells apart two files that had the same number one after the other; undefined: no handles here. */
  readonly handle: number | undefined;
}

/** The identity of a file: the words of IDENTITY. */
export function identityOf(file: FakeFile, into = new Int32Array(64)): Int32Array {
  into.fill(0);
  into[IDENTITY.MOUNT] = file.mount;
  into[IDENTITY.DEV] = 8 + file.mount;
  into[IDENTITY.INO_LO] = file.ino;
  into[IDENTITY.TYPE] = S_IFREG;
  if (file.handle !== undefined) {
    into[IDENTITY.HANDLE_BYTES] = 12;
    into[IDENTITY.HANDLE_TYPE] = 1;
    into[IDENTITY.HANDLE] = file.ino;
    into[IDENTITY.HANDLE + 1] = file.handle;
  }
  return into;
}
