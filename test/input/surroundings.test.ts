/** Machines on which nothing can be mounted, or not enough of it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type InitWishes, negotiate, putInitOut } from '../../src/main/session/init.ts';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import { INIT_FLAG, type InitFlagName } from '../../src/shared/abi/flags.ts';
import { INIT_IN, INIT_OUT } from '../../src/shared/abi/structs.ts';
import { cliPath } from '../harness/paths.ts';
import { run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { assertRefused } from './refusal.ts';

const BOUND = { timeout: 60_000 };
const needsRoot = process.getuid?.() === 0 ? false : 'needs root';
const rootOnly = { ...BOUND, skip: needsRoot };

/** Runs the rest of the line in a mount namespace of its own, after a script with arguments. */
function unshared(script: string, ...args: string[]): string[] {
  return [
    'unshare',
    '-m',
    '--propagation',
    'private',
    'sh',
    '-euc',
    `${script}; shift ${args.length}; exec "$@"`,
    'sh',
    ...args,
  ];
}

async function canUnshare(): Promise<string | undefined> {
  const tried = await run('unshare', ['-m', 'true']);
  return tried.code === 0 ? undefined : `no mount namespaces here: ${tried.stderr.trim()}`;
}

test('no /dev/fuse, or one that is no device', rootOnly, async (t) => {
  const cannot = await canUnshare();
  if (cannot !== undefined) return t.skip(cannot);
  const [source, mnt, base] = (await tempDirs('source', 'mnt', 'base')) as [string, string, string];
  await assertRefused({
    args: ['mount', source, mnt],
    prefix: unshared('mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3'),
    code: 32,
    says: ['cannot open /dev/fuse', 'ENOENT', 'modprobe fuse'],
  });
  const file = join(base, 'file');
  writeFileSync(file, '');
  await assertRefused({
    args: ['mount', source, mnt],
    prefix: unshared('mount --bind "$1" /dev/fuse', file),
    code: 32,
    says: ['cannot open /dev/fuse', 'ENODEV', 'modprobe fuse'],
  });
});

test('/dev/fuse that may not be opened', rootOnly, async (t) => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const cannot = await canUnshare();
  if (cannot !== undefined) return t.skip(cannot);
  const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  const closed =
    'mount -t tmpfs none /mnt; mknod -m 600 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse';
  await assertRefused({
    args: ['mount', source, mnt],
    prefix: [...unshared(closed), ...asUser],
    code: 32,
    says: ['cannot open /dev/fuse', 'EACCES', 'allow this user'],
  });
});

test('no privileges and no fusermount3', rootOnly, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
  await assertRefused({
    args: ['mount', source, mnt],
    prefix: [...asUser, 'env', 'PATH=/nonexistent'],
    code: 1,
    says: ['', 'no fusermount3 in PATH', ''],
  });
});

test(
  'mount(2) forbidden: root without CAP_SYS_ADMIN and without fusermount3',
  rootOnly,
  async () => {
    const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
    await assertRefused({
      args: ['mount', source, mnt],
      prefix: ['setpriv', '--bounding-set', '-sys_admin', 'env', 'PATH=/nonexistent'],
      code: 1,
      says: ['', 'no fusermount3 in PATH', ''],
    });
  },
);

test('a descriptor that is no FUSE connection', BOUND, async () => {
  const [source] = (await tempDirs('source')) as [string];
  await assertRefused({
    args: ['mount', source, '/dev/fd/77'],
    code: 32,
    says: ['/dev/fd/77', 'is not an open /dev/fuse', 'keep it open across exec'],
  });
});

test('too few file descriptors', BOUND, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  // Node itself cannot load all files of the command.
  await assertRefused({
    args: ['mount', source, mnt],
    prefix: ['prlimit', '--nofile=60:60'],
    code: 2,
    says: ['the limit of open files is 60', 'too small to load', 'ulimit -n'],
  });
  for (const limit of [115, 127]) {
    await assertRefused({
      args: ['mount', source, mnt],
      prefix: ['prlimit', `--nofile=${limit}:${limit}`],
      code: 2,
      says: [`the limit of open files is ${limit}`, 'sluice needs 128', 'ulimit -n'],
    });
  }
  await assertRefused({
    args: ['mount', source, mnt, '--lanes=64'],
    prefix: ['prlimit', '--nofile=200:200'],
    code: 2,
    says: ['RLIMIT_NOFILE of 200', 'too small for 64 lanes', 'raise it to'],
  });
  await assertRefused({
    args: ['mount', source, mnt, '--fd-budget=5000'],
    prefix: ['prlimit', '--nofile=1024:1024'],
    code: 2,
    says: ['fd_budget 5000', 'does not fit into RLIMIT_NOFILE 1024', 'leave the option out'],
  });
});

