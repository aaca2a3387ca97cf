/** The environment, and all sources together. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { parseMountArguments } from '../../src/main/commands/arguments.ts';
import { parseConfig } from '../../src/main/config/config-file.ts';
import { environmentSettings } from '../../src/main/config/environment.ts';
import { renderConfig } from '../../src/main/config/print-config.ts';
import {
  type ResolvedMount,
  readSettings,
  resolveMount,
  resolveSettings,
  type Sources,
} from '../../src/main/config/sources.ts';
import { variableOf } from '../../src/main/config/variables.ts';
import { SluiceError } from '../../src/shared/errors.ts';
import { effectiveValue, OPTION_KEYS, rowOf } from '../../src/shared/options.ts';
import { sample } from './sample.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-sources-'));
after(() => rmSync(folder, { recursive: true }));

const SURROUNDINGS = { isRoot: true, workingDirectory: folder };

let files = 0;

function configFile(text: string): string {
  const name = `${files++}.toml`;
  writeFileSync(join(folder, name), text);
  return name;
}

function sources(argv: readonly string[], environment: NodeJS.ProcessEnv = {}): Sources {
  return { given: parseMountArguments(argv), environment, surroundings: SURROUNDINGS };
}

function resolved(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<ResolvedMount> {
  return resolveMount(sources(argv, env));
}

function values(environment: NodeJS.ProcessEnv): Record<string, unknown> {
  const settings = [...environmentSettings(environment)];
  return Object.fromEntries(settings.map(([key, { value }]) => [key, value]));
}

async function refusal(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  try {
    await resolved(argv, env);
  } catch (error) {
    assert.ok(error instanceof SluiceError, String(error));
    assert.doesNotMatch(error.message, /\p{Cc}/u);
    assert.equal(error.exitCode, 1);
    return error.message;
  }
  throw new assert.AssertionError({ message: `accepted: ${JSON.stringify(argv)}` });
}

for (const [name, key] of OPTION_KEYS) {
  test(`${name}: in the environment`, () => {
    const [text, value] = sample(rowOf(key));
    const variable = `SLUICE_OPT_${name.toUpperCase()}`;
    assert.equal(variableOf(name), variable);
    const settings = environmentSettings({ [variable]: text });
    assert.deepEqual([...settings], [[key, { value, origin: variable }]]);
  });
}

test('several rules stand on lines of their own', () => {
  assert.deepEqual(values({ SLUICE_OPT_TRANSLATE_UID: 'map:0:1:1\n\nmap:8:8:1\n' }), {
    translateUid: ['map:0:1:1', 'map:8:8:1'],
  });
});

test('what is empty counts as not set, and other variables are not ours', () => {
  const others = { SLUICE_PORT: 'tcp://10.0.0.1:80', SLUICE_POSIX: 'full', SLUICE_CACHE: 'x' };
  assert.deepEqual(values({ ...others, SLUICE_OPT_LANES: '', SLUICE_OPT_CONFIG: '' }), {});
});

const BAD: readonly [NodeJS.ProcessEnv, RegExp][] = [
  [{ SLUICE_OPT_LANS: '1' }, /^SLUICE_OPT_LANS: unknown option; did you mean SLUICE_OPT_LANES\?$/],
  [{ SLUICE_OPT_QQQQQQ: '1' }, /^SLUICE_OPT_QQQQQQ: unknown option; sluice mount --help/],
  [{ SLUICE_OPT_lanes: '1' }, /^SLUICE_OPT_lanes: unknown option; did you mean SLUICE_OPT_LANES\?/],
  [{ SLUICE_OPT_LANES: '65' }, /^SLUICE_OPT_LANES: 65 is not valid; give a whole number from 1/],
  [{ SLUICE_OPT_XATTR: 'maybe' }, /^SLUICE_OPT_XATTR: "maybe" is not valid; give true or false$/],
  [{ SLUICE_OPT_CACHE: 'a\nb' }, /^SLUICE_OPT_CACHE: "a\\x0ab" is not valid/],
  [{ SLUICE_OPT_REMOUNT: '1' }, /^SLUICE_OPT_REMOUNT: not supported/],
  [{ SLUICE_OPT_TRANSLATE_UID: 'map:1:2' }, /^SLUICE_OPT_TRANSLATE_UID: translate_uid: rule /],
  [{ SLUICE_OPT_CONFIG: '/nonexistent/x' }, /^config: \/nonexistent\/x cannot be read \(ENOENT/],
];

for (const [environment, message] of BAD) {
  test(`refused: ${JSON.stringify(environment)}`, async () => {
    assert.match(await refusal(['/s', '/m'], environment), message);
  });
}

test('whatever the environment holds, the answer is settings or one line', () => {
  const name = fc.oneof(fc.constantFrom(...OPTION_KEYS.keys()).map(variableOf), fc.string());
  const text = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(name, fc.boolean(), text, (variable, isOurs, value) => {
      try {
        environmentSettings({ [isOurs ? `SLUICE_OPT_${variable}` : variable]: value });
      } catch (error) {
        assert.ok(error instanceof SluiceError, String(error));
        assert.doesNotMatch(error.message, /\p{Cc}/u);
      }
    }),
    { numRuns: 1000 },
  );
});

test('each source is stronger than the ones before, rules too', async () => {
  const file = configFile(
    'source = "fs"\nmountpoint = "fm"\nlanes = 1\ntranslate_uid = "map:1:1:1"',
  );
  const byEnvironment = {
    SLUICE_OPT_LANES: '2',
    SLUICE_OPT_TRANSLATE_UID: 'map:2:2:1',
    SLUICE_OPT_SOURCE: 'es',
  };
  const list = ['-o', 'lanes=3,translate_uid=map:3:3:1'];
  const flags = ['--lanes=4', '--translate-uid=map:4:4:1'];
  const look = async (argv: readonly string[], env: NodeJS.ProcessEnv = {}) => {
    const { options, settings } = await resolved(['--config', file, ...argv], env);
    const origin = settings.get('lanes')?.origin.replace(/^.*toml/, 'file');
    return [origin, options.lanes, options.translateUid, options.source, options.mountpoint];
  };
  const uid = (id: number) => [`map:${id}:${id}:1`];
  const [fs, fm, es] = ['fs', 'fm', 'es'].map((name) => join(folder, name));
  assert.deepEqual(await look([]), ['file:3', 1, uid(1), fs, fm]);
  assert.deepEqual(await look([], byEnvironment), ['SLUICE_OPT_LANES', 2, uid(2), es, fm]);
  assert.deepEqual(await look(list, byEnvironment), ['-o lanes', 3, uid(3), es, fm]);
  const all = [...flags, ...list];
  assert.deepEqual(await look(all, byEnvironment), ['--lanes', 4, uid(4), es, fm]);
  assert.deepEqual(await look(['/s', ...all], byEnvironment), ['--lanes', 4, uid(4), '/s', fm]);
  assert.deepEqual(await look(['/s', '/m']), ['file:3', 1, uid(1), '/s', '/m']);
});

test('the file is named by a flag, a list or the environment, in this order', async () => {
  const [a, b, c] = [1, 2, 3].map((lanes) => configFile(`lanes = ${lanes}`)) as [
    string,
    string,
    string,
  ];
  const places = ['/s', '/m'];
  const lanes = async (argv: readonly string[], env?: NodeJS.ProcessEnv) =>
    (await resolved([...places, ...argv], env)).options.lanes;
  assert.equal(await lanes([]), 4);
  assert.equal(await lanes([], { SLUICE_OPT_CONFIG: a }), 1);
  assert.equal(await lanes(['-o', `config=${b}`], { SLUICE_OPT_CONFIG: a }), 2);
  assert.equal(await lanes(['--config', c, '-o', `config=${b}`], { SLUICE_OPT_CONFIG: a }), 3);
});

test('without a source or a mountpoint', async () => {
  assert.match(
    await refusal([]),
    /^source: missing; give SOURCE and MOUNTPOINT, or set them in the/,
  );
  assert.match(await refusal(['/s']), /^mountpoint: missing; give/);
  const file = configFile('mountpoint = "/m"');
  assert.match(await refusal(['--config', file]), /^source: missing/);
  assert.equal((await resolved(['/s', '--config', file])).options.mountpoint, '/m');
});

// ---- --print-config ----

async function printed(argv: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const from = sources(argv, environment);
  return renderConfig(await readSettings(from), SURROUNDINGS, from.given.warnings);
}

function line(text: string, name: string): string | undefined {
  return text.split('\n').find((candidate) => new RegExp(`^(# )?${name}\\b`).test(candidate));
}

test('every option is printed with its value and its origin', async () => {
  const file = configFile('\nentry_timeout = 2.5\nmax_write = "8K"\nsource = "/s"');
  const argv = ['--config', file, '-o', 'noatime,no_open', '--no-xattr', '--lanes', '2'];
  const text = await printed(argv, { SLUICE_OPT_CACHE: 'never' });
  for (const name of OPTION_KEYS.keys()) assert.ok(line(text, name), name);
  const expected = [
    ['source', `source = "/s" +# ${folder}/${file}:4`],
    ['mountpoint', '# mountpoint +# not given'],
    ['cache', 'cache = "never" +# SLUICE_OPT_CACHE'],
    ['entry_timeout', `entry_timeout = 2\\.5 +# ${folder}/${file}:2`],
    ['attr_timeout', 'attr_timeout = 0 +# default, as entry_timeout, by cache'],
    ['dir_entry_timeout', 'dir_entry_timeout = 2\\.5 +# default, entry_timeout'],
    ['max_write', `max_write = "8K" +# ${folder}/${file}:3`],
    ['xattr', 'xattr = false +# --no-xattr'],
    ['no_open', 'no_open = false +# -o no_open, switched off'],
    ['lanes', 'lanes = 2 +# --lanes'],
    ['atime', 'atime = false +# -o noatime'],
    ['exec', 'exec = true +# default'],
    ['fsname', '# fsname +# default, the source path'],
    ['log_file', '# log_file +# default, stderr'],
    [
      'runtime_dir',
      '# runtime_dir +# default, /run/sluice for root, else \\$XDG_RUNTIME_DIR/sluice',
    ],
  ] as const;
  for (const [name, pattern] of expected) {
    assert.match(line(text, name) ?? '', new RegExp(`^${pattern}$`));
  }
  assert.match(text, /^# warning: no_open is switched off: it needs cache=always$/m);
});

test('what is printed is a file that comes to the same options', async () => {
  const argvs = [
    ['/s', '/m'],
    ['/s', '/m', '--trace', '--cache=always', '--no-open', '--translate-uid=map:1:2:3', '-o', 'ro'],
    [
      '/a "b"\n#',
      '/m',
      '--max-write=12K',
      '--trace=t',
      '--log-file',
      'l',
      '--fsname=x\\',
      '-o',
      'nosuid',
    ],
    ['/s', '/m', '--entry-timeout=0.0015', '--attr-timeout=100000000', '--xattrmap=:ok:all:::'],
  ];
  for (const argv of argvs) {
    const text = await printed(argv);
    assert.doesNotMatch(text, /[^\n\P{Cc}]/u);
    const settings = parseConfig(text, join(folder, 'printed.toml'));
    const again = resolveSettings(settings, SURROUNDINGS).options;
    assert.deepEqual(again, (await resolved(argv)).options, text);
  }
});

test('an option as it is in the end is what a program would give', async () => {
  const { options } = await resolved([
    '/s',
    '/m',
    '-o',
    'noexec,sync,entry_timeout=2.5,max_write=8K',
  ]);
  assert.deepEqual(
    (['exec', 'sync', 'suid', 'entryTimeout', 'maxWrite', 'lanes'] as const).map((key) =>
      effectiveValue(options, key),
    ),
    [false, true, true, 2.5, 8192, 4],
  );
});
