import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { suite, test } from 'node:test';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  CREATE_IN,
  ENTRY_OUT,
  GETXATTR_IN,
  MKDIR_IN,
  MKNOD_IN,
  OUT_HEADER,
} from '../../src/shared/abi/structs.ts';
import { O_CREAT, O_RDWR, S_IFIFO } from '../../src/shared/sys/constants.ts';
import { secctx, suppGroups, withExtensions } from './extensions.ts';
import { message, names, struct } from './messages.ts';
import { openFds, ROOT, type Stage, stage } from './stage.ts';

const SELINUX = 'security.selinux';
const LABEL = Buffer.from('system_u:object_r:some_t:s0\0');

/** A creation by each opcode that can carry a label: what stands between header and extensions. */
const CREATIONS: readonly (readonly [string, number, readonly Buffer[]])[] = [
  [
    'CREATE',
    OP.CREATE,
    [struct(CREATE_IN, { flags: O_RDWR | O_CREAT, mode: 0o600 }), names('new')],
  ],
  ['MKDIR', OP.MKDIR, [struct(MKDIR_IN, { mode: 0o700 }), names('new')]],
  ['MKNOD', OP.MKNOD, [struct(MKNOD_IN, { mode: S_IFIFO | 0o600 }), names('new')]],
  ['SYMLINK', OP.SYMLINK, [names('new', 'target')]],
  ['TMPFILE', OP.TMPFILE, [struct(CREATE_IN, { flags: O_RDWR, mode: 0o600 }), names('/')]],
];

/** The answer of a creation with these extensions: its body, or the name of an error. */
function make(
  s: Stage,
  opcode: number,
  parts: readonly Buffer[],
  ...ext: Buffer[]
): Buffer | string {
  const raw = s.layer.handle(withExtensions(message(opcode, ROOT, ...parts), ...ext));
  const reply = Buffer.from(raw as Uint8Array);
  const error = reply.readInt32LE(OUT_HEADER.error);
  return error === 0 ? reply.subarray(OUT_HEADER.SIZE) : errnoName(error);
}

function attribute(s: Stage, body: Buffer, name: string): Buffer | string {
  const nodeid = Number(body.readBigUInt64LE(ENTRY_OUT.nodeid));
  return s.client.call(OP.GETXATTR, nodeid, struct(GETXATTR_IN, { size: 100 }), names(name));
}

const needsRoot =
  process.getuid?.() === 0 ? false : 'attributes of the security namespace need root to be set';

suite('labels of new files', { skip: needsRoot }, () => {
  for (const [what, opcode, parts] of CREATIONS) {
    test(`${what} sets the label that comes with it, and none without the option`, async () => {
      const s = await stage({ securityLabel: true });
      const made = make(s, opcode, parts, secctx(SELINUX, LABEL), suppGroups([0]));
      assert.ok(typeof made !== 'string', String(made));
      assert.deepEqual(attribute(s, made, SELINUX), LABEL);
      const off = await stage();
      const plain = make(off, opcode, parts, secctx(SELINUX, LABEL));
      assert.ok(typeof plain !== 'string', String(plain));
      assert.notDeepEqual(attribute(off, plain, SELINUX), LABEL);
    });

    test(`${what}: nothing stays that could not be labelled`, async () => {
      const s = await stage({ securityLabel: true });
      const before = openFds();
      assert.equal(make(s, opcode, parts, secctx('nonsense.name', LABEL)), 'EOPNOTSUPP');
      assert.deepEqual(readdirSync(s.dir), []);
      assert.equal(s.lookups(), 0);
      assert.equal(openFds(), before);
    });

    test(`${what}: a malformed label is EINVAL before anything is made`, async () => {
      const s = await stage({ securityLabel: true });
      const long = secctx(SELINUX, LABEL);
      long.writeUInt32LE(LABEL.length + 9, 8);
      assert.equal(make(s, opcode, parts, long), 'EINVAL');
      assert.deepEqual(readdirSync(s.dir), []);
    });
  }

  test('the label goes by the name xattrmap gives it, or not at all', async () => {
    const s = await stage({ securityLabel: true, xattrmap: ':map:security.:trusted.l.:' });
    const [, , parts] = CREATIONS[3] as (typeof CREATIONS)[number];
    const made = make(s, OP.SYMLINK, parts, secctx(SELINUX, LABEL));
    assert.ok(typeof made !== 'string', String(made));
    assert.equal(readlinkSync(s.at('new')), 'target');
    assert.deepEqual(attribute(s, made, SELINUX), LABEL);
    const behind = await stage({}, s.dir);
    const { nodeid } = behind.client.lookup(ROOT, 'new');
    const size = struct(GETXATTR_IN, { size: 100 });
    const stored = behind.client.call(OP.GETXATTR, nodeid, size, names(`trusted.l.${SELINUX}`));
    assert.deepEqual(stored, LABEL);
    const denied = await stage({
      securityLabel: true,
      xattrmap: ':bad:all:security.:security.: :ok:all:::',
    });
    assert.equal(make(denied, OP.SYMLINK, parts, secctx(SELINUX, LABEL)), 'EPERM');
    assert.deepEqual(readdirSync(denied.dir), []);
  });

  test("a name too long for an attribute is the host's ERANGE, and nothing stays", async () => {
    const s = await stage({ securityLabel: true });
    const [, , parts] = CREATIONS[0] as (typeof CREATIONS)[number];
    const long = secctx(`security.${'n'.repeat(300)}`, LABEL);
    assert.equal(make(s, OP.CREATE, parts, long), 'ERANGE');
    assert.deepEqual(readdirSync(s.dir), []);
  });
});
