import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { OPCODES, type OpcodeField } from '../../src/shared/abi/opcodes.ts';
import { startMount } from '../harness/mount.ts';
import { runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { message, names } from '../rules/messages.ts';
import { stage } from '../rules/stage.ts';

const WORKLOAD = fileURLToPath(new URL('./workload.js', import.meta.url));
const LINE = /^#(\d+) ([A-Z][A-Z0-9_]*) (= .*|node=.*)$/;
const REPLY = /^= (ok \d+ bytes|E[A-Z0-9]+) (\d+)us (main|deputy|lane-\d+)$/;
const REQUEST = /^node=[0-9a-f]+ uid=\d+ gid=\d+ pid=\d+( [a-z_0-9]+=\w+)*( "[^"]*")*$/;
const NO_REPLY = ['FORGET', 'BATCH_FORGET', 'NOTIFY_REPLY'];
/** What the workload makes the kernel send. */
const EXPECTED = [
  'CREATE COPY_FILE_RANGE_64 FALLOCATE FLUSH FSYNC FSYNCDIR GETATTR GETXATTR INIT LINK LISTXATTR LOOKUP',
  'LSEEK MKDIR MKNOD OPEN OPENDIR READ READDIRPLUS READLINK RELEASE RELEASEDIR REMOVEXATTR RENAME',
  'RENAME2 RMDIR SETATTR SETXATTR STATFS SYMLINK TMPFILE UNLINK WRITE',
].flatMap((line) => line.split(' '));

/** The value each field gets, and how the line has to show it. */
function fieldValue(field: OpcodeField, index: number): [bytes: Buffer, shown: string] {
  const value = 0o1000 + 37 * (index + 1);
  const wide = field.kind === 'u64' || field.kind === 'x64';
  const bytes = Buffer.alloc(wide ? 8 : 4);
  if (!wide) {
    bytes.writeUInt32LE(value);
    const shown = {
      u32: `${value}`,
      x32: `0x${value.toString(16)}`,
      o32: `0${value.toString(8)}`,
      u64: '',
      x64: '',
    }[field.kind];
    return [bytes, shown];
  }
  const whole = 2n ** 33n + BigInt(value);
  bytes.writeBigUInt64LE(whole);
  return [bytes, field.kind === 'u64' ? String(whole) : whole.toString(16)];
}

suite('the trace, row by row of the opcode table', () => {
  for (const row of OPCODES) {
    test(row.name, async () => {
      const [base] = (await tempDirs('base')) as [string];
      const file = `${base}/trace`;
      const { layer } = await stage({ trace: file });
      const fixed = Buffer.alloc(row.inSizeBytes);
      const shown = row.fields.map((field, index) => {
        const [bytes, text] = fieldValue(field, index);
        bytes.copy(fixed, field.offset);
        return ` ${field.name}=${text}`;
      });
      const given = ['first', 'se\ncond "\\\xff'].slice(0, row.names);
      const odd = Buffer.from(given.at(-1) ?? '', 'latin1');
      const all = given.length === 0 ? [] : [names(...given.slice(0, -1), odd)];
      const { ctx } = layer.fs;
      // Leaves the message loaded, whatever its answer is.
      layer.handle(message(row.opcode, 2 ** 32 + 5, fixed, ...all));
      ctx.tracer?.request(ctx);
      ctx.tracer?.reply(ctx, -ERRNO.ENOTDIR);
      ctx.tracer?.reply(ctx, 128);
      const [request, failed, succeeded, ...rest] = readFileSync(file, 'latin1').split('\n');
      assert.deepEqual(rest, ['']);
      const quoted = ['"first"', '"se\\x0acond \\x22\\x5c\\xff"'].slice(0, row.names);
      const end = [`node=100000005 uid=0 gid=0 pid=${process.pid}${shown.join('')}`, ...quoted];
      assert.match(request as string, new RegExp(`^#\\d+ ${row.name} `));
      assert.equal(request?.replace(/^#\d+ \S+ /, ''), end.join(' '));
      assert.match(failed as string, new RegExp(`^#\\d+ ${row.name} = ENOTDIR \\d+us main$`));
      assert.match(
        succeeded as string,
        new RegExp(`^#\\d+ ${row.name} = ok 128 bytes \\d+us main$`),
      );
    });
  }

  test('unknown opcodes and short messages have their line too', async () => {
    const [base] = (await tempDirs('base')) as [string];
    const { layer } = await stage({ trace: `${base}/trace` });
    const { ctx } = layer.fs;
    layer.handle(message(99, 1));
    ctx.tracer?.request(ctx);
    layer.handle(message(15, 1));
    ctx.tracer?.request(ctx);
    const lines = readFileSync(`${base}/trace`, 'latin1').trim().split('\n');
    assert.match(lines[0] as string, /^#\d+ OPCODE_99 node=1 /);
    assert.match(lines[1] as string, /^#\d+ READ .* \(short\)$/);
  });
});

suite('the trace of a mount', () => {
  test('one line per request and one per reply, of every operation the kernel sends', async (t) => {
    const [source, base] = (await tempDirs('source', 'base')) as [string, string];
    const file = `${base}/trace`;
    const startedMs = Date.now();
    // So that READ, WRITE and FLUSH come, too.
    const flags = [`--trace=${file}`, '--no-kernel-passthrough', '--posix-lock'];
    const mount = await startMount({ source, flags });
    await runOk(process.execPath, [WORKLOAD, mount.mountpoint], { timeoutMs: 30_000 });
    await mount.stop();
    const elapsedUs = (Date.now() - startedMs) * 1000;
    const requests = new Map<string, string>();
    const replies = new Map<string, string>();
    for (const line of readFileSync(file, 'latin1').trimEnd().split('\n')) {
      const [, id, name, rest] = LINE.exec(line) ?? assert.fail(`no trace line: ${line}`);
      const isReply = (rest as string).startsWith('= ');
      assert.match(rest as string, isReply ? REPLY : REQUEST);
      const lines = isReply ? replies : requests;
      // FORGET and its kind share the number 0.
      if (NO_REPLY.includes(name as string)) continue;
      assert.ok(!lines.has(id as string), `twice: ${line}`);
      lines.set(id as string, name as string);
      if (!isReply) continue;
      const us = Number(REPLY.exec(rest as string)?.[2]);
      assert.ok(us >= 0 && us < elapsedUs, line);
    }
    assert.deepEqual(
      [...requests].toSorted().filter(([id, name]) => replies.get(id) !== name),
      [],
      'requests without their reply',
    );
    assert.equal(replies.size, requests.size);
    const seen = new Set(requests.values());
    t.diagnostic(`${requests.size} requests of ${seen.size} kinds`);
    const copies = ['COPY_FILE_RANGE', 'COPY_FILE_RANGE_64'];
    assert.ok(copies.some((name) => seen.has(name)));
    const missing = EXPECTED.filter((name) => !seen.has(name) && !copies.includes(name));
    // Local file systems are told of no close when the file was only read; FLUSH comes of the
    // writers.
    assert.deepEqual(missing, []);
    const text = readFileSync(file, 'latin1');
    assert.ok(text.includes('"new\\x0aline \\x22quoted\\x22 \\x5c \\xc3\\xa9"'));
  });

  test('without --trace no file is opened for it', async () => {
    const [source, base] = (await tempDirs('source', 'base')) as [string, string];
    const filesOf = (pid: number) =>
      readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
        try {
          return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
        } catch {
          return [];
        }
      });
    const traced = await startMount({ source, flags: [`--trace=${base}/trace`] });
    assert.ok(filesOf(traced.pid).includes(`${base}/trace`));
    await traced.stop();
    const silent = await startMount({ source });
    await runOk('ls', ['-l', silent.mountpoint]);
    const open = filesOf(silent.pid);
    assert.ok(open.includes('/dev/fuse'));
    assert.deepEqual(
      open.filter((path) => path.startsWith(base)),
      [],
    );
    await silent.stop();
    assert.deepEqual(
      silent.logs.filter((line) => line['level'] === 'raw'),
      [],
    );
  });
});
