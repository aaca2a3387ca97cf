/** The package as it is published: packed, installed into an empty folder, and used by its own page. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { serveAndTry } from './serve.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BIN = join(ROOT, 'node_modules/.bin');
const TIMEOUT_MS = 120_000;

/** Blocks of the page that are files: their first line says which. */
function filesOfPage(): [name: string, text: string][] {
  const page = readFileSync(join(ROOT, 'docs/library.md'), 'utf8');
  return [...page.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]*?)```/g)].map(([, name, text]) => [
    String(name),
    String(text),
  ]);
}

/** Packs the package, and installs it into an empty folder. */
async function install(): Promise<{ tarball: string; folder: string }> {
  const [packed, folder] = (await tempDirs('packed', 'app')) as [string, string];
  // Without scripts: what is in dist is tested, and not built a second time beneath other tests.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', packed];
  const { stdout } = await runOk('npm', pack, { cwd: ROOT, timeoutMs: TIMEOUT_MS });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  const tarball = join(packed, filename);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  const args = ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', tarball];
  await runOk('npm', args, { cwd: folder, timeoutMs: TIMEOUT_MS });
  return { tarball, folder };
}

async function tryCommand(folder: string): Promise<void> {
  const command = join(folder, 'node_modules/.bin/sluice');
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.match((await runOk(command, ['--version'])).stdout, new RegExp(`\\b${version}\\b`));
  assert.ok(existsSync(join(folder, 'node_modules/sluicefs/examples/memory-tree.ts')));
}

async function compilePage(folder: string): Promise<void> {
  const files = filesOfPage();
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  // The page installs it; here it is what this package is compiled with.
  mkdirSync(join(folder, 'node_modules/@types'), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules/@types/node'), join(folder, 'node_modules/@types/node'));
  const names = files.map(([name]) => name).sort();
  assert.deepEqual(names, ['ask.ts', 'guard.ts', 'serve.ts']);
  const flags = '--strict --module nodenext --target es2023 --types node'.split(' ');
  const compiled = await run(join(BIN, 'tsc'), [...flags, ...names], { cwd: folder });
  assert.equal(compiled.code, 0, compiled.stdout);
}

async function runPage(folder: string): Promise<void> {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  for (const name of ['a', 'b.keep']) writeFileSync(join(source, name), 'text');
  const script = 'rm "$1/a"; LC_ALL=C rm "$1/b.keep" 2>&1; ls "$1"';
  const tried = await serveAndTry(join(folder, 'serve.js'), [source, mnt], mnt, script);
  assert.match(tried.stdout, /Operation not permitted\nb\.keep\n$/);
  const asked = await serveAndTry(join(folder, 'ask.js'), [source, mnt], mnt, 'cat "$1/b.keep"');
  assert.equal(asked.stdout, 'text');
}

suite('the package', () => {
  test('works when it is installed elsewhere, as docs/library.md says', async () => {
    const { tarball, folder } = await install();
    await tryCommand(folder);
    await compilePage(folder);
    await runPage(folder);
    const linted = await run(join(BIN, 'publint'), ['run', '--strict', tarball], { cwd: ROOT });
    assert.equal(linted.code, 0, linted.stdout + linted.stderr);
    const typed = await run(join(BIN, 'attw'), [tarball, '--profile', 'esm-only'], { cwd: ROOT });
    assert.equal(typed.code, 0, typed.stdout + typed.stderr);
  });
});
