import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { FUSE_WRITE_CACHE, FUSE_WRITE_KILL_SUIDGID } from '../../src/shared/abi/flags.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import {
  COPY_FILE_RANGE_IN,
  FALLOCATE_IN,
  KSTATFS,
  LSEEK_IN,
  SYNCFS_IN,
  WRITE_IN,
} from '../../src/shared/abi/structs.ts';
import { NEGOTIATED } from '../../src/shared/passthrough/config.ts';
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
} from '../../src/shared/sys/constants.ts';
import { makeFileSystem } from '../harness/file-systems.ts';
import { type Answer, struct } from './messages.ts';
import { ROOT, type Stage, stage } from './stage.ts';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const PAGE = 4096;

async function withFile(options: object = {}, data: string | Buffer = '0123456789') {
  const s = await stage(options);
  writeFileSync(s.at('f'), data);
  const { nodeid } = s.client.lookup(ROOT, 'f');
  const { fh } = s.client.open(nodeid, O_RDWR);
  return { ...s, nodeid, fh, content: () => readFileSync(s.at('f'), 'latin1') };
}

function allocate(
  s: Stage,
  id: number,
  fh: bigint,
  mode: number,
  offset: bigint,
  length: bigint,
): Answer {
  return s.client.call(OP.FALLOCATE, id, struct(FALLOCATE_IN, { fh, offset, length, mode }));
}

suite('READ and WRITE', () => {
  test('rule 102: reads at any place and size, short at the end', async () => {
    const { client, nodeid, fh } = await withFile();
    assert.equal(String(client.read(nodeid, fh, 0n, 100)), '0123456789');
    assert.equal(String(client.read(nodeid, fh, 7n, 2)), '78');
    assert.equal(String(client.read(nodeid, fh, 10n, 5)), '');
    assert.equal(String(client.read(nodeid, fh, 2n ** 40n, 5)), '');
    assert.equal(client.read(nodeid, fh, 2n ** 64n - 1n, 5), 'EINVAL');
    assert.equal(client.read(nodeid, fh, 0n, 0xffffffff), 'EINVAL');
  });

  test('rules 102, 103: offsets beyond 4 GiB, in both words', async () => {
    const { client, nodeid, fh, at } = await withFile();
    const far = 2n ** 33n + 5n;
    assert.equal(client.write(nodeid, fh, far, 'far'), 3);
    assert.equal(String(client.read(nodeid, fh, far, 9)), 'far');
    assert.equal(statSync(at('f')).size, Number(far) + 3);
    assert.equal(String(client.read(nodeid, fh, 0n, 3)), '012');
    assert.equal(client.write(nodeid, fh, 2n ** 63n, 'x'), 'EINVAL');
  });

  test('defect 11: requests of one handle share no offset', async () => {
    const { client, nodeid, fh } = await withFile();
    client.read(nodeid, fh, 4n, 4);
    assert.equal(client.write(nodeid, fh, 0n, 'ab'), 2);
    assert.equal(String(client.read(nodeid, fh, 0n, 4)), 'ab23');
  });

  test('rule 103, defect 10: O_APPEND counts write by write, not for pages of the cache', async () => {
    const { client, nodeid, content } = await withFile();
    const { fh } = client.open(nodeid, O_RDWR | O_APPEND);
    client.write(nodeid, fh, 0n, 'end', { flags: O_RDWR | O_APPEND });
    assert.equal(content(), '0123456789end');
    client.write(nodeid, fh, 2n, 'XY', {
      flags: O_RDWR | O_APPEND,
      write_flags: FUSE_WRITE_CACHE,
    });
    client.write(nodeid, fh, 0n, 'Z', { flags: O_RDWR });
    assert.equal(content(), 'Z1XY456789end');
  });

  test('defect 29: O_DIRECT reads and writes of whole pages work', async () => {
    const { client, nodeid, content } = await withFile({}, 'x'.repeat(3 * PAGE));
    const { fh } = client.open(nodeid, O_RDWR | O_DIRECT);
    const flags = O_RDWR | O_DIRECT;
    const page = Buffer.alloc(PAGE, 'p');
    assert.equal(client.write(nodeid, fh, BigInt(PAGE), page, { flags }), PAGE);
    const read = client.read(nodeid, fh, 0n, 3 * PAGE, flags);
    const expected = 'x'.repeat(PAGE) + 'p'.repeat(PAGE) + 'x'.repeat(PAGE);
    assert.ok(String(read) === expected && content() === expected);
    assert.equal(client.write(nodeid, fh, 1n, 'odd', { flags }), 'EINVAL');
  });

  test('rule 104, defect 29: pages of the cache, and a client without O_DIRECT by now, need no alignment', async () => {
    const { client, nodeid, content } = await withFile();
    const { fh } = client.open(nodeid, O_RDWR | O_DIRECT);
    const cached = { flags: O_RDWR | O_DIRECT, write_flags: FUSE_WRITE_CACHE };
    assert.equal(client.write(nodeid, fh, 1n, 'abc', cached), 3);
    assert.equal(client.write(nodeid, fh, 5n, 'de', { flags: O_RDWR }), 2);
    assert.equal(content(), '0abc4de789');
    assert.equal(String(client.read(nodeid, fh, 1n, 3)), 'abc');
  });

  test('rules 103, 126: a write clears the set-id bits when it is told to', {
    skip: process.getuid?.() === 0 ? false : 'needs root',
  }, async () => {
    const s = await stage();
    s.layer.fs.init(NEGOTIATED.KILLPRIV_V2);
    const { client, at } = s;
    const { chmodSync } = await import('node:fs');
    for (const [write_flags, left] of [
      [0, 0o4755],
      [FUSE_WRITE_KILL_SUIDGID, 0o755],
    ] as const) {
      writeFileSync(at('f'), 'x');
      chmodSync(at('f'), 0o4755);
      const { nodeid } = client.lookup(ROOT, 'f');
      const { fh } = client.open(nodeid, O_RDWR);
      assert.equal(client.write(nodeid, fh, 0n, 'y', { write_flags }), 1);
      assert.equal(statSync(at('f')).mode & 0o7777, left);
    }
  });

  test('a WRITE that promises more than it brings writes nothing', async () => {
    const { client, nodeid, fh, content } = await withFile();
    const fixed = struct(WRITE_IN, { fh, size: 100 });
    assert.equal(client.call(OP.WRITE, nodeid, fixed, Buffer.from('abc')), 'EIO');
    assert.equal(content(), '0123456789');
  });
});

