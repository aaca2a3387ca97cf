import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SluiceError } from '../../src/shared/errors.ts';
import {
  type MountInput,
  type MountOptions,
  OPTION_KEYS,
  resolveOptions,
  rowOf,
} from '../../src/shared/options.ts';
import {
  MS_DIRSYNC,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_SYNCHRONOUS,
} from '../../src/shared/sys/constants.ts';

const ROOT = { isRoot: true, workingDirectory: '/work' };
const USER = { isRoot: false, workingDirectory: '/home/user' };
const PATHS = { source: '/src', mountpoint: '/mnt' };

function resolved(given: Partial<MountInput>, surroundings = ROOT): MountOptions {
  const { options, warnings } = resolveOptions({ ...PATHS, ...given }, surroundings);
  assert.deepEqual(warnings, []);
  return options;
}

function refusal(given: Record<string, unknown>): SluiceError {
  try {
    resolveOptions({ ...PATHS, ...given } as MountInput, ROOT);
  } catch (error) {
    assert.ok(error instanceof SluiceError);
    return error;
  }
  throw new assert.AssertionError({ message: `accepted: ${JSON.stringify(given)}` });
}

test('the defaults of root', () => {
  assert.deepEqual(resolved({}), {
    source: '/src',
    mountpoint: '/mnt',
    cache: 'auto',
    entryTimeoutMs: 1000,
    attrTimeoutMs: 1000,
    dirEntryTimeoutMs: 1000,
    dirAttrTimeoutMs: 1000,
    negativeTimeoutMs: 0,
    writeback: false,
    noOpen: false,
    noOpendir: false,
    noReaddir: false,
    sealSize: false,
    useHostIno: false,
    uringDepth: 16,
    uringMemoryBytes: 256 * 1024 * 1024,
    xattr: true,
    posixAcl: true,
    xattrmap: [],
    securityLabel: false,
    allowDirectIo: true,
    kernelPassthrough: true,
    killprivV2: true,
    doImport: true,
    posixLock: false,
    flock: false,
    inodeFileHandles: 'prefer',
    maxWriteBytes: 1048576,
    maxBackground: 64,
    lanes: 4,
    warmUp: true,
    cpuLatency: 'auto',
    fdBudget: 0,
    maxInodes: 16777216,
    requestSlots: 4096,
    allowOther: true,
    defaultPermissions: true,
    translateUid: [],
    translateGid: [],
    allowIdmap: false,
    readOnly: false,
    mountFlags: 0,
    fsname: '/src',
    logLevel: 'info',
    logFormat: 'auto',
    logFile: undefined,
    trace: false,
    metrics: true,
    metricsPort: 19_747,
    isMetricsPortGiven: false,
    metricsAddress: '127.0.0.1',
    metricsSocket: undefined,
    stuckTimeoutMs: 60_000,
    slowTimeoutMs: 10_000,
    opTimeoutMs: 0,
    engine: 'dev',
    background: false,
    stopTimeoutMs: 10000,
    runtimeDir: undefined,
  });
});

test('anybody but root gets nosuid, nodev and no allow_other', () => {
  const options = resolved({}, USER);
  assert.equal(options.allowOther, false);
  assert.equal(options.mountFlags, MS_NOSUID | MS_NODEV);
});

test('the cache policy gives the timeouts that are not given', () => {
  const expectedMs = { never: 0, auto: 1000, metadata: 86_400_000, always: 86_400_000 };
  for (const cache of ['never', 'auto', 'metadata', 'always'] as const) {
    const options = resolved({ cache });
    assert.equal(options.entryTimeoutMs, expectedMs[cache]);
    assert.equal(options.attrTimeoutMs, expectedMs[cache]);
    assert.equal(options.dirEntryTimeoutMs, expectedMs[cache]);
    assert.equal(options.dirAttrTimeoutMs, expectedMs[cache]);
    assert.equal(options.negativeTimeoutMs, 0);
  }
});

test('given timeouts win, and those of directories follow the others', () => {
  const some = resolved({ cache: 'always', entryTimeout: 2.5, dirAttrTimeout: 0 });
  assert.equal(some.entryTimeoutMs, 2500);
  assert.equal(some.dirEntryTimeoutMs, 2500);
  assert.equal(some.attrTimeoutMs, 86_400_000);
  assert.equal(some.dirAttrTimeoutMs, 0);
  const others = resolved({ attrTimeout: 1.1, dirEntryTimeout: 7, negativeTimeout: 0.25 });
  assert.equal(others.attrTimeoutMs, 1100);
  assert.equal(others.dirAttrTimeoutMs, 1100);
  assert.equal(others.entryTimeoutMs, 1000);
  assert.equal(others.dirEntryTimeoutMs, 7000);
  assert.equal(others.negativeTimeoutMs, 250);
});

test('a time below a millisecond is not none', () => {
  assert.equal(resolved({ entryTimeout: 0.0002 }).entryTimeoutMs, 1);
});

