/** SIGHUP and SIGUSR2: what they change of a mount, and what they say. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseMountArguments } from '../../src/main/commands/arguments.ts';
import { Reloader } from '../../src/main/commands/reloader.ts';
import { Verbosity } from '../../src/main/commands/verbosity.ts';
import { parseConfig } from '../../src/main/config/config-file.ts';
import { planReload, type ReloadPlan } from '../../src/main/config/reload.ts';
import {
  type ResolvedMount,
  resolveMount,
  resolveSettings,
  type Sources,
} from '../../src/main/config/sources.ts';
import type { Daemon } from '../../src/main/daemon.ts';
import type { ServiceManager } from '../../src/main/notify.ts';
import { createLogger, type LogLevel } from '../../src/shared/log.ts';
import type { MountOptions } from '../../src/shared/options.ts';

const SURROUNDINGS = { isRoot: true, workingDirectory: '/' };

const folder = mkdtempSync(join(tmpdir(), 'sluice-reload-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;

function newPath(kind: string): string {
  return join(folder, `${files++}.${kind}`);
}

function mountOf(text: string): ResolvedMount {
  const settings = parseConfig(`source = "/s"\nmountpoint = "/m"\n${text}`, '/etc/a.toml');
  return { settings, ...resolveSettings(settings, SURROUNDINGS) };
}

function plan(before: string, now: string): ReloadPlan {
  return planReload(mountOf(before), mountOf(now), SURROUNDINGS);
}

test('timeouts, the log level and deadlines are changed', () => {
  const { changed, ignored, mount } = plan(
    'entry_timeout = 5',
    'attr_timeout = 2.5\nlog_level = "debug"\nstop_timeout = 3\nnegative_timeout = 1',
  );
  assert.deepEqual(changed, [
    { name: 'entry_timeout', from: 5, to: 1 },
    { name: 'attr_timeout', from: 1, to: 2.5 },
    { name: 'dir_entry_timeout', from: 5, to: 1 },
    { name: 'dir_attr_timeout', from: 1, to: 2.5 },
    { name: 'negative_timeout', from: 0, to: 1 },
    { name: 'log_level', from: 'info', to: 'debug' },
    { name: 'stop_timeout', from: 10, to: 3 },
  ]);
  assert.deepEqual(ignored, []);
  assert.equal(mount.options.dirAttrTimeoutMs, 2500);
});

test('the rest is not, and neither is what derives from it', () => {
  const { changed, ignored, mount } = plan(
    'lanes = 4\nro = true\ncache = "auto"',
    'cache = "always"\nlanes = 2\ntranslate_uid = "map:1:2:3"\nexec = true\nfsname = "x"',
  );
  assert.deepEqual(changed, []);
  assert.deepEqual(ignored, [
    { name: 'cache', from: 'auto', to: 'always' },
    { name: 'lanes', from: 4, to: 2 },
    { name: 'translate_uid', from: [], to: ['map:1:2:3'] },
    { name: 'ro', from: true, to: false },
    { name: 'fsname', from: '/s', to: 'x' },
  ]);
  assert.equal(mount.options.cache, 'auto');
  assert.equal(mount.options.entryTimeoutMs, 1000);
  assert.equal(mount.settings.get('lanes')?.value, 4);
});

test('another source is for the next mount', () => {
  const settings = parseConfig('source = "/other"\nmountpoint = "/m"', '/etc/a.toml');
  const other = { settings, ...resolveSettings(settings, SURROUNDINGS) };
  const { changed, ignored } = planReload(mountOf(''), other, SURROUNDINGS);
  assert.deepEqual([changed, ignored], [[], [{ name: 'source', from: '/s', to: '/other' }]]);
});

test('warnings are those that are new', () => {
  const { warnings } = plan('no_open = true', 'no_open = true\nwriteback = true\ncache = "never"');
  assert.deepEqual(warnings, [
    'writeback is switched off: cache=never and cache=metadata keep no data to write back',
  ]);
});

// ---- how it is said ----

interface Stand {
  readonly file: string;
  readonly reloader: Reloader;
  /** What the service manager was told. */
  readonly told: string[];
  /** Options the daemon was given. */
  readonly given: MountOptions[];
  readonly daemon: Daemon;
  /** Level and message of each line so far. */
  lines(): string[];
}

