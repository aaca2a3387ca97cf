/** `sluice status [MOUNTPOINT]`. */
import { EXIT, type ExitCode, oneLine } from '../../shared/errors.ts';
import type { MountRow } from '../../shared/sys/mountinfo.ts';
import type { StatusReport } from '../control/protocol.ts';
import { type KnownDaemon, ownerOf, type Survey, surveyMounts } from '../control/survey.ts';
import { findSluiceMount } from './find-mount.ts';
import { NAME_COLUMN, operationsOf, outcomeColumns, tableRows } from './operations.ts';
import { writeOutput } from './output.ts';
import { bytesText, type Column, durationText, renderTable } from './table.ts';

export interface StatusOptions {
  readonly json: boolean;
  readonly runtimeDir: string | undefined;
}

/** One line of the answer: a mount, a daemon, or both. */
export interface MountState {
  readonly mountpoint: string;
  /** First column of /proc/mounts, or what the daemon says. */
  readonly source: string;
  readonly connection: number | null;
  /** uid whose mount it is; null when the kernel does not say. */
  readonly owner: number | null;
  readonly daemon: StatusReport | null;
  /** What is wrong with it, with the cure. */
  readonly problem: string | null;
}

/** Version of the form of `--json`. */
const JSON_VERSION = 1;

/**
 * Prints what is mounted, and all about one mount if it is named.
 *
 * @returns 0; 32 when a mount is named and its daemon does not answer
 * @throws SluiceError when there is no such mount
 */
export async function runStatus(
  mountpoint: string | undefined,
  { json, runtimeDir }: StatusOptions,
): Promise<ExitCode> {
  const wanted = mountpoint === undefined ? undefined : findSluiceMount(mountpoint);
  const survey = await surveyMounts(runtimeDir);
  const states = statesOf(survey, wanted);
  const lines = json
    ? [JSON.stringify({ version: JSON_VERSION, mounts: states.map(forPrograms) })]
    : wanted === undefined
      ? overview(states)
      : states.flatMap(details);
  await writeOutput(`${lines.join('\n')}\n`);
  for (const { socket, reason } of survey.silent) {
    process.stderr.write(oneLine(`sluice: the daemon behind ${socket} does not answer: ${reason}`));
    process.stderr.write('\n');
  }
  const isSilent = wanted !== undefined && states.every(({ daemon }) => daemon === null);
  return isSilent ? EXIT.mount : EXIT.ok;
}

function statesOf({ mounts, elsewhere }: Survey, wanted: MountRow | undefined): MountState[] {
  const visible = mounts
    .filter(({ row }) => wanted === undefined || row.mountId === wanted.mountId)
    .map(({ row, daemon }) => mountState(row, daemon));
  return wanted === undefined ? [...visible, ...elsewhere.map(distantState)] : visible;
}

function mountState(row: MountRow, daemon: KnownDaemon | undefined): MountState {
  const owner = ownerOf(row) ?? null;
  return {
    mountpoint: row.mountPoint,
    source: daemon?.status.source ?? row.source,
    connection: row.devMinor,
    owner,
    daemon: daemon?.status ?? null,
    problem: daemon === undefined ? silence(owner) : null,
  };
}

/** With latencies in the place of counts by duration. */
function forPrograms({ daemon, ...state }: MountState): object {
  if (daemon === null) return { ...state, daemon };
  const operations = daemon.operations === null ? null : operationsOf(daemon.operations);
  return { ...state, daemon: { ...daemon, operations } };
}

function silence(owner: number | null): string {
  const uid = process.geteuid?.() ?? 0;
  if (uid !== 0 && owner !== null && owner !== uid) {
    return `no answer: the daemon talks to uid ${owner} only; ask as that user or as root`;
  }
  return 'no answer: the daemon hangs, has its socket in another --runtime-dir, or is gone; then `sluice umount --lazy` removes the mount';
}

function distantState({ status }: KnownDaemon): MountState {
  const { mountpoint, source, connection, state } = status;
  const problem =
    state === 'starting'
      ? 'it is being mounted'
      : 'the mount is not seen from here: it is in another mount namespace, or out of the tree';
  return { mountpoint, source, connection, owner: null, daemon: status, problem };
}

const OVERVIEW: readonly Column<MountState>[] = [
  { head: 'MOUNTPOINT', align: 'left', cell: ({ mountpoint }) => mountpoint },
  { head: 'SOURCE', align: 'left', cell: ({ source }) => source },
  { head: 'STATE', align: 'left', cell: ({ daemon }) => daemon?.state ?? 'no answer' },
  ...figures([
    ['PID', ({ pid }) => pid],
    ['UP', ({ uptimeSeconds }) => durationText(uptimeSeconds)],
    ['REQUESTS', ({ load }) => load?.requests],
    ['ERRORS', ({ load }) => load?.errors],
    ['IN FLIGHT', ({ load }) => load && load.slotsInUse + load.parked],
    ['INODES', ({ load }) => load?.inodes],
    ['OPEN', ({ load }) => load?.handles],
  ]),
];