test('mount flags', () => {
  const cases: [Partial<MountInput>, number][] = [
    [{ readOnly: true }, MS_RDONLY],
    [{ suid: false }, MS_NOSUID],
    [{ dev: false }, MS_NODEV],
    [{ exec: false }, MS_NOEXEC],
    [{ sync: true }, MS_SYNCHRONOUS],
    [{ dirsync: true }, MS_DIRSYNC],
    [{ atime: false }, MS_NOATIME],
    [{ suid: true, dev: true, exec: true, sync: false, dirsync: false, atime: true }, 0],
    [{ readOnly: true, exec: false, atime: false }, MS_RDONLY | MS_NOEXEC | MS_NOATIME],
  ];
  for (const [given, mountFlags] of cases) {
    assert.equal(resolved(given).mountFlags, mountFlags, JSON.stringify(given));
  }
  assert.equal(resolved({ readOnly: true }).readOnly, true);
});

interface Conflict {
  readonly given: Partial<MountInput>;
  readonly key: 'noOpen' | 'noOpendir' | 'writeback' | 'trace';
  readonly warns: RegExp;
}

const CONFLICTS: readonly Conflict[] = [
  ...(['never', 'metadata', 'auto'] as const).map((cache) => ({
    given: { noOpen: true, cache },
    key: 'noOpen' as const,
    warns: /^no_open is switched off: .*cache=always/,
  })),
  ...(['never', 'auto'] as const).map((cache) => ({
    given: { noOpendir: true, cache },
    key: 'noOpendir' as const,
    warns: /^no_opendir is switched off: .*cache=metadata/,
  })),
  {
    given: { writeback: true, cache: 'never' },
    key: 'writeback',
    warns: /^writeback is switched off: cache=never/,
  },
  { given: { writeback: true, readOnly: true }, key: 'writeback', warns: /^writeback .* ro$/ },
  {
    given: { writeback: true, sealSize: true },
    key: 'writeback',
    warns: /^writeback .* seal_size/,
  },
  { given: { trace: true, background: true }, key: 'trace', warns: /^trace .* trace=FILE/ },
];

for (const { given, key, warns } of CONFLICTS) {
  test(`switched off with one warning: ${JSON.stringify(given)}`, () => {
    const { options, warnings } = resolveOptions({ ...PATHS, ...given }, ROOT);
    assert.equal(options[key], false);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', warns);
  });
}

test('what goes together stays on', () => {
  assert.equal(resolved({ noOpen: true, cache: 'always' }).noOpen, true);
  for (const cache of ['metadata', 'always'] as const) {
    assert.equal(resolved({ noOpendir: true, cache }).noOpendir, true);
  }
  for (const cache of ['auto', 'always'] as const) {
    assert.equal(resolved({ writeback: true, cache }).writeback, true);
  }
  assert.equal(resolved({ trace: '/t', background: true }).trace, '/t');
});

test('engine=fuse-native serves one user: allow_other is off, and refused where it is asked for', () => {
  assert.equal(resolved({ engine: 'fuse-native' }).allowOther, false);
  assert.equal(resolved({ engine: 'dev' }).allowOther, true);
  assert.throws(
    () => resolveOptions({ ...PATHS, engine: 'fuse-native', allowOther: true }, ROOT),
    /allow_other does not go with engine=fuse-native: .*who the caller is/,
  );
});

test('what engine=fuse-native cannot do is switched off with a warning', () => {
  const given = { engine: 'fuse-native', posixLock: true, flock: true, writeback: true } as const;
  const { options, warnings } = resolveOptions({ ...PATHS, ...given }, ROOT);
  const { posixLock, flock, writeback } = options;
  assert.deepEqual(
    { posixLock, flock, writeback },
    { posixLock: false, flock: false, writeback: false },
  );
  assert.equal(warnings.filter((text) => /switched off: engine=fuse-native/.test(text)).length, 3);
});

test('suid and dev of anybody but root are switched off with a warning', () => {
  const { options, warnings } = resolveOptions({ ...PATHS, suid: true, dev: true }, USER);
  assert.equal(options.mountFlags, MS_NOSUID | MS_NODEV);
  assert.deepEqual(
    warnings.map((warning) => warning.split(' ')[0]),
    ['suid', 'dev'],
  );
});

test('paths become absolute, and ".." is left to the kernel', () => {
  const options = resolved({ source: 'a//b/', mountpoint: 'link/../m', logFile: 'l', trace: 't' });
  assert.equal(options.source, '/work/a/b');
  assert.equal(options.fsname, '/work/a/b');
  assert.equal(options.mountpoint, '/work/link/../m');
  assert.equal(options.logFile, '/work/l');
  assert.equal(options.trace, '/work/t');
  assert.equal(resolved({ source: '/x/../y' }).source, '/x/../y');
  assert.equal(resolved({ mountpoint: '/dev/fd/7' }).mountpoint, '/dev/fd/7');
  assert.equal(resolved({ source: ' a\nb ' }).source, '/work/ a\nb ');
});

