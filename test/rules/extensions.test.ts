import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { suite, test } from 'node:test';
import { FUSE_EXT_GROUPS, FUSE_MAX_NR_SECCTX } from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { IN_HEADER, MKDIR_IN, OUT_HEADER } from '../../src/shared/abi/structs.ts';
import {
  areExtensionsSound,
  findExtension,
  findSecurityContext,
  groupAt,
  groupCount,
  securityLabelBytes,
  securityName,
} from '../../src/shared/passthrough/extensions.ts';
import { extension, secctx, suppGroups, u32s, withExtensions } from './extensions.ts';
import { message, names, struct } from './messages.ts';
import { ROOT, type Stage, stage } from './stage.ts';

const EINVAL = -22;
const FIXED = struct(MKDIR_IN, { mode: 0o755 });

/** A MKDIR, whose name may have any length, so that what follows begins at any byte. */
function mkdirMessage(name: string, ...extensions: Buffer[]): Buffer {
  return withExtensions(message(OP.MKDIR, ROOT, FIXED, names(name)), ...extensions);
}

/** Puts the message into the layer's request memory, as handle() does, without running it. */
function loaded(s: Stage, request: Buffer) {
  const { ctx } = s.layer.fs;
  const at = ctx.tables.slots.messageAt(0);
  ctx.u8.set(request, at);
  ctx.load(at);
  return ctx;
}

function errorOf(s: Stage, request: Buffer): number {
  return Buffer.from(s.layer.handle(request) as Uint8Array).readInt32LE(OUT_HEADER.error);
}

