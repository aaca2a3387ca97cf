import { chmod, mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defer } from './cleanup.ts';
import { run } from './run.ts';

const REMOVE_TIMEOUT_MS = 60_000;

/**
 * Makes an empty directory that goes away with the test. Other users may pass through it. Its path is
 * short: that of a Unix socket in it may have 107 bytes.
 *
 * @returns its absolute path
 */
export async function tempDir(name = 'dir'): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), `${name}-`));
  await chmod(path, 0o755);
  defer(async () => {
    const removed = await run('rm', ['-rf', '--one-file-system', path], {
      timeoutMs: REMOVE_TIMEOUT_MS,
    });
    if (removed.code !== 0) throw new Error(`${path} cannot be removed: ${removed.stderr}`);
  });
  return path;
}

/** Makes a temporary directory with the named directories in it and returns their paths, in order. */
export async function tempDirs(...names: string[]): Promise<string[]> {
  const base = await tempDir();
  const paths = names.map((name) => join(base, name));
  for (const path of paths) await mkdir(path);
  return paths;
}
