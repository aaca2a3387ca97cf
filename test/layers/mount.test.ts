import assert from 'node:assert/strict';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defer } from '../harness/cleanup.ts';
import { forceUnmount, readMounts } from '../harness/mountinfo.ts';
import { runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const PROGRAM = fileURLToPath(new URL('./program.js', import.meta.url));
const TIMEOUT_MS = 40_000;
const EIO = 'Input/output error';
const FILES = [
  'hangs',
  'throws',
  'text',
  'never',
  'late',
  'outside',
  'mutates',
  'foreign',
  'floods',
];

type Facts = Readonly<Record<string, unknown>>;

async function play(scene: string) {
  const [source, mnt, logs] = (await tempDirs('source', 'mnt', 'logs')) as [string, string, string];
  defer(async () => {
    for (const left of readMounts().filter((m) => m.mountpoint === mnt)) forceUnmount(left);
  });
  for (const name of FILES) writeFileSync(`${source}/${name}`, name);
  writeFileSync(`${source}/f`, 'here');
  symlinkSync('f', `${source}/link`);
  const log = `${logs}/log`;
  const ran = await runOk(process.execPath, [PROGRAM, scene, source, mnt, log], {
    timeoutMs: TIMEOUT_MS,
  });
  const lines = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Facts);
  return { log, facts: JSON.parse(ran.stdout) as Facts, said: lines.map(({ msg }) => String(msg)) };
}

function assertSaid(said: readonly string[], wanted: RegExp): void {
  const found = said.filter((line) => wanted.test(line));
  assert.ok(found.length > 0, `the log lacks ${wanted}:\n${said.join('\n')}`);
}

suite('layers on a mount', () => {
  test('in a lane: whatever a layer does wrong, its request gets EIO, and the mount lives', async () => {
    const { facts, said } = await play('lanes');
    const wrong = 'throws hangs text nothing promise errno outside mutates foreign badRequest link';
    assert.deepEqual(
      facts['tried'],
      wrong.split(' ').map((name) => `${name}=${EIO}`),
    );
    assert.equal(facts['lives'], 'herenew\n');
    assertSaid(said, /layer bad, lookup: answered EIO: it threw Error: boom/);
    assertSaid(said, /layer bad, lookup: answered EIO: no answer within 300 ms/);
    assertSaid(said, /layer bad, readlink: answered EIO: .*4095 bytes at most/);
    assertSaid(said, /a lane died; it is started again/);
    assert.equal(facts['handles'], 0, 'a release is done whatever the layer answers');
    // The root, f and made: nothing of the requests that failed.
    assert.ok(Number(facts['lookups']) <= 3, `${facts['lookups']} lookups are counted`);
  });

  test('on main: the same, also for who never answers, too late, or twice', async () => {
    const { facts, said } = await play('main');
    assert.deepEqual(
      facts['tried'],
      'throws text never late outside unheard floods'.split(' ').map((name) => `${name}=${EIO}`),
    );
    assert.equal(facts['lives'], 'herenew\n');
    assertSaid(said, /layer bad-async, lookup: answered EIO: it threw Error: boom/);
    assertSaid(said, /layer bad-async, lookup: answered EIO: no answer within 300 ms/);
    assertSaid(said, /layer bad-async, lookup: answered EIO: .*the entry is a string/);
    assertSaid(said, /layer bad-async, lookup: it answered after its deadline/);
    assertSaid(said, /layer bad-async, getxattr: it answered twice/);
    assert.equal(facts['handles'], 0, 'a release is done whether or not the layer passes it on');
  });

  test('that do nothing change nothing, and keep nothing', async () => {
    const { facts, said, log } = await play('through');
    assert.equal(
      facts['work'],
      'text\n640 2 5\na\nc\ne\ntex\n3145728\n12345.500000000\n' +
        FILES.concat('f', 'link').sort().join('\n') +
        '\n',
    );
    assert.equal(facts['isCounted'], true);
    assert.equal(facts['isForgotten'], true);
    assert.equal(facts['handles'], 0);
    const trace = readFileSync(`${log}.trace`, 'utf8');
    assert.match(trace, /^mkdir uid=0 pid=\d+ .*name="d".* = nodeid \d+ \d+us lane-\d+$/m);
    assert.match(trace, /^lookup .*name="d".* = ENOENT /m);
    assert.deepEqual(
      said.filter((line) => line.includes('EIO')),
      [],
    );
  });

  test('read-only lets nothing change', async () => {
    const { facts } = await play('readOnly');
    const listing = FILES.concat('f', 'link').sort().join('\n');
    assert.equal(facts['work'], `here${listing}\n${'Read-only file system\n'.repeat(7)}`);
  });

  test('on main do not keep who waits for them from being killed', async () => {
    assert.deepEqual((await play('kill')).facts, { text: '137\nhere', isSoon: true });
  });

  test('on main have a bound on what they are given at once', async () => {
    assert.deepEqual((await play('pressure')).facts, { isBounded: true, isParallel: true });
  });
});
