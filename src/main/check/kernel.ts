/** What the running kernel says of itself. */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { gunzipSync } from 'node:zlib';

/** Whether a version like `6.18.44-x` is at least major.minor. */
export function isAtLeast(version: string, major: number, minor: number): boolean {
  const [, first = '0', second = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(first) > major || (Number(first) === major && Number(second) >= minor);
}

/** The text of a file; undefined when it cannot be read. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

/** Whether a CONFIG_ setting is y or m; undefined when the kernel's configuration is not shown. */
export function kernelSetting(name: string): boolean | undefined {
  const text = configuration();
  return text === undefined ? undefined : new RegExp(`^${name}=[ym]$`, 'm').test(text);
}

function configuration(): string | undefined {
  try {
    return gunzipSync(readFileSync('/proc/config.gz')).toString('latin1');
  } catch {
    const version = release();
    return readIfThere(`/boot/config-${version}`) ?? readIfThere(`/lib/modules/${version}/config`);
  }
}
