import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { warmUp, warmUpPlace } from '../../src/main/warm-up/warm-up.ts';
import { ERRORS_PER_ROUND } from '../../src/main/warm-up/work.ts';
import { createLogger } from '../../src/shared/log.ts';
import { resolveOptions } from '../../src/shared/options.ts';
import { CPU_LATENCY_DEVICE } from '../../src/shared/sys/cpu-latency.ts';
import { defer } from '../harness/cleanup.ts';
import { startMount } from '../harness/mount.ts';
import { forceUnmount, readMounts } from '../harness/mountinfo.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { statusReaches } from '../locks/status.ts';
import { everyOptionIsTested, optionTest } from './by-option.ts';
import { negotiated, tracedMount } from './traced-mount.ts';

const LIMIT_WAIT_MS = 10_000;

/** The largest `size=` of these trace lines. */
function largest(lines: readonly string[]): number {
  return Math.max(...lines.map((line) => Number(/ size=(\d+)/.exec(line)?.[1])));
}

for (const [flags, most] of [
  [['--max-write=16K'], 16 * 1024],
  [[], 128 * 1024],
] as const) {
  optionTest('maxWrite', `requests carry up to ${most} bytes`, async () => {
    const { mount, trace, sh } = await tracedMount([...flags, '--cache=never']);
    await sh('dd if=/dev/urandom of=$S/data bs=128K count=3; dd if=$S/data of=$M/copy bs=128K');
    await sh('dd if=$M/data of=$S/back bs=128K; cmp $S/data $S/copy; cmp $S/data $S/back');
    assert.equal(largest(trace.requests('WRITE')), most);
    assert.equal(largest(trace.requests('READ')), most);
    if (flags.length > 0) assert.equal((await negotiated(mount))['maxWriteBytes'], most);
    await mount.stop();
  });
}

optionTest('maxBackground', 'the kernel has the number', async () => {
  const { mount, mnt } = await tracedMount(['--max-background=7']);
  const minor = readMounts().find((row) => row.mountpoint === mnt)?.minor;
  const control = `/sys/fs/fuse/connections/${minor}`;
  assert.equal(readFileSync(`${control}/max_background`, 'utf8').trim(), '7');
  assert.equal(readFileSync(`${control}/congestion_threshold`, 'utf8').trim(), '5');
  await mount.stop();
});

optionTest('lanes', 'as many threads serve', async () => {
  for (const lanes of [1, 3]) {
    const { mount, sh, trace } = await tracedMount([`--lanes=${lanes}`]);
    assert.equal((await mount.status())['lanes'], lanes);
    await sh('for i in 1 2 3 4 5 6 7 8; do (mkdir $M/d/$i; sync $M/d/$i) & done; wait');
    const names = new Set(trace.lines().flatMap((line) => / (lane-\d+)$/.exec(line)?.[1] ?? []));
    assert.ok(names.size >= 1 && names.size <= lanes, [...names].join());
    await mount.stop();
  }
});

optionTest(
  'warmUp',
  'requests of its own are answered before the mount, and leave nothing',
  async () => {
    const { mount } = await tracedMount(['--warm-up', '--log-level=debug']);
    const line = mount.logs.find(({ msg }) => msg === 'warmed up');
    const { rounds, errors } = line as { rounds?: number; errors?: number };
    assert.ok(rounds !== undefined && rounds > 10, JSON.stringify(line));
    assert.equal(errors, ERRORS_PER_ROUND * rounds);
    for (const place of ['/dev/shm', tmpdir()]) {
      const left = readdirSync(place).filter((name) => name.startsWith('sluice-warm-up-'));
      assert.deepEqual(left, []);
    }
    assert.equal((await mount.status())['inodes'], 1);
    await mount.stop();
  },
);

optionTest('warmUp', 'it does not wait for a mount that hides temporary files', async () => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const env = { TMPDIR: `${mountpoint}/tmp` };
  await runOk('mkdir', [env.TMPDIR]);
  const mount = await startMount({ source, mountpoint, flags: ['--warm-up'], env });
  await mount.stop();
  const [memory, disk] = ['/dev/shm', tmpdir()];
  assert.deepEqual([memory, disk].map(warmUpPlace), [disk, memory]);
});

optionTest(
  'warmUp',
  'it takes no descriptors others need, and leaves none of its own',
  async () => {
    const [source] = (await tempDirs('source')) as [string];
    const flags = ['--warm-up', '--lanes=2', '--no-metrics', '--log-level=debug'];
    const mount = await startMount({ source, flags, nofile: 150 });
    assert.ok(mount.logs.some(({ msg }) => String(msg).startsWith('no warm-up')));
    const fds = `/proc/${mount.pid}/fd`;
    const targets = readdirSync(fds).map((fd) => readlinkSync(`${fds}/${fd}`));
    assert.equal(targets.filter((target) => target === fds).length, 1, targets.join(' '));
    await mount.stop();
  },
);

optionTest('warmUp', 'the umask is afterwards what it was', async () => {
  const { options } = resolveOptions({ source: '/', mountpoint: '/mnt' });
  const logger = createLogger({ ...options, logLevel: 'error', mountId: 'none' });
  const mask = process.umask(0o27);
  try {
    for (const fdLimit of [1024, 150]) {
      warmUp(tmpdir(), options, fdLimit, logger);
      assert.equal(process.umask(), 0o27, `with ${fdLimit} descriptors`);
    }
  } finally {
    process.umask(mask);
  }
});

