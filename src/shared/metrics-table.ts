/**
 * The table of metrics: it drives the layout of the stats block, the registration with prom-client,
 * docs/metrics.md and the tests. Every series of a mount is there from its start: label values come
 * from closed sets, never from paths, ids or numbers of errors.
 *
 * A metric comes from cells of the stats block, which each thread writes for itself; or it is read
 * at a scrape; or it is an `_info` metric, whose value is 1 and whose labels tell something.
 */
import { ERRNO } from './abi/errno.ts';
import { OPCODES } from './abi/opcodes.ts';

export interface MetricRow {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** The section of docs/metrics.md. */
  readonly group: string;
  /** One line; no full stop. */
  readonly help: string;
  /** The values of each label; cells stand in this order, the last label running fastest. */
  readonly labels?: Readonly<Record<string, readonly string[]>>;
  /** One name for each combination of label values, or one for all of them together. */
  readonly cells?: readonly string[];
  /** A label more that tells whose cells are meant: main's or all lanes', or those of one lane. */
  readonly by?: 'where' | 'lane';
  /** What a cell is multiplied by: cells count microseconds, metrics are in seconds. */
  readonly scale?: number;
  /** Upper bounds of a histogram's buckets, in the metric's unit. */
  readonly bounds?: readonly number[];
  /** What is read at a scrape, once for each value of the label. */
  readonly reading?: string;
  /** Labels of an `_info` metric. */
  readonly info?: readonly string[];
}

const MICROSECONDS = 1e-6;

/** 10 us to 10 s. */
const DURATION_BOUNDS = [
  1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
  2.5, 5, 10,
];
/** Powers of four up to the largest request. */
const SIZE_BOUNDS = [1024, 4096, 16_384, 65_536, 262_144, 1_048_576];

/** The operations that have latencies and errors of their own; all others share `other`. */
const HOT_OPERATIONS = [
  'lookup',
  'getattr',
  'setattr',
  'open',
  'create',
  'read',
  'write',
  'flush',
  'fsync',
  'release',
  'readdirplus',
  'getxattr',
  'unlink',
  'rename',
] as const;

/** Values of the label `op` of errors and latencies. */
export const OPERATION_GROUPS: readonly string[] = [...HOT_OPERATIONS, 'other'];

const UNSUPPORTED = 'unsupported';

/** The value of the label `op` that counts this operation. */
function operationLabel(name: string, isServed: boolean): string {
  return isServed ? name.toLowerCase() : UNSUPPORTED;
}

const served = OPCODES.filter((row) => row.class !== 'absent');

/** Values of the label `op` of requests; `unsupported` is what the kernel is told not to ask for. */
export const OPERATION_LABELS: readonly string[] = [
  ...served.map((row) => operationLabel(row.name, true)),
  UNSUPPORTED,
];

/** Values of the label `op` for what a lane may run. */
export const LANE_OPERATION_LABELS: readonly string[] = served
  .filter((row) => row.class !== 'control')
  .map((row) => operationLabel(row.name, true));

/** The errors of each class; what is not listed is `other`. */
export const ERROR_CLASSES = {
  /** No such file, attribute or data; a file that is gone. */
  not_found: [ERRNO.ENOENT, ERRNO.ENODATA, ERRNO.ESTALE, ERRNO.ENXIO],
  denied: [ERRNO.EPERM, ERRNO.EACCES, ERRNO.EROFS],
  /** What is there already, is in use, or is of the wrong kind. */
  conflict: [
    ERRNO.EEXIST,
    ERRNO.ENOTEMPTY,
    ERRNO.EBUSY,
    ERRNO.ETXTBSY,
    ERRNO.EAGAIN,
    ERRNO.ENOTDIR,
    ERRNO.EISDIR,
    ERRNO.EXDEV,
  ],
  no_space: [ERRNO.ENOSPC, ERRNO.EDQUOT, ERRNO.EFBIG],
  /** A table, descriptors or memory are used up. */
  exhausted: [ERRNO.ENFILE, ERRNO.EMFILE, ERRNO.ENOMEM, ERRNO.ENOLCK],
  unsupported: [ERRNO.ENOSYS, ERRNO.EOPNOTSUPP, ERRNO.ENOTTY],
  /** The disk, the server or the connection behind fails. */
  io: [ERRNO.EIO, ERRNO.ENODEV, ERRNO.ETIMEDOUT, ERRNO.EPROTO, ERRNO.ENOTCONN, ERRNO.ECONNABORTED],
  other: [],
} as const satisfies Record<string, readonly number[]>;

