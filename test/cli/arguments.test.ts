import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { flagOf, isNegatable, parseMountArguments } from '../../src/main/commands/arguments.ts';
import { mergeSettings } from '../../src/main/config/settings.ts';
import type { MountArguments } from '../../src/main/config/sources.ts';
import { SluiceError } from '../../src/shared/errors.ts';
import { OPTION_KEYS, type OptionValues, rowOf } from '../../src/shared/options.ts';
import { sample } from './sample.ts';

function valuesOf({ listed, flagged }: MountArguments): OptionValues {
  const settings = [...mergeSettings(listed, flagged)];
  return Object.fromEntries(settings.map(([key, { value }]) => [key, value]));
}

function parsed(...argv: string[]): OptionValues {
  const given = parseMountArguments([...argv, '/s', '/m']);
  assert.deepEqual(given.warnings, []);
  assert.deepEqual(given.operands, ['/s', '/m']);
  return valuesOf(given);
}

function refusal(...argv: string[]): SluiceError {
  try {
    parseMountArguments(argv);
  } catch (error) {
    assert.ok(error instanceof SluiceError, String(error));
    assert.doesNotMatch(error.message, /\p{Cc}/u);
    assert.equal(error.exitCode, 1);
    return error;
  }
  throw new assert.AssertionError({ message: `accepted: ${JSON.stringify(argv)}` });
}

for (const [name, key] of OPTION_KEYS) {
  const row = rowOf(key);
  const [text, value] = sample(row);
  test(`${name}: as a flag and in a list, with either dash`, () => {
    const expected = { [key]: value };
    const dashed = name.replaceAll('_', '-');
    assert.deepEqual(parsed(`${flagOf(row)}=${text}`), expected);
    assert.deepEqual(parsed(`--${name}=${text}`), expected);
    assert.deepEqual(parsed('-o', `${name}=${text}`), expected);
    assert.deepEqual(parsed(`-o${dashed}=${text}`), expected);
  });
  if (row.kind === 'bool' || row.kind === 'mountFlag') {
    test(`${name}: alone it is on`, () => {
      assert.deepEqual(parsed(flagOf(row)), { [key]: true });
      assert.deepEqual(parsed('-o', name), { [key]: true });
    });
  } else if (row.kind !== 'trace') {
    test(`${name}: a separate value, and none`, () => {
      assert.deepEqual(parsed(flagOf(row), text), { [key]: value });
      assert.match(refusal('/s', '/m', '-o', name).message, new RegExp(`^-o ${name}: its value`));
      assert.match(refusal('/s', '/m', flagOf(row)).message, new RegExp(`${flagOf(row)}.*missing`));
    });
  }
  test(`${name}: ${isNegatable(row) ? 'can' : 'cannot'} be negated`, () => {
    const dashed = name.replaceAll('_', '-');
    if (isNegatable(row)) {
      assert.deepEqual(parsed(`--no-${dashed}`), { [key]: false });
      assert.deepEqual(parsed('-o', `no_${name}`), { [key]: false });
      refusal('-o', `no_${name}=true`, '/s', '/m');
    } else {
      refusal(`--no-${dashed}`, '/s', '/m');
      refusal('-o', `no_${name}`, '/s', '/m');
    }
  });
}

test('mount flags are negated as mount(8) does', () => {
  for (const key of ['suid', 'dev', 'exec', 'sync', 'dirsync', 'atime']) {
    assert.deepEqual(parsed('-o', `no${key}`), { [key]: false });
  }
  assert.match(refusal('-o', 'noxattr', '/s', '/m').message, /^-o noxattr: unknown option/);
  assert.deepEqual(parsed('-o', 'async'), { sync: false });
});

test('a mode named no_x is switched on by its name and off by =false', () => {
  assert.deepEqual(parsed('--no-open', '-o', 'no_opendir=false'), {
    noOpen: true,
    noOpendir: false,
  });
  assert.deepEqual(parsed('--no-readdir=false'), { noReaddir: false });
  refusal('-o', 'open', '/s', '/m');
});

