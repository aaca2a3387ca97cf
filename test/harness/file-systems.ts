/** Small file systems of their own kind to serve from. */
import { join } from 'node:path';
import { defer } from './cleanup.ts';
import { missingTool, run } from './run.ts';
import { tempDirs } from './temp-dir.ts';

export type FileSystemKind = 'ext4' | 'xfs' | 'btrfs' | 'tmpfs';

export interface FileSystemOptions {
  /** Default 512 MiB; xfs needs 300 MiB. The image is sparse. */
  readonly sizeBytes?: number;
  /** For mkfs, before the image. */
  readonly mkfsFlags?: readonly string[];
  /** For `mount -o`. */
  readonly mountOptions?: string;
}

/** Where it is mounted, or why there is none. */
export type FileSystemResult = { readonly path: string } | { readonly skip: string };

const DEFAULT_SIZE_BYTES = 512 * 1024 * 1024;

/** Makes a file system in a new image and mounts it: why that failed, or nothing. */
export async function mountNew(
  kind: FileSystemKind,
  path: string,
  image: string,
  options: FileSystemOptions,
): Promise<string | undefined> {
  const sizeBytes = String(options.sizeBytes ?? DEFAULT_SIZE_BYTES);
  const given = options.mountOptions === undefined ? '' : `,${options.mountOptions}`;
  const steps =
    kind === 'tmpfs'
      ? [['mount', '-t', 'tmpfs', '-o', `size=${sizeBytes}${given}`, 'tmpfs', path]]
      : [
          ['truncate', '-s', sizeBytes, image],
          [`mkfs.${kind}`, '-q', ...(options.mkfsFlags ?? []), image],
          ['mount', '-t', kind, '-o', `loop${given}`, image, path],
        ];
  for (const [command, ...args] of steps) {
    const done = await run(command as string, args);
    if (done.code !== 0) return `${[command, ...args].join(' ')}: ${done.stderr.trim()}`;
  }
  return undefined;
}

/**
 * Makes and mounts a file system that goes away with the test. A skip reason says which tool is
 * missing, or what the machine refused.
 */
export async function makeFileSystem(
  kind: FileSystemKind,
  options: FileSystemOptions = {},
): Promise<FileSystemResult> {
  if (process.getuid?.() !== 0) return { skip: `mounting ${kind} needs root` };
  const missing = kind === 'tmpfs' ? undefined : await missingTool(`mkfs.${kind}`);
  if (missing !== undefined) return { skip: missing };
  const [path] = (await tempDirs('fs')) as [string];
  const refused = await mountNew(kind, path, join(path, `../${kind}.img`), options);
  if (refused !== undefined) return { skip: `no ${kind} here: ${refused}` };
  defer(async () => {
    const unmounted = await run('umount', [path]);
    if (unmounted.code === 0) return;
    await run('umount', ['-l', path]);
    throw new Error(`${kind} below the test stayed busy: ${unmounted.stderr.trim()}`);
  });
  return { path };
}
