/** Files with the append-only flag (chattr +a), which open for writing with O_APPEND alone. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { FUSE_WRITE_CACHE } from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { OPEN_IN } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { O_APPEND, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/shared/sys/constants.ts';
import { defer } from '../harness/cleanup.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { struct } from '../rules/messages.ts';
import { ROOT, type Stage, stage } from '../rules/stage.ts';

async function withLog(bits: number): Promise<{ s: Stage; log: number }> {
  const made = await makeFileSystem('tmpfs');
  assert.ok('path' in made);
  const s = await stage({}, made.path);
  s.layer.fs.init(bits);
  writeFileSync(s.at('log'), 'begin');
  execFileSync('chattr', ['+a', s.at('log')]);
  defer(async () => void execFileSync('chattr', ['-a', s.at('log')]));
  return { s, log: s.client.lookup(ROOT, 'log').nodeid };
}

suite('an append-only file', { skip: process.getuid?.() !== 0 && 'chattr +a needs root' }, () => {
  test('is appended to, and nothing else', async () => {
    const { s, log } = await withLog(0);
    for (const flags of [O_WRONLY, O_RDWR, O_WRONLY | O_APPEND | O_TRUNC]) {
      assert.equal(s.client.call(OP.OPEN, log, struct(OPEN_IN, { flags })), 'EPERM');
    }
    const { fh } = s.client.open(log, O_RDWR | O_APPEND);
    assert.equal(s.client.write(log, fh, 0n, ' more', { flags: O_RDWR | O_APPEND }), 5);
    const cached = { write_flags: FUSE_WRITE_CACHE, flags: O_RDWR | O_APPEND };
    assert.equal(s.client.write(log, fh, 0n, 'a mapped page', cached), 'EPERM');
    assert.equal(s.client.write(log, fh, 0n, 'O_APPEND taken off', { flags: O_RDWR }), 'EPERM');
    assert.equal(readFileSync(s.at('log'), 'utf8'), 'begin more');
    assert.equal(String(s.client.read(log, fh, 0n, 100)), 'begin more');
  });

  test('does not open for writing with the writeback cache, whose pages have places', async () => {
    const { s, log } = await withLog(NEGOTIATED.WRITEBACK);
    const flags = O_RDWR | O_APPEND;
    assert.equal(s.client.call(OP.OPEN, log, struct(OPEN_IN, { flags })), 'EPERM');
  });

  test('an ordinary file that is opened for appending is written at any place by the page cache', async () => {
    const { s } = await withLog(0);
    writeFileSync(s.at('f'), '0123456789');
    const { nodeid } = s.client.lookup(ROOT, 'f');
    const { fh } = s.client.open(nodeid, O_RDWR | O_APPEND);
    const cached = { write_flags: FUSE_WRITE_CACHE, flags: O_RDWR | O_APPEND };
    assert.equal(s.client.write(nodeid, fh, 2n, 'xy', cached), 2);
    assert.equal(readFileSync(s.at('f'), 'utf8'), '01xy456789');
  });
});
