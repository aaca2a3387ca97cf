/**
 * One io_uring over memory of ours (IORING_SETUP_NO_MMAP): the words of its queues lie in shared memory,
 * so that they can be read after the thread that used the ring has died, and nothing has to be unmapped.
 * Entries of the submission queue are filled through 32-bit views.
 */
import { PAGE_SIZE } from './constants.ts';
import { addressOf, ioUringEnter, ioUringSetup } from './libc.ts';

const IORING_SETUP_CQSIZE = 1 << 3;
const IORING_SETUP_SUBMIT_ALL = 1 << 7;
const IORING_SETUP_SQE128 = 1 << 10;
const IORING_SETUP_NO_MMAP = 1 << 14;
const IORING_SETUP_NO_SQARRAY = 1 << 16;
const IORING_ENTER_GETEVENTS = 1;

export const IORING_OP_NOP = 0;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IORING_OP_URING_CMD = 46;

/** struct io_uring_sqe, as far as it is used here; an SQE of 128 bytes has its command area at `cmd`. */
export const SQE = {
  SIZE: 128,
  opcode: 0,
  fd: 4,
  off: 8,
  cmd_op: 8,
  addr: 16,
  len: 24,
  user_data: 32,
  cmd: 48,
} as const;

const CQE_BYTES = 16;
/** Room for struct io_rings in front of the completions. */
const RINGS_HEAD_BYTES = PAGE_SIZE;

/** struct io_uring_params: offsets of what is read or written here. */
const PARAMS = {
  SIZE: 120,
  sq_entries: 0,
  cq_entries: 4,
  flags: 8,
  sq_off: 40,
  cq_off: 80,
} as const;
const SQ_OFF = { head: 0, tail: 4, ring_mask: 8, user_addr: 32 } as const;
const CQ_OFF = { head: 0, tail: 4, ring_mask: 8, cqes: 20, user_addr: 32 } as const;

/** Where the words of a ring stand, as indices of 32-bit cells; what a thread has to be told of it. */
export interface RingPlace {
  readonly fd: number;
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqMask: number;
  readonly sqes: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqMask: number;
  readonly cqes: number;
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}

function powerOfTwo(atLeast: number): number {
  return 1 << (32 - Math.clz32(Math.max(1, atLeast) - 1));
}

/** Bytes, whole pages, of a ring for so many requests at once. */
export function ringBytes(requests: number): number {
  const entries = powerOfTwo(requests);
  return wholePages(RINGS_HEAD_BYTES + 2 * entries * CQE_BYTES) + wholePages(entries * SQE.SIZE);
}

/**
 * Makes a ring in the given memory.
 * @param cells the memory; `address` is that of its first cell, which starts a page
 * @param at where the ring's ringBytes() begin in it, bytes, at a page
 * @returns where its words are, or -errno
 */
export function setUpRing(
  cells: Int32Array,
  address: number,
  at: number,
  requests: number,
): RingPlace | number {
  const entries = powerOfTwo(requests);
  const sqesAt = at + wholePages(RINGS_HEAD_BYTES + 2 * entries * CQE_BYTES);
  cells.fill(0, at >> 2, (at + ringBytes(requests)) >> 2);
  const params = new Int32Array(new SharedArrayBuffer(PARAMS.SIZE));
  params[PARAMS.cq_entries >> 2] = 2 * entries;
  params[PARAMS.flags >> 2] =
    IORING_SETUP_CQSIZE |
    IORING_SETUP_SUBMIT_ALL |
    IORING_SETUP_SQE128 |
    IORING_SETUP_NO_MMAP |
    IORING_SETUP_NO_SQARRAY;
  putAddress(params, (PARAMS.sq_off + SQ_OFF.user_addr) >> 2, address + sqesAt);
  putAddress(params, (PARAMS.cq_off + CQ_OFF.user_addr) >> 2, address + at);
  const fd = ioUringSetup(entries, addressOf(params));
  if (fd < 0) return fd;
  const cell = (part: number, offset: number): number =>
    (at + (params[(part + offset) >> 2] as number)) >> 2;
  return {
    fd,
    sqHead: cell(PARAMS.sq_off, SQ_OFF.head),
    sqTail: cell(PARAMS.sq_off, SQ_OFF.tail),
    sqMask: cells[cell(PARAMS.sq_off, SQ_OFF.ring_mask)] as number,
    sqes: sqesAt >> 2,
    cqHead: cell(PARAMS.cq_off, CQ_OFF.head),
    cqTail: cell(PARAMS.cq_off, CQ_OFF.tail),
    cqMask: cells[cell(PARAMS.cq_off, CQ_OFF.ring_mask)] as number,
    cqes: cell(PARAMS.cq_off, CQ_OFF.cqes),
  };
}

