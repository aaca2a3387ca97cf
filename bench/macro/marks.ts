/**
 * What sluice is to reach against its peers, and whether a record says that it did. A mark is a limit
 * for sluice's time per operation as a multiple of the peer's: a rate of at least 0.9 is a time of at
 * most 1 / 0.9.
 */
import { type Cell, findCell, type PlacementName, type RunRecord } from './record.ts';
import { isTie, type Summary, scaled, timeOf } from './summary.ts';

interface Mark {
  readonly work: readonly string[];
  readonly placement: PlacementName;
  /** The target that has to reach it. */
  readonly subject: string;
  /** Targets; of several the fastest counts, by its median. */
  readonly against: readonly string[];
  readonly most: number;
}

/** `reached` and `missed` go by the medians; `tie` is added where the spreads do not tell. */
export interface Verdict {
  readonly mark: Mark;
  readonly workload: string;
  /** The peer that was compared with; null when none of them is in the record. */
  readonly peer: string | null;
  /** Sluice's time as a multiple of the peer's. */
  readonly ratio: number | null;
  readonly outcome: string;
}

const HP = 'passthrough_hp';
const HP_NOCACHE = 'passthrough_hp-nocache';
const HP_NOPASSTHROUGH = 'passthrough_hp-nopassthrough';
const LL = 'passthrough_ll';

const UNCACHED = ['stat', 'open-read-close'];
const CACHED = ['create', 'rename', 'tar-in', 'rm-rf', 'cp-r', 'git-add', 'git-status'];
const DATA = ['read-1m', 'write-1m', 'read-4k', 'write-4k'];
const THROUGHPUT = ['stat-8', 'create-8', 'read-4k-cold-8'];
const RATE_OF_PLAIN = 0.9;
const METADATA_LEAD = 4;
const DATA_LEAD = 10;

/** The marks that name their work. */
const NAMED_MARKS: readonly Mark[] = [
  mark(UNCACHED, 'one-cpu', 'sluice-nocache', [HP_NOCACHE], 0.9),
  mark(UNCACHED, 'free', 'sluice-nocache', [HP_NOCACHE], 1),
  mark(CACHED, 'one-cpu', 'sluice', [HP, LL], 0.7),
  mark(CACHED, 'free', 'sluice', [HP, LL], 1),
  mark(DATA, 'free', 'sluice', ['plain'], 1 / RATE_OF_PLAIN),
  mark(DATA, 'free', 'sluice-nopassthrough', [HP_NOPASSTHROUGH], 1),
  mark(THROUGHPUT, 'free', 'sluice', [HP], 1),
];

function mark(
  work: readonly string[],
  placement: PlacementName,
  subject: string,
  against: readonly string[],
  most: number,
): Mark {
  return { work, placement, subject, against, most };
}

/** The marks about everything that was measured. */
function marksOfAll(record: RunRecord): Mark[] {
  const namesOf = (group: string): string[] =>
    record.workloads.filter((workload) => workload.group === group).map(({ name }) => name);
  const all = record.workloads.map(({ name }) => name);
  return record.placements.flatMap((placement) => [
    mark(all, placement, 'sluice', ['bindfs'], 1),
    mark(all, placement, 'sluice', ['mergerfs'], 1),
    mark(namesOf('metadata'), placement, 'sluice', ['fuse-native'], 1 / METADATA_LEAD),
    mark(namesOf('data'), placement, 'sluice', ['fuse-native'], 1 / DATA_LEAD),
  ]);
}

/**
 * Every mark for every workload it is about, as far as the record has the workload.
 *
 * @param aliases targets that stand for others, by the name of the other
 */
export function judge(record: RunRecord, aliases: ReadonlyMap<string, string>): Verdict[] {
  const measured = new Set(record.workloads.map(({ name }) => name));
  return [...NAMED_MARKS, ...marksOfAll(record)]
    .filter(({ placement }) => record.placements.includes(placement))
    .flatMap((one) =>
      one.work
        .filter((workload) => measured.has(workload))
        .map((workload) => verdict(record, one, workload, aliases)),
    );
}

function verdict(
  record: RunRecord,
  one: Mark,
  workload: string,
  aliases: ReadonlyMap<string, string>,
): Verdict {
  const cellOf = (target: string): Cell | undefined =>
    findCell(record, workload, one.placement, target);
  const base = { mark: one, workload };
  const own = cellOf(one.subject);
  if (own === undefined) {
    return { ...base, peer: null, ratio: null, outcome: `not measured: no ${one.subject}` };
  }
  const peers = one.against.map((name) => aliases.get(name) ?? name);
  const missing = peers.filter((name) => cellOf(name) === undefined);
  const found = peers.flatMap((name) => cellOf(name) ?? []);
  if (found.length === 0) {
    return { ...base, peer: null, ratio: null, outcome: `not measured: no ${missing.join(', ')}` };
  }
  const peer = found.reduce((best, cell) =>
    timeOf(cell).median < timeOf(best).median ? cell : best,
  );
  const outcome = outcomeOf(timeOf(own), scaled(timeOf(peer), one.most));
  return {
    ...base,
    peer: peer.target,
    ratio: timeOf(own).median / timeOf(peer).median,
    outcome: missing.length === 0 ? outcome : `${outcome} (no ${missing.join(', ')})`,
  };
}

function outcomeOf(own: Summary, limit: Summary): string {
  const byMedian = own.median <= limit.median ? 'reached' : 'missed';
  return isTie(own, limit) ? `tie (median: ${byMedian})` : byMedian;
}
