/** The files that the workloads work on, and how many of them. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How much one run of each workload does. */
export interface Sizes {
  readonly fileCount: number;
  readonly statOperations: number;
  readonly freshFiles: number;
  readonly openOperations: number;
  readonly createOperations: number;
  readonly directoryEntries: number;
  readonly treeFiles: number;
  readonly sequentialMib: number;
  readonly randomMib: number;
  readonly randomOperations: number;
}

export const FULL_SIZES: Sizes = {
  fileCount: 100,
  statOperations: 5000,
  freshFiles: 1000,
  openOperations: 2000,
  createOperations: 1000,
  directoryEntries: 10_000,
  treeFiles: 2000,
  sequentialMib: 128,
  randomMib: 64,
  randomOperations: 4096,
};

/** Enough to see that everything runs; the figures say little. */
export const QUICK_SIZES: Sizes = {
  fileCount: 100,
  statOperations: 200,
  freshFiles: 50,
  openOperations: 100,
  createOperations: 50,
  directoryEntries: 500,
  treeFiles: 100,
  sequentialMib: 4,
  randomMib: 4,
  randomOperations: 256,
};

/** Names inside a source directory. */
export const LAYOUT = {
  files: 'files',
  fresh: (round: number) => `fresh-${round}`,
  scratch: 'scratch',
  large: 'large',
  tree: 'tree',
  sequential: 'sequential',
  random: 'random',
  fileName: (index: number) => `file-${String(index).padStart(5, '0')}`,
  fileSizeBytes: 1024,
} as const;

/** The packed tree, beside the source directories. */
export const ARCHIVE_NAME = 'tree.tar';

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
    // From 1 to 8 KiB, as source files are.
    writeFileSync(join(inner, LAYOUT.fileName(index)), CHUNK.subarray(0, 1024 * (1 + (index % 8))));
  }
}

function makeLargeFile(path: string, sizeMib: number): void {
  writeFileSync(path, '');
  for (let step = 0; step < sizeMib; step++) writeFileSync(path, CHUNK, { flag: 'a' });
}

/** Fills a new source directory. Every round has names of its own that no mount was asked for. */
export function makeSource(directory: string, rounds: number, sizes: Sizes): void {
  mkdirSync(directory);
  makeFiles(
    join(directory, LAYOUT.files),
    sizes.fileCount,
    CHUNK.subarray(0, LAYOUT.fileSizeBytes),
  );
  for (let round = 0; round < rounds; round++) {
    makeFiles(join(directory, LAYOUT.fresh(round)), sizes.freshFiles, '');
  }
  mkdirSync(join(directory, LAYOUT.scratch));
  makeFiles(join(directory, LAYOUT.large), sizes.directoryEntries, '');
  makeTree(join(directory, LAYOUT.tree), sizes.treeFiles);
  makeLargeFile(join(directory, LAYOUT.sequential), sizes.sequentialMib);
  makeLargeFile(join(directory, LAYOUT.random), sizes.randomMib);
}

/** Packs the tree of a source directory into the archive that `tar-unpack` reads. */
export function makeArchive(workDir: string, source: string): void {
  const archive = join(workDir, ARCHIVE_NAME);
  const tar = spawnSync('tar', ['-cf', archive, '-C', join(source, LAYOUT.tree), '.']);
  if (tar.status !== 0) throw new Error(`tar: ${tar.error?.message ?? tar.stderr.toString()}`);
}
