/** A mount by a configuration file, and what a reload changes of it while it is used. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { RELOADED_OPTIONS, rowOf } from '../../src/shared/options.ts';
import { LANES_WORK, type Mount, runCli, startMount } from '../harness/mount.ts';
import { type RunResult, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { logLine, Trace } from './traced-mount.ts';

const BOUND = { timeout: 60_000 };

interface Configured {
  readonly mount: Mount;
  readonly file: string;
  readonly trace: Trace;
  sh(script: string): Promise<RunResult>;
  /** Writes the file anew, sends SIGHUP and waits for the answer. */
  reload(text: string): Promise<string>;
}

/** Mounts a source with the file `f` as a configuration of two lines and `text` says. */
async function configured(text: string, flags: readonly string[] = []): Promise<Configured> {
  const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [string, string, string];
  await shell('mkdir "$1/d"; echo old > "$1/f"', [source]);
  const [file, trace] = [join(base, 'sluice.toml'), join(base, 'trace')];
  const write = (options: string): void => writeFileSync(file, `${options}\ntrace = "trace"\n`);
  write(text);
  const mount = await startMount({
    source,
    mountpoint: mnt,
    flags: ['--config', file, ...flags],
    allowErrors: [/not reloaded/],
  });
  return {
    mount,
    file,
    trace: new Trace(trace),
    sh: (script) => shell(`M='${mnt}'; S='${source}'; ${script}`, [], { timeoutMs: 20_000 }),
    async reload(options) {
      write(options);
      return reloaded(mount);
    },
  };
}

async function reloaded(mount: Mount): Promise<string> {
  const known = mount.logs.length;
  process.kill(mount.pid, 'SIGHUP');
  const untilMs = performance.now() + 10_000;
  while (performance.now() < untilMs) {
    const line = mount.logs.slice(known).find(({ msg }) => /reloaded/.test(String(msg)));
    if (line !== undefined) return String(line['msg']);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`no answer to SIGHUP; ${mount.logTail()}`);
}

/** Looks three times at a file, a directory and a name that does not exist. */
const thrice = (set: number): string =>
  `for i in 1 2 3; do stat $M/f${set} $M/d${set}; stat $M/no${set} || :; done`;

const allTimeouts = (seconds: number): string =>
  ['entry', 'attr', 'negative'].map((name) => `${name}_timeout = ${seconds}`).join('\n');

test('names and attributes are trusted as long as the reload says', BOUND, async () => {
  const { mount, trace, sh, reload } = await configured(allTimeouts(100));
  const lookups = async (set: number): Promise<number[]> => {
    trace.forget();
    await sh(thrice(set));
    const names = ['f', 'd', 'no'].map((name) => `"${name}${set}"`);
    return names.map((name) => trace.requests('LOOKUP', name).length);
  };
  await sh('mkdir $S/d1 $S/d2 $S/d3; touch $S/f1 $S/f2 $S/f3');
  assert.deepEqual(await lookups(1), [1, 1, 1]);
  const said = await reload(allTimeouts(0));
  assert.match(said, /^reloaded: entry_timeout 100 -> 0, attr_timeout 100 -> 0, /);
  assert.deepEqual(await lookups(2), [3, 3, 3]);
  // What the kernel was told before it still trusts.
  assert.deepEqual(await lookups(1), [0, 0, 0]);
  await reload(`${allTimeouts(100)}\ndir_entry_timeout = 0`);
  assert.deepEqual(await lookups(3), [1, 3, 1]);
  await mount.stop();
});

test('lanes read the timeouts that main has set', BOUND, async () => {
  const { mount, sh, reload, trace } = await configured(allTimeouts(0), [LANES_WORK]);
  await sh('mkdir $S/a $S/b; touch $S/a/f $S/b/f');
  const lookupsAfterListing = async (folder: string): Promise<number> => {
    await sh(`ls -l $M/${folder}`);
    const listings = trace.replies('READDIRPLUS');
    assert.ok(listings.length > 0 && listings.every((line) => / lane-\d/.test(line)));
    trace.forget();
    await sh(`stat $M/${folder}/f`);
    return trace.requests('LOOKUP', '"f"').length;
  };
  assert.equal(await lookupsAfterListing('a'), 1);
  await reload(allTimeouts(100));
  assert.equal(await lookupsAfterListing('b'), 0);
  await mount.stop();
});