/** Values of the label `class`. */
export const ERROR_CLASS_LABELS: readonly string[] = Object.keys(ERROR_CLASSES);

const ERRNO_LIMIT = 256;

/** The place of an error's class in ERROR_CLASS_LABELS, by errno. */
export const CLASS_BY_ERRNO: Readonly<Uint8Array> = Uint8Array.from(
  { length: ERRNO_LIMIT },
  (_, errno) => {
    const lists: readonly (readonly number[])[] = Object.values(ERROR_CLASSES);
    const found = lists.findIndex((errnos) => errnos.includes(errno));
    return found < 0 ? lists.length - 1 : found;
  },
);

/** The place of each operation's counter, latency and queue time, by OpcodeRow.statsIndex. */
function placesIn(labels: readonly string[], fallback: number): Uint8Array {
  return Uint8Array.from(OPCODES, ({ name, class: kind }) => {
    const place = labels.indexOf(operationLabel(name, kind !== 'absent'));
    return place < 0 ? fallback : place;
  });
}
export const OPERATION_BY_INDEX: Readonly<Uint8Array> = placesIn(OPERATION_LABELS, 0);
export const UNSUPPORTED_OPERATION = OPERATION_LABELS.length - 1;
export const GROUP_BY_INDEX: Readonly<Uint8Array> = placesIn(
  OPERATION_GROUPS,
  OPERATION_GROUPS.length - 1,
);
/** For operations no lane runs: none. */
export const NO_LANE_OPERATION = 255;
export const LANE_OPERATION_BY_INDEX: Readonly<Uint8Array> = placesIn(
  LANE_OPERATION_LABELS,
  NO_LANE_OPERATION,
);

/** Values of the label `where`. */
export const WHERE_LABELS = ['main', 'lane'] as const;

/** Values of the label `level`, in the order of pino's numbers. */
export const LOG_LEVEL_LABELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

