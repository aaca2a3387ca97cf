import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { LayerOptions } from '../../src/main/layer.ts';
import { OP, OPCODES } from '../../src/shared/abi/opcodes.ts';
import {
  GETXATTR_IN,
  IN_HEADER,
  LK_IN,
  OUT_HEADER,
  SETXATTR_IN,
} from '../../src/shared/abi/structs.ts';
import { secctx, suppGroups, withExtensions } from './extensions.ts';
import { message, names, struct } from './messages.ts';
import { openFds, ROOT, type Stage, stage } from './stage.ts';

const FUZZ_MS = 5_000;
/** Of random sizes they take random times. */
const FILLS_DISKS = [OP.FALLOCATE, OP.COPY_FILE_RANGE, OP.COPY_FILE_RANGE_64];
const LABEL = Buffer.from('some label');
const MAPPED: LayerOptions = {
  securityLabel: true,
  xattrmap: ':bad:all:user.no:user.no: :map:user.:user.m.:',
  translateUid: ['map:0:70000:10', 'forbid-guest:20:10'],
  translateGid: ['squash-guest:0:70000:10', 'squash-host:70000:5:10'],
};
const ABSENT = OPCODES.filter((row) => row.class === 'absent');

/** errno of the reply to a whole message; undefined without reply. */
function errorOf(s: Stage, request: Buffer): number | undefined {
  const raw = s.layer.handle(request);
  return raw && Buffer.from(raw).readInt32LE(OUT_HEADER.error);
}

