import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { everyOptionIsTested, optionTest } from './by-option.ts';
import { negotiated, type Trace, tracedMount } from './traced-mount.ts';

/** The same bytes three times by one open file. */
const READ_THRICE = `node -e '
  const fs = require("fs");
  const fd = fs.openSync("'$M/f'", "r");
  for (const i of [1, 2, 3]) fs.readSync(fd, Buffer.alloc(4), 0, 4, 0);'`;

const THRICE = (script: string) => `for i in 1 2 3; do ${script}; done`;

/** Kernels that know STATX send it where the time of birth is asked for. The root has node 1. */
function attributeRequests(trace: Trace): string[] {
  const requests = [...trace.requests('GETATTR'), ...trace.requests('STATX')];
  return requests.filter((line) => !line.includes(' node=1 '));
}

/** Data that the kernel moves by itself leaves no trace. */
const DAEMON_DATA = '--no-kernel-passthrough';

/** Whether a change behind the mount is seen at once: of the mode, of the data at the next open. */
const POLICIES = [
  ['never', { mode: 'new', data: 'new', keepsPages: false }],
  ['metadata', { mode: 'old', data: 'new', keepsPages: false }],
  ['auto', { mode: 'either', data: 'new', keepsPages: true }],
  ['always', { mode: 'old', data: 'old', keepsPages: true }],
] as const;

for (const [policy, expected] of POLICIES) {
  optionTest('cache', policy, async () => {
    const { mount, trace, sh } = await tracedMount([`--cache=${policy}`, DAEMON_DATA]);
    await sh('chmod 600 $S/f; stat $M/f; cat $M/f; chmod 640 $S/f; printf "new\\n" 1<>$S/f');
    const mode = await sh('stat -c %a $M/f');
    if (expected.mode !== 'either') assert.equal(mode, expected.mode === 'new' ? '640' : '600');
    assert.equal(await sh('cat $M/f'), expected.data);
    trace.forget();
    await sh(READ_THRICE);
    const reads = trace.requests('READ').length;
    if (expected.keepsPages) assert.ok(reads <= 1, `${reads} READs for one page`);
    else assert.equal(reads, 3);
    await mount.stop();
  });
}

optionTest('cache', 'auto forgets names and attributes after a second', async () => {
  const { mount, sh } = await tracedMount(['--cache=auto']);
  await sh('chmod 600 $S/f; stat $M/f; chmod 640 $S/f');
  await sleep(1200);
  assert.equal(await sh('stat -c %a $M/f'), '640');
  await mount.stop();
});

optionTest('cache', 'always keeps data between opens, auto does not', async () => {
  for (const [policy, most] of [
    ['always', 0],
    ['auto', 1],
  ] as const) {
    const { mount, trace, sh } = await tracedMount([`--cache=${policy}`, DAEMON_DATA]);
    await sh('cat $M/f');
    trace.forget();
    await sh('cat $M/f');
    assert.equal(trace.requests('READ').length, most, policy);
    await mount.stop();
  }
});

optionTest('entryTimeout', 'names are asked for again, or not', async () => {
  const trusting = await tracedMount(['--entry-timeout=100', '--attr-timeout=100']);
  // Open, so that the name stays also where somebody drops the caches of the host.
  await trusting.sh(`exec 3<$M/f; ${THRICE('stat $M/f')}`);
  assert.equal(trusting.trace.requests('LOOKUP', '"f"').length, 1);
  await trusting.sh('mv $S/f $S/g; stat $M/f');
  await trusting.mount.stop();
  const asking = await tracedMount(['--entry-timeout=0', '--attr-timeout=100']);
  await asking.sh(THRICE('stat $M/f'));
  assert.equal(asking.trace.requests('LOOKUP', '"f"').length, 3);
  assert.match((await asking.attempt('mv $S/f $S/g; stat $M/f')).stderr, /No such file/);
  await asking.mount.stop();
});

optionTest('entryTimeout', 'fractions of a second count', async () => {
  const { mount, trace, sh } = await tracedMount(['--entry-timeout=0.2', '--attr-timeout=100']);
  await sh('stat $M/f; sleep 0.4; stat $M/f');
  assert.equal(trace.requests('LOOKUP', '"f"').length, 2);
  await mount.stop();
});

