/** Of the dashboard of a mount: what its users notice. */
import type { Row } from './common.ts';
import { bars, GRID_COLUMNS, graph, heat, rows, single } from './panels.ts';
import { mean, of, quantile, rate, sumBy } from './select.ts';

const DURATION = 'sluice_request_duration_seconds';
const OP = 'op=~"$op"';
const QUANTILES = [0.5, 0.9, 0.99, 0.999];

/** p50, p90, ... as Grafana's legend has them. */
function quantileName(q: number): string {
  return `p${String(q * 100)}`;
}

export const now: Row = {
  title: 'Now',
  panels: [
    single({
      title: 'Ready',
      description: 'Whether FUSE_INIT is answered and the mount is there, as /readyz says.',
      unit: 'none',
      queries: [{ expr: `min(${of('sluice_ready')})` }],
      texts: { 0: 'no', 1: 'yes' },
      colors: [
        ['red', null],
        ['green', 1],
      ],
    }),
    single({
      title: 'Live',
      description: 'Whether main turns and no thread is stuck, as /livez says.',
      unit: 'none',
      queries: [{ expr: `min(${of('sluice_live')})` }],
      texts: { 0: 'no', 1: 'yes' },
      colors: [
        ['red', null],
        ['green', 1],
      ],
    }),
    single({
      title: 'Requests',
      description: 'Requests dealt with per second.',
      unit: 'reqps',
      queries: [{ expr: sumBy('', rate('sluice_requests_total')) }],
    }),
    single({
      title: 'Failing',
      description:
        'Share of requests that fail for a reason behind the mount: I/O, space or limits. "Not found" is daily life and does not count.',
      unit: 'percentunit',
      decimals: 2,
      queries: [
        {
          expr: `${sumBy('', rate('sluice_request_errors_total', 'class=~"io|no_space|exhausted"'))} / ${sumBy('', rate(`${DURATION}_count`))}`,
        },
      ],
      colors: [
        ['green', null],
        ['orange', 0.001],
        ['red', 0.01],
      ],
    }),
    single({
      title: 'p99',
      description: 'Ninety-nine requests of a hundred are answered in this time.',
      unit: 's',
      queries: [{ expr: quantile(0.99, DURATION) }],
      colors: [
        ['green', null],
        ['orange', 0.1],
        ['red', 1],
      ],
    }),
    single({
      title: 'Waiting in the kernel',
      description: 'Requests that programs wait for at the moment, as the kernel counts them.',
      unit: 'short',
      queries: [{ expr: sumBy('', of('sluice_kernel_waiting_requests')) }],
    }),
    single({
      title: 'Oldest request',
      description: 'How long the request that runs longest has been running; 0: none runs.',
      unit: 's',
      queries: [{ expr: `max(${of('sluice_oldest_request_seconds')})` }],
      colors: [
        ['green', null],
        ['orange', 1],
        ['red', 10],
      ],
    }),
    single({
      title: 'Up for',
      description: 'Time since the daemon started; of several, the youngest.',
      unit: 's',
      queries: [{ expr: `time() - max(${of('process_start_time_seconds')})` }],
    }),
    rows({
      title: 'What is mounted',
      description: 'The mounts that are shown, what runs, and what was negotiated with the kernel.',
      width: GRID_COLUMNS,
      rows: 5,
      keys: ['instance'],
      queries: [
        { expr: of('sluice_mount_info') },
        { expr: of('sluice_build_info') },
        { expr: of('sluice_session_info') },
        { expr: of('sluice_max_write_bytes') },
        { expr: of('sluice_max_background_requests') },
      ],
      columns: [
        { field: 'instance', title: 'Instance' },
        { field: 'mountpoint', title: 'Mountpoint' },
        { field: 'source', title: 'Source' },
        { field: 'version', title: 'sluice' },
        { field: 'node', title: 'Node' },
        { field: 'protocol', title: 'FUSE' },
        { field: 'how', title: 'Mounted by' },
        { field: 'Value #D', title: 'Largest write', unit: 'bytes' },
        { field: 'Value #E', title: 'In background', unit: 'short' },
        { field: 'features', title: 'Negotiated' },
        { field: 'mount_id', title: 'Id in the log' },
      ],
    }),
  ],
};

