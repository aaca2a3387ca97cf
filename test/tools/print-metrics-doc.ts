/** Prints docs/metrics.md, made from the metrics table: `print-metrics-doc.js > docs/metrics.md`. */
import { pathToFileURL } from 'node:url';
import { SPARE_LANES } from '../../src/main/dispatch/policy.ts';
import { errnoName } from '../../src/shared/abi/errno.ts';
import {
  ERROR_CLASSES,
  LANE_OPERATION_LABELS,
  METRICS,
  type MetricRow,
  OPERATION_LABELS,
  seriesCount,
} from '../../src/shared/metrics-table.ts';
import { OPTIONS } from '../../src/shared/options.ts';
import { markdownTable } from './markdown.ts';

const HEAD = `# Metrics

Made from the table in \`src/shared/metrics-table.ts\` by \`test/tools/print-metrics-doc.ts\`; do not edit.

\`/metrics\` is in the text format of Prometheus, version 0.0.4. Every series is there from the start of
the mount, at 0 until something happens, and label values come from the closed sets named here. A mount
with four lanes has SERIES series, no mount more than 1,000. Counters begin with the daemon; a lane that
dies and is started again goes on counting. Paths stand in \`sluice_mount_info\` only: join it by
\`instance\`.

Names that begin with \`process_\` and \`nodejs_\` are those that other exporters use for the same things.
There is no \`process_open_fds\`: to count descriptors is to read a directory of as many entries at every
scrape. \`sluice_fds_used\` is what grows.

A time is taken when main has read a request, when a lane begins with it, and when it is about to be
answered. What the kernel serves from its caches, or reads and writes itself, no request tells of.
`;

function valuesText(values: readonly string[]): string {
  if (values === OPERATION_LABELS) return 'every operation';
  if (values === LANE_OPERATION_LABELS) return 'every operation a lane may run';
  return values.join(', ');
}

function labelsText(row: MetricRow): string {
  return [
    ...Object.entries(row.labels ?? {}).map(
      ([label, values]) => `\`${label}\`: ${valuesText(values)}`,
    ),
    ...(row.by === 'where' ? ['`where`: main, lane'] : []),
    ...(row.by === 'lane' ? ['`lane`: its number'] : []),
    ...(row.info ?? []).map((label) => `\`${label}\``),
  ].join('; ');
}

function tables(): string {
  const groups = new Map<string, string[][]>();
  for (const row of METRICS as readonly MetricRow[]) {
    const cells = [`\`${row.name}\``, row.type, labelsText(row), row.help];
    groups.set(row.group, [...(groups.get(row.group) ?? []), cells]);
  }
  return [...groups]
    .map(
      ([group, rows]) =>
        `\n## ${group}\n\n${markdownTable(['Name', 'Type', 'Labels', 'What'], rows)}\n`,
    )
    .join('');
}

function operations(): string {
  const list = OPERATION_LABELS.map((label) => `\`${label}\``).join(', ');
  return `
## The operations

\`op\` is the kernel's name without FUSE_, in small letters: ${list}. \`unsupported\` is what the kernel is
told not to ask for again (ENOSYS). Errors and latencies are kept for the hot operations, and as
\`other\` for the rest; their total is \`sluice_request_duration_seconds_count\`.
`;
}

function errorClasses(): string {
  const rows = Object.entries(ERROR_CLASSES).map(([name, errnos]) => [
    `\`${name}\``,
    errnos.length === 0 ? 'all others' : errnos.map(errnoName).join(', '),
  ]);
  return `\n## Classes of errors\n\n${markdownTable(['class', 'Errors'], rows)}\n`;
}

/** The whole text of docs/metrics.md. */
export function renderMetricsDoc(): string {
  const series = seriesCount(OPTIONS.lanes.default + SPARE_LANES);
  return HEAD.replace('SERIES', String(series)) + tables() + operations() + errorClasses();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.stdout.write(renderMetricsDoc());
}