optionTest('attrTimeout', 'attributes are asked for again, or not', async () => {
  const trusting = await tracedMount(['--entry-timeout=100', '--attr-timeout=100']);
  await trusting.sh('chmod 600 $S/f; stat $M/f');
  trusting.trace.forget();
  await trusting.sh(THRICE('stat $M/f'));
  assert.equal(attributeRequests(trusting.trace).length, 0);
  assert.equal(await trusting.sh('chmod 640 $S/f; stat -c %a $M/f'), '600');
  await trusting.mount.stop();
  const asking = await tracedMount(['--entry-timeout=100', '--attr-timeout=0']);
  await asking.sh(`chmod 600 $S/f; ${THRICE('stat $M/f')}`);
  // The lookup before the first stat brings attributes that this stat may use.
  assert.ok(attributeRequests(asking.trace).length >= 2, asking.trace.lines().join('\n'));
  assert.equal(await asking.sh('chmod 640 $S/f; stat -c %a $M/f'), '640');
  await asking.mount.stop();
});

optionTest('attrTimeout', 'is derived from cache, not from entry_timeout', async () => {
  const { mount, sh } = await tracedMount(['--cache=never', '--entry-timeout=100']);
  await sh('chmod 600 $S/f; stat $M/f; chmod 640 $S/f');
  assert.equal(await sh('stat -c %a $M/f'), '640');
  await mount.stop();
});

optionTest('dirEntryTimeout', 'holds for directories only', async () => {
  const flags = ['--entry-timeout=0', '--attr-timeout=100', '--dir-entry-timeout=100'];
  const { mount, trace, sh } = await tracedMount(flags);
  await sh(`exec 3<$M/d; ${THRICE('stat $M/f $M/d')}`);
  assert.equal(trace.requests('LOOKUP', '"d"').length, 1);
  assert.equal(trace.requests('LOOKUP', '"f"').length, 3);
  await mount.stop();
  const derived = await tracedMount(['--entry-timeout=0']);
  await derived.sh(THRICE('stat $M/d'));
  assert.equal(derived.trace.requests('LOOKUP', '"d"').length, 3);
  await derived.mount.stop();
});

optionTest('dirAttrTimeout', 'holds for directories only', async () => {
  const flags = ['--entry-timeout=100', '--attr-timeout=0', '--dir-attr-timeout=100'];
  const { mount, trace, sh } = await tracedMount(flags);
  await sh('chmod 700 $S/d; stat $M/d $M/f; chmod 750 $S/d');
  trace.forget();
  assert.equal(await sh('stat -c %a $M/d'), '700');
  assert.equal(attributeRequests(trace).length, 0, trace.lines().join('\n'));
  await sh('stat $M/f');
  assert.equal(attributeRequests(trace).length, 1, trace.lines().join('\n'));
  await mount.stop();
});

optionTest('negativeTimeout', 'a name that is not there is remembered, or not', async () => {
  const trusting = await tracedMount(['--negative-timeout=100']);
  const probe = 'if [ -e $M/none ]; then echo there; else echo absent; fi';
  assert.equal(await trusting.sh(`${probe}; touch $S/none; ${probe}`), 'absent\nabsent');
  assert.equal(trusting.trace.requests('LOOKUP', '"none"').length, 1);
  await trusting.mount.stop();
  const asking = await tracedMount();
  assert.equal(await asking.sh(`${probe}; touch $S/none; ${probe}`), 'absent\nthere');
  assert.equal(asking.trace.requests('LOOKUP', '"none"').length, 2);
  await asking.mount.stop();
});

optionTest('writeback', 'small writes are gathered, or not', async () => {
  const write =
    'dd if=/dev/urandom of=$S/../bytes bs=512 count=64; dd if=$S/../bytes of=$M/w bs=512';
  for (const [flags, isGathered] of [
    [['--writeback'], true],
    [[DAEMON_DATA], false],
  ] as const) {
    const { mount, trace, sh } = await tracedMount(flags);
    await sh(`${write}; cmp $S/../bytes $M/w`);
    const writes = trace.requests('WRITE').length;
    assert.ok(isGathered ? writes >= 1 && writes < 16 : writes === 64, `${writes} WRITEs`);
    const { features } = await negotiated(mount);
    assert.equal(/\bWRITEBACK_CACHE\b/.test(features), isGathered);
    await mount.stop();
    await sh('cmp $S/../bytes $S/w');
  }
});

optionTest('writeback', 'is switched off with a warning where it must not be', async () => {
  const { mount } = await tracedMount(['--writeback', '--seal-size']);
  const { features } = await negotiated(mount);
  assert.doesNotMatch(features, /WRITEBACK_CACHE/);
  assert.match(JSON.stringify(mount.logs), /writeback is switched off: seal_size/);
  await mount.stop();
});

everyOptionIsTested('Caching');
