/** Turns a record into tables. */
import { bytesText, type Column, renderTable } from '../../src/main/commands/table.ts';
import {
  type Cell,
  findCell,
  type Group,
  type PlacementName,
  type RunRecord,
  type WorkloadFacts,
} from './record.ts';
import { ratioText, short, spreadText, summarise, timeOf } from './summary.ts';

const PLAIN = 'plain';
const SLUICE = 'sluice';

export const PLACEMENT_TEXT: Readonly<Record<PlacementName, string>> = {
  'one-cpu': 'daemon and clients on one CPU',
  free: 'daemon and clients free',
};

/** The machine, and how the run was made, in one line. */
export function headline({ host, fs, rounds, quick }: RunRecord): string {
  return (
    `${host.date}  ${host.cpuCount} x ${host.cpu}, ${host.memoryGib} GiB, load ${host.load}  ` +
    `Linux ${host.kernel}  Node ${host.node}  ${fs}  ${rounds} rounds` +
    `${quick ? '  QUICK: the figures say little' : ''}`
  );
}

/** All there is to say about a run. */
export function report(record: RunRecord): string {
  const lines = [
    headline(record),
    '',
    ...record.workloads.map(({ name, operation }) => `  ${name.padEnd(18)} ${operation}`),
    '',
    'Microseconds per operation: median (least-most) of the rounds; xN: N times what plain takes;',
    'tie: the spreads meet.',
  ];
  for (const placement of record.placements) {
    for (const group of ['metadata', 'data'] as const)
      lines.push(...times(record, placement, group));
    lines.push(...againstSluice(record, placement), ...costs(record, placement));
  }
  if (record.requestsUnknown !== null) {
    lines.push('', `Requests were not counted: ${record.requestsUnknown}`);
  }
  return lines.join('\n');
}

function section(title: string, table: readonly string[]): string[] {
  return ['', title, '', ...table];
}

function targetNames(record: RunRecord): string[] {
  return record.targets.map(({ name }) => name);
}

function workloadColumn(head: string): Column<WorkloadFacts> {
  return { head, align: 'left', cell: ({ name }) => name };
}

function timeText(
  record: RunRecord,
  workload: WorkloadFacts,
  placement: PlacementName,
  target: string,
) {
  const cell = findCell(record, workload.name, placement, target);
  if (cell === undefined) return 'failed';
  const own = timeOf(cell);
  const rate =
    workload.operationSizeBytes === undefined
      ? ''
      : ` ${short(workload.operationSizeBytes / own.median)} MB/s`;
  const plain = findCell(record, workload.name, placement, PLAIN);
  const ratio = target === PLAIN || plain === undefined ? '' : ` ${ratioText(own, timeOf(plain))}`;
  return `${spreadText(own)}${rate}${ratio}`;
}

function times(record: RunRecord, placement: PlacementName, group: Group): string[] {
  const rows = record.workloads.filter((workload) => workload.group === group);
  if (rows.length === 0) return [];
  const columns = targetNames(record).map(
    (target): Column<WorkloadFacts> => ({
      head: target,
      align: 'left',
      cell: (workload) => timeText(record, workload, placement, target),
    }),
  );
  return section(
    `${group}, ${PLACEMENT_TEXT[placement]}`,
    renderTable([workloadColumn('us per operation'), ...columns], rows),
  );
}

function againstSluice(record: RunRecord, placement: PlacementName): string[] {
  const names = targetNames(record);
  const others = names.filter((name) => name !== PLAIN && name !== SLUICE);
  if (!names.includes(SLUICE) || others.length === 0) return [];
  const columns = others.map(
    (other): Column<WorkloadFacts> => ({
      head: other,
      align: 'left',
      cell: ({ name }) => {
        const own = findCell(record, name, placement, SLUICE);
        const theirs = findCell(record, name, placement, other);
        if (own === undefined || theirs === undefined) return 'failed';
        return ratioText(timeOf(theirs), timeOf(own));
      },
    }),
  );
  return section(
    `The others against sluice, by the medians: above 1 sluice is faster; ${PLACEMENT_TEXT[placement]}`,
    renderTable([workloadColumn("time / sluice's time"), ...columns], record.workloads),
  );
}

function perOperation(
  cell: Cell,
  what: 'clientCpuUs' | 'clientSwitches' | 'daemonCpuUs' | 'daemonSwitches',
): string {
  const known = cell.rounds.filter((round) => round[what] !== null);
  if (known.length === 0) return '-';
  return short(summarise(known.map((round) => (round[what] as number) / round.operations)).median);
}

function cpuSeconds(cell: Cell, what: 'clientCpuUs' | 'daemonCpuUs'): string {
  if (cell.rounds.some((round) => round[what] === null)) return '-';
  return (cell.rounds.reduce((sum, round) => sum + (round[what] as number), 0) / 1e6).toFixed(2);
}

/** Requests per operation, and the kinds that are not rare. */
function requestsText({ requests }: Cell): string {
  if (requests === null) return '-';
  const { operations, byOperation } = requests;
  const kinds = Object.entries(byOperation).sort(([, a], [, b]) => b - a);
  const total = kinds.reduce((sum, [, count]) => sum + count, 0);
  const common = kinds.filter(([, count]) => count >= 0.05 * operations);
  const detail = common.map(([kind, count]) => `${kind} ${short(count / operations)}`).join(', ');
  return `${short(total / operations)}${detail === '' ? '' : ` (${detail})`}`;
}

const COST_COLUMNS: readonly Column<Cell>[] = [
  { head: 'workload', align: 'left', cell: ({ workload }) => workload },
  { head: 'target', align: 'left', cell: ({ target }) => target },
  { head: 'client us', align: 'right', cell: (cell) => perOperation(cell, 'clientCpuUs') },
  { head: 'daemon us', align: 'right', cell: (cell) => perOperation(cell, 'daemonCpuUs') },
  { head: 'client switches', align: 'right', cell: (cell) => perOperation(cell, 'clientSwitches') },
  { head: 'daemon switches', align: 'right', cell: (cell) => perOperation(cell, 'daemonSwitches') },
  { head: 'client CPU s', align: 'right', cell: (cell) => cpuSeconds(cell, 'clientCpuUs') },
  { head: 'daemon CPU s', align: 'right', cell: (cell) => cpuSeconds(cell, 'daemonCpuUs') },
  {
    head: 'RSS',
    align: 'right',
    cell: ({ rounds }) => {
      const most = Math.max(...rounds.map(({ daemonRssBytes }) => daemonRssBytes ?? 0));
      return most === 0 ? '-' : bytesText(most);
    },
  },
  { head: 'requests', align: 'left', cell: requestsText },
];

function costs(record: RunRecord, placement: PlacementName): string[] {
  const cells = record.cells.filter(
    (cell) => cell.placement === placement && cell.rounds.length > 0,
  );
  return section(
    'CPU time, context switches and requests per operation (medians), CPU seconds of all rounds, ' +
      `most resident memory; ${PLACEMENT_TEXT[placement]}`,
    renderTable(COST_COLUMNS, cells),
  );
}
