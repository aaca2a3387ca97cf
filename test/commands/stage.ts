/** A mount with a runtime directory of its own, and the tools pointed at it. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Mount, type MountOptions, startMount } from '../harness/mount.ts';
import { cliPath } from '../harness/paths.ts';
import { type RunResult, run, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

/**
 * From the answer of a tool to the end of the process. A mount namespace that another test has at the
 * moment keeps the connection, and with it the daemon, for as long.
 */
const END_MS = 15_000;

export interface Stage {
  readonly mount: Mount;
  readonly source: string;
  readonly mnt: string;
  readonly runtimeDir: string;
  /** The daemon's socket. */
  socket(): string;
  /** Runs a tool with `--runtime-dir`. */
  tool(name: string, ...args: string[]): Promise<RunResult>;
  /** Checks that the daemon has ended by itself, and well. */
  ended(): Promise<void>;
}

/** Mounts a source with the file `f`. */
export async function stage(given: Partial<MountOptions> = {}): Promise<Stage> {
  const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [string, string, string];
  await shell('echo text > "$1/f"', [source]);
  const runtimeDir = join(base, 'run');
  const flags = [`--runtime-dir=${runtimeDir}`, ...(given.flags ?? [])];
  const mount = await startMount({ source, mountpoint: mnt, ...given, flags });
  return {
    mount,
    source,
    mnt,
    runtimeDir,
    socket: () => join(runtimeDir, readdirSync(runtimeDir)[0] as string),
    tool: (name, ...args) => {
      // Not runCli(), which clears away what is mounted at an argument.
      const argv = [cliPath, name, ...args, '--runtime-dir', runtimeDir];
      return run(process.execPath, argv, { timeoutMs: 40_000 });
    },
    async ended() {
      await mount.exited(END_MS);
      assert.equal(mount.exitCode, 0);
      mount.assertNoErrors();
      // Nothing is left to kill: its clean-up is over.
      mount.kill();
    },
  };
}
