/** The files that the workloads work on, and how much one run of each does. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How much one run of each workload does at the most. */
export interface Sizes {
  /** After so long a loop ends; programs run to their end. */
  readonly runMs: number;
  readonly statOperations: number;
  readonly freshFiles: number;
  readonly openOperations: number;
  readonly createOperations: number;
  readonly renameOperations: number;
  readonly directoryEntries: number;
  readonly treeFiles: number;
  readonly sequentialMib: number;
  readonly randomMib: number;
  readonly randomOperations: number;
}

export const FULL_SIZES: Sizes = {
  runMs: 250,
  statOperations: 10_000,
  freshFiles: 1000,
  openOperations: 4000,
  createOperations: 2000,
  renameOperations: 2000,
  directoryEntries: 10_000,
  treeFiles: 500,
  sequentialMib: 128,
  randomMib: 64,
  randomOperations: 16_384,
};

/** Enough to see that everything runs; the figures say little. */
export const QUICK_SIZES: Sizes = {
  runMs: 20,
  statOperations: 100,
  freshFiles: 20,
  openOperations: 50,
  createOperations: 20,
  renameOperations: 40,
  directoryEntries: 200,
  treeFiles: 30,
  sequentialMib: 4,
  randomMib: 4,
  randomOperations: 64,
};

/** Names inside a source directory. */
export const LAYOUT = {
  files: 'files',
  fileCount: 100,
  fileSizeBytes: 1024,
  fileName: (index: number) => `file-${String(index).padStart(5, '0')}`,
  fresh: (round: number) => `fresh-${round}`,
  /** A directory for each client that creates. */
  scratch: (client: number) => `scratch-${client}`,
  /** What the programs make, named by the tag of a run. */
  made: 'made',
  large: 'large',
  tree: 'tree',
  sequential: 'sequential',
  random: 'random',
  /** Written at random places; smaller, so that little waits to be written to a disk. */
  overwritten: 'overwritten',
  overwrittenMib: 16,
} as const;

/** The packed tree, beside the source directories. */
export const ARCHIVE_NAME = 'tree.tar';
export const MOST_CLIENTS = 8;

const TREE_DIRECTORY_FILES = 50;
const CHUNK = Buffer.alloc(1 << 20, 0xa5);

function makeFiles(directory: string, count: number, content: Uint8Array | string): void {
  mkdirSync(directory);
  for (let index = 0; index < count; index++) {
    writeFileSync(join(directory, LAYOUT.fileName(index)), content);
  }
}

function makeTree(directory: string, fileCount: number): void {
  mkdirSync(directory);
  for (let index = 0; index < fileCount; index++) {
    const inner = join(directory, `dir-${Math.floor(index / TREE_DIRECTORY_FILES)}`);
    if (index % TREE_DIRECTORY_FILES === 0) mkdirSync(inner);
    // From 1 to 8 KiB, as source files are, and no two alike: git stores each.
    const content = Buffer.alloc(1024 * (1 + (index % 8)), `${index} `);
    writeFileSync(join(inner, LAYOUT.fileName(index)), content);
  }
}

function makeLargeFile(path: string, sizeMib: number): void {
  writeFileSync(path, '');
  for (let step = 0; step < sizeMib; step++) writeFileSync(path, CHUNK, { flag: 'a' });
}

/** Fills a new source directory. Every round has names of its own that no mount was asked for. */
export function makeSource(
  directory: string,
  rounds: number,
  sizes: Sizes,
  hasData: boolean,
): void {
  mkdirSync(directory);
  const small = CHUNK.subarray(0, LAYOUT.fileSizeBytes);
  makeFiles(join(directory, LAYOUT.files), LAYOUT.fileCount, small);
  for (let round = 0; round < rounds; round++) {
    makeFiles(join(directory, LAYOUT.fresh(round)), sizes.freshFiles, '');
  }
  for (let client = 0; client < MOST_CLIENTS; client++) {
    mkdirSync(join(directory, LAYOUT.scratch(client)));
  }
  mkdirSync(join(directory, LAYOUT.made));
  makeFiles(join(directory, LAYOUT.large), sizes.directoryEntries, '');
  makeTree(join(directory, LAYOUT.tree), sizes.treeFiles);
  if (!hasData) return;
  makeLargeFile(join(directory, LAYOUT.sequential), sizes.sequentialMib);
  makeLargeFile(join(directory, LAYOUT.random), sizes.randomMib);
  makeLargeFile(join(directory, LAYOUT.overwritten), LAYOUT.overwrittenMib);
}

/** Packs the tree of a source directory into the archive that is unpacked. */
export function makeArchive(workDir: string, source: string): void {
  const archive = join(workDir, ARCHIVE_NAME);
  const tar = spawnSync('tar', ['-cf', archive, '-C', join(source, LAYOUT.tree), '.']);
  if (tar.status !== 0) throw new Error(`tar: ${tar.error?.message ?? tar.stderr.toString()}`);
}

/** What programs make, each in a directory of its own for every round. */
const MADE_KINDS = ['unpacked', 'copied', 'repository'] as const;
export type MadeKind = (typeof MADE_KINDS)[number];

export function madePath(root: string, kind: MadeKind, tag: string): string {
  return join(root, LAYOUT.made, `${kind}-${tag}`);
}

/** Removes what the programs of one round have made, behind the mount: no name comes again. */
export function removeMade(source: string, tag: string): void {
  for (const kind of MADE_KINDS) {
    rmSync(madePath(source, kind, tag), { recursive: true, force: true });
  }
}
