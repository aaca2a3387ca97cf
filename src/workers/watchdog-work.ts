/**
 * What the threads are at, read from their cells and from the requests in the slots. All of it is
 * written by others while we look: what was read counts only if it is still the same request after.
 */
import { readlinkSync } from 'node:fs';
import { OP, OPCODE_LIMIT, ROW_BY_OPCODE } from '../shared/abi/opcodes.ts';
import { IN_HEADER } from '../shared/abi/structs.ts';
import { SLOT_STATE } from '../shared/memory/request-slots.ts';
import type { SharedMemory, ThreadTables } from '../shared/memory/shared-memory.ts';
import {
  laneThread,
  MAIN_THREAD,
  queueThread,
  ThreadJournal,
} from '../shared/memory/thread-journal.ts';
import { STAT } from '../shared/stats-layout.ts';

/** An operation under way. */
export interface Work {
  /** Tells it from all others. */
  readonly key: string;
  /** The operation; `close` is a descriptor that is closed. */
  readonly op: string;
  readonly nodeid: number;
  /** `main`: also a thread that answers in its place. */
  readonly where: 'queue' | 'lane' | 'main';
  readonly lane?: number;
  /** The kernel's number of the thread that is at it; 0 while none is. */
  readonly threadId: number;
  /** Since when, microseconds of nowUs(). */
  readonly sinceUs: number;
  /** The process that asked; 0 where that is not known. */
  readonly callerPid: number;
  /** The name in the request, for operations on names. */
  readonly entry?: string;
}

const MAX_PATH_CHARS = 1024;

export class WorkUnderWay {
  readonly #tables: ThreadTables;
  readonly #journals: readonly ThreadJournal[];
  /** Of the threads that serve queues of io_uring. */
  readonly #queues: readonly ThreadJournal[];
  readonly #mainId = Number(readlinkSync('/proc/self'));

