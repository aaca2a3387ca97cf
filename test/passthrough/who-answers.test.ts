/** Data of a file system in memory: main moves a little of it, lanes move much. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { defer } from '../harness/cleanup.ts';
import { tracedMount } from '../options/traced-mount.ts';

function memoryDir(): string {
  const path = mkdtempSync('/dev/shm/sluice-test-');
  const remove = () => rmSync(path, { recursive: true, force: true });
  defer(async () => remove(), remove);
  return path;
}

/** The threads that sent these replies. */
function threads(replies: readonly string[]): Set<string> {
  return new Set(replies.map((line) => line.split(' ').at(-1)?.replace(/-\d+$/, '') ?? ''));
}

test('a small file is copied by main, a large one by a lane', async () => {
  const { mount, sh, trace } = await tracedMount([], { source: memoryDir() });
  const copy = async (sizeKib: number) => {
    trace.forget();
    const [from, to] = [`from-${sizeKib}`, `to-${sizeKib}`];
    await sh(`head -c ${sizeKib}K /dev/urandom > $S/${from}; cp $M/${from} $M/${to}`);
    await sh(`cmp $S/${from} $S/${to}`);
    return threads(trace.replies('COPY_FILE_RANGE_64').concat(trace.replies('COPY_FILE_RANGE')));
  };
  assert.deepEqual(await copy(64), new Set(['main']));
  assert.deepEqual(await copy(1024), new Set(['lane']));
  await mount.stop();
});

test('a file with set-id bits loses them in a copy over it', async () => {
  const { mount, sh, trace } = await tracedMount(['--allow-other'], { source: memoryDir() });
  const script = 'echo data > $S/from; echo x > $S/to; chmod 4777 $S/to; chmod 755 $S $M';
  await sh(`${script}; setpriv --reuid=65534 --clear-groups cp $M/from $M/to`);
  assert.equal(await sh('stat -c %a $S/to; cat $S/to'), '777\ndata');
  assert.ok(trace.replies('CREATE').length === 0);
  await mount.stop();
});

test('direct reads and writes are made by main', async () => {
  const { mount, sh, trace } = await tracedMount([], { source: memoryDir() });
  await sh('head -c 64K /dev/urandom > $S/from');
  await sh('dd if=$M/from of=$M/to bs=4K iflag=direct oflag=direct status=none; cmp $S/from $S/to');
  for (const opcode of ['READ', 'WRITE']) {
    assert.ok(trace.replies(opcode).length >= 16, opcode);
    // The first one finds out what the file system can do.
    assert.deepEqual(threads(trace.replies(opcode).slice(1)), new Set(['main']), opcode);
  }
  await mount.stop();
});
