import assert from 'node:assert/strict';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertSameTree, SAME_WORK_FIELDS, VIEW_FIELDS } from '../harness/compare.ts';
import { startMount } from '../harness/mount.ts';
import { projectRoot } from '../harness/paths.ts';
import { missingTool, type RunResult, run, runOk } from '../harness/run.ts';
import { seconds } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const MANIFESTS = ['package.json', 'package-lock.json', '.npmrc'];
const INSTALL_TIMEOUT_MS = 240_000;

/** Without what the `npm test` around this test has set. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith('npm_')),
);

async function install(directory: string): Promise<RunResult> {
  return run('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund'], {
    cwd: directory,
    env: environment,
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
}

test('npm ci of this project', { timeout: 600_000 }, async (t) => {
  const missing = await missingTool('npm', 'getfattr');
  if (missing !== undefined) return t.skip(missing);
  const [plain, source] = (await tempDirs('plain', 'source')) as [string, string];
  for (const name of MANIFESTS) {
    await copyFile(join(projectRoot, name), join(plain, name));
    await copyFile(join(projectRoot, name), join(source, name));
  }
  const expected = await install(plain);
  if (expected.code !== 0) {
    const reason = `npm ci fails in a plain directory too: ${expected.stderr.trim().slice(0, 600)}`;
    return t.skip(reason);
  }

  const mount = await startMount({ source });
  const actual = await install(mount.mountpoint);
  assert.equal(actual.code, 0, actual.stderr);
  const files = await assertSameTree(plain, mount.mountpoint, { fields: SAME_WORK_FIELDS });
  await assertSameTree(source, mount.mountpoint, { fields: VIEW_FIELDS });

  // A native program, and node reading its modules, through the mount.
  for (const program of ['tsc', 'biome']) {
    const args = ['--version'];
    const there = await runOk(join(mount.mountpoint, 'node_modules/.bin', program), args);
    const here = await runOk(join(plain, 'node_modules/.bin', program), args);
    assert.equal(there.stdout, here.stdout);
  }
  t.diagnostic(
    `${files} files: plain ${seconds(expected.elapsedMs)}, mount ${seconds(actual.elapsedMs)}`,
  );
  await mount.stop();
});