test('too little address space', BOUND, async () => {
  const [source, mnt] = (await tempDirs('source', 'mnt')) as [string, string];
  const started = await run('prlimit', ['--as=3500000000', process.execPath, '-e', '0']);
  const limits = started.code === 0 ? ['--as=3500000000'] : ['--as=8000000000'];
  const result = await run(
    'prlimit',
    [...limits, process.execPath, cliPath, 'mount', source, mnt, '--max-inodes=64M'],
    { timeoutMs: 20_000 },
  );
  assert.equal(result.code, 2, result.stderr);
  assert.match(result.stderr, /^sluice: cannot reserve memory .*; lower max_inodes/m);
});

const WISHES: InitWishes = {
  cache: 'auto',
  writeback: false,
  noOpen: false,
  noOpendir: false,
  noReaddir: false,
  killprivV2: true,
  canKillPrivileges: true,
  canSwitchUser: true,
  posixLock: false,
  flock: false,
  xattr: true,
  posixAcl: true,
  hasAcls: true,
  securityLabel: false,
  allowIdmap: false,
  kernelPassthrough: true,
  isStackedSource: false,
  defaultPermissions: true,
  maxWriteBytes: 1 << 20,
  overIoUring: false,
  maxBackground: 64,
};

/** A fuse_init_in as a kernel of this protocol sends it. */
function initIn(major: number, minor: number, flags: readonly InitFlagName[]) {
  const words = new Uint32Array(INIT_IN.SIZE / 4 + 10);
  const bit = (word: number) =>
    flags.reduce((all, name) => {
      const at = INIT_FLAG[name];
      return at >> 5 === word ? (all | (1 << (at & 31))) >>> 0 : all;
    }, 0);
  words[10 + INIT_IN.major / 4] = major;
  words[10 + INIT_IN.minor / 4] = minor;
  words[10 + INIT_IN.max_readahead / 4] = 131072;
  words[10 + INIT_IN.flags / 4] = bit(0);
  words[10 + INIT_IN.flags2 / 4] = bit(1);
  // flags2 came with 7.36: before it the message is shorter.
  return { words, lengthBytes: minor >= 36 ? INIT_IN.SIZE : INIT_IN.flags2 };
}

function agree(major: number, minor: number, flags: readonly InitFlagName[], wishes = WISHES) {
  const { words, lengthBytes } = initIn(major, minor, flags);
  return negotiate(words, 10, lengthBytes, wishes);
}

const ALL_FLAGS = Object.keys(INIT_FLAG) as InitFlagName[];

test('a kernel that is too old is refused, a newer major is told ours', () => {
  assert.equal(agree(7, 30, ALL_FLAGS), -ERRNO.EPROTO);
  assert.equal(agree(7, 12, []), -ERRNO.EPROTO);
  assert.equal(agree(6, 45, ALL_FLAGS), -ERRNO.EPROTO);
  assert.equal(agree(8, 0, ALL_FLAGS), 0);
});

test('every minor version from 7.31 on is spoken, a later one as 7.45', () => {
  for (const minor of [31, 36, 38, 45, 60]) {
    const agreed = agree(7, minor, ALL_FLAGS);
    assert.ok(typeof agreed === 'object', `7.${minor}`);
    assert.equal(agreed.minor, Math.min(minor, 45));
    const out = new Uint8Array(INIT_OUT.SIZE);
    assert.equal(putInitOut(out, 0, agreed), INIT_OUT.SIZE);
    const view = new DataView(out.buffer);
    assert.equal(view.getUint32(INIT_OUT.major, true), 7);
    assert.equal(view.getUint32(INIT_OUT.minor, true), agreed.minor);
    const flags2 = view.getUint32(INIT_OUT.flags2, true);
    if (minor < 36) assert.equal(flags2, 0);
  }
});

