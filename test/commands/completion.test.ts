/** `sluice completion`: the scripts, run by their shells. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPTIONS, type OptionKey, rowOf } from '../../src/shared/options.ts';
import { cliPath } from '../harness/paths.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { stage } from './stage.ts';

const BOUND = { timeout: 60_000 };

async function script(name: string): Promise<string> {
  return (await runOk(process.execPath, [cliPath, 'completion', name])).stdout;
}

async function scriptFile(name: string): Promise<string> {
  const path = join(await tempDir(), `sluice.${name}`);
  writeFileSync(path, await script(name));
  return path;
}

/** As readline calls a completion function; splitting at "=" is in COMP_WORDBREAKS by default. */
const BASH_DRIVER = `
source "$1"
COMP_WORDBREAKS=$2
shift 2
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
# compopt works only inside a completion that readline has begun.
compopt() { :; }
[[ $(complete -p sluice) == 'complete -F _sluice sluice' ]] || exit 3
_sluice
printf '%s\\n' "\${COMPREPLY[@]}"
`;
const WORD_BREAKS = ' \t\n"\'><=;|&(:';

/** Candidates for the last of the words, which are split as bash does it. */
async function bash(file: string, words: string[], breaks = WORD_BREAKS): Promise<string[]> {
  const args = ['--norc', '-c', BASH_DRIVER, 'bash', file, breaks, 'sluice', ...words];
  const { stdout, stderr } = await runOk('bash', args);
  assert.equal(stderr, '');
  return stdout.split('\n').filter((line) => line !== '');
}

test('bash completes commands, options, values and lists', BOUND, async (t) => {
  const missing = await missingTool('bash');
  if (missing !== undefined) return t.skip(missing);
  const file = await scriptFile('bash');
  const caches = ['never', 'metadata', 'auto', 'always'];
  const cases: readonly (readonly [string[], string[]])[] = [
    [['st'], ['status']],
    [['--v'], ['--version']],
    [['mount', '--cac'], ['--cache=']],
    [['mount', '--cache', '='], caches],
    [['mount', '--cache', '=', 'al'], ['always']],
    [['mount', '--cache', 'n'], ['never']],
    [['mount', '--no-xat'], ['--no-xattr']],
    [['mount', '-o', 'ro,cac'], ['ro,cache=']],
    [['mount', '-o', 'ro,cache', '=', 'me'], ['metadata']],
    [['mount', '-o', 'no_xat'], ['no_xattr']],
    [['mount', '-o', 'conf'], ['config=']],
    [
      ['demo', '--log-f'],
      ['--log-format=', '--log-file='],
    ],
    [['umount', '--la'], ['--lazy']],
    [['top', '--once', '--j'], ['--json']],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['completion', 'bash', ''], []],
    [['status', '--lazy'], []],
  ];
  for (const [words, expected] of cases) {
    assert.deepEqual((await bash(file, words)).sort(), [...expected].sort(), words.join(' '));
  }
  // Where "=" does not split words, the candidates are whole ones.
  assert.deepEqual(await bash(file, ['mount', '--cache=al'], ' \t\n'), ['--cache=always']);
  assert.deepEqual(await bash(file, ['mount', '-o', 'ro,cache=al'], ' \t\n'), ['ro,cache=always']);
});

test('bash completes paths, and sluice mounts where these are wanted', BOUND, async (t) => {
  const missing = await missingTool('bash');
  if (missing !== undefined) return t.skip(missing);
  const file = await scriptFile('bash');
  const base = await tempDir();
  await shell('mkdir "$1/a dir" "$1/a mnt"; touch "$1/a file"', [base]);
  const { mount } = await stage({ mountpoint: join(base, 'a mnt') });
  const start = join(base, 'a ');
  const directories = [join(base, 'a dir'), join(base, 'a mnt')];
  const cases: readonly (readonly [string[], string[]])[] = [
    [['mount', start], directories],
    [['mount', '--ro', '--lanes', '4', '/usr', start], directories],
    [['mount', '/usr', '/mnt', start], []],
    [
      ['mount', '--log-file', '=', start],
      [...directories, join(base, 'a file')],
    ],
    [
      ['mount', '--config', start],
      [...directories, join(base, 'a file')],
    ],
    [['umount', start], [join(base, 'a mnt')]],
    [['status', '--json', start], [join(base, 'a mnt')]],
    [['top', '--runtime-dir', start], directories],
    [['check', start], directories],
  ];
  for (const [words, expected] of cases) {
    assert.deepEqual((await bash(file, words)).sort(), [...expected].sort(), words.join(' '));
  }
  await mount.stop();
});