suite('extensions', () => {
  test('golden bytes: a label and a group, behind names of every alignment', async () => {
    const s = await stage();
    // secctx_header: size 48, one context; secctx: 11 bytes of label, padding, name, label, padding.
    const label = Buffer.from(
      '3000000001000000' +
        '0b00000000000000' +
        '73656375726974792e73656c696e757800' +
        '73797374656d5f753a6f00' +
        '00000000',
      'hex',
    );
    // ext_header: size 16, type 32; one group, 1234.
    const groups = Buffer.from('100000002000000001000000d2040000', 'hex');
    assert.deepEqual(secctx('security.selinux', Buffer.from('system_u:o\0')), label);
    assert.deepEqual(suppGroups([1234]), groups);
    for (let length = 1; length <= 9; length++) {
      const ctx = loaded(s, mkdirMessage('n'.repeat(length), label, groups));
      assert.ok(areExtensionsSound(ctx, MKDIR_IN.SIZE));
      const group = findExtension(ctx, FUSE_EXT_GROUPS);
      assert.equal(groupCount(ctx, group), 1);
      assert.equal(groupAt(ctx, group, 0), 1234);
      const context = findSecurityContext(ctx);
      const name = securityName(context);
      assert.equal(ctx.nameLength(ctx.body + MKDIR_IN.SIZE), length);
      assert.equal(securityLabelBytes(ctx, context), 11);
      const text = Buffer.from(ctx.u8.slice(name, name + 17 + 11)).toString('latin1');
      assert.equal(text, 'security.selinux\0system_u:o\0');
      assert.equal(findExtension(ctx, 33), 0);
    }
  });

  test('none of one sort is 0, also where there are none at all', async () => {
    const s = await stage();
    const none = loaded(s, mkdirMessage('d'));
    assert.ok(areExtensionsSound(none, MKDIR_IN.SIZE));
    assert.equal(findExtension(none, FUSE_EXT_GROUPS), 0);
    assert.equal(findSecurityContext(none), 0);
    assert.equal(groupCount(none, 0), 0);
    const noLabel = loaded(s, mkdirMessage('d', extension(0, Buffer.alloc(0)), suppGroups([1])));
    assert.equal(findSecurityContext(noLabel), 0);
    assert.notEqual(findExtension(noLabel, FUSE_EXT_GROUPS), 0);
    assert.notEqual(findExtension(noLabel, FUSE_MAX_NR_SECCTX), 0);
  });

  test('malformed lengths are EINVAL, and nothing is made', async () => {
    const s = await stage();
    const bad: [string, Buffer][] = [
      ['more than the message', mkdirMessage('d', suppGroups([1]))],
      ['size 0', mkdirMessage('d', u32s(0, FUSE_EXT_GROUPS, 1, 1))],
      ['size 7', mkdirMessage('d', u32s(7, FUSE_EXT_GROUPS, 1, 1))],
      ['not padded', mkdirMessage('d', u32s(12, FUSE_EXT_GROUPS, 1, 1))],
      ['behind the end', mkdirMessage('d', u32s(24, FUSE_EXT_GROUPS, 1, 1))],
      ['far behind it', mkdirMessage('d', u32s(0xfffffff8, FUSE_EXT_GROUPS, 1, 1))],
      ['leaves a rest', mkdirMessage('d', u32s(8, FUSE_EXT_GROUPS, 0, 0))],
    ];
    bad[0]?.[1].writeUInt16LE(0xffff, IN_HEADER.total_extlen);
    const short = message(OP.MKDIR, ROOT, FIXED);
    short.writeUInt16LE(1, IN_HEADER.total_extlen);
    bad.push(['the fixed part taken for one', short]);
    const unended = message(OP.MKDIR, ROOT, FIXED, Buffer.from('d'));
    bad.push(['a name that runs into it', withExtensions(unended, suppGroups([1]))]);
    for (const [what, request] of bad) assert.equal(errorOf(s, request), EINVAL, what);
    assert.equal(existsSync(s.at('d')), false);
    assert.equal(errorOf(s, mkdirMessage('d', suppGroups([1]))), 0);
  });

  test('more groups than there are, or than 32, are EINVAL', async () => {
    const s = await stage();
    const count = (...words: number[]) => {
      const ctx = loaded(s, mkdirMessage('d', extension(FUSE_EXT_GROUPS, u32s(...words))));
      assert.ok(areExtensionsSound(ctx, MKDIR_IN.SIZE));
      return groupCount(ctx, findExtension(ctx, FUSE_EXT_GROUPS));
    };
    assert.equal(count(0, 7), 0);
    assert.equal(count(3, 7, 8, 9), 3);
    assert.equal(count(4, 7, 8, 9), EINVAL);
    assert.equal(count(0xffffffff, 7, 8, 9), EINVAL);
    assert.equal(count(0x40000001, 7, 8, 9), EINVAL);
    assert.equal(count(), EINVAL);
    assert.equal(count(32, ...new Array<number>(33).fill(5)), 32);
    assert.equal(count(33, ...new Array<number>(33).fill(5)), EINVAL);
  });

  test('a label without an end, without a name or longer than its extension is EINVAL', async () => {
    const s = await stage();
    const found = (type: number, ...parts: Buffer[]) => {
      const ctx = loaded(s, mkdirMessage('d', extension(type, ...parts), suppGroups([1])));
      assert.ok(areExtensionsSound(ctx, MKDIR_IN.SIZE));
      return findSecurityContext(ctx);
    };
    const head = (size: number) => u32s(size, 0);
    assert.ok(found(1, head(4), names('a.b'), Buffer.from('abcd')) > 0);
    assert.equal(found(1, head(5), names('a.b'), Buffer.from('abcd')), EINVAL);
    assert.equal(found(1, head(0xffffffff), names('a.b'), Buffer.from('abcd')), EINVAL);
    assert.equal(found(1, head(0), names('a.b'), Buffer.from('abcd')), EINVAL);
    assert.equal(found(1, head(1), names(''), Buffer.from('abcdefg')), EINVAL);
    assert.equal(found(1, head(1), Buffer.from('abcdefgh')), EINVAL);
    assert.equal(found(1), EINVAL);
    assert.equal(found(2, head(4), names('a.b'), Buffer.from('abcd')), EINVAL);
  });
});
