import assert from 'node:assert/strict';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { assertOpenFiles, openFilesOf, settle } from '../faults/settle.ts';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { run, runOk } from '../harness/run.ts';

const TIME_LIMIT = { timeout: 90_000 };
const holderPath = fileURLToPath(new URL('./holder.js', import.meta.url));

async function holderOn(directory: string): Promise<unknown> {
  const { stdout } = await runOk(process.execPath, [holderPath, directory]);
  return JSON.parse(stdout);
}

const ways: readonly (readonly [FileSystemKind, readonly string[]])[] = [
  ['ext4', ['--fd-budget=64']],
  ['tmpfs', ['--fd-budget=64']],
  ['ext4', ['--fd-budget=64', '--cache=never']],
  ['ext4', ['--inode-file-handles=never']],
];

for (const [kind, flags] of ways) {
  test(`files without names live on: ${kind} ${flags.join(' ')}`, TIME_LIMIT, async (t) => {
    const made = await makeFileSystem(kind);
    if ('skip' in made) return t.skip(made.skip);
    const [plain, source] = [join(made.path, 'plain'), join(made.path, 'source')];
    for (const path of [plain, source]) mkdirSync(path);
    const mount = await startMount({ source, flags: ['--lanes=2', ...flags] });
    const start = await mount.status();
    const files = openFilesOf(mount);
    assert.deepEqual(await holderOn(mount.mountpoint), await holderOn(plain));
    const end = await mount.status();
    if (flags[0] === '--fd-budget=64') {
      assert.ok((end['fdEvictions'] as number) > 100, 'no descriptor was evicted: no test');
    }
    assert.ok((end['fdsUsed'] as number) <= (end['fdBudget'] as number));
    assert.equal(end['fdExhausted'], 0);
    await runOk('sh', ['-c', 'rm -rf "$1"/*', 'sh', mount.mountpoint]);
    await settle(mount, start);
    await assertOpenFiles(mount, files);
    await mount.stop();
  });
}

/** Keeps a file of the mount by O_PATH, waits, and then reads what it is now. */
const KEEPER = `const fs = require('fs');
  const fd = fs.openSync(process.argv[1], ${0o10000000});
  fs.writeSync(1, 'kept\\n');
  fs.readSync(0, Buffer.alloc(10));
  try { fs.writeSync(1, fs.readFileSync('/proc/self/fd/' + fd)); } catch (e) { fs.writeSync(1, 'errno ' + e.errno); }`;

test(
  'a file deleted behind the daemon is gone, whoever has its number now',
  TIME_LIMIT,
  async (t) => {
    const made = await makeFileSystem('ext4');
    if ('skip' in made) return t.skip(made.skip);
    const source = join(made.path, 'source');
    mkdirSync(source);
    for (let i = 0; i < 500; i++) writeFileSync(join(source, `other-${i}`), '');
    const victim = join(source, 'victim');
    writeFileSync(victim, 'secret of the old file');
    const { ino } = statSync(victim);
    const mount = await startMount({
      source,
      flags: ['--lanes=2', '--fd-budget=64', '--cache=never'],
    });
    const kept = join(mount.mountpoint, 'victim');
    // The shell keeps it while its standard input, the fifo, is empty.
    const script = `mkfifo "$3"; node=$1
    "$node" -e "$2" "$4" < "$3" > "$3.out" & exec 9> "$3"
    while ! grep -q kept "$3.out"; do sleep 0.05; done
    ls -l "$5" > /dev/null; for f in "$5"/other-*; do stat "$f"; done > /dev/null
    rm "$6"; i=0
    while [ $i -lt 200 ]; do echo "the new file" > "$6-$i"; [ "$(stat -c %i "$6-$i")" = "$7" ] && break; i=$((i+1)); done
    [ $i -lt 200 ] && echo reused
    for f in "$5"/other-*; do stat "$f"; done > /dev/null
    cat "$4" 2>&1 || true; cat "$5/victim-$i"
    echo go >&9; wait; sed 1d "$3.out"`;
    const done = await run(
      'sh',
      [
        '-c',
        script,
        'sh',
        process.execPath,
        KEEPER,
        join(made.path, 'fifo'),
        kept,
        mount.mountpoint,
        victim,
        `${ino}`,
      ],
      { timeoutMs: 60_000 },
    );
    assert.equal(done.timedOut, false);
    const lines = done.stdout.trim().split('\n');
    assert.equal(
      lines[0],
      'reused',
      `the number was not given out again: ${done.stdout}${done.stderr}`,
    );
    assert.match(lines[1] as string, /No such file|Stale file handle/);
    assert.equal(lines[2], 'the new file');
    assert.match(lines[3] as string, /^(errno -(2|116)|secret of the old file)$/);
    await mount.stop();
  },
);
