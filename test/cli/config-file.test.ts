import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'smol-toml';
import { parseConfig, readConfigFile } from '../../src/main/config/config-file.ts';
import type { SettingKey } from '../../src/main/config/settings.ts';
import { SluiceError } from '../../src/shared/errors.ts';
import { OPTION_KEYS, rowOf } from '../../src/shared/options.ts';
import { sample } from './sample.ts';

const PATH = '/etc/sluice/a.toml';

const folder = mkdtempSync(join(tmpdir(), 'sluice-config-'));
after(() => rmSync(folder, { recursive: true }));

function values(text: string): Record<string, unknown> {
  const settings = [...parseConfig(text, PATH)];
  return Object.fromEntries(settings.map(([key, { value }]) => [key, value]));
}

function origin(text: string, key: SettingKey): string | undefined {
  return parseConfig(text, PATH).get(key)?.origin;
}

function assertLine(error: unknown, given: string): asserts error is SluiceError {
  assert.ok(error instanceof SluiceError, `${String(error)} of ${JSON.stringify(given)}`);
  assert.equal(error.exitCode, 1);
  assert.doesNotMatch(error.message, /[\p{Cc}\u2028\u2029]/u);
  assert.ok(error.message.length < 2000, 'a line that nobody can read');
}

function refusal(text: string): string {
  try {
    parseConfig(text, PATH);
  } catch (error) {
    assertLine(error, text);
    return error.message;
  }
  throw new assert.AssertionError({ message: `accepted: ${text}` });
}

for (const [name, key] of OPTION_KEYS) {
  test(`${name}: in a file, with either dash`, () => {
    const [, value] = sample(rowOf(key));
    assert.deepEqual(values(stringify({ [name]: value })), { [key]: value });
    const dashed = name.replaceAll('_', '-');
    assert.deepEqual(values(stringify({ [dashed]: value })), { [key]: value });
  });
}

test('values as TOML has them, and numbers with a suffix as text', () => {
  assert.deepEqual(values('entry_timeout = 5\nattr_timeout = 2.5\nnegative_timeout = 0x10'), {
    entryTimeout: 5,
    attrTimeout: 2.5,
    negativeTimeout: 16,
  });
  assert.deepEqual(
    values('max_write = "128K"\nmax_inodes = "1m"\nlanes = "2"\nfd_budget = 1_000'),
    {
      maxWrite: 131_072,
      maxInodes: 1_048_576,
      lanes: 2,
      fdBudget: 1000,
    },
  );
  assert.deepEqual(values('cache = "NONE"\nxattr = false\nno_open = true'), {
    cache: 'never',
    xattr: false,
    noOpen: true,
  });
  assert.deepEqual(
    values('translate_uid = "map:0:1:2"\ntranslate_gid = ["map:0:1:2", "map:9:8:1"]'),
    {
      translateUid: ['map:0:1:2'],
      translateGid: ['map:0:1:2', 'map:9:8:1'],
    },
  );
  assert.deepEqual(values(''), {});
  assert.deepEqual(values('# nothing\n\n'), {});
});

test('relative paths are relative to the file', () => {
  const text =
    'source = "data"\nmountpoint = "/mnt"\nlog_file = "../log"\ntrace = "t"\nruntime_dir = "run"';
  assert.deepEqual(values(text), {
    source: '/etc/sluice/data',
    mountpoint: '/mnt',
    logFile: '/etc/sluice/../log',
    trace: '/etc/sluice/t',
    runtimeDir: '/etc/sluice/run',
  });
  assert.deepEqual(values('trace = "-"'), { trace: '-' });
  assert.deepEqual(values('trace = true'), { trace: true });
});

test('every setting knows its line', () => {
  const text = [
    '# cache = "never"',
    'fsname = """',
    'lanes = 1',
    'cache = "never"',
    '"""',
    '',
    'translate_uid = [ # lanes = 2',
    '  "map:0:1:1",',
    ']',
    '"cache" = "auto" # lanes = 3',
    "'lanes' = 4",
  ];
  for (const end of ['\n', '\r\n']) {
    assert.deepEqual(
      [...parseConfig(text.join(end), PATH)].map((entry) => [entry[0], entry[1].origin]),
      [
        ['fsname', `${PATH}:2`],
        ['translateUid', `${PATH}:7`],
        ['cache', `${PATH}:10`],
        ['lanes', `${PATH}:11`],
      ],
    );
  }
  assert.equal(origin('\uFEFFlanes = 1', 'lanes'), `${PATH}:1`);
});

