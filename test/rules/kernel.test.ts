/** Rules of which the kernel's half matters: through a mount. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startMount } from '../harness/mount.ts';
import { missingTool, run, runOk, shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const SEEK_DATA_PROGRAM = fileURLToPath(new URL('./seek-data.js', import.meta.url));

suite('through the kernel', () => {
  test('rule 116: with --writeback nobody is told that there is a hole where data is on its way', async () => {
    const [source] = (await tempDirs('source')) as [string];
    const mount = await startMount({ source, flags: ['--writeback'] });
    for (let i = 0; i < 5; i++) {
      const seen = await runOk(process.execPath, [SEEK_DATA_PROGRAM, `${mount.mountpoint}/f${i}`]);
      assert.equal(seen.stdout, '0');
    }
    await mount.stop();
  });

  test('rule 115: FUSE carries no COLLAPSE_RANGE and INSERT_RANGE; the file stays as it is', async (t) => {
    const missing = await missingTool('fallocate');
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const [source] = (await tempDirs('source')) as [string];
    const mount = await startMount({ source });
    await shell('seq 1 5000 > "$1/f"', [mount.mountpoint]);
    const before = readFileSync(`${source}/f`);
    for (const mode of ['--collapse-range', '--insert-range']) {
      const args = [mode, '--offset', '4096', '--length', '4096', `${mount.mountpoint}/f`];
      const ran = await run('fallocate', args);
      assert.notEqual(ran.code, 0);
      assert.match(ran.stderr, /not supported/i);
    }
    assert.ok(readFileSync(`${source}/f`).equals(before));
    await mount.stop();
  });

  for (const cache of ['auto', 'never', 'always']) {
    test(`defect 29: dd with O_DIRECT both ways, cache=${cache}`, async () => {
      const [source] = (await tempDirs('source')) as [string];
      const mount = await startMount({ source, flags: [`--cache=${cache}`] });
      const script = [
        'cd "$1"; head -c 262144 /dev/urandom > a',
        'dd if=a of=b bs=64k iflag=direct oflag=direct 2>/dev/null; cmp a b',
        'dd if=b of=c bs=4k iflag=direct 2>/dev/null; cmp a c',
      ].join('\n');
      await shell(script, [mount.mountpoint]);
      await mount.stop();
    });
  }
});
