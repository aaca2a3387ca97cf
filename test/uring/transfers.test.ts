/** Reads and writes that the kernel makes by itself, as requests of the ring that brought them. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import type { Mount } from '../harness/mount.ts';
import { shell } from '../harness/run.ts';
import { startUring, switchOn } from './engine.ts';

const TIME_LIMIT = { timeout: 60_000 };
const saboteur = new URL('../faults/saboteur.js', import.meta.url).href;

interface Stand {
  readonly mount: Mount;
  /** Runs a script with the mount point as `$M` and the source as `$S`; what it printed, trimmed. */
  sh(script: string): Promise<string>;
  transfers(): Promise<number>;
  /** Requests that lanes have run. */
  inLanes(): Promise<number>;
}

/** A mount of a disk, or of what is said. @returns undefined where there is none, and the test is skipped */
async function stand(
  t: TestContext,
  options: {
    kind?: FileSystemKind;
    flags?: string[];
    env?: Record<string, string>;
    allowErrors?: RegExp[];
  } = {},
): Promise<Stand | undefined> {
  const reason = switchOn();
  const disk =
    reason === undefined
      ? await makeFileSystem(options.kind ?? 'ext4', { sizeBytes: 96 << 20 })
      : { skip: reason };
  if ('skip' in disk) {
    t.skip(disk.skip);
    return undefined;
  }
  const { env = {}, allowErrors = [], flags = [] } = options;
  const nodeFlags = ['--import', saboteur];
  const mount = await startUring({ source: disk.path, flags, env, nodeFlags, allowErrors });
  const variables = `M='${mount.mountpoint}'; S='${disk.path}'; `;
  return {
    mount,
    sh: async (script) =>
      (await shell(variables + script, [], { timeoutMs: 40_000 })).stdout.trim(),
    transfers: async () => (await mount.status())['uringTransfers'] as number,
    inLanes: async () => {
      const { requests, answeredByMain } = (await mount.status()) as Record<string, number>;
      return (requests as number) - (answeredByMain as number);
    },
  };
}

test('direct reads and writes, and cold reads, are made by the kernel', TIME_LIMIT, async (t) => {
  const on = await stand(t, { flags: ['--no-kernel-passthrough'] });
  if (on === undefined) return;
  const { sh, transfers, mount } = on;
  await sh('head -c 1000003 /dev/urandom > $S/from; sync $S/from');
  // The last block is no whole one, and dd takes O_DIRECT off for it.
  await sh('dd if=$M/from of=$M/to bs=64K iflag=direct oflag=direct; cmp $S/from $S/to');
  const direct = await transfers();
  assert.ok(direct >= 2 * 15, `${direct} transfers`);
  const drop = 'dd of=$S/from oflag=nocache conv=notrunc,fdatasync count=0';
  await sh(`${drop}; cat $M/from | cmp - $S/to`);
  assert.ok((await transfers()) > direct, 'none of the cold reads');
  await mount.stop();
});

test('large writes to memory need no lane, one after the other', TIME_LIMIT, async (t) => {
  const on = await stand(t, { kind: 'tmpfs', flags: ['--no-kernel-passthrough'] });
  if (on === undefined) return;
  const { sh, inLanes, mount } = on;
  await sh('head -c 32M /dev/urandom > $S/from');
  const before = await inLanes();
  await sh('dd if=$S/from of=$M/to bs=1M; cmp $S/from $S/to');
  const count = (await inLanes()) - before;
  assert.ok(count < 16, `lanes ran ${count} requests of 32 writes and an open`);
  await mount.stop();
});

test('16 at once on one file end where they belong', TIME_LIMIT, async (t) => {
  const on = await stand(t);
  if (on === undefined) return;
  const { sh, transfers, mount } = on;
  const write = 'dd if=$S/from of=$M/to bs=4K count=16 oflag=direct conv=notrunc';
  await sh('head -c 1M /dev/urandom > $S/from; truncate -s 1M $S/to');
  await sh(`for i in $(seq 0 15); do ${write} skip=$((16*i)) seek=$((16*i)) & done; wait`);
  await sh('cmp $S/from $M/to; cmp $S/from $S/to');
  assert.ok((await transfers()) > 0);
  await mount.stop();
});

test('what the kernel cannot simply make is made as without the ring', TIME_LIMIT, async (t) => {
  const on = await stand(t);
  if (on === undefined) return;
  const { sh, mount } = on;
  const block = 'head -c 4K /dev/zero';
  const dd = 'dd bs=4K iflag=fullblock status=none';
  // At the end of the file, whatever the offset.
  await sh(`${block} | ${dd} of=$M/log oflag=direct,append conv=notrunc`);
  await sh(`${block} | ${dd} of=$M/log oflag=direct,append conv=notrunc`);
  assert.equal(await sh('stat -c %s $S/log'), '8192');
  // Set-id bits go when somebody else writes.
  await sh(`${block} > $S/suid; chmod 4777 $S/suid; chmod 755 $S $M`);
  const other = 'setpriv --reuid=65534 --clear-groups';
  await sh(`${block} | ${other} ${dd} of=$M/suid oflag=direct conv=notrunc`);
  assert.equal(await sh('stat -c %a $S/suid $M/suid'), '777\n777');
  // Behind the end, in a hole, without alignment.
  assert.equal(
    await sh(`truncate -s 1M $S/hole; ${dd} if=$M/hole iflag=direct | wc -c`),
    '1048576',
  );
  assert.equal(await sh(`${dd} if=$M/log iflag=direct skip=100 | wc -c`), '0');
  const odd = await sh(
    'dd if=$M/log of=/dev/null bs=1000 count=1 iflag=direct status=none 2>&1 || true',
  );
  const oddBehind = await sh(
    'dd if=$S/log of=/dev/null bs=1000 count=1 iflag=direct status=none 2>&1 || true',
  );
  assert.equal(odd.includes('Invalid argument'), oddBehind.includes('Invalid argument'), odd);
  // No room left on the disk.
  const full = await sh(
    `dd if=/dev/zero of=$M/fill bs=1M oflag=direct 2>&1 >/dev/null | grep -c "No space left" || true`,
  );
  assert.equal(full, '1');
  assert.equal(await sh('stat -c %s $M/fill'), await sh('stat -c %s $S/fill'));
  await mount.stop();
});

test('threads of queues that die lose no transfer', TIME_LIMIT, async (t) => {
  const on = await stand(t, {
    env: { FAULT_QUEUES: '2:1500' },
    allowErrors: [/the thread of a queue died/],
  });
  if (on === undefined) return;
  const { sh, transfers, mount } = on;
  await sh('head -c 1M /dev/urandom > $S/from');
  // A request on its way to a thread that dies is answered ECANCELED by the kernel: dd says so, and ends.
  const writer = (n: number) =>
    `end=$(($(date +%s)+5)); i=0; while [ $(date +%s) -lt $end ]; do i=$((i+1)); f=f${n}-$((i%8)); ` +
    'if dd if=$S/from of=$M/$f bs=16K oflag=direct status=none 2>/dev/null; ' +
    'then cmp $S/from $S/$f || echo wrong $f; fi; done';
  const wrong = await sh(`${[1, 2, 3, 4].map((n) => `(${writer(n)}) &`).join(' ')} wait`);
  assert.equal(wrong, '');
  const deaths = mount.logs.filter(({ msg }) => /the thread of a queue died/.test(String(msg)));
  assert.ok(deaths.length > 0, 'nobody died');
  assert.ok((await transfers()) > 100);
  await mount.stop();
});