function figures(
  rows: readonly (readonly [
    string,
    (daemon: StatusReport) => string | number | null | undefined,
  ])[],
): Column<MountState>[] {
  return rows.map(([head, figure]) => ({
    head,
    align: 'right',
    cell: ({ daemon }) => String((daemon && figure(daemon)) ?? '-'),
  }));
}

function overview(states: readonly MountState[]): readonly string[] {
  if (states.length === 0) return ['no sluice mounts'];
  const problems = new Set(states.map(({ problem }) => problem).filter((text) => text !== null));
  const notes = [...problems].map((problem) => {
    const where = states.filter((state) => state.problem === problem);
    return oneLine(`${where.map(({ mountpoint }) => mountpoint).join(', ')}: ${problem}`);
  });
  return [...renderTable(OVERVIEW, states), ...(notes.length > 0 ? ['', ...notes] : [])];
}

function details(state: MountState): readonly string[] {
  const { mountpoint, source, daemon, problem } = state;
  const title = oneLine(`${source} on ${mountpoint}`);
  if (daemon === null) return [title, oneLine(`  ${problem}`)];
  const facts = [
    ...daemonFacts(daemon),
    ...negotiatedFacts(daemon),
    ...engineFacts(daemon),
    ...loadFacts(daemon),
  ];
  const lines = facts.map(([name, value]) => oneLine(`  ${name.padEnd(11)} ${value}`));
  return [title, ...lines, '', ...operationTable(daemon)];
}

type Fact = readonly [name: string, value: string];

function daemonFacts(daemon: StatusReport): Fact[] {
  const { pid, uptimeSeconds, version, node, state, readOnly, how, engine, id } = daemon;
  const access = readOnly ? 'read-only' : 'read-write';
  return [
    ['daemon', `pid ${pid}, up ${durationText(uptimeSeconds)}, sluice ${version}, Node ${node}`],
    ['mount', `${state}, ${access}, by ${how}, engine ${engine}, ${id}`],
  ];
}

function negotiatedFacts({ negotiated }: StatusReport): Fact[] {
  if (negotiated === null) return [];
  const { protocol, maxWriteBytes, maxBackground, features } = negotiated;
  return [
    [
      'negotiated',
      `FUSE ${protocol}, requests up to ${bytesText(maxWriteBytes)}, ${maxBackground} in the background`,
    ],
    ['features', features.join(' ')],
  ];
}

function engineFacts({ queues }: StatusReport): Fact[] {
  // A daemon of an older version says nothing of it.
  if (queues === null || queues === undefined) return [];
  const { engine, queueThreads, depth, memoryBytes, reason } = queues;
  const way =
    engine === 'dev'
      ? '/dev/fuse'
      : `io_uring, ${queueThreads} threads, ${depth} entries for each CPU, up to ${bytesText(memoryBytes)}`;
  return [['engine', `${way} (${reason})`]];
}

function loadFacts({ load }: StatusReport): Fact[] {
  if (load === null) return [];
  return [
    [
      'requests',
      `${load.requests}, of these ${load.answeredByMain} answered without a lane; ${load.errors} errors`,
    ],
    ['in flight', `${load.slotsInUse} in lanes' hands, ${load.parked} waiting for room`],
    [
      'data',
      `${bytesText(load.readBytes)} read, ${bytesText(load.writtenBytes)} written by the daemon; ${load.kernelOpens} opens left to the kernel`,
    ],
    [
      'slow',
      `${load.slowOperations} operations took longer than slow_timeout, ${load.timeouts} were answered ETIMEDOUT`,
    ],
    ['inodes', `${load.inodes} known to the kernel, on ${load.backingMounts} file systems`],
    ['open', `${load.openFiles} files, ${load.openDirectories} directories`],
    ['descriptors', `${load.fdsUsed} of ${load.fdBudget}, ${load.fdEvictions} evictions`],
    ['lanes', `${load.lanes}, restarted ${load.laneRestarts} times`],
  ];
}

function operationTable({ operations }: StatusReport): readonly string[] {
  if (operations === null) return [];
  return renderTable(
    [
      NAME_COLUMN,
      { head: 'COUNT', align: 'right', cell: ({ requests }) => String(requests) },
      ...outcomeColumns(operations.boundsUs),
    ],
    tableRows(operationsOf(operations)),
  );
}