export const METRICS = [
  // ---- requests ----
  {
    name: 'sluice_requests_total',
    type: 'counter',
    group: 'Requests',
    help: 'Requests dealt with, by operation, and by whether main answered in place or a lane did',
    labels: { op: OPERATION_LABELS },
    cells: ['REQUESTS'],
    by: 'where',
  },
  {
    name: 'sluice_request_errors_total',
    type: 'counter',
    group: 'Requests',
    help: 'Requests answered with an error, by operation and class of errno',
    labels: { op: OPERATION_GROUPS, class: ERROR_CLASS_LABELS },
    cells: ['REQUEST_ERRORS'],
  },
  {
    name: 'sluice_request_duration_seconds',
    type: 'histogram',
    group: 'Requests',
    help: 'Time from the receipt of a request to its reply; without SETLKW, which waits for other programs',
    labels: { op: OPERATION_GROUPS },
    cells: ['REQUEST_DURATION'],
    scale: MICROSECONDS,
    bounds: DURATION_BOUNDS,
  },
  {
    name: 'sluice_queue_wait_seconds',
    type: 'histogram',
    group: 'Requests',
    help: 'Time a request waited before a lane began with it',
    cells: ['QUEUE_WAIT'],
    scale: MICROSECONDS,
    bounds: DURATION_BOUNDS,
  },
  {
    name: 'sluice_request_queued_seconds_total',
    type: 'counter',
    group: 'Requests',
    help: 'The same time summed up by operation; over sluice_requests_total{where="lane"} it is the mean',
    labels: { op: LANE_OPERATION_LABELS },
    cells: ['QUEUED_US'],
    scale: MICROSECONDS,
  },
  {
    name: 'sluice_requests_in_flight',
    type: 'gauge',
    group: 'Requests',
    help: 'Requests without a reply: waiting for a lane, run by a lane, kept by main for want of a slot, waiting for a lock',
    labels: { state: ['queued', 'executing', 'parked', 'lock_wait'] },
    reading: 'requestsInFlight',
  },
  {
    name: 'sluice_oldest_request_seconds',
    type: 'gauge',
    group: 'Requests',
    help: 'How long the request that runs longest has been running by now, on main and in the lanes; 0: none runs',
    labels: { where: WHERE_LABELS },
    reading: 'oldestRequest',
  },
  {
    name: 'sluice_kernel_waiting_requests',
    type: 'gauge',
    group: 'Requests',
    help: 'Requests the kernel has queued or sent and not seen answered (waiting of the connection); NaN where it cannot be read',
    reading: 'kernelWaiting',
  },
  {
    name: 'sluice_requests_deferred_total',
    type: 'counter',
    group: 'Requests',
    help: 'Requests main tried in place and gave to a lane because they would have blocked',
    cells: ['DEFERRED'],
  },
  {
    name: 'sluice_interrupts_total',
    type: 'counter',
    group: 'Requests',
    help: 'INTERRUPT requests: signals to programs that wait for an answer',
    cells: ['INTERRUPTS'],
  },
  {
    name: 'sluice_dropped_replies_total',
    type: 'counter',
    group: 'Requests',
    help: 'Replies the kernel did not take: the caller was killed, or the mount is gone',
    cells: ['DROPPED_REPLIES'],
  },
  {
    name: 'sluice_exceptions_total',
    type: 'counter',
    group: 'Requests',
    help: 'Requests that ended in an exception and were answered EIO: each is a defect in sluice',
    cells: ['EXCEPTIONS'],
  },
  // ---- data path ----
  {
    name: 'sluice_read_bytes_total',
    type: 'counter',
    group: 'Data path',
    help: 'Bytes of files the daemon has read for READ; what the kernel passes through is not seen here',
    cells: ['BYTES_READ'],
  },
  {
    name: 'sluice_written_bytes_total',
    type: 'counter',
    group: 'Data path',
    help: 'Bytes of files the daemon has written for WRITE',
    cells: ['BYTES_WRITTEN'],
  },
  {
    name: 'sluice_request_size_bytes',
    type: 'histogram',
    group: 'Data path',
    help: 'Bytes that one READ or WRITE has moved',
    labels: { direction: ['read', 'write'] },
    cells: ['REQUEST_SIZE'],
    bounds: SIZE_BOUNDS,
  },
  {
    name: 'sluice_passthrough_opens_total',
    type: 'counter',
    group: 'Data path',
    help: 'Opens of files whose reads and writes the kernel does itself, and opens that fell back to the daemon',
    labels: { outcome: ['kernel', 'daemon'] },
    cells: ['BACKING_OPENS', 'BACKING_FALLBACKS'],
  },
  // ---- lanes and queues ----
  {
    name: 'sluice_lanes',
    type: 'gauge',
    group: 'Lanes and queues',
    help: 'Lanes by what they do; stuck: in one operation for longer than stuck_timeout; down: died and not started again yet',
    labels: { state: ['idle', 'busy', 'stuck', 'down'] },
    reading: 'lanes',
  },
  {
    name: 'sluice_lane_busy_seconds_total',
    type: 'counter',
    group: 'Lanes and queues',
    help: 'Time each lane has spent on requests; the numbers behind the regular lanes are spare ones',
    cells: ['BUSY_US'],
    by: 'lane',
    scale: MICROSECONDS,
  },
  {
    name: 'sluice_lane_restarts_total',
    type: 'counter',
    group: 'Lanes and queues',
    help: 'Lanes that died and were started again',
    cells: ['LANE_RESTARTS'],
  },
  {
    name: 'sluice_ring_depth',
    type: 'gauge',
    group: 'Lanes and queues',
    help: 'Items in the rings between main and the lanes, over all backing mounts',
    reading: 'ringDepth',
  },
  {
    name: 'sluice_deepest_ring_depth',
    type: 'gauge',
    group: 'Lanes and queues',
    help: 'Items in the fullest ring: far above the mean when one backing mount hangs',
    reading: 'deepestRing',
  },
  {
    name: 'sluice_request_slots_used',
    type: 'gauge',
    group: 'Lanes and queues',
    help: 'Slots that hold a request for a lane',
    reading: 'slotsUsed',
  },
  {
    name: 'sluice_request_slots_capacity',
    type: 'gauge',
    group: 'Lanes and queues',
    help: 'Slots there are; one backing mount may fill half of them',
    reading: 'slotsCapacity',
  },
  {
    name: 'sluice_requests_parked_total',
    type: 'counter',
    group: 'Lanes and queues',
    help: 'Requests main had to keep because the slots of their backing mount were full',
    cells: ['PARKED'],
  },
  {
    name: 'sluice_backing_mounts',
    type: 'gauge',
    group: 'Lanes and queues',
    help: 'File systems below the source of which the kernel knows a file, each with a ring of its own',
    reading: 'backingMounts',
  },
  // ---- slow and stuck ----
  {
    name: 'sluice_slow_operations_total',
    type: 'counter',
    group: 'Slow and stuck',
    help: 'Operations that took longer than slow_timeout, counted when that had passed, by where they were then: waiting for a lane, run by a lane, or by main (with engine uring: by the thread of a queue)',
    labels: { where: ['queue', 'lane', 'main'] },
    cells: ['SLOW_IN_QUEUE', 'SLOW_IN_LANE', 'SLOW_ON_MAIN'],
  },
  {
    name: 'sluice_timeouts_total',
    type: 'counter',
    group: 'Slow and stuck',
    help: 'Requests that main answered ETIMEDOUT because op_timeout had passed',
    cells: ['TIMEOUTS'],
  },
  {
    name: 'sluice_main_stuck_total',
    type: 'counter',
    group: 'Slow and stuck',
    help: 'How often the main thread, or one that serves a queue of io_uring, was caught waiting in a call, where it never should',
    cells: ['MAIN_STUCK'],
  },
  {
    name: 'sluice_mounts_lanes_only',
    type: 'gauge',
    group: 'Slow and stuck',
    help: 'Backing mounts in whose calls main was caught, and of which it runs nothing for now: 0 on a healthy mount',
    reading: 'mountsLanesOnly',
  },
  // ---- inodes, handles, descriptors ----
  {
    name: 'sluice_inodes',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Inodes the kernel knows',
    reading: 'inodes',
  },
  {
    name: 'sluice_inodes_capacity',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Inodes the table has room for (max_inodes)',
    reading: 'inodesCapacity',
  },
  {
    name: 'sluice_lookups_outstanding',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Lookups the kernel has not given back',
    cells: ['LOOKUPS_OUTSTANDING'],
  },
  {
    name: 'sluice_forgets_total',
    type: 'counter',
    group: 'Inodes, handles, descriptors',
    help: 'Inodes the kernel gave lookups back of, in FORGET and BATCH_FORGET',
    cells: ['FORGETS'],
  },
  {
    name: 'sluice_open_handles',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Open files and directories',
    labels: { kind: ['file', 'directory'] },
    reading: 'openHandles',
  },
  {
    name: 'sluice_lock_owners',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Owners of fcntl locks that are taken on the files behind (posix_lock)',
    reading: 'lockOwners',
  },
  {
    name: 'sluice_fds_used',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Descriptors of the budget in use: open files and directories, cached and held inodes',
    reading: 'fdsUsed',
  },
  {
    name: 'sluice_fds_budget',
    type: 'gauge',
    group: 'Inodes, handles, descriptors',
    help: 'Descriptors there may be (fd_budget)',
    reading: 'fdsBudget',
  },
  {
    name: 'sluice_fd_evictions_total',
    type: 'counter',
    group: 'Inodes, handles, descriptors',
    help: 'Cached descriptors of inodes closed to make room',
    reading: 'fdEvictions',
  },
  {
    name: 'sluice_fd_exhausted_total',
    type: 'counter',
    group: 'Inodes, handles, descriptors',
    help: 'Requests refused because the budget was used up and nothing could be evicted',
    reading: 'fdExhausted',
  },
  // ---- the mount ----
  {
    name: 'sluice_build_info',
    type: 'gauge',
    group: 'The mount',
    help: 'What runs',
    info: ['version', 'node', 'arch'],
  },
  {
    name: 'sluice_mount_info',
    type: 'gauge',
    group: 'The mount',
    help: 'What is mounted; mount_id is the one of the log lines',
    info: ['mount_id', 'source', 'mountpoint', 'fsname'],
  },
  {
    name: 'sluice_session_info',
    type: 'gauge',
    group: 'The mount',
    help: 'What was negotiated with the kernel; empty before FUSE_INIT',
    info: ['protocol', 'features', 'how', 'engine', 'engine_reason'],
  },
  {
    name: 'sluice_uring_memory_bytes',
    type: 'gauge',
    group: 'The mount',
    help: 'Buffers of the io_uring engine: queues x depth x (payload + page); 0 with another engine',
    cells: ['URING_MEMORY'],
  },
  {
    name: 'sluice_uring_transfers_total',
    type: 'counter',
    group: 'The mount',
    help: 'Reads and writes of the io_uring engine that the kernel made by itself',
    cells: ['RING_TRANSFERS'],
  },
  {
    name: 'sluice_uring_queue_restarts_total',
    type: 'counter',
    group: 'The mount',
    help: 'Threads of queues of the io_uring engine that died and were started again',
    cells: ['QUEUE_RESTARTS'],
  },
  {
    name: 'sluice_cpus_awake_seconds_total',
    type: 'counter',
    group: 'The mount',
    help: 'Time for which idle CPUs were kept awake, see cpu_latency',
    cells: ['CPUS_AWAKE'],
    scale: MICROSECONDS,
  },
  {
    name: 'sluice_max_write_bytes',
    type: 'gauge',
    group: 'The mount',
    help: 'Largest WRITE that was negotiated; 0 before FUSE_INIT',
    cells: ['MAX_WRITE_BYTES'],
  },
  {
    name: 'sluice_max_background_requests',
    type: 'gauge',
    group: 'The mount',
    help: 'Asynchronous requests the kernel keeps in flight, as negotiated; 0 before FUSE_INIT',
    cells: ['MAX_BACKGROUND'],
  },
  {
    name: 'sluice_ready',
    type: 'gauge',
    group: 'The mount',
    help: 'What /readyz says: 1 when FUSE_INIT is answered and the mount is there',
    reading: 'ready',
  },
  {
    name: 'sluice_live',
    type: 'gauge',
    group: 'The mount',
    help: 'What /livez says: 1 when main turns and no thread is stuck',
    reading: 'live',
  },
  {
    name: 'sluice_heartbeat_timestamp_seconds',
    type: 'gauge',
    group: 'The mount',
    help: 'When the loop of the main thread last turned, at least four times a second',
    reading: 'heartbeat',
  },
  {
    name: 'sluice_log_lines_total',
    type: 'counter',
    group: 'The mount',
    help: 'Lines logged, by level',
    labels: { level: LOG_LEVEL_LABELS },
    cells: ['LOG_LINES'],
  },
  // ---- the scrape itself ----
  {
    name: 'sluice_scrapes_total',
    type: 'counter',
    group: 'The scrape itself',
    help: 'Scrapes that were rendered before this one',
    cells: ['SCRAPES'],
  },
  {
    name: 'sluice_scrape_seconds_total',
    type: 'counter',
    group: 'The scrape itself',
    help: 'Time spent on rendering them, on a thread of its own',
    cells: ['SCRAPE_US'],
    scale: MICROSECONDS,
  },
  {
    name: 'sluice_scrape_bytes_total',
    type: 'counter',
    group: 'The scrape itself',
    help: 'Bytes that were rendered',
    cells: ['SCRAPE_BYTES'],
  },
  {
    name: 'sluice_http_cut_total',
    type: 'counter',
    group: 'The scrape itself',
    help: 'Connections closed by a limit: too many at once, a request that did not come, a response that was not read',
    cells: ['HTTP_CUT'],
  },
  // ---- process and Node ----
  {
    name: 'process_cpu_user_seconds_total',
    type: 'counter',
    group: 'Process and Node',
    help: 'User CPU time of all threads',
    reading: 'cpuUser',
  },
  {
    name: 'process_cpu_system_seconds_total',
    type: 'counter',
    group: 'Process and Node',
    help: 'System CPU time of all threads',
    reading: 'cpuSystem',
  },
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    group: 'Process and Node',
    help: 'Both together',
    reading: 'cpu',
  },
  {
    name: 'process_resident_memory_bytes',
    type: 'gauge',
    group: 'Process and Node',
    help: 'Memory of the process, shared tables included as far as they are touched',
    reading: 'residentMemory',
  },
  {
    name: 'process_start_time_seconds',
    type: 'gauge',
    group: 'Process and Node',
    help: 'When the process started',
    reading: 'startTime',
  },
  {
    name: 'process_max_fds',
    type: 'gauge',
    group: 'Process and Node',
    help: 'RLIMIT_NOFILE, as raised at the start',
    reading: 'maxFds',
  },
  {
    name: 'nodejs_heap_size_total_bytes',
    type: 'gauge',
    group: 'Process and Node',
    help: 'Heap of the main thread',
    cells: ['HEAP_TOTAL'],
  },
  {
    name: 'nodejs_heap_size_used_bytes',
    type: 'gauge',
    group: 'Process and Node',
    help: 'Of it: in use',
    cells: ['HEAP_USED'],
  },
  {
    name: 'nodejs_external_memory_bytes',
    type: 'gauge',
    group: 'Process and Node',
    help: 'Memory outside the heap that objects of the main thread hold',
    cells: ['EXTERNAL_MEMORY'],
  },
  {
    name: 'nodejs_eventloop_lag_seconds',
    type: 'gauge',
    group: 'Process and Node',
    help: 'How late the last timer of the main thread came',
    cells: ['LOOP_LAG_US'],
    scale: MICROSECONDS,
  },
  {
    name: 'nodejs_eventloop_active_seconds_total',
    type: 'counter',
    group: 'Process and Node',
    help: 'Time the loop of the main thread was at work; with the next metric its utilization',
    cells: ['LOOP_ACTIVE_US'],
    scale: MICROSECONDS,
  },
  {
    name: 'nodejs_eventloop_idle_seconds_total',
    type: 'counter',
    group: 'Process and Node',
    help: 'Time the loop of the main thread waited for something to do',
    cells: ['LOOP_IDLE_US'],
    scale: MICROSECONDS,
  },
] as const satisfies readonly MetricRow[];