export const traffic: Row = {
  title: 'Rate, errors, duration',
  panels: [
    graph({
      title: 'Requests by operation',
      description: 'What the kernel asks for. What it serves from its caches does not come here.',
      unit: 'reqps',
      isStacked: true,
      queries: [{ expr: `${sumBy('op', rate('sluice_requests_total'))} > 0`, legend: '{{op}}' }],
    }),
    graph({
      title: 'Errors by class',
      description:
        'Requests answered with an error. not_found and conflict are what programs ask for; io, no_space and exhausted are trouble.',
      unit: 'reqps',
      isStacked: true,
      queries: [{ expr: sumBy('class', rate('sluice_request_errors_total')), legend: '{{class}}' }],
    }),
    graph({
      title: 'Mean duration by operation',
      description: 'From the receipt of a request to its reply.',
      unit: 's',
      isLogarithmic: true,
      queries: [{ expr: mean(DURATION, 'op'), legend: '{{op}}' }],
    }),
    graph({
      title: 'Answered by',
      description:
        'main answers in place what cannot block, which is fastest; lanes do the rest. Deferred: main tried, and it would have blocked.',
      unit: 'reqps',
      queries: [
        { expr: sumBy('where', rate('sluice_requests_total')), legend: '{{where}}' },
        { expr: sumBy('', rate('sluice_requests_deferred_total')), legend: 'deferred' },
      ],
    }),
    graph({
      title: 'Errors by operation',
      description: 'Which operations are answered with an error, of whatever class.',
      unit: 'reqps',
      isStacked: true,
      queries: [
        { expr: `${sumBy('op', rate('sluice_request_errors_total'))} > 0`, legend: '{{op}}' },
      ],
    }),
    graph({
      title: 'Interrupts and lost replies',
      description:
        'Signals to programs that wait, and replies that nobody took, mostly since the program was killed.',
      unit: 'ops',
      queries: [
        { expr: sumBy('', rate('sluice_interrupts_total')), legend: 'interrupts' },
        { expr: sumBy('', rate('sluice_dropped_replies_total')), legend: 'dropped replies' },
      ],
    }),
  ],
};

export const latency: Row = {
  title: 'Latency',
  panels: [
    heat({
      title: 'Duration',
      description:
        'How many requests took how long. Two bands are two kinds of answers: from caches, and from the disk.',
      unit: 's',
      queries: [{ expr: sumBy('le', rate(`${DURATION}_bucket`, OP)) }],
    }),
    graph({
      title: 'Duration, quantiles',
      description: 'p99: ninety-nine of a hundred are answered in this time.',
      unit: 's',
      isLogarithmic: true,
      queries: QUANTILES.map((q) => ({
        expr: quantile(q, DURATION, '', OP),
        legend: quantileName(q),
      })),
    }),
    graph({
      title: 'p99 by operation',
      description: 'Which operation is slow. fsync and cold reads wait for the disk.',
      unit: 's',
      isLogarithmic: true,
      queries: [{ expr: quantile(0.99, DURATION, 'op', OP), legend: '{{op}}' }],
    }),
    heat({
      title: 'Wait for a lane',
      description: 'How long requests waited before a lane began with them.',
      unit: 's',
      queries: [{ expr: sumBy('le', rate('sluice_queue_wait_seconds_bucket')) }],
    }),
    graph({
      title: 'Wait for a lane, quantiles',
      description: 'Close to the durations themselves: lanes are too few, or held up.',
      unit: 's',
      isLogarithmic: true,
      queries: QUANTILES.map((q) => ({
        expr: quantile(q, 'sluice_queue_wait_seconds'),
        legend: quantileName(q),
      })),
    }),
    graph({
      title: 'Mean wait by operation',
      description: 'The same by operation, for what lanes do.',
      unit: 's',
      isLogarithmic: true,
      queries: [
        {
          expr: `${sumBy('op', rate('sluice_request_queued_seconds_total', OP))} / ${sumBy('op', rate('sluice_requests_total', `where="lane", ${OP}`))}`,
          legend: '{{op}}',
        },
      ],
    }),
  ],
};