test('a flag that may stand alone does not take an operand for its value', () => {
  for (const flag of ['--trace', '--writeback', '--no-xattr', '--no-open', '--background']) {
    const { operands } = parseMountArguments([flag, 'false', 'yes']);
    assert.deepEqual(operands, ['false', 'yes'], flag);
  }
});

test('trace', () => {
  assert.deepEqual(parsed('--trace'), { trace: '-' });
  assert.deepEqual(parsed('-o', 'trace'), { trace: '-' });
  assert.deepEqual(parsed('--trace=a=b'), { trace: 'a=b' });
  assert.deepEqual(parsed('-o', 'trace=/x'), { trace: '/x' });
  assert.deepEqual(parsed('--no-trace'), { trace: false });
  assert.deepEqual(parsed('--trace=false'), { trace: false });
  refusal('--trace=', '/s', '/m');
});

test('names of fstab and mount(8) that mean nothing here', () => {
  const ignored =
    'auto,noauto,user,nouser,users,nofail,_netdev,defaults,relatime,nodiratime,subtype=sluice,' +
    'x-systemd.automount,X-mount.mkdir=0755,comment=a b';
  assert.deepEqual(parsed('-o', `${ignored},,ro`), { readOnly: true });
  assert.deepEqual(parsed('-o', 'rw'), { readOnly: false });
  assert.match(refusal('-o', 'subtype=other', '/s', '/m').message, /^-o subtype: not supported/);
});

test('a backslash in a list takes the next character as it is', () => {
  assert.deepEqual(parsed('-o', 'fsname=a\\,b\\\\c,ro'), { fsname: 'a,b\\c', readOnly: true });
  assert.deepEqual(parsed('-o', 'fsname=a=b\\'), { fsname: 'a=b\\' });
});

test('the last one wins, flags over lists wherever they stand, and it is said', () => {
  const argv = ['--lanes=1', '/s', '--lanes', '3', '/m', '-o', 'lanes=2,ro', '-o', 'rw'];
  const given = parseMountArguments(argv);
  assert.deepEqual(valuesOf(given), { lanes: 3, readOnly: false });
  assert.deepEqual(given.warnings, [
    'ro is given twice: the last, false, is used',
    'lanes is given twice: the last, 3, is used',
    '-o lanes is overruled by --lanes',
  ]);
  assert.deepEqual(given.flagged.get('lanes'), { value: 3, origin: '--lanes' });
  assert.deepEqual(given.listed.get('readOnly'), { value: false, origin: '-o rw' });
  assert.deepEqual(parsed('--lanes=2', '-o', 'lanes=2'), { lanes: 2 });
});

test('operands with blanks, newlines and leading dashes', () => {
  const given = parseMountArguments(['--ro', '--', '--trace', '-o\n b ']);
  assert.deepEqual(given.operands, ['--trace', '-o\n b ']);
  assert.deepEqual(valuesOf(given), { readOnly: true });
});

test('the value of an option may look like a flag', () => {
  assert.deepEqual(parsed('--fsname', '--trace'), { fsname: '--trace' });
});

test('rules add up, as flags or in lists', () => {
  const flags = ['--translate-uid=map:0:1:1', '--translate-uid', 'map:2:3:1'];
  const both = { translateUid: ['map:0:1:1', 'map:2:3:1'] };
  assert.deepEqual(parsed(...flags), both);
  const lists = ['-o', 'translate_uid=map:0:1:1,ro', '-o', 'translate_uid=map:2:3:1'];
  assert.deepEqual(parsed(...lists), { ...both, readOnly: true });
  const given = parseMountArguments([...flags, '-o', 'translate_uid=map:7:7:1', '/s', '/m']);
  assert.deepEqual(valuesOf(given), both);
  assert.deepEqual(given.warnings, ['-o translate_uid is overruled by --translate-uid']);
});

test('the configuration file, and what is asked instead of a mount', () => {
  assert.equal(parseMountArguments(['/s', '/m']).configFile, undefined);
  assert.equal(parseMountArguments(['--config', '--a_b']).configFile, '--a_b');
  assert.equal(parseMountArguments(['-o', 'ro,config=/a\\,b']).configFile, '/a,b');
  assert.equal(
    parseMountArguments(['--config=x', '--config', 'z', '-o', 'config=y']).configFile,
    'z',
  );
  assert.equal(parseMountArguments(['--print-config']).isPrinting, true);
  assert.equal(parseMountArguments([]).isPrinting, false);
});

