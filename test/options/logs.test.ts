import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OPCODES } from '../../src/shared/abi/opcodes.ts';
import { type Mount, startMount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { everyOptionIsTested, optionTest } from './by-option.ts';
import { tracedMount } from './traced-mount.ts';

const REQUEST = /^#(\d+) ([A-Z]\w+) node=[0-9a-f]+ uid=\d+ gid=\d+ pid=\d+( |$)/;
const REPLY = /^#(\d+) ([A-Z]\w+) = (ok \d+ bytes|E\w+) \d+us (main|deputy|lane-\d+)$/;
const NAMES = new Set(OPCODES.map((row) => row.name));
const WITHOUT_REPLY = new Set(OPCODES.filter((row) => !row.hasReply).map((row) => row.name));

async function plainMount(flags: readonly string[]): Promise<{ mount: Mount; base: string }> {
  const [base, source, mountpoint] = (await tempDirs('base', 'source', 'mnt')) as [
    string,
    string,
    string,
  ];
  const own = flags.map((flag) => flag.replace('$BASE', base));
  return { mount: await startMount({ source, mountpoint, flags: own }), base };
}

optionTest('logLevel', 'what is less is not logged', async () => {
  const info = await plainMount([]);
  assert.ok(info.mount.logs.some((line) => line['level'] === 'info'));
  await info.mount.stop();
  const warn = await plainMount(['--log-level=warn', '--no-open']);
  await warn.mount.stop();
  assert.deepEqual(
    warn.mount.logs.map((line) => line['level']),
    ['warn'],
  );
  const error = await plainMount(['--log-level=error', '--no-open']);
  await error.mount.stop();
  assert.deepEqual(error.mount.logs, []);
});

optionTest('logFormat', 'JSON lines, or text', async () => {
  for (const flags of [[], ['--log-format=json']]) {
    const { mount } = await plainMount(flags);
    await mount.stop();
    assert.ok(mount.logs.every((line) => /^[0-9a-f-]{36}$/.test(String(line['mount']))));
  }
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const flags = ['--log-format=pretty'];
  const pretty = await startMount({ source, mountpoint, flags, allowErrors: [/"level":"raw"/] });
  await pretty.stop();
  assert.ok(pretty.logs.length > 0);
  assert.ok(pretty.logs.every((line) => line['level'] === 'raw'));
  assert.match(pretty.logs.map((line) => line['msg']).join('\n'), /INFO.*: negotiated/);
});

optionTest('logFile', 'logs are appended there and nowhere else', async () => {
  const { mount, base } = await plainMount(['--log-file=$BASE/log']);
  await mount.stop();
  assert.deepEqual(mount.logs, []);
  assert.match(readFileSync(join(base, 'log'), 'utf8'), /"msg":"negotiated"/);
});

/** Work that brings most operations about. */
const WORK = `mkdir "$1/w"; cd "$1/w"
  echo text > a; cat a; ln a b; ln -s a s; readlink s; mkfifo p; mkdir d; mv a d/a; rm b s p
  setfattr -n user.k -v v d/a; getfattr -d d/a; setfattr -x user.k d/a
  truncate -s 100 d/a; fallocate -l 8192 d/a; sync d/a; sync -f d/a; ls -laR; df .; cp d/a d/c
  cp --sparse=always d/a d/e; touch d/a; chmod 600 d/a; mv --exchange d/a d/c 2>/dev/null || true
  cd ..; rm -r w`;

/** Every line is a request or a reply, and every request has one reply at most. */
function checkTrace(lines: readonly string[]): Set<string> {
  const requests = new Map<string, string>();
  const names = new Set<string>();
  for (const line of lines) {
    const request = REQUEST.exec(line);
    const reply = REPLY.exec(line);
    assert.ok(request !== null || reply !== null, `no form: ${line}`);
    const [, id, name] = (request ?? reply) as unknown as [string, string, string];
    assert.ok(NAMES.has(name), line);
    if (request !== null) {
      assert.equal(requests.has(id), false, `twice: ${line}`);
      requests.set(id, name);
      names.add(name);
    } else {
      assert.equal(requests.get(id), name, `a reply to nothing: ${line}`);
      requests.delete(id);
    }
  }
  const unanswered = [...requests.values()].filter((name) => !WITHOUT_REPLY.has(name));
  assert.deepEqual(unanswered, []);
  return names;
}

optionTest('trace', 'one line for every request and for every reply, in a file', async () => {
  // On a local file system there is a FLUSH only where a close gives up locks.
  const { mount, mnt, trace } = await tracedMount(['--cache=never', '--posix-lock']);
  await shell(WORK, [mnt]);
  await mount.stop();
  const names = checkTrace(trace.lines());
  const some =
    'INIT LOOKUP FORGET GETATTR SETATTR READLINK SYMLINK MKNOD MKDIR UNLINK RMDIR LINK OPEN ' +
    'CREATE READ WRITE STATFS RELEASE FSYNC FLUSH SETXATTR GETXATTR LISTXATTR REMOVEXATTR ' +
    'OPENDIR READDIRPLUS RELEASEDIR FALLOCATE SYNCFS LSEEK';
  const missing = some.split(' ').filter((name) => !names.has(name));
  assert.ok(names.has('RENAME') || names.has('RENAME2'));
  // SYNCFS is sent by kernels for some connections only, LSEEK by the cp of some systems.
  assert.deepEqual(
    missing.filter((name) => name !== 'SYNCFS' && name !== 'LSEEK'),
    [],
  );
});

optionTest('trace', 'to stderr beside the logs', async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const allowErrors = [/"level":"raw"/];
  const mount = await startMount({ source, mountpoint, flags: ['--trace'], allowErrors });
  await shell('ls "$1"', [mountpoint]);
  await mount.stop();
  const lines = mount.logs.filter((line) => line['level'] === 'raw');
  assert.ok(checkTrace(lines.map((line) => String(line['msg']))).has('OPENDIR'));
});

optionTest('trace', 'off, no line', async () => {
  const { mount } = await plainMount([]);
  await shell('ls "$1"; echo x > "$1/x"', [mount.mountpoint]);
  await mount.stop();
  assert.deepEqual(
    mount.logs.filter((line) => line['level'] === 'raw'),
    [],
  );
});

everyOptionIsTested('Logs');