test('lines are right wherever the statements stand', () => {
  const names = ['cache', 'lanes', 'xattrmap', 'fsname', 'translate_uid', 'log_level'];
  const statements: Record<string, string> = {
    cache: 'cache = "auto"',
    lanes: 'lanes = 4 # not cache = 1',
    xattrmap: "xattrmap = '''\n:ok:all:::\n'''",
    fsname: 'fsname = """\\\n  lanes = 4\n  [table]\n"""',
    translate_uid: 'translate_uid = [\n\n# fsname = 1\n"map:0:1:1",\n]',
    log_level: '"log_level" = "info"',
  };
  const filler = fc.array(fc.constantFrom('', '# comment', '   ', '#lanes = 1'), { maxLength: 3 });
  const order = fc.shuffledSubarray(names);
  fc.assert(
    fc.property(order, fc.array(filler, { minLength: 6, maxLength: 6 }), (chosen, fillers) => {
      const lines: string[] = [];
      const expected = new Map<string, number>();
      for (const [index, name] of chosen.entries()) {
        lines.push(...(fillers[index] ?? []));
        expected.set(name, lines.length + 1);
        lines.push(...(statements[name] ?? '').split('\n'));
      }
      for (const [key, setting] of parseConfig(lines.join('\n'), PATH)) {
        const { name } = rowOf(key as Exclude<SettingKey, 'source' | 'mountpoint'>);
        assert.equal(setting.origin, `${PATH}:${expected.get(name)}`, lines.join('\n'));
      }
    }),
  );
});