test('every option of the table is in every script, with its values', BOUND, async () => {
  const scripts = {
    bash: await script('bash'),
    zsh: await script('zsh'),
    fish: await script('fish'),
  };
  for (const key of Object.keys(OPTIONS) as OptionKey[]) {
    const row = rowOf(key);
    const flag = row.name.replaceAll('_', '-');
    assert.match(scripts.bash, new RegExp(`^ {4}mount\\).* --${flag}[= ']`, 'm'));
    assert.match(scripts.zsh, new RegExp(`^ {4,}'\\*?--${flag}[=[]`, 'm'));
    assert.match(scripts.fish, new RegExp(`_from mount' -l ${flag} `));
    if (row.kind !== 'enum') continue;
    const values = row.values.join(' ');
    assert.ok(scripts.bash.includes(`'mount --${flag}') echo 'words ${values}'`));
    assert.ok(scripts.zsh.includes(`:value:(${values})'`));
    assert.ok(scripts.fish.includes(`-l ${flag} -x -a '${values}'`));
  }
});

test('zsh takes the script', BOUND, async (t) => {
  const missing = await missingTool('zsh');
  if (missing !== undefined) return t.skip(missing);
  const file = await scriptFile('zsh');
  await runOk('zsh', ['-f', '-n', file]);
  const broken = join(await tempDir(), 'broken');
  writeFileSync(broken, `${await script('zsh')}\n}`);
  assert.notEqual((await run('zsh', ['-f', '-n', broken])).code, 0);
});

test('fish takes the script, and completes', BOUND, async (t) => {
  const missing = await missingTool('fish');
  if (missing !== undefined) return t.skip(missing);
  const file = await scriptFile('fish');
  await runOk('fish', ['--no-config', '-n', file]);
  const complete = async (line: string): Promise<string[]> => {
    const { stdout } = await runOk('fish', [
      '--no-config',
      '-c',
      'source $argv[1]; complete -C $argv[2]',
      file,
      line,
    ]);
    const lines = stdout.split('\n').filter((text) => text !== '');
    return lines.map((text) => text.split('\t')[0] as string).sort();
  };
  assert.deepEqual(await complete('sluice st'), ['status']);
  assert.deepEqual(await complete('sluice completion '), ['bash', 'fish', 'zsh']);
  assert.deepEqual(await complete('sluice mount --cache=a'), ['--cache=always', '--cache=auto']);
  assert.deepEqual(await complete('sluice umount --la'), ['--lazy']);
  assert.deepEqual(await complete('sluice mount -o ro,no_xat'), ['ro,no_xattr']);
});

test('an unknown shell is refused', BOUND, async () => {
  const { code, stdout, stderr } = await run(process.execPath, [cliPath, 'completion', 'tcsh']);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(
    stderr,
    /^sluice: .*'tcsh' is invalid.* bash, zsh, fish; see sluice completion --help\n$/,
  );
});

test(
  'what cannot be written whole is a failure, and a reader that goes away is none',
  BOUND,
  async () => {
    const command = [process.execPath, cliPath, 'completion', 'bash'];
    const full = await run('sh', ['-c', '"$@" > /dev/full', 'sh', ...command]);
    assert.deepEqual([full.code, full.stderr.includes('cannot be written (ENOSPC)')], [2, true]);
    const script = '{ "$@"; echo $? >&2; } | true';
    const cut = await run('sh', ['-c', script, 'sh', ...command]);
    assert.equal(cut.stderr, '0\n');
  },
);
