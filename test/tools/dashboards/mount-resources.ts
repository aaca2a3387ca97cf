/** Of the dashboard of a mount: what goes on inside, and what may be used up. */
import type { Row } from './common.ts';
import { graph, heat } from './panels.ts';
import { mean, of, rate, sumBy } from './select.ts';

/** Four panels in a line. */
const QUARTER = { width: 6 };

export const lanes: Row = {
  title: 'Lanes and queues',
  panels: [
    graph({
      ...QUARTER,
      title: 'Lanes by state',
      description:
        'stuck: in one call for longer than stuck_timeout; down: died and not started again yet.',
      unit: 'short',
      isStacked: true,
      queries: [{ expr: sumBy('state', of('sluice_lanes')), legend: '{{state}}' }],
    }),
    graph({
      ...QUARTER,
      title: 'Busy, by lane',
      description:
        'Share of the time each lane is at a request. All at 100 %: more lanes (--lanes). Higher numbers are spare lanes, started when others hang.',
      unit: 'percentunit',
      max: 1,
      queries: [
        {
          expr: `avg by (lane) (${rate('sluice_lane_busy_seconds_total')}) > 0`,
          legend: 'lane {{lane}}',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'In flight',
      description:
        'Requests without a reply. parked: kept by main for want of a slot; lock_wait: waiting for a lock, which holds up nobody else.',
      unit: 'short',
      isStacked: true,
      queries: [{ expr: sumBy('state', of('sluice_requests_in_flight')), legend: '{{state}}' }],
    }),
    graph({
      ...QUARTER,
      title: 'Waiting in the kernel',
      description:
        'What the kernel has queued or sent and not seen answered. At the limit for what is asked in the background, it holds back.',
      unit: 'short',
      limits: /limit/,
      queries: [
        { expr: sumBy('', of('sluice_kernel_waiting_requests')), legend: 'waiting' },
        {
          expr: sumBy('', of('sluice_max_background_requests')),
          legend: 'limit of background requests',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Rings',
      description:
        'Requests in the rings between main and the lanes: of all file systems behind, and in the fullest one. Both the same, and high: one file system is slow.',
      unit: 'short',
      queries: [
        { expr: sumBy('', of('sluice_ring_depth')), legend: 'all' },
        { expr: `max(${of('sluice_deepest_ring_depth')})`, legend: 'the fullest' },
        { expr: sumBy('', of('sluice_backing_mounts')), legend: 'file systems' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Slots',
      description: 'Room for requests in lanes; one file system behind may take half of it.',
      unit: 'short',
      limits: /capacity/,
      queries: [
        { expr: sumBy('', of('sluice_request_slots_used')), legend: 'used' },
        { expr: sumBy('', of('sluice_request_slots_capacity')), legend: 'capacity' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Parked',
      description: 'Requests main had to keep because the slots of their file system were full.',
      unit: 'reqps',
      queries: [{ expr: sumBy('', rate('sluice_requests_parked_total')), legend: 'parked' }],
    }),
    graph({
      ...QUARTER,
      title: 'Restarts of lanes, and exceptions',
      description:
        'Lanes that died, and requests that ended in an exception. Both are defects, of sluice or of the host.',
      unit: 'ops',
      queries: [
        { expr: sumBy('', rate('sluice_lane_restarts_total')), legend: 'lanes restarted' },
        { expr: sumBy('', rate('sluice_uring_queue_restarts_total')), legend: 'queues restarted' },
        { expr: sumBy('', rate('sluice_exceptions_total')), legend: 'exceptions' },
      ],
    }),
  ],
};

export const data: Row = {
  title: 'Data path',
  panels: [
    graph({
      ...QUARTER,
      title: 'Bytes through the daemon',
      description:
        'What the kernel passes through by itself, or serves from its caches, is not seen.',
      unit: 'Bps',
      queries: [
        { expr: sumBy('', rate('sluice_read_bytes_total')), legend: 'read' },
        { expr: sumBy('', rate('sluice_written_bytes_total')), legend: 'written' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Opens by data path',
      description:
        'kernel: reads and writes of that open never reach the daemon. daemon: the kernel was asked and could not, or the open is of a kind that goes through the daemon.',
      unit: 'ops',
      queries: [
        {
          expr: sumBy('outcome', rate('sluice_passthrough_opens_total')),
          legend: '{{outcome}}',
        },
        {
          expr: sumBy('', rate('sluice_requests_total', 'op=~"open|create"')),
          legend: 'all opens',
        },
      ],
    }),
    heat({
      ...QUARTER,
      title: 'Size of reads',
      description:
        'Bytes that one READ has moved. Many small ones: programs read without a buffer.',
      unit: 'bytes',
      queries: [
        { expr: sumBy('le', rate('sluice_request_size_bytes_bucket', 'direction="read"')) },
      ],
    }),
    heat({
      ...QUARTER,
      title: 'Size of writes',
      description: 'Bytes that one WRITE has moved.',
      unit: 'bytes',
      queries: [
        { expr: sumBy('le', rate('sluice_request_size_bytes_bucket', 'direction="write"')) },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Reads and writes',
      description: 'READ and WRITE requests.',
      unit: 'reqps',
      queries: [
        {
          expr: sumBy('op', rate('sluice_requests_total', 'op=~"read|write"')),
          legend: '{{op}}',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Mean size',
      description: 'Bytes for each READ and WRITE.',
      unit: 'bytes',
      queries: [{ expr: mean('sluice_request_size_bytes', 'direction'), legend: '{{direction}}' }],
    }),
    graph({
      ...QUARTER,
      title: 'Reads and writes, where',
      description: 'main: the data was in the cache of the host, or the file system never waits.',
      unit: 'reqps',
      queries: [
        {
          expr: sumBy('op, where', rate('sluice_requests_total', 'op=~"read|write"')),
          legend: '{{op}} {{where}}',
        },
        {
          expr: sumBy('', rate('sluice_uring_transfers_total')),
          legend: 'of these by the kernel, for io_uring',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Largest write',
      description: 'As it was negotiated with the kernel (--max-write).',
      unit: 'bytes',
      queries: [{ expr: `max(${of('sluice_max_write_bytes')})`, legend: 'largest write' }],
    }),
  ],
};

export const resources: Row = {
  title: 'Inodes, handles, descriptors',
  panels: [
    graph({
      ...QUARTER,
      title: 'Inodes',
      description:
        'Inodes that the kernel knows. At the capacity (--max-inodes) new names answer ENFILE.',
      unit: 'short',
      isLogarithmic: true,
      limits: /capacity/,
      queries: [
        { expr: sumBy('', of('sluice_inodes')), legend: 'inodes' },
        { expr: sumBy('', of('sluice_lookups_outstanding')), legend: 'lookups' },
        { expr: sumBy('', of('sluice_inodes_capacity')), legend: 'capacity' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Forgotten',
      description: 'Inodes the kernel gave back: when it needs memory, and when files go.',
      unit: 'ops',
      queries: [{ expr: sumBy('', rate('sluice_forgets_total')), legend: 'inodes' }],
    }),
    graph({
      ...QUARTER,
      title: 'Open',
      description: 'Open files and directories, and owners of fcntl locks on the files behind.',
      unit: 'short',
      queries: [
        { expr: sumBy('kind', of('sluice_open_handles')), legend: '{{kind}}' },
        { expr: sumBy('', of('sluice_lock_owners')), legend: 'lock owners' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Descriptors',
      description:
        'Those of the budget. A full budget is usual, since cached descriptors fill it; what is open cannot make room.',
      unit: 'short',
      limits: /budget|RLIMIT/,
      queries: [
        { expr: sumBy('', of('sluice_fds_used')), legend: 'used' },
        { expr: sumBy('', of('sluice_fds_budget')), legend: 'budget' },
        { expr: sumBy('', of('process_max_fds')), legend: 'RLIMIT_NOFILE' },
      ],
      isLogarithmic: true,
    }),
    graph({
      title: 'Filled',
      description: 'How much of each limit is in use and cannot be given back by the daemon alone.',
      unit: 'percentunit',
      max: 1,
      queries: [
        {
          expr: `max(${of('sluice_inodes')} / ${of('sluice_inodes_capacity')})`,
          legend: 'inode table',
        },
        {
          expr: `max((sum without (kind) (${of('sluice_open_handles')}) + ${of('sluice_lock_owners')}) / ${of('sluice_fds_budget')})`,
          legend: 'descriptors held open',
        },
        {
          expr: `max(${of('sluice_request_slots_used')} / ${of('sluice_request_slots_capacity')})`,
          legend: 'request slots',
        },
      ],
    }),
    graph({
      title: 'Evictions',
      description:
        'Cached descriptors closed to make room. Each costs an open_by_handle_at(2) when the inode is asked for again: a larger --fd-budget saves it.',
      unit: 'ops',
      queries: [{ expr: sumBy('', rate('sluice_fd_evictions_total')), legend: 'evictions' }],
    }),
    graph({
      title: 'Refused for want of a limit',
      description:
        'Requests answered ENFILE, EMFILE, ENOMEM or ENOLCK; of them for want of a descriptor.',
      unit: 'reqps',
      queries: [
        {
          expr: sumBy('', rate('sluice_request_errors_total', 'class="exhausted"')),
          legend: 'all',
        },
        { expr: sumBy('', rate('sluice_fd_exhausted_total')), legend: 'no descriptor' },
      ],
    }),
  ],
};

export const runtime: Row = {
  title: 'Process and Node',
  panels: [
    graph({
      ...QUARTER,
      title: 'CPU',
      description: 'Of all threads, in CPUs.',
      unit: 'short',
      queries: [
        { expr: sumBy('', rate('process_cpu_seconds_total')), legend: 'all' },
        { expr: sumBy('', rate('process_cpu_user_seconds_total')), legend: 'user' },
        { expr: sumBy('', rate('process_cpu_system_seconds_total')), legend: 'system' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Loop of main',
      description:
        'Share of the time main is at work, and idle CPUs are kept awake. Near 100 % main is what limits the mount.',
      unit: 'percentunit',
      max: 1,
      queries: [
        {
          expr: `max(${rate('nodejs_eventloop_active_seconds_total')} / (${rate('nodejs_eventloop_active_seconds_total')} + ${rate('nodejs_eventloop_idle_seconds_total')}))`,
          legend: 'at work',
        },
        {
          expr: `max(${rate('sluice_cpus_awake_seconds_total')})`,
          legend: 'CPUs kept awake',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Lag of main',
      description: 'How late the last timer came: what a request may wait for main.',
      unit: 's',
      queries: [{ expr: `max(${of('nodejs_eventloop_lag_seconds')})`, legend: 'lag' }],
    }),
    graph({
      ...QUARTER,
      title: 'Memory',
      description:
        'Of the process, shared tables included as far as they are touched; and of the main thread.',
      unit: 'bytes',
      queries: [
        { expr: sumBy('', of('process_resident_memory_bytes')), legend: 'resident' },
        {
          expr: sumBy('', of('sluice_uring_memory_bytes')),
          legend: 'buffers of io_uring, at most',
        },
        { expr: sumBy('', of('nodejs_heap_size_total_bytes')), legend: 'heap' },
        { expr: sumBy('', of('nodejs_heap_size_used_bytes')), legend: 'heap in use' },
        { expr: sumBy('', of('nodejs_external_memory_bytes')), legend: 'outside the heap' },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Log lines by level',
      description: 'warn and error are worth reading.',
      unit: 'ops',
      isStacked: true,
      queries: [{ expr: sumBy('level', rate('sluice_log_lines_total')), legend: '{{level}}' }],
    }),
    graph({
      ...QUARTER,
      title: 'Time for a scrape',
      description: 'Rendering the metrics, on a thread of its own.',
      unit: 's',
      queries: [
        {
          expr: `${sumBy('', rate('sluice_scrape_seconds_total'))} / ${sumBy('', rate('sluice_scrapes_total'))}`,
          legend: 'mean',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'Size of a scrape',
      description: 'Bytes of one answer.',
      unit: 'bytes',
      queries: [
        {
          expr: `${sumBy('', rate('sluice_scrape_bytes_total'))} / ${sumBy('', rate('sluice_scrapes_total'))}`,
          legend: 'mean',
        },
      ],
    }),
    graph({
      ...QUARTER,
      title: 'HTTP connections cut',
      description: 'Closed by a limit: too many at once, or a client that does not ask or read.',
      unit: 'ops',
      queries: [{ expr: sumBy('', rate('sluice_http_cut_total')), legend: 'cut' }],
    }),
  ],
};