suite('rule 105: seal_size', () => {
  test('WRITE may fill the file and not pass its end', async () => {
    const { client, nodeid, fh, content } = await withFile({ sealSize: true });
    assert.equal(client.write(nodeid, fh, 8n, 'ab'), 2);
    assert.equal(client.write(nodeid, fh, 9n, 'ab'), 'EPERM');
    assert.equal(client.write(nodeid, fh, 10n, 'a'), 'EPERM');
    assert.equal(client.write(nodeid, fh, 0n, 'a', { flags: O_APPEND }), 'EPERM');
    assert.equal(client.write(nodeid, fh, 2n ** 63n - 1n, 'ab'), 'EPERM');
    assert.equal(content(), '01234567ab');
  });

  test('FALLOCATE, mode by mode', async () => {
    const s = await withFile({ sealSize: true }, 'x'.repeat(2 * PAGE));
    const call = (mode: number, offset: bigint, length: bigint) =>
      allocate(s, s.nodeid, s.fh, mode, offset, length);
    const end = BigInt(2 * PAGE);
    const hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    for (const mode of [0, FALLOC_FL_KEEP_SIZE, hole, FALLOC_FL_ZERO_RANGE]) {
      assert.ok(typeof call(mode, 0n, end) !== 'string', `mode ${mode}`);
      assert.equal(call(mode, 1n, end), 'EPERM', `mode ${mode}`);
      assert.equal(call(mode, 2n ** 63n - 2n, 1n), 'EPERM', `mode ${mode}`);
      assert.equal(call(mode, 2n ** 62n, 2n ** 62n), 'EINVAL', `mode ${mode}: overflow`);
    }
    for (const mode of [FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE]) {
      assert.equal(call(mode, 0n, BigInt(PAGE)), 'EPERM');
    }
    assert.equal(call(FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE, 0n, 1n), 'EINVAL');
    assert.equal(call(0x1000, 0n, 1n), 'EINVAL');
    assert.equal(statSync(s.at('f')).size, 2 * PAGE);
  });

  test('COPY_FILE_RANGE', async () => {
    const s = await withFile({ sealSize: true });
    const copy = (off_out: bigint, len: bigint) =>
      s.client.call(
        OP.COPY_FILE_RANGE,
        s.nodeid,
        struct(COPY_FILE_RANGE_IN, {
          fh_in: s.fh,
          nodeid_out: BigInt(s.nodeid),
          fh_out: s.fh,
          off_out,
          len,
        }),
      );
    assert.ok(typeof copy(5n, 5n) !== 'string');
    assert.equal(copy(6n, 5n), 'EPERM');
    assert.equal(s.content(), '0123401234');
  });
});

