import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { GETXATTR_IN, SETXATTR_IN } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import { type Answer, names, struct } from './messages.ts';
import { ROOT, type Stage, stage } from './stage.ts';

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

function set(s: Stage, id: number, name: string, value: string | Buffer, flags = 0): Answer {
  const bytes = Buffer.from(value);
  const fixed = struct(SETXATTR_IN, { size: bytes.length, flags });
  const isExtended = s.layer.fs.ctx.has(NEGOTIATED.SETXATTR_EXT);
  const head = fixed.subarray(0, isExtended ? SETXATTR_IN.SIZE : SETXATTR_IN.COMPAT_SIZE);
  return s.client.call(OP.SETXATTR, id, head, names(name), bytes);
}

function get(s: Stage, id: number, name: string, size: number): Answer {
  return s.client.call(OP.GETXATTR, id, struct(GETXATTR_IN, { size }), names(name));
}

function list(s: Stage, id: number, size: number): Answer {
  return s.client.call(OP.LISTXATTR, id, struct(GETXATTR_IN, { size }));
}

async function withFile(options: object = {}): Promise<{ s: Stage; id: number }> {
  const s = await stage(options);
  writeFileSync(s.at('f'), '');
  return { s, id: s.client.lookup(ROOT, 'f').nodeid };
}

suite('extended attributes (rule 110)', () => {
  for (const negotiated of [0, NEGOTIATED.SETXATTR_EXT]) {
    test(`set, get, list, remove, SETXATTR_EXT ${negotiated === 0 ? 'off' : 'on'}`, async () => {
      const s = await stage();
      s.layer.fs.init(negotiated);
      writeFileSync(s.at('f'), '');
      const id = s.client.lookup(ROOT, 'f').nodeid;
      const value = Buffer.from([0, 1, 255, 0, 10]);
      assert.ok(typeof set(s, id, 'user.a', value) !== 'string');
      assert.deepEqual(get(s, id, 'user.a', 100), value);
      assert.equal((get(s, id, 'user.a', 0) as Buffer).readUInt32LE(0), 5);
      assert.deepEqual(get(s, id, 'user.a', 5), value);
      assert.equal(get(s, id, 'user.a', 4), 'ERANGE');
      assert.equal(get(s, id, 'user.none', 100), 'ENODATA');
      assert.ok(typeof set(s, id, 'user.b', '') !== 'string');
      assert.deepEqual(get(s, id, 'user.b', 100), Buffer.alloc(0));
      const listed = (list(s, id, 1000) as Buffer).toString().split('\0').toSorted();
      assert.deepEqual(listed, ['', 'user.a', 'user.b']);
      assert.equal((list(s, id, 0) as Buffer).readUInt32LE(0), 14);
      assert.equal(list(s, id, 13), 'ERANGE');
      assert.ok(typeof s.client.call(OP.REMOVEXATTR, id, names('user.a')) !== 'string');
      assert.equal(s.client.call(OP.REMOVEXATTR, id, names('user.a')), 'ENODATA');
    });
  }

  test("flags, sizes and namespaces are the host's", async () => {
    const { s, id } = await withFile();
    assert.equal(set(s, id, 'user.a', 'x', XATTR_REPLACE), 'ENODATA');
    assert.ok(typeof set(s, id, 'user.a', 'x', XATTR_CREATE) !== 'string');
    assert.equal(set(s, id, 'user.a', 'x', XATTR_CREATE), 'EEXIST');
    assert.equal(set(s, id, 'user.a', Buffer.alloc(65537)), 'E2BIG');
    assert.equal(set(s, id, 'nowhere.a', 'x'), 'EOPNOTSUPP');
    assert.equal(set(s, id, `user.${'n'.repeat(300)}`, 'x'), 'ERANGE');
    assert.ok(typeof get(s, id, 'user.a', 0xffffffff) !== 'string', 'more room than there can be');
  });

  test('on a symlink it is the link, not its target', async () => {
    const { s, id } = await withFile();
    symlinkSync('f', s.at('l'));
    set(s, id, 'user.a', 'x');
    const link = s.client.lookup(ROOT, 'l').nodeid;
    assert.equal(get(s, link, 'user.a', 100), 'ENODATA');
    assert.equal(set(s, link, 'user.b', 'x'), 'EPERM');
  });

  test('with names mapped, all four go by the map, and lists have the size they have', async () => {
    const { s, id } = await withFile({
      xattrmap: [':bad:client:user.no::', ':map:user.:user.m.:'],
    });
    assert.ok(typeof set(s, id, 'user.a', 'v') !== 'string');
    const behind = await stage({}, s.dir);
    const same = behind.client.lookup(ROOT, 'f').nodeid;
    assert.equal((list(behind, same, 100) as Buffer).toString(), 'user.m.user.a\0');
    assert.ok(typeof set(behind, same, 'user.hidden', 'h') !== 'string');
    assert.equal((list(s, id, 100) as Buffer).toString(), 'user.a\0');
    assert.equal((list(s, id, 0) as Buffer).readUInt32LE(0), 7);
    assert.equal((list(s, id, 7) as Buffer).length, 7);
    assert.equal(list(s, id, 6), 'ERANGE');
    assert.equal((get(s, id, 'user.a', 10) as Buffer).toString(), 'v');
    assert.equal(get(s, id, 'user.hidden', 10), 'ENODATA');
    assert.equal(get(s, id, 'user.m.user.a', 10), 'ENODATA');
    for (const answer of [get(s, id, 'user.no', 10), set(s, id, 'user.now', 'v')]) {
      assert.equal(answer, 'EPERM');
    }
    assert.equal(set(s, id, `user.${'n'.repeat(244)}`, 'v'), 'ERANGE');
    assert.equal(s.client.call(OP.REMOVEXATTR, id, names('user.no')), 'EPERM');
    assert.ok(typeof s.client.call(OP.REMOVEXATTR, id, names('user.a')) !== 'string');
    assert.equal((list(s, id, 100) as Buffer).length, 0);
    assert.equal(set(s, id, '', 'v'), 'ERANGE');
  });

  test('rule 20: without xattr all four are ENOSYS', async () => {
    const { s, id } = await withFile({ xattr: false });
    assert.deepEqual(
      [
        set(s, id, 'user.a', 'x'),
        get(s, id, 'user.a', 10),
        list(s, id, 10),
        s.client.call(OP.REMOVEXATTR, id, names('user.a')),
      ],
      new Array(4).fill('ENOSYS'),
    );
  });
});
