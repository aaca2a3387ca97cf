import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMount } from '../harness/mount.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { Arena } from './arena.ts';
import { REGRESSIONS } from './regressions.ts';

const options = {
  timeout: 120_000,
  skip: process.getuid?.() !== 0 && 'becoming other users needs root',
};

test('what users once got differently on the mount', options, async (t) => {
  const [plain, backing] = (await tempDirs('plain', 'backing')) as [string, string];
  const mount = await startMount({ source: backing });
  const arena = new Arena({ plain, mounted: mount.mountpoint, backing }, [], 'users');
  try {
    for (const { name, trial } of REGRESSIONS) {
      await t.test(name, async () => assert.equal(await arena.trial(trial), undefined));
    }
  } finally {
    await arena.stop();
  }
  await mount.stop();
});
