import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tempDirs } from '../harness/temp-dir.ts';
import { serveAndTry } from '../package/serve.ts';

const example = (name: string) => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

suite('the examples', () => {
  test('meter: bytes by user', async () => {
    const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
    writeFileSync(`${source}/f`, 'sixteen bytes ..');
    const script = 'cat "$1/f"; dd if=/dev/zero of="$1/g" bs=1000 count=5 status=none';
    const { stdout, said } = await serveAndTry(example('meter.js'), [source, mnt], mnt, script);
    assert.equal(stdout, 'sixteen bytes ..');
    assert.match(said, /^uid 0: 16 bytes read, 5000 bytes written$/m);
  });

  test('reject-names: names that nobody sees', async () => {
    const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
    for (const name of ['f', 'g.tmp', 'h.tmp']) writeFileSync(`${source}/${name}`, name);
    const script = `LC_ALL=C; export LC_ALL; cat "$1/g.tmp" 2>&1; touch "$1/n.tmp" 2>&1
      mv "$1/f" "$1/f.tmp" 2>&1; ls "$1"`;
    const args = ['\\.tmp$', source, mnt];
    const { stdout } = await serveAndTry(example('reject-names.js'), args, mnt, script);
    assert.match(
      stdout,
      /No such file or directory\n.*Operation not permitted\n.*Operation not permitted\nf\n$/,
    );
  });

  test('memory-tree: a file system in less than 100 lines', async () => {
    const [mnt] = (await tempDirs('mnt')) as [string];
    const script = `cd "$1" && umask 022 && mkdir d && echo one > d/f && echo two >> d/f && cat d/f
      stat -c '%A %s' d/f && : > d/f && stat -c %s d/f && rmdir d 2>/dev/null || rm d/f && rmdir d
      seq 300 | xargs touch && ls | wc -l && rm * && ls | wc -l`;
    const { stdout } = await serveAndTry(example('memory-tree.js'), [mnt], mnt, script);
    assert.equal(stdout, 'one\ntwo\n-rw-r--r-- 8\n0\n300\n0\n');
    const source = fileURLToPath(new URL('../../../examples/memory-tree.ts', import.meta.url));
    assert.ok(readFileSync(source, 'utf8').split('\n').length <= 100);
  });
});
