/**
 * All memory that threads share, made once at the start by main and handed to every lane. The kernel
 * commits the pages of a SharedArrayBuffer when they are touched, so room that is not used is free.
 */
import { PAGE_SIZE } from '../sys/constants.ts';
import { addressOf } from '../sys/libc.ts';
import { BackingFiles } from './backing-files.ts';
import { FdCache } from './fd-cache.ts';
import { HandleTable } from './handle-table.ts';
import { adviseHugePages } from './huge-pages.ts';
import { InodeTable, type InodeTableGeometry } from './inode-table.ts';
import { LockOwners } from './lock-owners.ts';
import { MountTable } from './mount-table.ts';
import { Receiver } from './receiver.ts';
import { MESSAGE_AT, RequestSlots, type SlotGeometry } from './request-slots.ts';
import { RingEntries, type RingGeometry } from './ring-entries.ts';
import { StatsBlock } from './stats-block.ts';
import { queueThread, ThreadJournal, threadCount } from './thread-journal.ts';
import { WorkRings } from './work-rings.ts';

export interface MemoryGeometry {
  readonly inodes: InodeTableGeometry;
  readonly slots: SlotGeometry;
  readonly ringEntries: RingGeometry;
  readonly handles: number;
  readonly fdBudget: number;
  /** Lanes that can ever be: the regular ones and the spare ones. */
  readonly maxLanes: number;
  /** Room for the body of the longest reply. */
  readonly maxReplyBytes: number;
  /** Room in each thread's area for a message that a layer makes; 0 without layers. */
  readonly layerMessageBytes: number;
  /** Cells of a thread's row of statistics. */
  readonly statCells: number;
  /** The one of them that counts lookups the kernel has not given back. */
  readonly lookupsStat: number;
  /** Bytes of state that belong to the file system above. */
  readonly extraBytes: number;
}

/** What travels to a lane: buffers are shared, not copied. */
export interface SharedMemory {
  readonly geometry: MemoryGeometry;
  readonly inodes: SharedArrayBuffer;
  readonly handles: SharedArrayBuffer;
  readonly backings: SharedArrayBuffer;
  readonly fds: SharedArrayBuffer;
  readonly locks: SharedArrayBuffer;
  readonly mounts: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  readonly rings: SharedArrayBuffer;
  readonly ringEntries: SharedArrayBuffer;
  readonly journal: SharedArrayBuffer;
  readonly stats: SharedArrayBuffer;
  readonly receiver: SharedArrayBuffer;
  readonly extra: SharedArrayBuffer;
  readonly requests: SharedArrayBuffer;
}

/** Scratch memory of each thread, in front of its reply buffer. */
export const SCRATCH_BYTES = 32 * PAGE_SIZE;

function threadAreaBytes(g: MemoryGeometry): number {
  return replyEnd(g) + Math.ceil(g.layerMessageBytes / PAGE_SIZE) * PAGE_SIZE;
}

function replyEnd(g: MemoryGeometry): number {
  return SCRATCH_BYTES + PAGE_SIZE + Math.ceil(g.maxReplyBytes / PAGE_SIZE) * PAGE_SIZE + PAGE_SIZE;
}

/** Room for every slot, and for as many descriptors to close. */
function ringCapacity(g: MemoryGeometry): number {
  const { smallSlots, largeSlots, ringThreads, ringSlotsPerThread } = g.slots;
  return 2 << (32 - Math.clz32(smallSlots + largeSlots + ringThreads * ringSlotsPerThread - 1));
}

/** Threads with a journal, statistics and an area of their own. */
function threadsOf(g: MemoryGeometry): number {
  return threadCount(g.maxLanes, g.ringEntries.threads);
}

/** Who receives from /dev/fuse fills the first rings, then each thread that serves queues. */
function producersOf(g: MemoryGeometry): number {
  return 1 + g.ringEntries.threads;
}

/** Bytes of the request memory in front of the entries of io_uring. */
function ownRequestBytes(g: MemoryGeometry): number {
  return RequestSlots.memoryBytes(g.slots) + threadsOf(g) * threadAreaBytes(g);
}

/** Bytes of the request memory: its offsets have to stay below 2^31. */
export function requestMemoryBytes(g: MemoryGeometry): number {
  return ownRequestBytes(g) + RingEntries.memoryBytes(g.ringEntries);
}

