/** Compares two trees file by file, each read by a child of its own. */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { runOk } from './run.ts';
import type { ManifestEntry } from './tree-manifest.ts';

export type Field = Exclude<keyof ManifestEntry, 'path'>;

/** What two copies of a tree have in common. */
export const COPY_FIELDS: readonly Field[] = [
  'type',
  'mode',
  'uid',
  'gid',
  'nlink',
  'sizeBytes',
  'rdev',
  'mtimeNs',
  'content',
  'linkedTo',
  'xattrs',
];

/** What two views of the same files have in common. */
export const VIEW_FIELDS: readonly Field[] = [
  ...COPY_FIELDS,
  'ino',
  'blocks',
  'directorySizeBytes',
];

/** The same work done twice: all but the times. */
export const SAME_WORK_FIELDS: readonly Field[] = COPY_FIELDS.filter((f) => f !== 'mtimeNs');

export interface CompareOptions {
  readonly fields: readonly Field[];
  /** Paths relative to the roots, with all below them, that are left out. */
  readonly exclude?: readonly string[];
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 120_000;
const MOST_SHOWN = 20;
const manifestPath = fileURLToPath(new URL('./tree-manifest.js', import.meta.url));

/** Reads a tree: what every path in it is. */
export async function readTree(
  root: string,
  options: Omit<CompareOptions, 'fields'> = {},
): Promise<Map<string, ManifestEntry>> {
  const { stdout } = await runOk(
    process.execPath,
    [manifestPath, root, ...(options.exclude ?? [])],
    {
      timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    },
  );
  const entries = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ManifestEntry);
  return new Map(entries.map((entry) => [entry.path, entry]));
}

/** One line for everything in which the trees differ. */
export async function differences(
  left: string,
  right: string,
  options: CompareOptions,
): Promise<{ readonly lines: string[]; readonly fileCount: number }> {
  const leftTree = await readTree(left, options);
  const rightTree = await readTree(right, options);
  const lines: string[] = [];
  for (const [path, a] of leftTree) {
    const b = rightTree.get(path);
    if (b === undefined) {
      lines.push(`${path}: only in ${left}`);
      continue;
    }
    for (const field of options.fields) {
      if (a[field] !== b[field]) lines.push(`${path}: ${field} ${a[field]} and ${b[field]}`);
    }
  }
  for (const path of rightTree.keys()) {
    if (!leftTree.has(path)) lines.push(`${path}: only in ${right}`);
  }
  return { lines, fileCount: leftTree.size };
}

/**
 * Fails with the first differences when the trees are not the same.
 *
 * @returns how many files were compared
 */
export async function assertSameTree(
  left: string,
  right: string,
  options: CompareOptions,
): Promise<number> {
  const { lines, fileCount } = await differences(left, right, options);
  assert.ok(fileCount > 1, `${left} is empty: nothing was compared`);
  const shown = lines.slice(0, MOST_SHOWN).join('\n');
  assert.equal(lines.length, 0, `${left} and ${right} differ in ${lines.length}:\n${shown}`);
  return fileCount;
}
