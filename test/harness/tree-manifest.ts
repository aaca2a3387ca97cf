/**
 * A program: prints one JSON line per file below a directory, with all that can be compared.
 * Usage: tree-manifest.js ROOT [EXCLUDED_PATH...] (paths relative to ROOT, with what is below them)
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { type BigIntStats, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** One file; numbers that may pass 2^53 are written in decimal. */
export interface ManifestEntry {
  readonly path: string;
  readonly type: string;
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly ino: string;
  readonly nlink: number;
  /** 0 for directories: how large one is depends on its past. */
  readonly sizeBytes: number;
  /** Of the directory itself, 0 for all else. */
  readonly directorySizeBytes: number;
  readonly blocks: number;
  readonly rdev: number;
  readonly mtimeNs: string;
  /** SHA-1 of the bytes of a regular file, the target of a symbolic link. */
  readonly content: string;
  /** The first path of the tree that is the same file. */
  readonly linkedTo: string;
  /** Extended attributes, ACLs among them, sorted: `name=0xhex`. */
  readonly xattrs: string;
}

const MAX_OUTPUT_BYTES = 1 << 30;

const typeByFormat = new Map([
  [0o010000, 'fifo'],
  [0o020000, 'character device'],
  [0o040000, 'directory'],
  [0o060000, 'block device'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
  [0o140000, 'socket'],
]);

/** All xattrs of the tree in one go; getfattr escapes unusual bytes of a name in octal. */
function readXattrs(root: string): Map<string, string> {
  const args = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '.'];
  const text = execFileSync('getfattr', args, {
    cwd: root,
    encoding: 'latin1',
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  const byPath = new Map<string, string>();
  for (const block of text.split('\n\n')) {
    const [head, ...lines] = block.trim().split('\n');
    if (head === undefined || head === '') continue;
    const escaped = head.replace(/^# file: (\.\/)?/, '');
    const raw = escaped.replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    byPath.set(raw, lines.sort().join(' '));
  }
  return byPath;
}

function contentOf(path: Buffer, stats: BigIntStats): string {
  if (stats.isFile()) return createHash('sha1').update(readFileSync(path)).digest('hex');
  if (stats.isSymbolicLink()) return readlinkSync(path, 'latin1');
  return '';
}

function manifest(root: string, excluded: ReadonlySet<string>): void {
  const xattrs = readXattrs(root);
  const firstByInode = new Map<string, string>();
  // Names are bytes: latin1 keeps each of them as one character.
  const visit = (path: string): void => {
    if (excluded.has(path)) return;
    const name = Buffer.from(path === '.' ? root : join(root, path), 'latin1');
    const stats = lstatSync(name, { bigint: true });
    const inode = `${stats.dev}:${stats.ino}`;
    const linkedTo = stats.isDirectory() ? path : (firstByInode.get(inode) ?? path);
    firstByInode.set(inode, linkedTo);
    const entry: ManifestEntry = {
      path,
      type: typeByFormat.get(Number(stats.mode & 0o170000n)) ?? 'unknown',
      mode: Number(stats.mode & 0o7777n).toString(8),
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      ino: String(stats.ino),
      nlink: Number(stats.nlink),
      sizeBytes: stats.isDirectory() ? 0 : Number(stats.size),
      directorySizeBytes: stats.isDirectory() ? Number(stats.size) : 0,
      blocks: Number(stats.blocks),
      rdev: Number(stats.rdev),
      mtimeNs: String(stats.mtimeNs),
      content: contentOf(name, stats),
      linkedTo,
      xattrs: xattrs.get(path) ?? '',
    };
    process.stdout.write(`${JSON.stringify(entry)}\n`);
    if (!stats.isDirectory()) return;
    const names = readdirSync(name, 'latin1').sort();
    for (const child of names) visit(path === '.' ? child : `${path}/${child}`);
  };
  visit('.');
}

if (process.argv[2] !== undefined) manifest(process.argv[2], new Set(process.argv.slice(3)));