/** Makes the memory of one mount. */
export function allocateSharedMemory(g: MemoryGeometry): SharedMemory {
  const threads = threadsOf(g);
  const inodes = new SharedArrayBuffer(InodeTable.byteLength(g.inodes));
  adviseHugePages(inodes);
  const requests = new SharedArrayBuffer(PAGE_SIZE + requestMemoryBytes(g));
  const { largeSlots, largeSlotBytes } = g.slots;
  adviseHugePages(requests, RequestSlots.largeSlotsAt(g.slots), largeSlots * largeSlotBytes);
  return {
    geometry: g,
    inodes,
    handles: new SharedArrayBuffer(HandleTable.byteLength(g.handles)),
    backings: new SharedArrayBuffer(BackingFiles.byteLength(g.handles)),
    fds: new SharedArrayBuffer(FdCache.byteLength(g.fdBudget)),
    locks: new SharedArrayBuffer(LockOwners.byteLength(g.fdBudget)),
    mounts: new SharedArrayBuffer(MountTable.byteLength),
    slots: new SharedArrayBuffer(RequestSlots.byteLength(g.slots)),
    rings: new SharedArrayBuffer(WorkRings.byteLength(ringCapacity(g), producersOf(g))),
    ringEntries: new SharedArrayBuffer(RingEntries.byteLength(g.ringEntries)),
    journal: new SharedArrayBuffer(ThreadJournal.byteLength(threads)),
    stats: new SharedArrayBuffer(StatsBlock.byteLength(threads, g.statCells)),
    receiver: new SharedArrayBuffer(Receiver.byteLength),
    extra: new SharedArrayBuffer(g.extraBytes),
    requests,
  };
}

/**
 * Request memory as one thread sees it: slots, then an area for each thread. Offsets count from a
 * page's start, because a SharedArrayBuffer itself does not start on one.
 */
export class RequestMemory {
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  /** Address of offset 0. */
  readonly address: number;
  /** This thread's scratch memory. */
  readonly scratchAt: number;
  /** This thread's reply buffer: its body, 16 bytes in, starts on a page. */
  readonly replyAt: number;
  /** Room for a message that a layer makes; the payload of a WRITE stands on a page there, too. */
  readonly layerMessageAt: number;

  constructor(memory: SharedMemory, thread: number) {
    const g = memory.geometry;
    const start = addressOf(new Uint8Array(memory.requests));
    const origin = (PAGE_SIZE - (start % PAGE_SIZE)) % PAGE_SIZE;
    const bytes = memory.requests.byteLength - PAGE_SIZE;
    this.address = start + origin;
    this.u8 = new Uint8Array(memory.requests, origin, bytes);
    this.u32 = new Uint32Array(memory.requests, origin, bytes >> 2);
    this.i32 = new Int32Array(memory.requests, origin, bytes >> 2);
    this.scratchAt = RequestSlots.memoryBytes(g.slots) + thread * threadAreaBytes(g);
    this.replyAt = this.scratchAt + SCRATCH_BYTES + PAGE_SIZE - 16;
    this.layerMessageAt = this.scratchAt + replyEnd(g) + MESSAGE_AT;
  }
}

/** The tables over that memory as one thread uses them. */
export interface ThreadTables {
  readonly thread: number;
  readonly maxLanes: number;
  readonly inodes: InodeTable;
  readonly handles: HandleTable;
  readonly backings: BackingFiles;
  readonly fds: FdCache;
  readonly locks: LockOwners;
  readonly mounts: MountTable;
  readonly slots: RequestSlots;
  readonly rings: WorkRings;
  readonly entries: RingEntries;
  readonly journal: ThreadJournal;
  readonly stats: StatsBlock;
  readonly requests: RequestMemory;
}

export interface TableHooks {
  /** An inode was removed by an eviction or an unpin: see InodeTable.removedFd. */
  onInodeRemoved(): void;
  /** A handle's descriptor is to be closed, and its open taken back from its backing file. */
  onHandleFree(fd: number, backing: number): void;
}

/** Opens the tables for the calling thread. */
export function openTables(memory: SharedMemory, thread: number, hooks: TableHooks): ThreadTables {
  const g = memory.geometry;
  const inodesAddress = addressOf(new Uint8Array(memory.inodes, 0, 8));
  const inodes = new InodeTable(memory.inodes, g.inodes, thread, inodesAddress);
  const journal = new ThreadJournal(memory.journal, thread);
  inodes.noteLookupsIn(journal);
  const stats = new StatsBlock(memory.stats, thread, threadsOf(g), g.statCells);
  inodes.countLookupsIn(stats.cells, stats.at + g.lookupsStat);
  return {
    thread,
    maxLanes: g.maxLanes,
    inodes,
    handles: new HandleTable(memory.handles, g.handles, thread, (fd, backing) =>
      hooks.onHandleFree(fd, backing),
    ),
    backings: new BackingFiles(memory.backings, g.handles, thread),
    fds: new FdCache(memory.fds, g.fdBudget, thread, inodes, () => hooks.onInodeRemoved()),
    locks: new LockOwners(memory.locks, g.fdBudget, thread),
    mounts: new MountTable(memory.mounts, thread),
    slots: new RequestSlots(memory.slots, g.slots),
    rings: new WorkRings(
      memory.rings,
      ringCapacity(g),
      producersOf(g),
      Math.max(0, thread - queueThread(g.maxLanes, 0) + 1),
    ),
    entries: new RingEntries(memory.ringEntries, g.ringEntries, ownRequestBytes(g)),
    journal,
    stats,
    requests: new RequestMemory(memory, thread),
  };
}
