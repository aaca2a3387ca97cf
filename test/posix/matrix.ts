/** The configurations the behaviours are tried in. */
import type { FileSystemKind } from '../harness/file-systems.ts';

const DIMENSIONS = {
  fileSystem: ['ext4', 'xfs', 'btrfs', 'tmpfs'],
  cache: ['auto', 'never', 'metadata', 'always'],
  handles: ['prefer', 'never'],
  writeback: ['off', 'on'],
  lanes: ['4', '1'],
  killpriv: ['on', 'off'],
  kernelPassthrough: ['on', 'off'],
} as const;

type Dimension = keyof typeof DIMENSIONS;
type Row = Readonly<Record<Dimension, string>>;

const NAMES = Object.keys(DIMENSIONS) as Dimension[];

export interface Configuration {
  readonly fileSystem: FileSystemKind;
  /** Of `sluice mount`. */
  readonly flags: readonly string[];
}

/**
 * Where nothing is cached there is nothing to write back: sluice switches that off. Nor does the
 * kernel pass anything through with either of them, or without killpriv_v2: the flag that forbids it
 * would change nothing.
 */
function isPossible({ cache, writeback, killpriv, kernelPassthrough }: Partial<Row>): boolean {
  if (killpriv === 'off' && kernelPassthrough === 'off') return false;
  if (writeback === 'on')
    return (cache === 'auto' || cache === 'always') && kernelPassthrough === 'on';
  return cache !== 'never' || kernelPassthrough === 'on';
}

function product(): Row[] {
  let rows: Partial<Row>[] = [{}];
  for (const name of NAMES) {
    rows = rows.flatMap((row) => DIMENSIONS[name].map((value) => ({ ...row, [name]: value })));
  }
  return rows.filter(isPossible) as Row[];
}

function pairsOf(row: Row): string[] {
  return NAMES.flatMap((a, i) => NAMES.slice(i + 1).map((b) => `${a}=${row[a]} ${b}=${row[b]}`));
}

/** Rows in which every two values that can meet, meet: always the row that adds most pairs. */
function pairwise(all: readonly Row[]): Row[] {
  const missing = new Set(all.flatMap(pairsOf));
  const gain = (row: Row) => pairsOf(row).filter((pair) => missing.has(pair)).length;
  const rows: Row[] = [];
  while (missing.size > 0) {
    const best = all.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    rows.push(best);
    for (const pair of pairsOf(best)) missing.delete(pair);
  }
  return rows;
}

function configurationOf(row: Row): Configuration {
  const flags = [
    ...(row.cache === 'auto' ? [] : [`--cache=${row.cache}`]),
    ...(row.handles === 'prefer' ? [] : [`--inode-file-handles=${row.handles}`]),
    ...(row.writeback === 'off' ? [] : ['--writeback']),
    ...(row.lanes === '4' ? [] : [`--lanes=${row.lanes}`]),
    ...(row.killpriv === 'on' ? [] : ['--no-killpriv-v2']),
    ...(row.kernelPassthrough === 'on' ? [] : ['--no-kernel-passthrough']),
  ];
  return { fileSystem: row.fileSystem as FileSystemKind, flags };
}

/**
 * The configurations by file system.
 *
 * @param isFull - every combination, instead of every pair of values in some combination
 */
export function configurations(isFull: boolean): Map<FileSystemKind, Configuration[]> {
  const all = product();
  const chosen = (isFull ? all : pairwise(all)).map(configurationOf);
  return new Map(
    DIMENSIONS.fileSystem.map((kind) => [kind, chosen.filter((c) => c.fileSystem === kind)]),
  );
}