/** Requests that took longer than a bucket's bound. */
function slowerThan(bound: string, labels: string): string {
  return `${sumBy(labels, rate(`${DURATION}_count`))} - ${sumBy(labels, rate(`${DURATION}_bucket`, `le="${bound}"`))}`;
}

export const slow: Row = {
  title: 'Slow operations',
  panels: [
    bars({
      title: 'Slowest operations',
      description: 'p99 by operation over the time that is shown.',
      unit: 's',
      queries: [
        {
          expr: `sort_desc(histogram_quantile(0.99, sum by (le, op) (rate(${of(`${DURATION}_bucket`)}[$__range]))) > 0)`,
          legend: '{{op}}',
        },
      ],
    }),
    graph({
      title: 'Where the time goes',
      description:
        'Seconds of duration per second: how many requests of an operation are under way on the average.',
      unit: 'short',
      isStacked: true,
      queries: [{ expr: `${sumBy('op', rate(`${DURATION}_sum`))} > 0`, legend: '{{op}}' }],
    }),
    graph({
      title: 'Slower than',
      description: 'Requests that took longer than 10 ms, 100 ms, 1 s and 10 s.',
      unit: 'reqps',
      queries: [
        { expr: slowerThan('0.01', ''), legend: '10 ms' },
        { expr: slowerThan('0.1', ''), legend: '100 ms' },
        { expr: slowerThan('1', ''), legend: '1 s' },
        { expr: slowerThan('10', ''), legend: '10 s' },
      ],
    }),
    graph({
      title: 'Slower than 10 ms, by operation',
      description: 'Which operations are slow.',
      unit: 'reqps',
      isStacked: true,
      queries: [{ expr: slowerThan('0.01', 'op'), legend: '{{op}}' }],
    }),
    graph({
      title: 'Oldest request',
      description:
        'How long the request that runs longest has been running. A rising line is a call that hangs, and with it who needs its file system.',
      unit: 's',
      queries: [
        {
          expr: `max by (where) (${of('sluice_oldest_request_seconds')})`,
          legend: '{{where}}',
        },
      ],
    }),
    graph({
      title: 'Last turn of main',
      description:
        'How long before the scrape the loop of the main thread last turned. Above a second main is held up; more than the clocks of Prometheus and the host differ.',
      unit: 's',
      queries: [
        {
          expr: `max(timestamp(${of('sluice_heartbeat_timestamp_seconds')}) - ${of('sluice_heartbeat_timestamp_seconds')})`,
          legend: 'ago',
        },
      ],
    }),
    graph({
      title: 'Longer than slow_timeout',
      description:
        'Operations that the log tells of, by where they were when slow_timeout had passed, and those that op_timeout ended.',
      unit: 'ops',
      isStacked: true,
      queries: [
        { expr: sumBy('where', rate('sluice_slow_operations_total')), legend: '{{where}}' },
        { expr: sumBy('', rate('sluice_timeouts_total')), legend: 'answered ETIMEDOUT' },
      ],
    }),
    graph({
      title: 'Main caught in a call',
      description:
        'Since the daemon started: how often main was caught waiting in a call, and the file systems that it leaves to the lanes since.',
      unit: 'short',
      queries: [
        { expr: sumBy('', of('sluice_main_stuck_total')), legend: 'caught' },
        { expr: sumBy('', of('sluice_mounts_lanes_only')), legend: 'left to the lanes' },
      ],
    }),
  ],
};
