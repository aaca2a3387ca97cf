/** What has to fail: with one line, an exit code, and nothing left behind. */
import assert from 'node:assert/strict';
import { forceUnmount, isFuse, type MountLine, readMounts } from '../harness/mountinfo.ts';
import { cliPath } from '../harness/paths.ts';
import { run } from '../harness/run.ts';

const TIMEOUT_MS = 20_000;

export interface Refusal {
  /** The arguments behind `sluice`. */
  readonly args: readonly string[];
  /** A command that runs the rest of its line. */
  readonly prefix?: readonly string[];
  readonly code: number;
  /** What the line says, in this order: the thing, the reason, the cure. */
  readonly says: readonly [thing: string, reason: string, cure: string];
}

/** FUSE mounts of this moment that were not there before. */
function newMounts(before: readonly MountLine[]): MountLine[] {
  const known = new Set(before.map((mount) => `${mount.minor} ${mount.mountpoint}`));
  return readMounts().filter(
    (mount) => isFuse(mount) && !known.has(`${mount.minor} ${mount.mountpoint}`),
  );
}

/** What the start was about: others may mount elsewhere at the same time. */
function areAbout(mounts: readonly MountLine[], args: readonly string[]): MountLine[] {
  return mounts.filter((mount) => args.includes(mount.mountpoint));
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Runs it and checks all that is promised of a start that fails. */
export async function assertRefused({ args, prefix, code, says }: Refusal): Promise<void> {
  const before = readMounts();
  const [command, ...rest] = [...(prefix ?? []), process.execPath, cliPath, ...args] as [
    string,
    ...string[],
  ];
  const result = await run(command, rest, { timeoutMs: TIMEOUT_MS });
  const mounted = areAbout(newMounts(before), args);
  for (const mount of mounted) forceUnmount(mount);
  assert.deepEqual(mounted, []);
  assert.equal(result.timedOut, false, result.stderr);
  // Warnings of the log may stand before it.
  const plain = result.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  assert.equal(plain.length, 1, result.stderr);
  assert.match(plain[0] as string, new RegExp(`^sluice: ${says.map(escaped).join('.*')}`));
  assert.doesNotMatch(result.stderr, /"level":"(error|fatal)"|internal error/);
  assert.equal(result.code, code, result.stderr);
  assert.equal(result.stdout, '');
}