type Row = (typeof METRICS)[number];
type Of<Key extends string, From> = From extends { readonly [K in Key]: infer Value }
  ? Value
  : never;

/** Names of cells that are metrics. */
export type MetricCell = Of<'cells', Row>[number];
/** Names of what is read at a scrape. */
export type ReadingName = Of<'reading', Row>;
/** Labels of `_info` metrics. */
export type InfoLabel = Of<'info', Row>[number];

/** Combinations of label values, in the order of the cells. */
export function combinations(row: MetricRow): Readonly<Record<string, string>>[] {
  let all: Record<string, string>[] = [{}];
  for (const [label, values] of Object.entries(row.labels ?? {})) {
    all = all.flatMap((given) => values.map((value) => ({ ...given, [label]: value })));
  }
  return all;
}

/** Series of a metric on a mount with so many lanes, the spare ones among them. */
export function seriesOf(row: MetricRow, lanes: number): number {
  const threads = row.by === 'where' ? WHERE_LABELS.length : row.by === 'lane' ? lanes : 1;
  // A histogram: its buckets, the one without a bound, the sum and the count.
  const each = row.bounds === undefined ? 1 : row.bounds.length + 3;
  return combinations(row).length * threads * each;
}

/** Series of a mount with so many lanes, the spare ones among them. */
export function seriesCount(lanes: number): number {
  return METRICS.reduce((total, row) => total + seriesOf(row, lanes), 0);
}
