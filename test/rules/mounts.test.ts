import assert from 'node:assert/strict';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { defer } from '../harness/cleanup.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { openFds, ROOT, type Stage, stage } from './stage.ts';

const noRoot = process.getuid?.() === 0 ? false : 'mounting needs root';

/** A source with a file system mounted on `name` below it. */
async function withMount(name: string, options: object = {}): Promise<Stage> {
  const [source] = (await tempDirs('source')) as [string];
  const path = `${source}/${name}`;
  mkdirSync(path);
  await runOk('mount', ['-t', 'tmpfs', 'tmpfs', path]);
  defer(async () => {
    await run('umount', ['-l', path]);
  });
  return stage(options, source);
}

suite('mounts below the source', { skip: noRoot }, () => {
  for (const name of ['m', 'two words', 'tab\tnew\nline\\']) {
    test(`rules 67-71, 73, defect 17: ${JSON.stringify(name)} is pinned exactly while it is known`, async () => {
      const s = await withMount(name);
      const { client, layer } = s;
      const { mounts } = layer.fs.ctx.tables;
      writeFileSync(s.at(`${name}/f`), 'inside');
      const before = openFds();
      const top = client.lookup(ROOT, name);
      const file = client.lookup(top.nodeid, 'f');
      assert.equal(file.attr.size, 6n);
      assert.equal(mounts.count(), 2);
      client.forget(top.nodeid);
      assert.equal(mounts.count(), 2, 'the file keeps it');
      assert.notEqual((await run('umount', [s.at(name)])).code, 0, 'busy while it is known');
      client.forget(file.nodeid);
      assert.equal(mounts.count(), 1);
      assert.equal(openFds(), before);
      await runOk('umount', [s.at(name)]);
      assert.equal(client.lookup(ROOT, name).attr.ino, statSync(s.at(name), { bigint: true }).ino);
      assert.deepEqual(
        s.reports.filter((line) => /handle/.test(line)),
        [],
      );
    });
  }

  test('rule 65: what is known works on after a lazy unmount, and goes with its FORGET', async () => {
    const s = await withMount('m', { fdBudget: 16 });
    writeFileSync(s.at('m/f'), 'inside');
    const top = s.client.lookup(ROOT, 'm');
    const file = s.client.lookup(top.nodeid, 'f');
    await runOk('umount', ['-l', s.at('m')]);
    assert.equal(s.client.getattr(file.nodeid).size, 6n);
    assert.notEqual(s.client.lookup(ROOT, 'm').nodeid, top.nodeid, 'the directory below it');
    s.client.forget(file.nodeid);
    s.client.forget(top.nodeid);
    assert.equal(s.layer.fs.ctx.tables.mounts.count(), 1);
  });

  test('rule 69: one mount over another is entered, not refused', async () => {
    const s = await withMount('m');
    const lower = s.client.lookup(ROOT, 'm').nodeid;
    await runOk('mount', ['-t', 'tmpfs', 'tmpfs', s.at('m')]);
    defer(async () => {
      await run('umount', ['-l', s.at('m')]);
    });
    writeFileSync(s.at('m/upper'), 'x');
    const upper = s.client.lookup(ROOT, 'm').nodeid;
    assert.notEqual(upper, lower);
    s.client.lookup(upper, 'upper');
    assert.equal(s.client.tryLookup(lower, 'upper'), 'ENOENT');
    s.layer.fs.close();
  });

  test('rules 62, 71: a mount on the same place again is another mount', async () => {
    const s = await withMount('m');
    writeFileSync(s.at('m/f'), 'old');
    const old = s.client.lookup(s.client.lookup(ROOT, 'm').nodeid, 'f').nodeid;
    await runOk('umount', ['-l', s.at('m')]);
    await runOk('mount', ['-t', 'tmpfs', 'tmpfs', s.at('m')]);
    writeFileSync(s.at('m/f'), 'newer');
    const fresh = s.client.lookup(s.client.lookup(ROOT, 'm').nodeid, 'f').nodeid;
    assert.notEqual(fresh, old);
    assert.deepEqual([s.client.getattr(old).size, s.client.getattr(fresh).size], [3n, 5n]);
    s.layer.fs.close();
  });
});

suite('file handles', () => {
  test('rules 59-64, defects 18, 31: with a small budget every file of many is reached, by handle', async () => {
    const s = await stage({ fdBudget: 16 });
    const { client, layer } = s;
    const { fds, inodes } = layer.fs.ctx.tables;
    const ids: number[] = [];
    for (let i = 0; i < 100; i++) {
      writeFileSync(s.at(`f${i}`), 'x'.repeat(i));
      ids.push(client.lookup(ROOT, `f${i}`).nodeid);
    }
    assert.ok(fds.used() <= 16, `${fds.used()} descriptors`);
    assert.ok(fds.evictions() > 0);
    assert.ok(inodes.hasHandle(ids[50] as number), 'this file system gives handles');
    for (const [i, id] of ids.entries()) assert.equal(client.getattr(id).size, BigInt(i));
  });

  test('rule 63: without handles the budget is a limit, told once, and release still works', async () => {
    const s = await stage({ fdBudget: 16, inodeFileHandles: 'never' });
    const ids: number[] = [];
    let answer: unknown;
    for (let i = 0; i < 30; i++) {
      writeFileSync(s.at(`f${i}`), '');
      answer = s.client.tryLookup(ROOT, `f${i}`);
      if (typeof answer === 'string') break;
      ids.push(s.client.lookup(ROOT, `f${i}`).nodeid);
    }
    assert.equal(answer, 'ENFILE');
    assert.match(s.reports.at(-1) ?? '', /budget .* raise LimitNOFILE/);
    const owed = s.lookups();
    assert.equal(s.client.tryLookup(ROOT, 'f29'), 'ENOENT');
    assert.equal(s.lookups(), owed);
    s.client.forget(ids[0] as number, 2);
    s.client.lookup(ROOT, 'f1');
  });

  test('defects 19, 28: what the host removed behind our back is ESTALE, without a word, and its name is free', async () => {
    const s = await stage({ fdBudget: 16 });
    const { client } = s;
    writeFileSync(s.at('f'), 'old');
    const old = client.lookup(ROOT, 'f');
    // Takes the descriptor of `f` away: only its handle is left.
    for (let i = 0; i < 40; i++) {
      writeFileSync(s.at(`g${i}`), '');
      client.lookup(ROOT, `g${i}`);
    }
    rmSync(s.at('f'));
    writeFileSync(s.at('f'), 'newer');
    for (let i = 0; i < 5; i++) assert.equal(client.tryGetattr(old.nodeid), 'ESTALE');
    const fresh = client.lookup(ROOT, 'f');
    assert.notEqual(fresh.nodeid, old.nodeid);
    assert.equal(client.getattr(fresh.nodeid).size, 5n);
    assert.deepEqual(s.reports, []);
  });

  test('rule 66: GETATTR and READ with an fh work on an unlinked file', async () => {
    const s = await stage();
    const made = s.client.create(ROOT, 'f');
    s.client.write(made.nodeid, made.fh, 0n, 'data');
    rmSync(s.at('f'));
    assert.equal(String(s.client.read(made.nodeid, made.fh, 0n, 10)), 'data');
    assert.equal(s.client.getattr(made.nodeid).nlink, 0);
  });
});
