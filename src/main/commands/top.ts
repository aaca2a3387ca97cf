/** `sluice top [MOUNTPOINT]`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, type ExitCode, oneLine, SluiceError } from '../../shared/errors.ts';
import { ControlClient, NoAnswerError } from '../control/client.ts';
import { ControlError, type StatusReport, type TopReport } from '../control/protocol.ts';
import { ANSWER_MS, type KnownDaemon, surveyMounts } from '../control/survey.ts';
import { findSluiceMount } from './find-mount.ts';
import { NAME_COLUMN, outcomeColumns, tableRows, totalsOf } from './operations.ts';
import { processNames } from './process-names.ts';
import { bytesText, type Column, rateText, renderTable } from './table.ts';
import { type OperationRate, type ProcessRate, sampleOf, type TopSample } from './top-sample.ts';

export interface TopOptions {
  readonly intervalMs: number;
  /** Samples until the end; undefined: until somebody ends it. */
  readonly count: number | undefined;
  readonly json: boolean;
  readonly runtimeDir: string | undefined;
}

const DEFAULT_ROWS = 24;
/**
 * Lines around the two tables: title, load, the tables' heads with a blank before each, the operations
 * taken together, and the dropped callers.
 */
const OTHER_LINES = 8;
/** Cursor to the corner, and erase what is below. */
const CLEAR = '\x1b[H\x1b[J';

/**
 * Shows again and again what a mount is busy with.
 *
 * @returns 0 after the last sample, and when it is interrupted
 * @throws SluiceError when there is no such mount, or its daemon does not answer or ends
 */
export async function runTop(
  mountpoint: string | undefined,
  options: TopOptions,
): Promise<ExitCode> {
  const daemon = await chooseDaemon(mountpoint, options.runtimeDir);
  const client = new ControlClient(daemon.socket);
  const end = new AbortController();
  process.once('SIGINT', () => end.abort());
  // `sluice top | head`: nobody reads any more.
  process.stdout.once('error', () => end.abort());
  try {
    await showSamples(client, daemon.status, options, end.signal);
    return EXIT.ok;
  } catch (error) {
    if (end.signal.aborted) return EXIT.ok;
    throw fromSilence(error, daemon.status.mountpoint);
  } finally {
    client.close();
    if (process.stdout.isTTY && !options.json) process.stdout.write('\n');
  }
}

async function showSamples(
  client: ControlClient,
  status: StatusReport,
  { intervalMs, count, json }: TopOptions,
  signal: AbortSignal,
): Promise<void> {
  let before = await client.ask({ op: 'top' }, ANSWER_MS);
  const nameOf = processNames(before.pidNamespace);
  for (let shown = 0; count === undefined || shown < count; shown++) {
    await sleep(intervalMs, undefined, { signal });
    const now = await client.ask({ op: 'top' }, ANSWER_MS);
    const sample = sampleOf(before, now, nameOf);
    process.stdout.write(json ? jsonLine(status, now, sample) : screen(status, now, sample));
    before = now;
  }
}

function fromSilence(error: unknown, mountpoint: string): unknown {
  if (error instanceof NoAnswerError) {
    const reason = error.reason === 'timeout' ? 'its daemon does not answer' : 'its daemon ended';
    return new SluiceError('ERR_SLUICE_MOUNT', `${mountpoint}: ${reason}; see sluice status`);
  }
  if (error instanceof ControlError) {
    return new SluiceError('ERR_SLUICE_MOUNT', `${mountpoint}: ${error.message}`);
  }
  return error;
}