/** Writes an address as 64 bits. */
export function putAddress(cells: Int32Array, at: number, address: number): void {
  cells[at] = address | 0;
  cells[at + 1] = Math.floor(address / 0x100000000);
}

/** A ring as the thread uses that serves it. */
export class Ring {
  readonly #cells: Int32Array;
  readonly #place: RingPlace;
  /** Requests filled in since the last enter(). */
  #pending = 0;

  constructor(cells: Int32Array, place: RingPlace) {
    this.#cells = cells;
    this.#place = place;
  }

  get pending(): number {
    return this.#pending;
  }

  /**
   * Begins a request; push() hands it in. There is room for as many as the ring was made for.
   * @returns index of its first cell, all of them zero
   */
  nextSqe(): number {
    const { sqes, sqTail, sqMask } = this.#place;
    const at = sqes + ((this.#cells[sqTail] as number) & sqMask) * (SQE.SIZE >> 2);
    this.#cells.fill(0, at, at + (SQE.SIZE >> 2));
    return at;
  }

  push(): void {
    const { sqTail } = this.#place;
    this.#pending++;
    // The kernel reads the tail in enter(), which this thread calls.
    this.#cells[sqTail] = ((this.#cells[sqTail] as number) + 1) | 0;
  }

  /** Hands in what is pending, and waits for so many completions. @returns -errno or a count */
  enter(minComplete: number): number {
    const { fd } = this.#place;
    const flags = minComplete > 0 ? IORING_ENTER_GETEVENTS : 0;
    const count = ioUringEnter(fd, this.#pending, minComplete, flags);
    if (count > 0) this.#pending -= Math.min(count, this.#pending);
    return count;
  }

  /** The next completion's first cell, -1 if there is none; takeCqe() takes it. */
  peekCqe(): number {
    const { cqHead, cqTail, cqMask, cqes } = this.#place;
    const head = this.#cells[cqHead] as number;
    // Pairs with the kernel's store of the tail, behind the completion itself.
    if (Atomics.load(this.#cells, cqTail) === head) return -1;
    return cqes + (head & cqMask) * (CQE_BYTES >> 2);
  }

  takeCqe(): void {
    const { cqHead } = this.#place;
    // Pairs with the kernel's load: the place is free for another completion.
    Atomics.store(this.#cells, cqHead, ((this.#cells[cqHead] as number) + 1) | 0);
  }

  /** Requests the kernel has taken and not completed; each is completed once. */
  get outstanding(): number {
    const { sqHead, cqTail } = this.#place;
    // Both are the kernel's, who completes nothing it has not taken: in this order it is never below 0.
    const completed = Atomics.load(this.#cells, cqTail);
    return (Atomics.load(this.#cells, sqHead) - completed) | 0;
  }

  /** Of a ring whose thread is dead: the first cell of each request it had filled in and not handed in. */
  forEachUnsubmitted(visit: (sqe: number) => void): void {
    const { sqes, sqHead, sqTail, sqMask } = this.#place;
    const tail = this.#cells[sqTail] as number;
    for (let head = this.#cells[sqHead] as number; head !== tail; head = (head + 1) | 0) {
      visit(sqes + (head & sqMask) * (SQE.SIZE >> 2));
    }
  }
}
