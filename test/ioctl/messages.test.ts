/** IOCTL as messages: what is forwarded, what is not, and what is malformed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { FUSE_IOCTL_DIR } from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { IOCTL_IN, IOCTL_OUT } from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import {
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FSXATTR_BYTES,
  O_RDONLY,
} from '../../src/shared/sys/constants.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { type Answer, type Fields, struct } from '../rules/messages.ts';
import { ROOT, type Stage, stage } from '../rules/stage.ts';

const FS_NODUMP_FL = 0x40;
const FS_XFLAG_NODUMP = 0x80;
const NOT_FORWARDED = {
  FS_IOC32_GETFLAGS: 0x80046601,
  FS_IOC32_SETFLAGS: 0x40046602,
  FS_IOC_GETVERSION: 0x80087601,
  FS_IOC_FIEMAP: 0xc020660b,
  FICLONE: 0x40049409,
  TCGETS: 0x5401,
  nothing: 0,
};

async function onTmpfs(bits: number): Promise<Stage> {
  const made = await makeFileSystem('tmpfs');
  assert.ok('path' in made);
  const s = await stage({}, made.path);
  s.layer.fs.init(bits);
  writeFileSync(s.at('f'), '');
  mkdirSync(s.at('d'));
  return s;
}

function ioctl(s: Stage, nodeid: number, fields: Fields, data: Buffer = Buffer.alloc(0)): Answer {
  return s.client.call(OP.IOCTL, nodeid, struct(IOCTL_IN, fields), data);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function lsattr(path: string): string {
  return execFileSync('lsattr', ['-d', path], { encoding: 'utf8' }).split(' ')[0] as string;
}

suite('IOCTL', { skip: process.getuid?.() !== 0 && 'mounting tmpfs needs root' }, () => {
  for (const bits of [0, NEGOTIATED.NO_OPEN | NEGOTIATED.NO_OPENDIR]) {
    test(`flags of files and directories, ${bits === 0 ? 'with' : 'without'} handles`, async () => {
      const s = await onTmpfs(NEGOTIATED.CHECKED_IOCTLS | bits);
      for (const [name, flags] of [['f', 0] as const, ['d', FUSE_IOCTL_DIR] as const]) {
        const { nodeid } = s.client.lookup(ROOT, name);
        const opened = flags === 0 ? s.client.open.bind(s.client) : s.client.opendir.bind(s.client);
        const fh = bits === 0 ? opened(nodeid, O_RDONLY).fh : 0n;
        const set = { fh, flags, cmd: FS_IOC_SETFLAGS, in_size: 4 };
        assert.deepEqual(ioctl(s, nodeid, set, word(FS_NODUMP_FL)), Buffer.alloc(IOCTL_OUT.SIZE));
        assert.match(lsattr(s.at(name)), /d/);
        const get = { fh, flags, cmd: FS_IOC_GETFLAGS, out_size: 4 };
        assert.deepEqual(
          ioctl(s, nodeid, get),
          Buffer.concat([Buffer.alloc(IOCTL_OUT.SIZE), word(FS_NODUMP_FL)]),
        );
        const clear = { fh, flags, cmd: FS_IOC_FSSETXATTR, in_size: FSXATTR_BYTES };
        assert.ok(typeof ioctl(s, nodeid, clear, Buffer.alloc(FSXATTR_BYTES)) !== 'string');
        assert.doesNotMatch(lsattr(s.at(name)), /d/);
        ioctl(s, nodeid, set, word(FS_NODUMP_FL));
        const extended = { fh, flags, cmd: FS_IOC_FSGETXATTR, out_size: FSXATTR_BYTES };
        const answer = ioctl(s, nodeid, extended) as Buffer;
        assert.equal(answer.length, IOCTL_OUT.SIZE + FSXATTR_BYTES);
        assert.equal(answer.readUInt32LE(IOCTL_OUT.SIZE), FS_XFLAG_NODUMP);
      }
    });
  }

  test('other commands are ENOTTY, 32-bit numbers of the flags too: nobody has checked those', async () => {
    const s = await onTmpfs(NEGOTIATED.CHECKED_IOCTLS);
    const { nodeid } = s.client.lookup(ROOT, 'f');
    const { fh } = s.client.open(nodeid, O_RDONLY);
    for (const [name, cmd] of Object.entries(NOT_FORWARDED)) {
      const answer = ioctl(s, nodeid, { fh, cmd, in_size: 4, out_size: 4 }, word(FS_NODUMP_FL));
      assert.equal(answer, 'ENOTTY', name);
    }
    assert.doesNotMatch(lsattr(s.at('f')), /d/);
  });

  test('a kernel that does not check who may set flags gets ENOTTY', async () => {
    const s = await onTmpfs(0);
    const { nodeid } = s.client.lookup(ROOT, 'f');
    const { fh } = s.client.open(nodeid, O_RDONLY);
    const set = { fh, cmd: FS_IOC_SETFLAGS, in_size: 4 };
    assert.equal(ioctl(s, nodeid, set, word(FS_NODUMP_FL)), 'ENOTTY');
    assert.equal(ioctl(s, nodeid, { fh, cmd: FS_IOC_GETFLAGS, out_size: 4 }), 'ENOTTY');
  });

  test('sizes that are not those of the command, and data that is not there, are EINVAL', async () => {
    const s = await onTmpfs(NEGOTIATED.CHECKED_IOCTLS);
    const { nodeid } = s.client.lookup(ROOT, 'f');
    const { fh } = s.client.open(nodeid, O_RDONLY);
    for (const size of [0, 3, 8, 27, 29, 4096, 0xffffffff]) {
      for (const cmd of [FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR]) {
        assert.equal(ioctl(s, nodeid, { fh, cmd, in_size: size }, Buffer.alloc(64)), 'EINVAL');
      }
      for (const cmd of [FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR]) {
        assert.equal(ioctl(s, nodeid, { fh, cmd, out_size: size }), 'EINVAL');
      }
    }
    const set = { fh, cmd: FS_IOC_SETFLAGS, in_size: 4 };
    assert.equal(ioctl(s, nodeid, set, Buffer.alloc(3, 0xff)), 'EINVAL');
    assert.equal(lsattr(s.at('f')).replaceAll('-', ''), '');
  });

  test('a handle of another inode or of none is EBADF', async () => {
    const s = await onTmpfs(NEGOTIATED.CHECKED_IOCTLS);
    const file = s.client.lookup(ROOT, 'f').nodeid;
    const dir = s.client.lookup(ROOT, 'd').nodeid;
    const { fh } = s.client.open(file, O_RDONLY);
    const get = { fh, cmd: FS_IOC_GETFLAGS, out_size: 4 };
    assert.equal(ioctl(s, dir, { ...get, flags: FUSE_IOCTL_DIR }), 'EBADF');
    assert.equal(ioctl(s, file, { ...get, flags: FUSE_IOCTL_DIR }), 'EBADF');
    assert.equal(ioctl(s, file, { ...get, fh: 77n }), 'EBADF');
  });
});