async function chooseDaemon(
  mountpoint: string | undefined,
  runtimeDir: string | undefined,
): Promise<KnownDaemon> {
  const wanted = mountpoint === undefined ? undefined : findSluiceMount(mountpoint);
  const { mounts, elsewhere } = await surveyMounts(runtimeDir);
  if (wanted !== undefined) {
    const found = mounts.find(({ row }) => row.mountId === wanted.mountId)?.daemon;
    if (found !== undefined) return found;
    const reason = 'its daemon does not answer; see sluice status';
    throw new SluiceError('ERR_SLUICE_MOUNT', `${mountpoint}: ${reason}`);
  }
  const answering = [...mounts.flatMap(({ daemon }) => daemon ?? []), ...elsewhere];
  const [only, second] = new Set(answering);
  if (only === undefined) {
    throw new SluiceError('ERR_SLUICE_MOUNT', 'no sluice daemon answers; see sluice status');
  }
  if (second !== undefined) {
    const names = answering.map(({ status }) => status.mountpoint).join(', ');
    throw new SluiceError('ERR_SLUICE_USAGE', `there are several mounts; name one of ${names}`);
  }
  return only;
}

function jsonLine({ mountpoint, pid }: StatusReport, now: TopReport, sample: TopSample): string {
  const time = new Date().toISOString();
  return `${JSON.stringify({ time, mountpoint, pid, ...sample, load: now.load })}\n`;
}

const RATES: readonly Column<OperationRate>[] = [
  NAME_COLUMN,
  { head: 'PER SECOND', align: 'right', cell: ({ perSecond }) => rateText(perSecond) },
  { head: 'REQUESTS', align: 'right', cell: ({ requests }) => String(requests) },
];

const PROCESSES: readonly Column<ProcessRate>[] = [
  { head: 'PID', align: 'right', cell: ({ pid }) => String(pid ?? '-') },
  { head: 'COMMAND', align: 'left', cell: ({ command }) => command },
  { head: 'PER SECOND', align: 'right', cell: ({ perSecond }) => rateText(perSecond) },
  { head: 'REQUESTS', align: 'right', cell: ({ requests }) => String(requests) },
  { head: 'READS', align: 'right', cell: ({ reads }) => String(reads) },
  { head: 'READ BYTES', align: 'right', cell: ({ readBytes }) => bytesText(readBytes) },
  { head: 'WRITES', align: 'right', cell: ({ writes }) => String(writes) },
  { head: 'WRITE BYTES', align: 'right', cell: ({ writtenBytes }) => bytesText(writtenBytes) },
];

/** One sample: over the last one on a terminal, and cut to its size; else below it, and whole. */
function screen(status: StatusReport, now: TopReport, sample: TopSample): string {
  const { isTTY, rows = DEFAULT_ROWS, columns } = process.stdout;
  const room = isTTY ? Math.max(Math.floor((rows - OTHER_LINES) / 2), 1) : undefined;
  const lines = [
    `${status.source} on ${status.mountpoint}, pid ${status.pid}, in ${sample.intervalSeconds.toFixed(1)} s`,
    loadLine(now, sample),
    '',
    ...renderTable(
      [...RATES, ...outcomeColumns(now.operations.boundsUs)],
      tableRows(sample.operations, room),
    ),
    '',
    ...renderTable(PROCESSES, sample.processes.slice(0, room)),
    ...droppedLine(sample),
  ];
  // Figures, too, are whatever the other side of the socket says.
  const whole = lines.map(oneLine);
  const cut = (line: string): string => line.slice(0, columns);
  return isTTY ? `${CLEAR}${whole.map(cut).join('\n')}` : `${whole.join('\n')}\n\n`;
}

function loadLine({ load }: TopReport, { operations, intervalSeconds }: TopSample): string {
  const { requests, errors } = totalsOf(operations);
  return [
    `${rateText(requests / intervalSeconds)} requests/s`,
    `${rateText(errors / intervalSeconds)} errors/s`,
    `${load.slotsInUse + load.parked} in flight`,
    `${load.inodes} inodes`,
    `${load.handles} open`,
    `${load.fdsUsed}/${load.fdBudget} descriptors`,
  ].join(', ');
}

function droppedLine({ callersDropped }: TopSample): string[] {
  if (callersDropped === 0) return [];
  return [`${callersDropped} of the least active callers were dropped: see (others)`];
}
