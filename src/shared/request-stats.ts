/** What is counted of each request, and what a thread says about the one it is at. */
import { OP, type OpcodeRow } from './abi/opcodes.ts';
import type { StatsBlock } from './memory/stats-block.ts';
import {
  CLASS_BY_ERRNO,
  ERROR_CLASS_LABELS,
  GROUP_BY_INDEX,
  LANE_OPERATION_BY_INDEX,
  NO_LANE_OPERATION,
  OPERATION_BY_INDEX,
  OPERATION_GROUPS,
  OPERATION_LABELS,
  UNSUPPORTED_OPERATION,
} from './metrics-table.ts';
import { QUEUE_WAIT, REQUEST_DURATION, REQUEST_SIZE, STAT } from './stats-layout.ts';

const CLASSES = ERROR_CLASS_LABELS.length;
const OTHER_GROUP = OPERATION_GROUPS.length - 1;
const LAST_ERRNO = CLASS_BY_ERRNO.length - 1;
const READS = 0;
const WRITES = 1;

/**
 * Counts a request that is about to be answered: before the reply, so that whoever waits for that
 * finds it counted.
 * @param result length of the reply's body, or -errno
 */
export function countReply(
  stats: StatsBlock,
  row: OpcodeRow | undefined,
  result: number,
  durationUs: number,
): void {
  countRequest(stats, row);
  const group = row === undefined ? OTHER_GROUP : GROUP_BY_INDEX[row.statsIndex];
  if (result < 0) {
    const errorClass = CLASS_BY_ERRNO[Math.min(-result, LAST_ERRNO)];
    stats.add(STAT.REQUEST_ERRORS + group * CLASSES + errorClass, 1);
  }
  // How long a lock was waited for tells about the programs, not about the file system.
  if (row?.opcode !== OP.SETLKW) stats.observe(REQUEST_DURATION, group, durationUs);
}

/** Counts a request; by itself only one that has no reply. */
export function countRequest(stats: StatsBlock, row: OpcodeRow | undefined): void {
  const place = row === undefined ? UNSUPPORTED_OPERATION : OPERATION_BY_INDEX[row.statsIndex];
  stats.add(STAT.REQUESTS + place, 1);
}

/** Counts how long a request waited for the lane that begins with it. */
export function countQueueWait(
  stats: StatsBlock,
  row: OpcodeRow | undefined,
  waitUs: number,
): void {
  const place = row === undefined ? NO_LANE_OPERATION : LANE_OPERATION_BY_INDEX[row.statsIndex];
  if (place === NO_LANE_OPERATION) return;
  stats.add(STAT.QUEUED_US + place, waitUs);
  stats.observe(QUEUE_WAIT, 0, waitUs);
}

/** Counts the bytes a READ has read. */
export function countRead(stats: StatsBlock, bytes: number): void {
  stats.add(STAT.BYTES_READ, bytes);
  stats.observe(REQUEST_SIZE, READS, bytes);
}

/** Counts the bytes a WRITE has written. */
export function countWritten(stats: StatsBlock, bytes: number): void {
  stats.add(STAT.BYTES_WRITTEN, bytes);
  stats.observe(REQUEST_SIZE, WRITES, bytes);
}

/**
 * This thread begins with a request; end with endWork(). Opcode 0 is a descriptor that is closed.
 * The time is written last, so that who sees it sees what it is about.
 */
export function beginWork(
  stats: StatsBlock,
  nowUs: number,
  opcode: number,
  nodeLo: number,
  nodeHi: number,
): void {
  stats.set(STAT.BUSY_OPCODE, opcode);
  stats.set(STAT.BUSY_NODE_LO, nodeLo >>> 0);
  stats.set(STAT.BUSY_NODE_HI, nodeHi >>> 0);
  stats.set(STAT.BUSY_SINCE_MS, nowUs / 1000);
}

/** This thread is done with it. */
export function endWork(stats: StatsBlock, elapsedUs: number): void {
  stats.add(STAT.BUSY_US, elapsedUs);
  stats.set(STAT.BUSY_SINCE_MS, 0);
}

/** Requests dealt with, over all operations. @param first @param end threads, as in StatsBlock.sum() */
export function requestsOf(stats: StatsBlock, first?: number, end?: number): number {
  return total(stats, STAT.REQUESTS, OPERATION_LABELS.length, first, end);
}

/** Requests answered with an error. */
export function errorsOf(stats: StatsBlock): number {
  return total(stats, STAT.REQUEST_ERRORS, OPERATION_GROUPS.length * CLASSES);
}

/** Requests of one operation. @param place of its name in OPERATION_LABELS */
export function requestsOfOperation(stats: StatsBlock, place: number): number {
  return stats.sum(STAT.REQUESTS + place);
}

/** Requests of one group answered with an error. @param group place of its name in OPERATION_GROUPS */
export function errorsOfGroup(stats: StatsBlock, group: number): number {
  return total(stats, STAT.REQUEST_ERRORS + group * CLASSES, CLASSES);
}

/** How long the requests of one group took. */
export interface Durations {
  /** How many, for each bound of REQUEST_DURATION those up to it and above the one before; then the rest. */
  readonly counts: readonly number[];
  readonly sumUs: number;
}

/** @param group place of its name in OPERATION_GROUPS */
export function durationsOfGroup(stats: StatsBlock, group: number): Durations {
  const { at, stride, bounds } = REQUEST_DURATION;
  const first = at + group * stride;
  const counts = Array.from({ length: bounds.length + 1 }, (_, i) => stats.sum(first + i));
  return { counts, sumUs: stats.sum(first + bounds.length + 1) };
}

function total(stats: StatsBlock, at: number, cells: number, first?: number, end?: number): number {
  let sum = 0;
  for (let i = 0; i < cells; i++) sum += stats.sum(at + i, first, end);
  return sum;
}