const BAD: readonly [string[], RegExp][] = [
  [['/s', '/m', '--config='], /^--config: its file is missing/],
  [['/s', '/m', '-o', 'config'], /^-o config: its file is missing/],
  [['/s', '/m', '-o', 'confg=x'], /^-o confg: unknown option; did you mean config\?/],
  [['/s', '/m', '/x'], /too many arguments/],
  [['/s', '/m', '--entry-timout=1'], /'--entry-timout=1' \(Did you mean --entry-timeout\?\)/],
  [
    ['/s', '/m', '-o', 'entry_timout=1'],
    /^-o entry_timout: unknown option; did you mean entry_timeout\?/,
  ],
  [['/s', '/m', '-o', 'qqqqqqq'], /^-o qqqqqqq: unknown option; sluice mount --help/],
  [['/s', '/m', '--help'], /unknown option '--help'/],
  [['/s', '/m', '-x'], /unknown option '-x'/],
  [['/s', '/m', '-o'], /'-o <list>' argument missing/],
  [['/s', '/m', '--cache=sometimes'], /^--cache: "sometimes" .*never, metadata, auto, always/],
  [['/s', '/m', '--entry-timeout=1s'], /^--entry-timeout: "1s" .*seconds/],
  [['/s', '/m', '--entry-timeout=-1'], /^--entry-timeout: "-1" /],
  [['/s', '/m', '--entry-timeout=1e3'], /^--entry-timeout: "1e3" /],
  [['/s', '/m', '--entry-timeout='], /^--entry-timeout: "" /],
  [['/s', '/m', '-o', 'lanes=0x4'], /^-o lanes: "0x4" .*1 to 64/],
  [['/s', '/m', '-o', 'lanes=65'], /^-o lanes: 65 /],
  [['/s', '/m', '--max-write=3K'], /^--max-write: 3072 .*multiple of 4K/],
  [['/s', '/m', '--max-write=2M'], /^--max-write: 2097152 .*4K to 1M/],
  [['/s', '/m', '--max-inodes=99999999999999999999'], /^--max-inodes: /],
  [['/s', '/m', '--xattr=maybe'], /^--xattr: "maybe" .*true or false/],
  [['/s', '/m', '--dax-file-size=1M'], /^--dax-file-size: not supported: DAX needs virtiofs/],
  [['/s', '/m', '--dax-file-size'], /^--dax-file-size: not supported/],
  [['/s', '/m', '-o', 'dax_file_size=1'], /^-o dax_file_size: not supported: DAX/],
  [['/s', '/m', '-o', 'remount'], /^-o remount: not supported: .*unmount/],
  [['/s', '/m', '-o', 'fsname=\nx,a\nb'], /^-o a\\x0ab: unknown option/],
];

for (const [argv, message] of BAD) {
  test(`refused: ${JSON.stringify(argv)}`, () => {
    assert.match(refusal(...argv).message, message);
  });
}

test('a count takes suffixes', () => {
  assert.deepEqual(parsed('--max-inodes=2m', '--request-slots', '4K'), {
    maxInodes: 2097152,
    requestSlots: 4096,
  });
});

test('whatever is typed, the answer is an input or one line', () => {
  const names = [...OPTION_KEYS.keys(), '', 'no_xattr', 'x-a', 'dax_file_size'];
  const flag = fc.constantFrom(...names).map((name) => `--${name}`);
  const item = fc.tuple(fc.constantFrom(...names), fc.string()).map((pair) => pair.join('='));
  const word = fc.oneof(fc.string(), flag, item, fc.constant('-o'), fc.constant('--'));
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (argv) => {
      try {
        const { operands } = parseMountArguments(argv);
        assert.ok(operands.every((operand) => argv.includes(operand)));
        accepted++;
      } catch (error) {
        assert.ok(error instanceof SluiceError, `${String(error)} of ${JSON.stringify(argv)}`);
        assert.doesNotMatch(error.message, /\p{Cc}/u);
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(accepted > 0);
});