const BAD: readonly [string, RegExp][] = [
  [
    '\nentry_timout = 1',
    /^\/etc\/sluice\/a.toml:2: entry_timout: unknown option; did you mean entry_timeout\?$/,
  ],
  ['qqqqqqqqq = 1', /:1: qqqqqqqqq: unknown option; sluice mount --help lists the options$/],
  ['sauce = "/s"', /:1: sauce: unknown option; did you mean source\?$/],
  ['no_xattr = true', /:1: no_xattr: unknown option; did you mean xattr\?$/],
  [`${'x'.repeat(60_000)} = 1`, /:1: x{64}\.\.\.: unknown option; sluice mount --help/],
  ['__proto__ = 1', /:1: __proto__: unknown option/],
  ['constructor = 1', /:1: constructor: unknown option/],
  ['lanes = 1\nxattr = "yes"', /:2: xattr: "yes" is not valid; give true or false$/],
  ['xattr = 1', /:1: xattr: 1 is not valid; give true or false$/],
  ['entry_timeout = "5"', /:1: entry_timeout: "5" is not valid; give seconds from 0/],
  ['entry_timeout = nan', /:1: entry_timeout: NaN is not valid/],
  ['entry_timeout = -1', /:1: entry_timeout: -1 is not valid/],
  ['lanes = 65', /:1: lanes: 65 is not valid; give a whole number from 1 to 64$/],
  ['lanes = 1.5', /:1: lanes: 1.5 is not valid/],
  ['lanes = true', /:1: lanes: true is not valid/],
  ['max_write = "3K"', /:1: max_write: 3072 is not valid; give a size from 4K to 1M/],
  ['max_write = "big"', /:1: max_write: "big" is not valid/],
  ['cache = "sometimes"', /:1: cache: "sometimes" is not valid; give one of never, metadata/],
  ['cache = ["auto"]', /:1: cache: \[ 'auto' \] is not valid/],
  ['cache = 1979-05-27', /:1: cache: .*1979-05-27.* is not valid/],
  ['fsname = ""', /:1: fsname: "" is not valid/],
  ['log_file = 3', /:1: log_file: 3 is not valid; give the path of a file$/],
  ['trace = 3', /:1: trace: 3 is not valid/],
  ['translate_uid = [1]', /:1: translate_uid: \[ 1 \] is not valid/],
  ['\n\ntranslate_uid = ["map:1:2"]', /:3: translate_uid: rule "map:1:2": it has 2 numbers/],
  ['xattrmap = ":nice:all:::"', /:1: xattrmap: rule 1.*"nice" is no type/],
  ['source = 3', /:1: source: 3 is not a path; give the path of a directory$/],
  ['mountpoint = ""', /:1: mountpoint: "" is not a path/],
  ['config = "b.toml"', /:1: config: a file cannot name another one; leave it out$/],
  ['remount = true', /:1: remount: not supported: a running mount/],
  ['dax-file-size = 1', /:1: dax-file-size: not supported: DAX/],
  [
    'lanes = 1\n\n[caching]\ncache = "auto"',
    /:3: caching is a table; write the options at the top/,
  ],
  ['cache.policy = "auto"', /:1: cache is a table; write the options at the top level/],
  ['lanes = 1\nxattr = true\nlanes = 2', /^\/etc\/sluice\/a.toml:3:1: no valid TOML: .*redefine/],
  [
    'log-level = "info"\nlog_level = "info"',
    /:2: log_level is there twice; leave one of them out$/,
  ],
  ['max_write = 4K', /a.toml:1:14: no valid TOML: .*; write name = value, with .*"4K" in quotes$/],
  ['cache = ', /a.toml:1:9: no valid TOML: /],
  ['cache auto', /a.toml:1:\d+: no valid TOML: /],
  ['fsname = "a', /a.toml:1:\d+: no valid TOML: /],
  ['fd_budget = 99999999999999999999', /a.toml:1:13: no valid TOML: .*lossless/],
  [`fsname = ${'['.repeat(30_000)}`, /no valid TOML: .*nested/],
  ['\n'.repeat(2001), /a.toml has more than 2000 lines/],
  [`cache = "${'x'.repeat(60_000)}"`, /:1: cache: "x+\.\.\. is not valid; give one of/],
  ['fsname = "a\\nb"\ncache = "a\\nb"', /:2: cache: "a\\x0ab" is not valid/],
];

for (const [text, message] of BAD) {
  test(`refused: ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.match(refusal(text), message);
  });
}

test('a statement of many lines is read in time', () => {
  const rules = Array.from({ length: 1990 }, (_, id) => `"map:${id}:${id + 7}:1",`);
  const startMs = performance.now();
  assert.equal(
    origin(`lanes = 1\ntranslate_uid = [\n${rules.join('\n')}\n]`, 'translateUid'),
    `${PATH}:2`,
  );
  assert.ok(performance.now() - startMs < 10_000);
});

/** What TOML is made of, right and wrong. */
const word = fc.oneof(
  fc.constantFrom(
    ...OPTION_KEYS.keys(),
    'source',
    'mountpoint',
    'config',
    '"',
    '"""',
    "'",
    '.',
    '=',
  ),
  fc.constantFrom(
    '[',
    ']',
    '[[',
    ']]',
    '{',
    '}',
    ',',
    '#',
    '\n',
    '\r\n',
    ' = ',
    '\\',
    '\0',
    'true',
    '1e9',
  ),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.integer().map(String),
  fc.double().map(String),
  fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
);
const anyToml = fc.dictionary(
  fc.oneof(fc.constantFrom(...OPTION_KEYS.keys(), 'source'), fc.string()),
  fc.anything({ withDate: true, maxDepth: 2 }),
);

/** Counts what is accepted, so that a loader which refuses everything is noticed. */
function answer(text: string): 'accepted' | 'refused' {
  try {
    parseConfig(text, PATH);
    return 'accepted';
  } catch (error) {
    assertLine(error, text);
    return 'refused';
  }
}

test('whatever stands in a file, the answer is settings or one line', () => {
  const counts = { accepted: 0, refused: 0 };
  const soup = fc.array(word, { maxLength: 40 }).map((words) => words.join(''));
  fc.assert(
    fc.property(soup, (text) => {
      counts[answer(text)]++;
    }),
    { numRuns: 3000 },
  );
  assert.ok(counts.accepted > 10 && counts.refused > 1000, JSON.stringify(counts));
});

test('whatever values a document has, the answer is settings or one line', () => {
  const counts = { accepted: 0, refused: 0 };
  fc.assert(
    fc.property(anyToml, (document) => {
      let text: string;
      try {
        text = stringify(document);
      } catch {
        return; // TOML has no such value.
      }
      counts[answer(text)]++;
    }),
    { numRuns: 2000 },
  );
  assert.ok(counts.refused > 200, JSON.stringify(counts));
});

test('one character more or less in a good file, and the answer is settings or one line', () => {
  const good = [...OPTION_KEYS]
    .map(([name, key]) => stringify({ [name]: sample(rowOf(key))[1] }).trimEnd())
    .join('\n');
  const counts = { accepted: 0, refused: 0 };
  fc.assert(
    fc.property(
      fc.nat(good.length),
      fc.boolean(),
      fc.string({ maxLength: 2 }),
      (at, cut, extra) => {
        counts[answer(good.slice(0, at) + extra + good.slice(at + (cut ? 1 : 0)))]++;
      },
    ),
    { numRuns: 1000 },
  );
  assert.ok(counts.accepted > 10 && counts.refused > 100, JSON.stringify(counts));
});

async function fileRefusal(path: string): Promise<string> {
  let message = '';
  await assert.rejects(readConfigFile(path), (error) => {
    assertLine(error, path);
    message = error.message;
    return true;
  });
  return message;
}

test('a file is read', async () => {
  const path = join(folder, 'good.toml');
  writeFileSync(path, 'lanes = 2\nlog_file = "l"\n');
  assert.deepEqual(
    [...(await readConfigFile(path))],
    [
      ['lanes', { value: 2, origin: `${path}:1` }],
      ['logFile', { value: join(folder, 'l'), origin: `${path}:2` }],
    ],
  );
});

test('what is no file that can be read', { timeout: 20_000 }, async () => {
  const missing = join(folder, 'a\nb');
  assert.match(
    await fileRefusal(missing),
    /^config: .*a\\x0ab cannot be read \(ENOENT.*; give a file/,
  );
  const directory = join(folder, 'directory');
  mkdirSync(directory);
  assert.match(
    await fileRefusal(directory),
    /^config: .*directory is no regular file; give a file/,
  );
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  assert.match(await fileRefusal(fifo), /is no regular file/);
  assert.match(await fileRefusal('/dev/zero'), /is no regular file/);
  const long = join(folder, 'long');
  writeFileSync(long, '#'.repeat(65_537));
  assert.match(await fileRefusal(long), /is longer than 65536 bytes/);
  const latin = join(folder, 'latin');
  writeFileSync(latin, Buffer.from('fsname = "caf\xe9"', 'latin1'));
  assert.match(await fileRefusal(latin), /is not in UTF-8; save it as UTF-8/);
});
