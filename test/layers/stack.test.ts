import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import {
  Errno,
  errnoOf,
  type FileSystem,
  type Layer,
  newAttr,
  openPassthrough,
  withLayers,
} from '../../src/main/index.ts';
import { settleLayers } from '../../src/main/layers/settle.ts';
import { whyNoKernelPassthrough } from '../../src/main/session/kernel-passthrough.ts';
import { OP } from '../../src/shared/abi/opcodes.ts';
import { layeredOpcodes } from '../../src/shared/layers/operation-table.ts';
import { IN_PLACE, inPlaceTable } from '../../src/shared/passthrough/config.ts';
import { defer } from '../harness/cleanup.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const ROOT = 1;
const caller = { uid: 0, gid: 0, pid: process.pid };

async function open() {
  const [dir] = (await tempDirs('source')) as [string];
  writeFileSync(`${dir}/f`, 'content');
  const opened = openPassthrough(dir);
  defer(async () => opened.close());
  return opened;
}

function lookup(fs: FileSystem, name: string) {
  return fs.lookup({ nodeid: ROOT, caller, name: Buffer.from(name) });
}

suite('a directory as a file system without a mount', () => {
  test('answers by operation', async () => {
    const { fs, forget } = await open();
    const entry = lookup(fs, 'f');
    assert.ok(typeof entry !== 'number');
    assert.equal(entry.attr.sizeBytes, 7);
    const opened = fs.open({ nodeid: entry.nodeid, caller, flags: 0, killsSetIds: false });
    assert.ok(typeof opened !== 'number');
    const at = { nodeid: entry.nodeid, caller, fh: opened.fh, lockOwner: 0n, flags: 0 };
    const data = fs.read({ ...at, offset: 2, sizeBytes: 100, readFlags: 0 });
    assert.equal(String(data), 'ntent');
    assert.equal(fs.release({ ...at, releaseFlags: 0 }), 0);
    assert.equal(lookup(fs, 'none'), Errno.ENOENT);
    forget(entry.nodeid, 1);
    assert.equal(fs.getattr({ nodeid: entry.nodeid, caller }), Errno.ESTALE);
  });
});

suite('layers on top of each other', () => {
  const seen: string[] = [];
  const noting = (name: string): Layer => ({
    name,
    otherwise(request, next) {
      seen.push(`${name} ${request.operation}`);
      return next.run(request);
    },
  });

  test('see a request in order, and only what they have methods for', async () => {
    const { fs } = await open();
    const renaming: Layer = {
      name: 'renaming',
      lookup: (request, next) => next.lookup({ ...request, name: Buffer.from('f') }),
    };
    const top = withLayers(fs, [noting('a'), renaming, noting('b')]);
    const entry = lookup(top, 'other');
    assert.ok(typeof entry !== 'number');
    top.getattr({ nodeid: ROOT, caller });
    assert.deepEqual(seen, ['a lookup', 'b lookup', 'a getattr', 'b getattr']);
  });

  test('a mistake ends at the layer that made it; the one above gets EIO', async () => {
    const { fs } = await open();
    const got: unknown[] = [];
    const said: string[] = [];
    const above: Layer = {
      name: 'above',
      lookup(request, next) {
        got.push(next.lookup(request));
        return Errno.ENOENT;
      },
    };
    const wrong: Layer = {
      name: 'wrong',
      lookup: () => ({ nodeid: 1.5, attr: newAttr({ ino: 1n, mode: 0 }) }),
    };
    const top = withLayers(fs, [above, wrong], (message) => said.push(message));
    assert.equal(lookup(top, 'f'), Errno.ENOENT);
    assert.deepEqual(got, [Errno.EIO]);
    assert.match(
      String(said),
      /^layer wrong, lookup: answered EIO: the answer of lookup: nodeid is 1.5/,
    );
  });

  test('errors of Node are answers', () => {
    assert.equal(errnoOf(Object.assign(new Error('x'), { errno: -2 })), Errno.ENOENT);
    assert.equal(errnoOf('anything'), Errno.EIO);
  });
});

suite('what layers take from who receives', () => {
  test('neither main nor its deputy answers an operation that a layer sees', () => {
    const table = inPlaceTable(layeredOpcodes([{ lookup: () => 0, getattr: () => 0 }]));
    for (const opcode of [OP.LOOKUP, OP.GETATTR, OP.STATX]) {
      assert.equal(table[opcode], IN_PLACE.NEVER);
    }
    assert.equal(table[OP.READ], IN_PLACE.CACHED);
    assert.equal(table[OP.MKDIR], IN_PLACE.BOLDLY);
    assert.deepEqual(inPlaceTable(undefined), inPlaceTable(layeredOpcodes([])));
  });

  test('kernel passthrough is off where a layer has to see data, and says why', async () => {
    const settled = await settleLayers({
      layers: [{ name: 'meter', read: (r, next) => next.read(r) }],
    });
    assert.equal(settled?.dataLayer, 'meter');
    const names = await settleLayers({ layers: [{ name: 'names', unlink: () => Errno.EPERM }] });
    assert.equal(names?.dataLayer, undefined);
    const options = {
      kernelPassthrough: true,
      cache: 'auto',
      writeback: false,
      noOpen: false,
      sealSize: false,
      allowDirectIo: true,
      killprivV2: true,
      opTimeoutMs: 0,
      mountFlags: 0,
      renamesCapability: false,
      dataLayer: 'meter',
    } as const;
    const wanted = process.getuid?.() === 0 ? /the layer meter has to see/ : /CAP_SYS_ADMIN/;
    assert.match(String(whyNoKernelPassthrough(options)), wanted);
  });
});

suite('layers that cannot be', () => {
  const wrong: readonly [what: string, layers: unknown, wanted: RegExp][] = [
    ['no layer', ['text'], /layer 0: it is a string; give an object with a name and methods/],
    ['no name', [{ read() {} }], /layer 0: it has no name/],
    ['no method', [{ name: 'x', read: 1 }], /layer 0: read is 1, and has to be a function/],
    ['a typing error', [{ name: 'x', raed() {} }], /layer 0: raed is no operation/],
    ['no module', [{ module: '/none.js' }], /\/none.js: it cannot be loaded .*give a module/],
    ['no path', [{ module: '' }], /module is no path/],
    ['no list', 'text', /give an array/],
    [
      'options that cannot be copied',
      [{ module: new URL('./bad-layer.js', import.meta.url), options: () => 1 }],
      /bad-layer.js: its options cannot be copied to the lanes/,
    ],
    [
      'the order',
      [{ module: new URL('./bad-layer.js', import.meta.url) }, { name: 'x' }],
      /x comes after a module/,
    ],
  ];
  for (const [what, layers, wanted] of wrong) {
    test(`${what}: one line that says so`, async () => {
      await assert.rejects(settleLayers({ layers: layers as never }), (error: Error) => {
        assert.match(error.message, wanted);
        assert.ok(!error.message.includes('\n'));
        return 'code' in error && error.code === 'ERR_SLUICE_OPTION';
      });
    });
  }

  test('a deadline that is none', async () => {
    await assert.rejects(settleLayers({ layerTimeoutMs: 0 }), /layerTimeoutMs: 0 is no time/);
  });
});