async function stand(text: string, ...argv: string[]): Promise<Stand> {
  const [file, logFile] = [newPath('toml'), newPath('log')];
  writeFileSync(file, text);
  const sources: Sources = {
    given: parseMountArguments(['/s', '/m', '--config', file, ...argv]),
    environment: {},
    surroundings: SURROUNDINGS,
  };
  const mount = await resolveMount(sources);
  const { logLevel } = mount.options;
  const logger = createLogger({ mountId: 'id', logLevel, logFormat: 'json', logFile });
  const verbosity = new Verbosity(logger, logLevel);
  const told: string[] = [];
  const manager: ServiceManager = {
    watchdog: undefined,
    ready: (status) => told.push(`ready: ${status}`),
    reloading: () => told.push('reloading'),
    stopping: (status) => told.push(`stopping: ${status}`),
  };
  const given: MountOptions[] = [];
  const daemon = { reconfigure: (options: MountOptions) => given.push(options) };
  return {
    file,
    reloader: new Reloader(sources, mount, logger, verbosity, manager),
    told,
    given,
    daemon: daemon as unknown as Daemon,
    lines: () =>
      readFileSync(logFile, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as { level: string; msg: string })
        .map(({ level, msg }) => `${level}: ${msg}`),
  };
}

test('a reload says what it changed, what it did not, and flags keep their precedence', async () => {
  const { file, reloader, daemon, given, lines } = await stand(
    'entry_timeout = 5',
    '--attr-timeout=7',
  );
  writeFileSync(file, 'entry_timeout = 2\nattr_timeout = 1\nlanes = 2');
  await reloader.reload(daemon);
  assert.deepEqual(
    given.map((options) => [options.entryTimeoutMs, options.attrTimeoutMs]),
    [[2000, 7000]],
  );
  assert.deepEqual(lines(), [
    'info: reloaded: entry_timeout 5 -> 2, dir_entry_timeout 5 -> 2',
    'warn: not changed before the next mount: lanes 4 -> 2',
  ]);
  await reloader.reload(daemon);
  assert.deepEqual(lines().slice(2), [
    'info: reloaded: nothing has changed',
    'warn: not changed before the next mount: lanes 4 -> 2',
  ]);
});

test('a file with a mistake changes nothing, and is one line', async () => {
  const { file, reloader, daemon, given, lines, told } = await stand('entry_timeout = 5');
  writeFileSync(file, 'entry_timeout = 2\nlans = 2');
  await reloader.reload(daemon);
  assert.deepEqual(told, ['reloading', 'ready: serving /s on /m']);
  rmSync(file);
  await reloader.reload(daemon);
  writeFileSync(file, 'entry_timeout = ');
  await reloader.reload(daemon);
  assert.deepEqual(given, []);
  const why = ['lans: unknown option; did you mean lanes\\?', 'cannot be read', 'no valid TOML'];
  assert.equal(lines().length, why.length);
  for (const [index, reason] of why.entries()) {
    const pattern = `^error: not reloaded, everything stays as it was: .*${reason}`;
    assert.match(lines()[index] ?? '', new RegExp(pattern));
  }
  writeFileSync(file, 'entry_timeout = 3');
  await reloader.reload(daemon);
  assert.equal(lines().at(-1), 'info: reloaded: entry_timeout 5 -> 3, dir_entry_timeout 5 -> 3');
});

test('asked several times at once it reads once more at the end', async () => {
  const { file, reloader, daemon, given } = await stand('entry_timeout = 5');
  writeFileSync(file, 'entry_timeout = 2');
  const first = reloader.reload(daemon);
  const others = Promise.all([reloader.reload(daemon), reloader.reload(daemon)]);
  await others;
  writeFileSync(file, 'entry_timeout = 1');
  await first;
  assert.deepEqual(given.map((options) => options.entryTimeoutMs).at(-1), 1000);
  assert.equal(given.length, 2);
});

test('the log level that is reloaded holds from then on, and the line of it shows', async () => {
  const { file, reloader, daemon, lines } = await stand('log_level = "error"');
  const levels: LogLevel[] = ['debug', 'warn', 'info'];
  for (const level of levels) {
    writeFileSync(file, `log_level = "${level}"`);
    await reloader.reload(daemon);
  }
  assert.deepEqual(lines(), [
    'info: reloaded: log_level error -> debug',
    'info: reloaded: log_level debug -> warn',
    'info: reloaded: log_level warn -> info',
  ]);
});

test('debug messages are toggled, and a reload meanwhile counts afterwards', () => {
  const logFile = newPath('log');
  const logger = createLogger({ mountId: 'id', logLevel: 'warn', logFormat: 'json', logFile });
  const verbosity = new Verbosity(logger, 'warn');
  const toggles: boolean[] = [];
  const toggle = (): void => verbosity.toggleDebug((isDebug) => toggles.push(isDebug));
  toggle();
  assert.equal(logger.level, 'debug');
  verbosity.configure('error', () => undefined);
  assert.equal(logger.level, 'debug');
  toggle();
  assert.equal(logger.level, 'error');
  verbosity.configure('trace', () => undefined);
  assert.equal(logger.level, 'trace');
  toggle();
  assert.equal(logger.level, 'info');
  toggle();
  assert.equal(logger.level, 'trace');
  assert.deepEqual(toggles, [true, false, false, true]);
});