suite('requests that are none', () => {
  test('rule 119: unknown opcodes and absent ones are ENOSYS', async () => {
    const { client } = await stage();
    for (const opcode of [0, 7, 19, 54, 4096, 0x7fffffff, 0xffffffff]) {
      assert.equal(client.call(opcode, ROOT), 'ENOSYS', `opcode ${opcode}`);
    }
    assert.deepEqual(
      ABSENT.map(({ name }) => name),
      ['BMAP', 'POLL', 'SETUPMAPPING', 'REMOVEMAPPING'],
    );
    for (const { opcode, inSizeBytes } of ABSENT) {
      assert.equal(client.call(opcode, ROOT, Buffer.alloc(inSizeBytes)), 'ENOSYS');
    }
    assert.equal(client.call(OP.ACCESS, ROOT, Buffer.alloc(8)), 'ENOSYS');
    for (const opcode of [OP.GETLK, OP.SETLK, OP.SETLKW]) {
      assert.equal(client.call(opcode, ROOT, struct(LK_IN)), 'ENOSYS', 'without --posix-lock');
    }
  });

  for (const { name, opcode, inSizeBytes, hasReply } of OPCODES) {
    if (inSizeBytes === 0) continue;
    test(`${name} one byte short`, async () => {
      const s = await stage();
      const request = message(opcode, ROOT, Buffer.alloc(inSizeBytes - 1));
      assert.equal(errorOf(s, request), hasReply ? -22 : undefined);
    });
  }

  test('a header that promises more or less than there is, and less than a header', async () => {
    const s = await stage();
    for (const promised of [0, 39, 55, 57, 4096, 0xffffffff]) {
      const request = message(OP.GETATTR, ROOT, Buffer.alloc(16));
      request.writeUInt32LE(promised, IN_HEADER.len);
      assert.equal(errorOf(s, request), -22, `len ${promised}`);
    }
    for (const bytes of [0, 1, 39]) assert.equal(s.layer.handle(Buffer.alloc(bytes, 1)), undefined);
    assert.equal(s.layer.handle(Buffer.alloc(4 << 20)), undefined);
  });

  test('a short FORGET forgets nothing, whatever was in memory before', async () => {
    const s = await stage();
    writeFileSync(s.at('f'), '');
    const { nodeid } = s.client.lookup(ROOT, 'f');
    s.client.forget(nodeid + 1, 1000);
    assert.equal(s.layer.handle(message(OP.FORGET, nodeid)), undefined);
    assert.equal(s.lookups(), 1);
    const long = message(OP.FORGET, nodeid);
    long.writeUInt32LE(48, IN_HEADER.len);
    s.layer.handle(long);
    assert.equal(s.lookups(), 1);
  });

  test('names without an end are EINVAL: what stands behind the message is not read', async () => {
    const s = await stage();
    writeFileSync(s.at('secret'), '');
    const { nodeid } = s.client.lookup(ROOT, 'secret');
    // Leaves "secret" and its NUL where a name begins.
    const cut = (text: string) => Buffer.from(text);
    assert.equal(s.client.call(OP.LOOKUP, ROOT, cut('sec')), 'EINVAL');
    s.client.call(OP.SETXATTR, nodeid, Buffer.alloc(SETXATTR_IN.COMPAT_SIZE), names('user.abc'));
    const head = struct(GETXATTR_IN, { size: 100 });
    s.client.call(OP.GETXATTR, nodeid, head, names('user.abc'));
    assert.equal(s.client.call(OP.GETXATTR, nodeid, head, cut('user.')), 'EINVAL');
    assert.equal(s.client.call(OP.REMOVEXATTR, nodeid, cut('user.')), 'EINVAL');
    assert.equal(s.client.call(OP.SYMLINK, ROOT, names('l'), cut('target')), 'EINVAL');
    const fixed = struct(SETXATTR_IN, { size: 50 }).subarray(0, SETXATTR_IN.COMPAT_SIZE);
    assert.equal(s.client.call(OP.SETXATTR, nodeid, fixed, names('user.b'), cut('v')), 'EINVAL');
  });

  for (const [what, options] of [
    ['as it is', {}],
    ['with names and ids mapped, and labels', MAPPED],
  ] as const) {
    test(`random bytes behind a valid header never throw, ${what}`, (t) => fuzz(t, options));
  }

  async function fuzz(t: TestContext, options: LayerOptions): Promise<void> {
    const s = await stage({ fdBudget: 32, ...options });
    for (const name of ['a', 'b', 'c']) writeFileSync(s.at(name), name);
    const made = s.client.create(ROOT, 'open');
    const dir = s.client.opendir(ROOT);
    const before = openFds();
    const word = fc.oneof(
      fc.constantFrom(0, 1, 2, 3, 4096, 0x7fffffff, 0x80000000, 0xffffffff, made.nodeid),
      fc.nat(0xffffffff),
    );
    const tail = fc.oneof(
      fc.constantFrom(
        names('a'),
        names('b', 'c'),
        names('..', 'x'),
        Buffer.from('open'),
        Buffer.of(),
      ),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    );
    const request = fc
      .record({
        opcode: fc.oneof(
          { weight: 20, arbitrary: fc.constantFrom(...OPCODES) },
          { weight: 1, arbitrary: fc.nat(100).map((opcode) => ({ opcode, inSizeBytes: 8 })) },
        ),
        nodeid: fc.oneof(fc.constantFrom(0, 1, made.nodeid, 2 ** 32), fc.maxSafeNat()),
        words: fc.array(word, { minLength: 22, maxLength: 22 }),
        handle: fc.constantFrom(undefined, made.fh, dir.fh),
        tail,
        extlen: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(6), fc.nat(0xffff)),
        labelled: fc.boolean(),
      })
      .map(({ opcode: row, nodeid, words, handle, tail: rest, extlen, labelled }) => {
        const fixed = Buffer.alloc(Math.max(row.inSizeBytes, 0));
        for (let at = 0; at + 4 <= fixed.length; at += 4) {
          fixed.writeUInt32LE(words[at >> 2] as number, at);
        }
        if (handle !== undefined && fixed.length >= 8) fixed.writeBigUInt64LE(handle, 0);
        const bytes = message(row.opcode, nodeid, fixed, rest);
        if (labelled) return withExtensions(bytes, secctx('user.label', LABEL), suppGroups([5]));
        bytes.writeUInt16LE(extlen, IN_HEADER.total_extlen);
        return bytes;
      })
      .filter((bytes) => !FILLS_DISKS.includes(bytes.readUInt32LE(IN_HEADER.opcode)));
    const untilMs = Date.now() + FUZZ_MS;
    let count = 0;
    fc.assert(
      fc.property(request, (bytes) => {
        count++;
        const raw = s.layer.handle(bytes);
        const row = OPCODES.find(({ opcode }) => opcode === bytes.readUInt32LE(IN_HEADER.opcode));
        assert.equal(raw === undefined, row?.hasReply === false);
        if (raw === undefined) return;
        const reply = Buffer.from(raw);
        const error = reply.readInt32LE(OUT_HEADER.error);
        assert.equal(reply.readUInt32LE(OUT_HEADER.len), reply.length);
        assert.ok(error <= 0 && error > -4096 && (error === 0 || reply.length === OUT_HEADER.SIZE));
      }),
      { numRuns: 1_000_000, interruptAfterTimeLimit: FUZZ_MS, markInterruptAsFailure: false },
    );
    t.diagnostic(`${count} requests, ${Date.now() - untilMs + FUZZ_MS} ms`);
    assert.deepEqual(
      s.reports.filter((line) => /exception/.test(line)),
      [],
    );
    s.client.getattr(ROOT);
    s.layer.fs.destroy();
    assert.ok(openFds() <= before);
    assert.equal(s.lookups(), 0);
    s.client.listAll(ROOT, 4096, true);
  }
});