test('trace: off, stderr, a file', () => {
  assert.equal(resolved({ trace: false }).trace, false);
  assert.equal(resolved({ trace: true }).trace, '-');
  assert.equal(resolved({ trace: './-' }).trace, '/work/-');
});

test('enums do not mind the case, and none is never', () => {
  for (const [cache, expected] of [
    ['NEVER', 'never'],
    ['None', 'never'],
    ['METADATA', 'metadata'],
    ['Always', 'always'],
  ]) {
    assert.equal(resolved({ cache } as unknown as MountInput).cache, expected);
  }
});

const BAD: readonly [Record<string, unknown>, RegExp][] = [
  [{ cache: 'sometimes' }, /^cache: "sometimes" .* never, metadata, auto, always$/],
  [{ entryTimeout: -1 }, /^entryTimeout: -1 .*seconds/],
  [{ attrTimeout: Number.NaN }, /^attrTimeout: NaN /],
  [{ stopTimeout: Number.POSITIVE_INFINITY }, /^stopTimeout: Infinity /],
  [{ entryTimeout: '5' }, /^entryTimeout: "5" /],
  [{ maxWrite: 4095 }, /^maxWrite: 4095 .*4K to 1M, a multiple of 4K$/],
  [{ maxWrite: 4097 }, /^maxWrite: 4097 /],
  [{ maxWrite: 1052672 }, /^maxWrite: 1052672 /],
  [{ maxBackground: 0 }, /^maxBackground: 0 .*1 to 65535$/],
  [{ maxBackground: 65536 }, /^maxBackground: 65536 /],
  [{ lanes: 0 }, /^lanes: 0 .*1 to 64$/],
  [{ lanes: 65 }, /^lanes: 65 /],
  [{ lanes: 1.5 }, /^lanes: 1.5 /],
  [{ fdBudget: -1 }, /^fdBudget: -1 /],
  [{ metricsPort: 65536 }, /^metricsPort: 65536 .*0 to 65535$/],
  [{ metricsAddress: 'here' }, /^metrics_address: "here" is no IP address/],
  [{ maxInodes: 1023 }, /^maxInodes: 1023 .*1K to 64M$/],
  [{ maxInodes: 67108865 }, /^maxInodes: 67108865 /],
  [{ requestSlots: 15 }, /^requestSlots: 15 .*16 to 32K$/],
  [{ requestSlots: 32769 }, /^requestSlots: 32769 /],
  [{ xattr: 'yes' }, /^xattr: "yes" .*true or false$/],
  [{ fsname: '' }, /^fsname: "" /],
  [{ logFile: 'a\0b' }, /^logFile: "a\\x00b" /],
  [{ source: '' }, /^source: "" is not a path/],
  [{ mountpoint: 'a\0' }, /^mountpoint: "a\\x00" is not a path/],
  [{ source: undefined }, /^source: /],
  [{ daxFileSize: 0 }, /^daxFileSize: not supported: DAX needs virtiofs/],
  [{ entryTimeut: 1 }, /^entryTimeut: unknown option; did you mean entryTimeout\?$/],
  [{ zzzzzzzzzz: 1 }, /^zzzzzzzzzz: unknown option; sluice mount --help/],
  [{ toString: 1 }, /^toString: unknown option/],
];

for (const [given, message] of BAD) {
  test(`refused: ${JSON.stringify(given)}`, () => {
    const error = refusal(given);
    assert.match(error.message, message);
    assert.equal(error.code, 'ERR_SLUICE_OPTION');
    assert.equal(error.exitCode, 1);
  });
}

test('both ends of every range are accepted, what lies beyond is not', () => {
  let ranges = 0;
  for (const key of OPTION_KEYS.values()) {
    const row = rowOf(key);
    if (row.kind !== 'count' && row.kind !== 'size' && row.kind !== 'duration') {
      continue;
    }
    ranges++;
    const step = row.kind === 'size' ? (row.step ?? 1) : 1;
    resolved({ [key]: row.min });
    resolved({ [key]: row.max });
    refusal({ [key]: row.min - step });
    refusal({ [key]: row.max + step });
  }
  assert.equal(ranges, 18);
});

test('whatever a program hands in, the answer is options or one line', () => {
  const keys = [...OPTION_KEYS.values(), 'source', 'mountpoint'];
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), fc.anything()), (given) => {
      try {
        const { options } = resolveOptions({ ...PATHS, ...given } as unknown as MountInput, ROOT);
        assert.ok(options.maxWriteBytes % 4096 === 0);
      } catch (error) {
        assert.ok(error instanceof SluiceError, String(error));
        assert.doesNotMatch(error.message, /\p{Cc}/u);
      }
    }),
    { numRuns: 500 },
  );
});