suite('FALLOCATE, LSEEK, COPY_FILE_RANGE', () => {
  test('rule 115: all modes reach the host', async (t) => {
    const made = await makeFileSystem('ext4', { sizeBytes: 32 * 1024 * 1024 });
    if ('skip' in made) {
      t.skip(made.skip);
      return;
    }
    const s = await stage({}, made.path);
    const { nodeid, fh } = s.client.create(ROOT, 'f');
    const text = 'abcd';
    const pages = [...text].map((c) => c.repeat(PAGE)).join('');
    const told = (mode: number, offset: number, length: number) => {
      s.client.write(nodeid, fh, 0n, pages);
      truncateSync(s.at('f'), pages.length);
      const answer = allocate(s, nodeid, fh, mode, BigInt(offset), BigInt(length));
      if (typeof answer === 'string') return answer;
      const content = readFileSync(s.at('f'), 'latin1');
      return content
        .match(/[\s\S]{4096}/g)
        ?.map((page) => (page[0] === '\0' ? '-' : page[0]))
        .join('');
    };
    assert.equal(told(0, 0, 5 * PAGE), 'abcd-');
    assert.equal(told(FALLOC_FL_KEEP_SIZE, 0, 8 * PAGE), 'abcd');
    assert.equal(told(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE), 'a-cd');
    assert.equal(told(FALLOC_FL_ZERO_RANGE, 2 * PAGE, PAGE), 'ab-d');
    assert.equal(told(FALLOC_FL_COLLAPSE_RANGE, PAGE, PAGE), 'acd');
    assert.equal(told(FALLOC_FL_INSERT_RANGE, PAGE, PAGE), 'a-bcd');
    assert.equal(told(FALLOC_FL_COLLAPSE_RANGE, 1, PAGE), 'EINVAL');
    assert.equal(told(0x80000000, 0, PAGE), 'EOPNOTSUPP');
    s.layer.fs.close();
  });

  test('rule 116: SEEK_DATA and SEEK_HOLE, beyond 4 GiB too', async () => {
    const s = await withFile({}, '');
    const far = 2n ** 32n + BigInt(PAGE);
    s.client.write(s.nodeid, s.fh, far, 'x'.repeat(PAGE));
    const seek = (offset: bigint, whence: number) => {
      const answer = s.client.call(
        OP.LSEEK,
        s.nodeid,
        struct(LSEEK_IN, { fh: s.fh, offset, whence }),
      );
      return typeof answer === 'string' ? answer : answer.readBigUInt64LE(0);
    };
    assert.equal(seek(0n, SEEK_HOLE), 0n);
    assert.equal(seek(0n, SEEK_DATA), far);
    assert.equal(seek(far, SEEK_HOLE), far + BigInt(PAGE));
    assert.equal(seek(far + BigInt(PAGE), SEEK_DATA), 'ENXIO');
    assert.equal(seek(0n, 77), 'EINVAL');
    assert.equal(seek(-1n, SEEK_DATA), 'ENXIO');
    assert.equal(String(s.client.read(s.nodeid, s.fh, far, 1)), 'x', 'reads do not go by it');
  });

  test('rule 116: with the writeback cache the kernel is left to answer: it knows what is written', async () => {
    const s = await stage();
    s.layer.fs.init(NEGOTIATED.WRITEBACK);
    const { nodeid, fh } = s.client.create(ROOT, 'f');
    const body = struct(LSEEK_IN, { fh, whence: SEEK_DATA });
    assert.equal(s.client.call(OP.LSEEK, nodeid, body), 'ENOSYS');
  });

  test('rule 116: with --cache=always a file that may be mapped for writing has no holes', async () => {
    const s = await withFile({ cache: 'always' }, '');
    truncateSync(s.at('f'), 3 * PAGE);
    const seek = (fh: bigint, offset: number, whence: number) => {
      const body = struct(LSEEK_IN, { fh, offset: BigInt(offset), whence });
      const answer = s.client.call(OP.LSEEK, s.nodeid, body);
      return typeof answer === 'string' ? answer : Number(answer.readBigUInt64LE(0));
    };
    const { fh: reader } = s.client.open(s.nodeid, O_RDONLY);
    for (const fh of [s.fh, reader]) {
      assert.equal(seek(fh, PAGE, SEEK_DATA), PAGE);
      assert.equal(seek(fh, PAGE, SEEK_HOLE), 3 * PAGE);
      assert.equal(seek(fh, 3 * PAGE, SEEK_HOLE), 'ENXIO');
    }
    s.client.release(s.nodeid, s.fh);
    assert.equal(seek(reader, PAGE, SEEK_HOLE), PAGE);
    assert.equal(seek(reader, PAGE, SEEK_DATA), 'ENXIO');
  });

  test('defect 14: LSEEK without opens', async () => {
    const s = await stage({ cache: 'always' });
    s.layer.fs.init(NEGOTIATED.NO_OPEN);
    writeFileSync(s.at('f'), 'abc');
    const { nodeid } = s.client.lookup(ROOT, 'f');
    const body = s.client.ok(OP.LSEEK, nodeid, struct(LSEEK_IN, { whence: SEEK_HOLE }));
    assert.equal(body.readBigUInt64LE(0), 3n);
  });

  for (const [opcode, wide] of [
    ['COPY_FILE_RANGE', false],
    ['COPY_FILE_RANGE_64', true],
  ] as const) {
    test(`rule 117: ${opcode}`, async () => {
      const s = await withFile();
      const to = s.client.create(ROOT, 'to', O_RDWR | O_CREAT);
      const copy = (fields: Record<string, bigint>) => {
        const answer = s.client.call(
          OP[opcode],
          s.nodeid,
          struct(COPY_FILE_RANGE_IN, {
            fh_in: s.fh,
            nodeid_out: BigInt(to.nodeid),
            fh_out: to.fh,
            ...fields,
          }),
        );
        if (typeof answer === 'string') return answer;
        assert.equal(answer.length, 8);
        return wide ? Number(answer.readBigUInt64LE(0)) : answer.readUInt32LE(0);
      };
      assert.equal(copy({ off_in: 2n, off_out: 1n, len: 3n }), 3);
      assert.equal(readFileSync(s.at('to'), 'latin1'), '\x00234');
      assert.equal(copy({ off_in: 5n, off_out: 2n ** 32n, len: 2n ** 62n }), 5, 'to the end');
      assert.equal(statSync(s.at('to')).size, 2 ** 32 + 5);
      assert.equal(copy({ off_in: 100n, len: 5n }), 0);
      assert.equal(copy({ fh_out: s.fh, len: 5n }), 'EBADF');
      assert.equal(copy({ nodeid_out: 999n, len: 5n }), 'ESTALE');
      const readOnly = s.client.open(to.nodeid, O_RDONLY);
      assert.equal(copy({ fh_out: readOnly.fh, len: 5n }), 'EBADF');
    });
  }

  test('rules 106, 119: STATFS tells of the host, SYNCFS syncs it', async () => {
    const { client, dir } = await stage();
    const { statfsSync } = await import('node:fs');
    const host = statfsSync(dir, { bigint: true });
    const body = client.ok(OP.STATFS, ROOT);
    assert.equal(body.readBigUInt64LE(KSTATFS.blocks), host.blocks);
    assert.equal(body.readBigUInt64LE(KSTATFS.files), host.files);
    assert.equal(BigInt(body.readUInt32LE(KSTATFS.bsize)), host.bsize);
    assert.equal(body.readUInt32LE(KSTATFS.namelen), 255);
    client.ok(OP.SYNCFS, ROOT, struct(SYNCFS_IN));
  });
});