test('the mount is used while it is reloaded again and again', BOUND, async () => {
  const { mount, sh, reload } = await configured('entry_timeout = 5');
  const work = sh(
    'for i in $(seq 300); do echo $i > $M/w; cat $M/w; mv $M/w $M/v; done | sort -n | tail -1',
  );
  let turns = 0;
  let isWorking = true;
  const end = work.finally(() => {
    isWorking = false;
  });
  while (isWorking) {
    await reload(`entry_timeout = ${turns % 3}\nlog_level = "${turns % 2 ? 'debug' : 'info'}"`);
    turns++;
  }
  assert.equal((await end).stdout.trim(), '300');
  assert.ok(turns > 3, `${turns} reloads`);
  await mount.stop();
});

test('a mistake leaves all as it was, and so does a file that is gone', BOUND, async () => {
  const { mount, file, sh, reload, trace } = await configured('entry_timeout = 100');
  for (const text of ['entry_timeout = "0"', 'entry_timout = 0', 'entry_timeout = ']) {
    const line = await reload(text);
    assert.ok(line.startsWith(`not reloaded, everything stays as it was: ${file}:1`), line);
  }
  await sh(`rm ${file}`);
  assert.match(await reloaded(mount), /^not reloaded, .* cannot be read \(ENOENT/);
  await sh('stat $M/f; stat $M/f');
  assert.equal(trace.requests('LOOKUP', '"f"').length, 1);
  await mount.stop();
});

test('the file may lie on the mount itself', BOUND, async () => {
  const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [string, string, string];
  writeFileSync(join(source, 'sluice.toml'), 'entry_timeout = 5\n');
  writeFileSync(join(mnt, 'sluice.toml'), 'entry_timeout = 7\n');
  const mount = await startMount({
    source,
    mountpoint: mnt,
    flags: ['-o', `config=${mnt}/sluice.toml`],
  });
  // The one that was read at the start is covered now.
  assert.match(await reloaded(mount), /^reloaded: entry_timeout 7 -> 5/, base);
  await mount.stop();
});

test('source and mountpoint from the file, as a template unit starts it', BOUND, async () => {
  const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [string, string, string];
  const file = join(base, 'data.toml');
  writeFileSync(file, `source = "${source}"\nmountpoint = "${mnt}"\nlanes = 1\n`);
  const mount = await startMount({
    source,
    mountpoint: mnt,
    flags: ['--config', file],
    operands: [],
  });
  assert.equal((await mount.status())['lanes'], 1);
  await mount.stop();
});

test('options from the environment', BOUND, async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const env = { SLUICE_OPT_LANES: '1', SLUICE_OPT_LOG_LEVEL: 'warn' };
  const mount = await startMount({ source, mountpoint, env });
  assert.equal((await mount.status())['lanes'], 1);
  await mount.stop();
});

test(
  'debug messages tell how the mount came about, and what it holds',
  BOUND,
  async (t: TestContext) => {
    const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
    const mount = await startMount({
      source,
      mountpoint,
      flags: ['--log-level=debug', '--lanes=2'],
    });
    assert.ok(Number((await mount.status())['inodes']) > 0);
    const settings = await logLine(mount, /^settings that are not by default$/);
    assert.deepEqual((settings['settings'] as Record<string, unknown>)['lanes'], {
      value: 2,
      origin: '--lanes',
    });
    await logLine(mount, /^offered by the kernel and not taken$/);
    await logLine(mount, /^backing mount 0: type 0x[0-9a-f]+, device \d+:\d+, /);
    assert.equal(mount.logs.filter((line) => line['msg'] === 'a lane serves').length, 2);
    const before = mount.logs.length;
    await shell('cd "$1"; for i in $(seq 100); do echo $i > f$i; cat f$i; done; rm f*', [
      mountpoint,
    ]);
    // On a busy machine a call may take long, and what happens then is worth a message.
    const byRequest = mount.logs.slice(before).filter(({ msg }) => !/deputy/.test(String(msg)));
    assert.deepEqual(byRequest, [], 'messages by request');
    t.diagnostic(`${before} lines at debug`);
    await mount.stop();
  },
);

test('what a reload changes is in the help', BOUND, async () => {
  const { stdout } = await runCli(['mount', '--help']);
  const signals = stdout.slice(stdout.indexOf('SIGHUP'), stdout.indexOf('SIGUSR2'));
  for (const key of RELOADED_OPTIONS) assert.ok(signals.includes(rowOf(key).name), signals);
});
