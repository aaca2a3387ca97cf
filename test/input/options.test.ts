/** Options that cannot be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMount } from '../harness/mount.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from './refusal.ts';

const BOUND = { timeout: 60_000 };

/** What is given, and what the line says of it. */
const BAD: readonly (readonly [readonly string[], readonly [string, string, string]])[] = [
  [['--no-such'], ['unknown option', "'--no-such'", 'see sluice mount --help']],
  [['--cahce=never'], ['unknown option', "'--cahce=never'", 'see sluice mount --help']],
  [
    ['-o', 'cahce=never'],
    ['-o cahce', 'unknown option', 'did you mean cache?'],
  ],
  [['--cache=some'], ['--cache', '"some" is not valid', 'never, metadata, auto, always']],
  [['--entry-timeout=-1'], ['--entry-timeout', '"-1" is not valid', 'seconds from 0']],
  [['--entry-timeout=soon'], ['--entry-timeout', '"soon" is not valid', 'seconds from 0']],
  [
    ['-o', 'lanes=0'],
    ['-o lanes', ': 0 is not valid', 'from 1 to 64'],
  ],
  [['--lanes=65'], ['--lanes', ': 65 is not valid', 'from 1 to 64']],
  [['--lanes=2.5'], ['--lanes', '"2.5" is not valid', 'a whole number']],
  [['--max-write=5000'], ['--max-write', ': 5000 is not valid', 'a multiple of 4K']],
  [['--max-write=2M'], ['--max-write', ': 2097152 is not valid', 'from 4K to 1M']],
  [['--xattr=maybe'], ['--xattr', '"maybe" is not valid', 'true or false']],
  [['--lanes'], ["option '--lanes <number>'", 'missing', 'see sluice mount --help']],
  [
    ['-o', 'dax_file_size=4K'],
    ['-o dax_file_size', 'not supported', 'leave it out'],
  ],
  [
    ['-o', 'remount'],
    ['-o remount', 'not supported', 'mount it again'],
  ],
  [
    ['--translate-uid=0:1:2'],
    ['translate_uid: rule "0:1:2"', 'no rule begins so', 'begin with map'],
  ],
  [['--translate-gid=map:1:2'], ['translate_gid: rule "map:1:2"', '2 numbers', 'write map:']],
  [
    ['-o', 'translate_uid=map:1:x:3'],
    ['translate_uid: rule "map:1:x:3"', '"x" is no id', 'give a whole number'],
  ],
  [
    ['--translate-uid=map:1:2:4294967295'],
    ['translate_uid: rule', 'beyond the last id', 'lower the count'],
  ],
  [
    ['--translate-gid=forbid-guest:0:9', '--translate-gid=map:8:8:1'],
    [
      'translate_gid: rule "map:8:8:1"',
      'overlaps "forbid-guest:0:9" in the guest ids 8 to 8',
      'let one rule',
    ],
  ],
  [['--xattrmap= '], ['xattrmap', 'has no rule', 'give one']],
  [['--xattrmap=:ok:all::'], ['xattrmap: rule 1', 'ends too early', 'write :type:']],
  [['--xattrmap=:nice:all:::'], ['xattrmap: rule 1', '"nice" is no type', 'give prefix']],
  [['--xattrmap=:ok:some:::'], ['xattrmap: rule 1', '"some" is no scope', 'give client']],
  [
    ['-o', 'xattrmap=:prefix:all::a.:'],
    ['xattrmap: rule 1', 'none takes', 'end with :ok:all:::'],
  ],
  [
    ['--xattrmap=:map::a.:', '--xattrmap=:ok:all:::'],
    ['xattrmap: rule 1', 'stands for', 'last one'],
  ],
  [[`--xattrmap=:map::${'x'.repeat(256)}:`], ['xattrmap: rule 1', '256 bytes', '255 at the most']],
  [['--xattrmap='], ['--xattrmap', '"" is not valid', 'give :type:scope:key:prepend:']],
  [['extra'], ['', 'too many arguments', '']],
];

for (const [given, says] of BAD) {
  test(`${given.join(' ')} is refused`, BOUND, async () => {
    const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
    await assertRefused({ args: ['mount', source, mnt, ...given], code: 1, says });
  });
}

test('an operand is missing', BOUND, async () => {
  const [source] = (await tempDirs('source')) as [string];
  await assertRefused({
    args: ['mount', source],
    code: 1,
    says: ['mountpoint', 'missing', 'give'],
  });
  await assertRefused({ args: ['mount', '', source], code: 1, says: ['source', '""', 'give'] });
});

/** Options that exclude each other: the first is switched off, and said. */
const EXCLUDING: readonly (readonly [readonly string[], string])[] = [
  [['--no-open'], 'no_open is switched off: it needs cache=always'],
  [['--no-opendir'], 'no_opendir is switched off: it needs cache=metadata or cache=always'],
  [
    ['--writeback', '--cache=never'],
    'writeback is switched off: cache=never and cache=metadata keep no data to write back',
  ],
  [['--writeback', '--ro'], 'writeback is switched off: the mount is ro'],
  [
    ['--writeback', '--seal-size'],
    'writeback is switched off: seal_size must see the size of every write',
  ],
  [['--security-label', '--no-xattr'], 'security_label is switched off: a label is an xattr'],
  [
    ['--allow-idmap', '--no-default-permissions'],
    'allow_idmap is switched off: it needs default_permissions',
  ],
];

test('options that exclude each other: one is switched off, with a warning', BOUND, async () => {
  for (const [flags, warning] of EXCLUDING) {
    const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
    const mount = await startMount({ source, mountpoint, flags });
    const warnings = mount.logs.filter((line) => line['level'] === 'warn');
    assert.deepEqual(
      warnings.map((line) => line['msg']),
      [warning],
    );
    await mount.stop();
  }
});

test('a trace file that cannot be opened, a log file that cannot', BOUND, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  for (const [name, key] of [
    ['trace', 'trace'],
    ['log-file', 'log_file'],
  ] as const) {
    await assertRefused({
      args: ['mount', source, mnt, `--${name}=/nonexistent/file`],
      code: 1,
      says: [key, '/nonexistent/file', 'give a file'],
    });
  }
});
