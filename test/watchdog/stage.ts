/** Backing file systems that hang, below a mount whose log and metrics are looked at. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type HangingServer, mountHanging } from '../faults/hanging.ts';
import { defer } from '../harness/cleanup.ts';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { type LogLine, type Mount, type MountOptions, startMount } from '../harness/mount.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { ANY_PORT } from '../metrics/scrape.ts';

const POLL_MS = 50;
/** A call on a file system that does not hang, with the start of the process that makes it. */
export const SOON_MS = 2500;
export const FILES = 100;

type Settings = Pick<MountOptions, 'allowErrors' | 'env' | 'nodeFlags'>;

/** A mount, and processes on it that may hang and are gone when the test ends. */
export class Stage {
  readonly mount: Mount;
  readonly #clients: Client[] = [];

  constructor(mount: Mount, unhang: () => unknown) {
    this.mount = mount;
    defer(async () => {
      await unhang();
      for (const client of this.#clients) client.kill();
    });
  }

  at(...names: string[]): string {
    return join(this.mount.mountpoint, ...names);
  }

  start(command: string, ...args: string[]): Client {
    const client = new Client(command, ...args);
    this.#clients.push(client);
    return client;
  }

  /** Runs a command on the mount that has to end well, and soon. */
  async endsSoon(command: string, ...args: string[]): Promise<string> {
    const done = await run(command, args, { timeoutMs: SOON_MS });
    assert.equal(done.timedOut, false, `${command} ${args.join(' ')} hangs`);
    assert.equal(done.code, 0, done.stderr);
    return done.stdout;
  }

  lines(message: RegExp): LogLine[] {
    return this.mount.logs.filter(({ msg }) => message.test(String(msg)));
  }

  /** Waits for a log line. */
  async line(message: RegExp, timeoutMs = 10_000): Promise<LogLine> {
    const untilMs = performance.now() + timeoutMs;
    for (;;) {
      const [found] = this.lines(message);
      if (found !== undefined) return found;
      if (performance.now() > untilMs) {
        assert.fail(`no line ${message} within ${timeoutMs} ms\n${this.mount.logTail()}`);
      }
      await sleep(POLL_MS);
    }
  }
}

export interface HangingStage extends HangingServer {
  readonly stage: Stage;
  /** A process in the directory that hangs: to be killed before the mount is stopped. */
  readonly holder: Client;
}

/** The kernel keeps nothing of what hangs: all of it has to be asked for. */
const ASKED_EACH_TIME = ['-o', 'attr_timeout=0,entry_timeout=0'];

/**
 * So that all requests are about files. Who looks up the same name waits in the kernel, one for the
 * other, before the daemon hears of it.
 */
const DIRECTORIES_STAY = ['--entry-timeout=3600', '--dir-attr-timeout=3600', '--attr-timeout=0'];

/** A source with a FUSE file system below it that can hang, in `hung`; or why there is none. */
export async function makeHangingStage(
  flags: readonly string[],
  settings: Settings = {},
): Promise<HangingStage | { readonly skip: string }> {
  const missing = await missingTool('bindfs');
  if (missing !== undefined) return { skip: missing };
  if (process.getuid?.() !== 0) return { skip: 'mounting needs root' };
  const [backing, source, mountpoint] = (await tempDirs('backing', 'source', 'mnt')) as [
    string,
    string,
    string,
  ];
  const hung = join(source, 'hung');
  mkdirSync(hung);
  for (let i = 0; i < FILES; i++) {
    writeFileSync(join(backing, `file-${i}`), `content ${i}`);
    writeFileSync(join(source, `own-${i}`), `own ${i}`);
  }
  symlinkSync('file-1', join(backing, 'link'));
  const server = await mountHanging(backing, hung, ASKED_EACH_TIME);
  const all = [ANY_PORT, ...DIRECTORIES_STAY, ...flags];
  const mount = await startMount({ source, mountpoint, flags: all, ...settings });
  const stage = new Stage(mount, server.goOn);
  // Whoever drops caches on this machine leaves the directory in the kernel's.
  const holder = stage.start(
    'sh',
    '-c',
    'cd "$1"; echo in; exec sleep 1000',
    'sh',
    stage.at('hung'),
  );
  await holder.started();
  return { stage, holder, ...server };
}

export interface FreezingStage {
  readonly stage: Stage;
  readonly source: string;
  readonly freeze: () => Promise<unknown>;
  readonly thaw: () => Promise<unknown>;
}

/** A source that can be frozen (fsfreeze), with a tmpfs below it in `tmp`; or why there is none. */
export async function makeFreezingStage(
  kind: FileSystemKind,
  flags: readonly string[],
  settings: Settings = {},
): Promise<FreezingStage | { readonly skip: string }> {
  const missing = await missingTool('fsfreeze');
  if (missing !== undefined) return { skip: missing };
  const made = await makeFileSystem(kind);
  if ('skip' in made) return made;
  const source = made.path;
  const tmp = join(source, 'tmp');
  mkdirSync(tmp);
  await runOk('mount', ['-t', 'tmpfs', 'tmpfs', tmp]);
  defer(async () => void (await run('umount', ['-l', tmp])));
  for (let i = 0; i < FILES; i++) {
    writeFileSync(join(source, `own-${i}`), `own ${i}`);
    writeFileSync(join(tmp, `tmp-${i}`), `tmp ${i}`);
  }
  const mount = await startMount({ source, flags: [ANY_PORT, ...flags], ...settings });
  const freezing = (how: string): Promise<unknown> => run('fsfreeze', [how, source]);
  const thaw = (): Promise<unknown> => freezing('--unfreeze');
  return { stage: new Stage(mount, thaw), source, freeze: () => freezing('--freeze'), thaw };
}

/** Skips the test where there is no stage. */
export function stageOrSkip<Made extends object>(
  t: TestContext,
  made: Made | { readonly skip: string },
): Made | undefined {
  if (!('skip' in made)) return made;
  t.skip(made.skip);
  return undefined;
}