  constructor(tables: ThreadTables, memory: SharedMemory) {
    this.#tables = tables;
    this.#journals = Array.from(
      { length: memory.geometry.maxLanes },
      (_, lane) => new ThreadJournal(memory.journal, laneThread(lane)),
    );
    const { maxLanes, ringEntries } = memory.geometry;
    this.#queues = Array.from(
      { length: ringEntries.threads },
      (_, queue) => new ThreadJournal(memory.journal, queueThread(maxLanes, queue)),
    );
  }

  /** All that began before this moment and is not done. */
  olderThan(beforeUs: number): Work[] {
    const found: Work[] = [];
    const { slots } = this.#tables;
    if (slots.inUse() > 0) {
      slots.forEachUsed((slot, state) => {
        const work = this.#inSlot(slot, state, beforeUs);
        if (work !== undefined) found.push(work);
      });
    }
    const receivers = [this.onMain(), ...this.#queues.map((_, queue) => this.onQueue(queue))];
    for (const work of receivers) {
      if (work !== undefined && work.sinceUs < beforeUs) found.push(work);
    }
    for (const [lane] of this.#journals.entries()) {
      const close = this.#closeIn(lane);
      if (close !== undefined && close.sinceUs < beforeUs) found.push(close);
    }
    return found;
  }

  /** The request main is at. */
  onMain(): Work | undefined {
    return this.#inCall('main', MAIN_THREAD, this.#mainId);
  }

  /** The request that a thread that serves queues of io_uring is at. */
  onQueue(queue: number): Work | undefined {
    const thread = queueThread(this.#tables.maxLanes, queue);
    return this.#inCall(`queue ${queue}`, thread, this.#queues[queue]?.threadId() ?? 0);
  }

  #inCall(name: string, thread: number, threadId: number): Work | undefined {
    const busy = this.#busyOf(thread);
    if (busy === undefined) return undefined;
    const { sinceUs, opcode, nodeid } = busy;
    const key = `${name} ${sinceUs}`;
    return { key, op: nameOf(opcode), nodeid, where: 'main', threadId, sinceUs, callerPid: 0 };
  }

  /** The kernel's number of the main thread. */
  get mainId(): number {
    return this.#mainId;
  }

  /** The backing mount of an inode, -1 when that is not known. */
  mountOf(nodeid: number): number {
    const slot = this.#resolve(nodeid);
    return slot < 0 ? -1 : this.#tables.inodes.mount(slot);
  }

  /**
   * The host's path of an inode, as its cached descriptor tells it: the kernel knows it, and asks no
   * file system. undefined where there is no such descriptor.
   */
  pathOf(nodeid: number): string | undefined {
    const { inodes } = this.#tables;
    const slot = this.#resolve(nodeid);
    const fd = slot < 0 ? -1 : inodes.fd(slot);
    if (fd < 0) return undefined;
    let path: string;
    try {
      path = readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return undefined;
    }
    // The number may have been closed and be another file's by now.
    return inodes.fd(slot) === fd && this.#resolve(nodeid) === slot
      ? path.slice(0, MAX_PATH_CHARS)
      : undefined;
  }

  #resolve(nodeid: number): number {
    return this.#tables.inodes.resolve(nodeid | 0, Math.floor(nodeid / 2 ** 32));
  }

  #inSlot(slot: number, state: number, beforeUs: number): Work | undefined {
    const { slots, requests } = this.#tables;
    // What main has answered, and no lane has begun, is nobody's work any more.
    if (state === SLOT_STATE.CANCELLED) return undefined;
    const lo = slots.uniqueLo(slot);
    const hi = slots.uniqueHi(slot);
    const at = slots.messageAt(slot);
    const opcode = requests.u32[(at + IN_HEADER.opcode) >> 2] ?? 0;
    // A lock is waited for elsewhere: what counts is this try.
    const sinceUs = opcode === OP.SETLKW ? slots.queuedUs(slot) : slots.receivedUs(slot);
    if (sinceUs >= beforeUs) return undefined;
    const nodeWord = (at + IN_HEADER.nodeid) >> 2;
    const lane = this.#journals.findIndex((journal) => journal.slot() === slot);
    const isRunning = lane >= 0 && state !== SLOT_STATE.QUEUED;
    const entry = this.#nameIn(at, opcode);
    const work: Work = {
      key: `${slot} ${hi >>> 0} ${lo >>> 0}`,
      op: nameOf(opcode),
      nodeid: nodeidOf(requests.u32[nodeWord] ?? 0, requests.u32[nodeWord + 1] ?? 0),
      where: isRunning ? 'lane' : 'queue',
      threadId: isRunning ? (this.#journals[lane]?.threadId() ?? 0) : 0,
      sinceUs,
      callerPid: requests.u32[(at + IN_HEADER.pid) >> 2] ?? 0,
      ...(isRunning ? { lane } : {}),
      ...(entry === undefined ? {} : { entry }),
    };
    const isSame = slots.uniqueLo(slot) === lo && slots.uniqueHi(slot) === hi;
    return isSame && slots.state(slot) !== SLOT_STATE.FREE ? work : undefined;
  }

  #nameIn(message: number, opcode: number): string | undefined {
    const row = opcode < OPCODE_LIMIT ? ROW_BY_OPCODE[opcode] : undefined;
    if (row === undefined || row.names === 0) return undefined;
    const { u8, u32 } = this.#tables.requests;
    const start = message + IN_HEADER.SIZE + row.inSizeBytes;
    const limit = message + Math.min(u32[message >> 2] ?? 0, MAX_PATH_CHARS);
    const end = u8.indexOf(0, start);
    return end < start || end >= limit ? undefined : Buffer.from(u8.slice(start, end)).toString();
  }

  /** The descriptor a lane is closing. */
  #closeIn(lane: number): Work | undefined {
    const busy = this.#busyOf(laneThread(lane));
    if (busy === undefined || busy.opcode !== 0) return undefined;
    const threadId = this.#journals[lane]?.threadId() ?? 0;
    const { sinceUs } = busy;
    const key = `lane ${lane} ${sinceUs}`;
    return { key, op: nameOf(0), nodeid: 0, where: 'lane', lane, threadId, sinceUs, callerPid: 0 };
  }

  /** What a thread's cells say; the time is written last, so read first and once more. */
  #busyOf(thread: number): { sinceUs: number; opcode: number; nodeid: number } | undefined {
    const { stats } = this.#tables;
    const sinceMs = stats.of(thread, STAT.BUSY_SINCE_MS);
    if (sinceMs === 0) return undefined;
    const opcode = stats.of(thread, STAT.BUSY_OPCODE);
    const nodeid = nodeidOf(
      stats.of(thread, STAT.BUSY_NODE_LO),
      stats.of(thread, STAT.BUSY_NODE_HI),
    );
    if (stats.of(thread, STAT.BUSY_SINCE_MS) !== sinceMs) return undefined;
    return { sinceUs: 1000 * sinceMs, opcode, nodeid };
  }
}

function nodeidOf(lo: number, hi: number): number {
  return hi * 2 ** 32 + lo;
}

function nameOf(opcode: number): string {
  return opcode === 0 ? 'close' : (ROW_BY_OPCODE[opcode]?.name ?? `opcode ${opcode}`);
}
