/** Configuration that cannot be: one line, 1, and nothing mounted. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from './refusal.ts';

const BOUND = { timeout: 60_000 };

/** What stands in the file behind two good lines, and what is said of it behind the file's name. */
const BAD: readonly (readonly [string, readonly [string, string, string]])[] = [
  ['cash = "auto"', [':3: cash', 'unknown option', 'did you mean cache?']],
  ['entry_timeout = "5"', [':3: entry_timeout', '"5" is not valid', 'give seconds from 0']],
  ['xattr = "yes"', [':3: xattr', '"yes" is not valid', 'give true or false']],
  ['lanes = 2.5', [':3: lanes', '2.5 is not valid', 'give a whole number from 1 to 64']],
  ['max_write = true', [':3: max_write', 'true is not valid', 'give a size from 4K to 1M']],
  ['[caching]', [':3: caching', 'is a table', 'write the options at the top level']],
  ['max_write = 64K', [':3:15', 'no valid TOML', 'in quotes']],
  ['translate_uid = ["map:1:2"]', [':3: translate_uid', '2 numbers', 'write map:']],
];

for (const [text, [thing, reason, cure]] of BAD) {
  test(`${text} is refused`, BOUND, async () => {
    const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [
      string,
      string,
      string,
    ];
    const file = join(base, 'sluice.toml');
    writeFileSync(file, `source = "${source}"\nmountpoint = "${mnt}"\n${text}\n`);
    const says = [`${file}${thing}`, reason, cure] as const;
    await assertRefused({ args: ['mount', '--config', file], code: 1, says });
    const over = ['mount', source, mnt, '-o', `config=${file}`, '--print-config'];
    await assertRefused({ args: over, code: 1, says });
  });
}

test('a file that is not there, that is no file, that has no name', BOUND, async () => {
  const [base, source, mnt] = (await tempDirs('base', 'source', 'mnt')) as [string, string, string];
  const missing = join(base, 'none');
  await assertRefused({
    args: ['mount', source, mnt, '--config', missing],
    code: 1,
    says: [`config: ${missing}`, 'no such file', 'give a file that you may read'],
  });
  const folder = join(base, 'folder');
  mkdirSync(folder);
  await assertRefused({
    args: ['mount', source, mnt, '--config', folder],
    code: 1,
    says: [`config: ${folder}`, 'is no regular file', 'give a file in TOML'],
  });
  await assertRefused({
    args: ['mount', '--config='],
    code: 1,
    says: ['--config', 'missing', 'name'],
  });
});

test('a variable that means nothing, or has a wrong value', BOUND, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  for (const [variable, says] of [
    ['SLUICE_OPT_CASH=auto', ['SLUICE_OPT_CASH', 'unknown option', 'SLUICE_OPT_CACHE?']],
    ['SLUICE_OPT_LANES=many', ['SLUICE_OPT_LANES', '"many" is not valid', 'give a whole number']],
  ] as const) {
    await assertRefused({ args: ['mount', source, mnt], prefix: ['env', variable], code: 1, says });
  }
});

test('neither an operand nor a file says where', BOUND, async () => {
  const [base, source] = (await tempDirs('base', 'source')) as [string, string];
  const file = join(base, 'sluice.toml');
  writeFileSync(file, `source = "${source}"\n`);
  await assertRefused({
    args: ['mount', '--config', file],
    code: 1,
    says: ['mountpoint', 'missing', 'give SOURCE and MOUNTPOINT'],
  });
});
