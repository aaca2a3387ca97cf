import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { SluiceError } from '../../src/shared/errors.ts';
import {
  compileXattrMap,
  mapClientName,
  mapServerList,
  type XattrMap,
} from '../../src/shared/passthrough/xattr-map.ts';

function compiled(...texts: string[]): XattrMap {
  return compileXattrMap(texts) as XattrMap;
}

/** What a client's name becomes: a name, or an error's. */
function toHost(map: XattrMap, name: string): string {
  const memory = Buffer.alloc(1024, 0xee);
  memory.write(`${name}\0`, 8);
  const at = mapClientName(map, memory, 8, Buffer.byteLength(name), 512);
  if (at < 0) return errnoName(at);
  return memory.toString('utf8', at, memory.indexOf(0, at));
}

function toClient(map: XattrMap, ...names: string[]): string[] {
  const memory = Buffer.alloc(1024, 0xee);
  const list = names.map((name) => `${name}\0`).join('');
  memory.write(list, 8);
  const bytes = mapServerList(map, memory, 8, Buffer.byteLength(list));
  return memory
    .toString('utf8', 8, 8 + bytes)
    .split('\0')
    .slice(0, -1);
}

function refusal(...texts: string[]): string {
  try {
    compileXattrMap(texts);
  } catch (error) {
    assert.ok(error instanceof SluiceError);
    assert.equal(error.code, 'ERR_SLUICE_OPTION');
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  throw new assert.AssertionError({ message: `accepted: ${texts.join(' ')}` });
}

suite('rules of --xattrmap', () => {
  test('everything behind a prefix', () => {
    for (const text of [':map::user.v.:', ':prefix:all::user.v.::bad:all:::']) {
      const map = compiled(text);
      assert.equal(toHost(map, 'trusted.a'), 'user.v.trusted.a', text);
      // Looked at once: what matches again is not prefixed again.
      assert.equal(toHost(map, 'user.v.a'), 'user.v.user.v.a', text);
      assert.deepEqual(toClient(map, 'user.v.trusted.a', 'user.b', 'security.c', 'user.v.d'), [
        'trusted.a',
        'd',
      ]);
    }
  });

  test('one namespace behind a prefix, the rest as it is', () => {
    const long = `/prefix/all/trusted./user.v./
      /bad/server//trusted./  /bad/client/user.v.//
      /ok/all///`;
    for (const text of ['!map!trusted.!user.v.!', long]) {
      const map = compiled(text);
      assert.equal(toHost(map, 'trusted.a'), 'user.v.trusted.a', text);
      assert.equal(toHost(map, 'user.v.x'), 'EPERM', text);
      assert.equal(toHost(map, 'user.x'), 'user.x', text);
      assert.deepEqual(toClient(map, 'user.v.trusted.a', 'trusted.b', 'user.c'), [
        'trusted.a',
        'user.c',
      ]);
    }
  });

  test('bad is EPERM, unsupported EOPNOTSUPP, and both are hidden', () => {
    const map = compiled(
      ':bad:client:security.:: :unsupported:client:system.::',
      ':bad:server::security.: :unsupported:server::system.: :ok:all:::',
    );
    assert.equal(toHost(map, 'security.x'), 'EPERM');
    assert.equal(toHost(map, 'system.x'), 'EOPNOTSUPP');
    assert.equal(toHost(map, 'user.x'), 'user.x');
    assert.deepEqual(toClient(map, 'security.x', 'system.x', 'user.x'), ['user.x']);
  });

  test('the first rule that matches counts, each in its scope', () => {
    const map = compiled(
      ':ok:client:user.a:: :bad:client:user.:: :ok:server::user.b: :bad:server::user.: :ok:all:::',
    );
    assert.equal(toHost(map, 'user.ab'), 'user.ab');
    assert.equal(toHost(map, 'user.b'), 'EPERM');
    assert.deepEqual(toClient(map, 'user.a', 'user.bc', 'user', 'x'), ['user.bc', 'user', 'x']);
  });

  test('a name that gets longer than 255 bytes is ERANGE; one of 255 goes', () => {
    const map = compiled(':map::user.v.:');
    assert.equal(toHost(map, 'n'.repeat(248)), `user.v.${'n'.repeat(248)}`);
    assert.equal(toHost(map, 'n'.repeat(249)), 'ERANGE');
  });

  test('a name of the host that is all prefix is not listed as an empty one', () => {
    assert.deepEqual(toClient(compiled(':map::user.v.:'), 'user.v.', 'user.v.a'), ['a']);
    assert.deepEqual(toClient(compiled(':map::user.v.:'), 'user.v.'), []);
    assert.deepEqual(toClient(compiled(':map::user.v.:')), []);
  });

  test('what the daemon has to know of a map', () => {
    const facts = (text: string) => {
      const { capability, hasAcls } = compiled(text);
      return { capability, hasAcls };
    };
    assert.deepEqual(facts(':map::user.v.:'), {
      capability: 'user.v.security.capability',
      hasAcls: true,
    });
    assert.deepEqual(facts(':map:trusted.:user.v.:'), { capability: undefined, hasAcls: true });
    assert.deepEqual(facts(':bad:client:security.:: :bad:client:system.:: :ok:all:::'), {
      capability: undefined,
      hasAcls: false,
    });
    assert.equal(facts(':unsupported:client:system.posix_acl_d:: :ok:all:::').hasAcls, false);
  });

  test('what cannot be is one line: the rule, the reason, the cure', () => {
    const long = 'x'.repeat(256);
    const cases: [string[], RegExp][] = [
      [[' '], /^xattrmap: " ": it has no rule; give one, such as /],
      [
        [':ok:all::'],
        /^xattrmap: rule 1 \(":ok:all::"\): it ends too early; write :type:scope:key:prepend:/,
      ],
      [[':ok'], /ends too early/],
      [[':'], /ends too early/],
      [[':map:a:b'], /ends too early; write :map:key:prepend:/],
      [['ok:all:::'], /ends too early|no type/],
      [[':ok:all::: :prefix:all:a'], /rule 2 .*ends too early/],
      [[':nice:all:::'], /"nice" is no type; give prefix, ok, bad, unsupported or map$/],
      [[':OK:all:::'], /"OK" is no type/],
      [['::all:::'], /"" is no type/],
      [[':ok:some:::'], /"some" is no scope; give client, server, all$/],
      [[':ok/all///'], /"ok\/all\/\/\/" is no type|ends too early/],
      [[':map::a.::ok:all:::'], /rule 1 .*make it the last one$/],
      [[':map::a.:', ':map::b.:'], /make it the last one/],
      [[`:prefix:all::${long}::bad:all:::`], /a field has 256 bytes; names have 255 at the most$/],
      [[`:map:${long}:a:`], /256 bytes/],
      [
        [':prefix:all::a.:'],
        /^xattrmap: rule 1: none takes the other names from the server; end with :ok:all::: /,
      ],
      [[':ok:server:::'], /from clients; end with/],
      [[':ok:client:a:: :ok:server::b:'], /rule 2: .* from clients and from the server/],
    ];
    for (const [texts, expected] of cases)
      assert.match(refusal(...texts), expected, texts.join(' '));
  });

  test('no texts, no map', () => {
    assert.equal(compileXattrMap([]), undefined);
  });
});
