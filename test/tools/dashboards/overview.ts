/** The dashboard of all mounts. */
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { dashboard, MOUNT_UID, OVERVIEW_UID, type Row } from './common.ts';
import { graph, rows, single } from './panels.ts';
import { of, quantile, rate, sumBy } from './select.ts';

const DURATION = 'sluice_request_duration_seconds';
const BY = 'job, instance';
const TROUBLE = rate('sluice_request_errors_total', 'class=~"io|no_space|exhausted"');

/** Adds the mountpoint to a value of each mount, for the legend. */
function named(expr: string): string {
  return `(${expr}) * on (${BY}) group_left (mountpoint) ${of('sluice_mount_info')}`;
}

const LEGEND = '{{mountpoint}} ({{instance}})';
/** The dashboard of the mount in the row that was clicked. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: variables of Grafana
const VARIABLES = 'var-datasource=${datasource}&var-instance=${__value.raw}&${__url_time_range}';
const MOUNT_URL = `/d/${MOUNT_UID}?${VARIABLES}`;
const YES_NO = { 0: 'no', 1: 'yes' };

const mounts: Row = {
  title: 'Mounts',
  panels: [
    single({
      title: 'Mounts',
      description: 'Mounts that were scraped.',
      unit: 'short',
      queries: [{ expr: `count(${of('sluice_build_info')})` }],
    }),
    single({
      title: 'Not ready',
      description: 'Mounts of which /readyz says that they cannot be used.',
      unit: 'short',
      queries: [{ expr: `sum(1 - ${of('sluice_ready')})` }],
      colors: [
        ['green', null],
        ['red', 1],
      ],
    }),
    single({
      title: 'Not live',
      description: 'Daemons of which /livez says that main or a lane is stuck.',
      unit: 'short',
      queries: [{ expr: `sum(1 - ${of('sluice_live')})` }],
      colors: [
        ['green', null],
        ['red', 1],
      ],
    }),
    single({
      title: 'Scrapes that fail',
      description: 'Targets of this job that Prometheus does not reach.',
      unit: 'short',
      queries: [{ expr: 'sum(1 - up{job=~"$job"})' }],
      colors: [
        ['green', null],
        ['red', 1],
      ],
    }),
    rows({
      title: 'Alerts',
      description:
        'Alerts of grafana/rules/alerts.yaml that fire or are about to. See docs/runbook.md.',
      width: 12,
      rows: 4,
      keys: ['alertname', 'instance'],
      queries: [
        { expr: 'ALERTS{alertname=~"Sluice.+", instance=~"$instance"}' },
        { expr: 'ALERTS_FOR_STATE{alertname=~"Sluice.+", instance=~"$instance"} * 1000' },
      ],
      columns: [
        { field: 'alertname', title: 'Alert' },
        { field: 'instance', title: 'Instance' },
        { field: 'alertstate', title: 'State' },
        { field: 'severity', title: 'Severity' },
        { field: 'Value #B', title: 'Since', unit: 'dateTimeAsIso' },
      ],
    }),
    rows({
      title: 'All mounts',
      description: 'A click on an instance leads to its dashboard.',
      keys: ['instance'],
      rows: 8,
      queries: [
        { expr: of('sluice_mount_info') },
        { expr: of('sluice_build_info') },
        { expr: sumBy('instance', of('sluice_ready')) },
        { expr: sumBy('instance', of('sluice_live')) },
        { expr: sumBy('instance', rate('sluice_requests_total')) },
        { expr: `${sumBy('instance', TROUBLE)} / ${sumBy('instance', rate(`${DURATION}_count`))}` },
        { expr: quantile(0.99, DURATION, 'instance') },
        { expr: sumBy('instance', of('sluice_inodes')) },
        { expr: sumBy('instance', of('sluice_open_handles')) },
        { expr: sumBy('instance', of('process_resident_memory_bytes')) },
      ],
      columns: [
        {
          field: 'instance',
          title: 'Instance',
          link: {
            title: 'The mount',
            url: MOUNT_URL,
          },
        },
        { field: 'mountpoint', title: 'Mountpoint' },
        { field: 'source', title: 'Source' },
        { field: 'version', title: 'sluice' },
        { field: 'Value #C', title: 'Ready', texts: YES_NO },
        { field: 'Value #D', title: 'Live', texts: YES_NO },
        { field: 'Value #E', title: 'Requests', unit: 'reqps' },
        { field: 'Value #F', title: 'Failing', unit: 'percentunit' },
        { field: 'Value #G', title: 'p99', unit: 's' },
        { field: 'Value #H', title: 'Inodes', unit: 'short' },
        { field: 'Value #I', title: 'Open', unit: 'short' },
        { field: 'Value #J', title: 'Memory', unit: 'bytes' },
      ],
    }),
  ],
};

const comparison: Row = {
  title: 'Rate, errors, duration',
  panels: [
    graph({
      title: 'Requests',
      description: 'Requests dealt with, by mount.',
      unit: 'reqps',
      queries: [{ expr: named(sumBy(BY, rate('sluice_requests_total'))), legend: LEGEND }],
    }),
    graph({
      title: 'Failing',
      description: 'Share of requests that fail for want of space or limits, or by an I/O error.',
      unit: 'percentunit',
      queries: [
        {
          expr: named(`${sumBy(BY, TROUBLE)} / ${sumBy(BY, rate(`${DURATION}_count`))}`),
          legend: LEGEND,
        },
      ],
    }),
    graph({
      title: 'p99',
      description: 'Ninety-nine requests of a hundred are answered in this time.',
      unit: 's',
      isLogarithmic: true,
      queries: [{ expr: named(quantile(0.99, DURATION, BY)), legend: LEGEND }],
    }),
  ],
};

const saturation: Row = {
  title: 'Use of limits',
  panels: [
    graph({
      title: 'Lanes busy',
      description: 'Share of the time that the lanes of a mount are at requests.',
      unit: 'percentunit',
      queries: [
        {
          expr: named(
            `${sumBy(BY, rate('sluice_lane_busy_seconds_total'))} / ${sumBy(BY, of('sluice_lanes'))}`,
          ),
          legend: LEGEND,
        },
      ],
    }),
    graph({
      title: 'Oldest request',
      description: 'How long the request that runs longest has been running.',
      unit: 's',
      queries: [
        { expr: named(`max by (${BY}) (${of('sluice_oldest_request_seconds')})`), legend: LEGEND },
      ],
    }),
    graph({
      title: 'Bytes through the daemon',
      description: 'Read and written; what the kernel passes through by itself is not seen.',
      unit: 'Bps',
      queries: [
        {
          expr: named(
            `${sumBy(BY, rate('sluice_read_bytes_total'))} + ${sumBy(BY, rate('sluice_written_bytes_total'))}`,
          ),
          legend: LEGEND,
        },
      ],
    }),
  ],
};

export function overviewDashboard(): Dashboard {
  return dashboard({
    title: 'sluice: all mounts',
    uid: OVERVIEW_UID,
    description: 'All sluice mounts that Prometheus knows. See docs/metrics.md.',
    rows: [mounts, comparison, saturation],
  });
}