optionTest('cpuLatency', 'CPUs are kept awake while requests come, if asked for', async (t) => {
  if (!existsSync(CPU_LATENCY_DEVICE)) return t.skip(`there is no ${CPU_LATENCY_DEVICE}`);
  if (process.getuid?.() !== 0) return t.skip(`${CPU_LATENCY_DEVICE} needs root`);
  for (const cpuLatency of ['any', 'low']) {
    const { mount, sh } = await tracedMount([`--cpu-latency=${cpuLatency}`, '--metrics-port=0']);
    const awake = async () => (await mount.status())['cpusAwakeSeconds'] as number;
    await sh('cd $M/d; for i in $(seq 200); do echo > $i; done; rm -f *');
    const seconds = await awake();
    if (cpuLatency === 'any') assert.equal(seconds, 0);
    else assert.ok(seconds > 0 && seconds < LIMIT_WAIT_MS / 1000, String(seconds));
    // It ends a period after the last request, which is 4 ms.
    await sleep(200);
    const later = await awake();
    await sleep(200);
    assert.equal(await awake(), later);
    await mount.stop();
  }
});

const MAKE_MANY = (count: number) => `cd $S/d; seq ${count} | xargs touch; cd /`;
const STAT_ALL = 'cd $M/d; ls -f $S/d | grep -v "^[.]" | xargs stat -c %i > /dev/null; cd /';

optionTest('fdBudget', 'inodes keep no more descriptors, by eviction', async () => {
  const { mount, sh } = await tracedMount(['--fd-budget=50']);
  await sh(`${MAKE_MANY(400)}; ${STAT_ALL}`);
  const { inodes, fdsUsed, fdBudget, fdEvictions } = await mount.status();
  assert.equal(fdBudget, 50);
  assert.ok((inodes as number) >= 400 && (fdsUsed as number) <= 50, `${inodes}, ${fdsUsed}`);
  assert.ok((fdEvictions as number) >= 350, `${fdEvictions} evictions`);
  await mount.stop();
});

optionTest('fdBudget', 'by default derived from RLIMIT_NOFILE', async () => {
  const { mount } = await tracedMount(['--lanes=2'], { nofile: 1024 });
  const { fdBudget } = (await mount.status()) as { fdBudget: number };
  assert.ok(fdBudget > 800 && fdBudget < 1024, String(fdBudget));
  await mount.stop();
});

optionTest('maxInodes', 'a full table is ENFILE, said once, and recovers', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('dropping caches needs root');
  const { mount, sh, attempt } = await tracedMount(['--max-inodes=1024', '--entry-timeout=100'], {
    allowErrors: [/inode table is full \(1024 inodes\)/],
  });
  const { stderr } = await attempt(`${MAKE_MANY(1500)}; ${STAT_ALL}`);
  assert.match(stderr, /Too many open files in system/);
  const told = mount.logs.filter((line) => /inode table is full/.test(String(line['msg'])));
  assert.equal(told.length, 1, mount.logTail());
  assert.match(String(told[0]?.['msg']), /raise --max-inodes/);
  // FORGETs are no replies: they come after the write.
  await sh('echo 2 > /proc/sys/vm/drop_caches');
  const untilMs = performance.now() + LIMIT_WAIT_MS;
  while (((await mount.status())['inodes'] as number) > 100 && performance.now() < untilMs) {
    await sleep(50);
  }
  await sh('stat $M/d/1500 $M/d/1499; echo x > $M/d/new');
  await mount.stop();
});

/** Serves a directory through a daemon that can be stopped, and by that hangs. */
async function hangable(): Promise<{ below: string; path: string; pid: number }> {
  const [below, path] = (await tempDirs('below', 'bound')) as [string, string];
  await runOk('bindfs', ['--no-allow-other', below, path]);
  const pid = Number((await run('pgrep', ['-f', `^bindfs --no-allow-other ${below} `])).stdout);
  const take = () => {
    const mount = readMounts().find((row) => row.mountpoint === path);
    if (mount !== undefined) forceUnmount(mount);
    if (pid > 0) process.kill(pid, 'SIGCONT');
  };
  defer(async () => take(), take);
  return { below, path, pid };
}

for (const [slots, isParking] of [
  [16, true],
  [4096, false],
] as const) {
  const what = `with ${slots}, ${isParking ? 'some of' : 'none of'} 40 requests wait for a slot`;
  optionTest('requestSlots', what, async (t) => {
    const missing = await missingTool('bindfs', 'pgrep');
    if (missing !== undefined) return t.skip(missing);
    const { below, path, pid } = await hangable();
    const flags = [`--request-slots=${slots}`, '--entry-timeout=100', '--attr-timeout=100'];
    const { mount, sh } = await tracedMount(flags, { source: path });
    await sh(`cd ${below}/d; seq 40 | xargs touch; stat $M/d`);
    // Who stands in `d` keeps it known: were it forgotten, all would wait for one LOOKUP of it.
    const work = sh(
      `cd $M/d; kill -STOP ${pid}; for i in $(seq 40); do stat -c %n $i & done | wc -l`,
    );
    const untilMs = performance.now() + LIMIT_WAIT_MS;
    let status = await mount.status();
    const held = () => (status['slotsInUse'] as number) + (status['parked'] as number);
    while (held() < 40 && performance.now() < untilMs) {
      await sleep(50);
      status = await mount.status();
    }
    process.kill(pid, 'SIGCONT');
    assert.equal((status['parked'] as number) > 0, isParking, JSON.stringify(status));
    assert.equal(await work, '40');
    // A lane gives its slot back after the reply.
    await statusReaches(mount, 'slotsInUse', 0);
    await mount.stop();
  });
}

everyOptionIsTested('Sizes and limits');