test('what the kernel does not offer is not asked for', () => {
  for (const minor of [31, 45]) {
    const none = agree(7, minor, []);
    assert.ok(typeof none === 'object');
    assert.equal(none.features.size, 0);
    // Without MAX_PAGES a request carries 32 pages.
    assert.equal(none.maxWriteBytes, 32 * 4096);
  }
  for (const name of ALL_FLAGS) {
    const one = agree(7, 45, [name, 'INIT_EXT']);
    assert.ok(typeof one === 'object');
    for (const feature of one.features) assert.ok(feature === name || feature === 'INIT_EXT');
  }
});

test('ACLs are had with all that belongs to them or not at all', () => {
  for (const missing of ['POSIX_ACL', 'DONT_MASK', 'SETXATTR_EXT'] as const) {
    const agreed = agree(
      7,
      45,
      ALL_FLAGS.filter((name) => name !== missing),
    );
    assert.ok(typeof agreed === 'object');
    assert.equal(agreed.features.has('POSIX_ACL') || agreed.features.has('DONT_MASK'), false);
  }
});

test('bits of the second word count only with INIT_EXT and room for them', () => {
  const second = ALL_FLAGS.filter((name) => INIT_FLAG[name] >= 32);
  assert.ok(second.length > 0);
  const without = agree(7, 45, second);
  const short = agree(7, 31, ALL_FLAGS);
  for (const agreed of [without, short]) {
    assert.ok(typeof agreed === 'object');
    assert.deepEqual(
      second.filter((name) => agreed.features.has(name)),
      [],
    );
  }
});

test('labels come with extensions that can be found, from 7.38 on', () => {
  for (const [minor, has] of [
    [37, false],
    [38, true],
  ] as const) {
    const agreed = agree(7, minor, ALL_FLAGS, { ...WISHES, securityLabel: true });
    assert.ok(typeof agreed === 'object');
    assert.equal(agreed.features.has('SECURITY_CTX'), has, `7.${minor}`);
  }
});

test('what is offered is taken only where the options want it', () => {
  const cases: readonly [InitFlagName, Partial<InitWishes>, Partial<InitWishes>][] = [
    ['WRITEBACK_CACHE', { writeback: true }, { writeback: false }],
    ['NO_OPEN_SUPPORT', { noOpen: true }, { noOpen: false }],
    ['ATOMIC_O_TRUNC', { noOpen: false }, { noOpen: true }],
    ['NO_OPENDIR_SUPPORT', { noOpendir: true }, { noOpendir: false }],
    ['DO_READDIRPLUS', { noReaddir: false }, { noReaddir: true }],
    ['AUTO_INVAL_DATA', { cache: 'auto' }, { cache: 'always' }],
    ['HANDLE_KILLPRIV_V2', { killprivV2: true }, { killprivV2: false }],
    ['CREATE_SUPP_GROUP', { canSwitchUser: true }, { canSwitchUser: false }],
    ['HANDLE_KILLPRIV_V2', { canKillPrivileges: true }, { canKillPrivileges: false }],
    ['POSIX_ACL', { xattr: true }, { xattr: false }],
    ['POSIX_ACL', { posixAcl: true }, { posixAcl: false }],
    ['POSIX_ACL', { hasAcls: true }, { hasAcls: false }],
    ['SECURITY_CTX', { securityLabel: true }, { securityLabel: false }],
    ['SECURITY_CTX', { securityLabel: true }, { securityLabel: true, xattr: false }],
    ['ALLOW_IDMAP', { allowIdmap: true }, { allowIdmap: false }],
    ['ALLOW_IDMAP', { allowIdmap: true }, { allowIdmap: true, defaultPermissions: false }],
    ['DONT_MASK', { defaultPermissions: true }, { defaultPermissions: false }],
    ['CACHE_SYMLINKS', { cache: 'always' }, { cache: 'never' }],
    ['DIRECT_IO_ALLOW_MMAP', { cache: 'never' }, { cache: 'auto' }],
  ];
  for (const [name, wanted, unwanted] of cases) {
    const yes = agree(7, 45, ALL_FLAGS, { ...WISHES, ...wanted });
    const no = agree(7, 45, ALL_FLAGS, { ...WISHES, ...unwanted });
    assert.ok(typeof yes === 'object' && typeof no === 'object');
    assert.deepEqual([yes.features.has(name), no.features.has(name)], [true, false], name);
  }
});
