import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { SluiceError } from '../../src/shared/errors.ts';
import { mapAclIds } from '../../src/shared/passthrough/acl-ids.ts';
import {
  compileIdMap,
  FORBIDDEN_ID,
  type IdMap,
  mapId,
} from '../../src/shared/passthrough/id-map.ts';

const INVALID = 0xffffffff;

function compiled(...rules: string[]): IdMap {
  return compileIdMap('translate_uid', rules) as IdMap;
}

function refusal(...rules: string[]): string {
  try {
    compileIdMap('translate_uid', rules);
  } catch (error) {
    assert.ok(error instanceof SluiceError);
    assert.equal(error.code, 'ERR_SLUICE_OPTION');
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  throw new assert.AssertionError({ message: `accepted: ${rules.join(' ')}` });
}

suite('rules of --translate-uid and --translate-gid', () => {
  test('each kind maps its own direction; what no rule takes stays', () => {
    const cases: [string, [number, number][], [number, number][]][] = [
      // [rule, guest to host, host to guest]
      [
        'map:0:1000:10',
        [
          [0, 1000],
          [9, 1009],
          [10, 10],
          [1000, 1000],
        ],
        [
          [1000, 0],
          [1009, 9],
          [0, 0],
        ],
      ],
      [
        'guest:0:1000:10',
        [
          [0, 1000],
          [9, 1009],
        ],
        [[1000, 1000]],
      ],
      [
        'host:1000:0:10',
        [[0, 0]],
        [
          [1000, 0],
          [1009, 9],
          [999, 999],
          [1010, 1010],
        ],
      ],
      [
        'squash-guest:5:77:3',
        [
          [4, 4],
          [5, 77],
          [7, 77],
          [8, 8],
        ],
        [[77, 77]],
      ],
      [
        'squash-host:5:77:3',
        [[5, 5]],
        [
          [4, 4],
          [5, 77],
          [7, 77],
          [8, 8],
        ],
      ],
      [
        'forbid-guest:5:3',
        [
          [4, 4],
          [5, FORBIDDEN_ID],
          [7, FORBIDDEN_ID],
          [8, 8],
        ],
        [[5, 5]],
      ],
      [
        'squash-guest:0:65534:4294967295',
        [
          [0, 65534],
          [INVALID - 1, 65534],
          [INVALID, INVALID],
        ],
        [],
      ],
      ['map:0:4294967294:1', [[0, 4294967294]], [[4294967294, 0]]],
      ['map:1:2:0', [[1, 1]], [[2, 2]]],
    ];
    for (const [rule, toHost, toClient] of cases) {
      const map = compiled(rule);
      for (const [from, to] of toHost) assert.equal(mapId(map.toHost, from), to, rule);
      for (const [from, to] of toClient) assert.equal(mapId(map.toClient, from), to, rule);
    }
  });

  test('written as virtiofsd reads it: any separator, either case, a plus sign', () => {
    for (const rule of [
      'MAP:0:5:1',
      'map/0/5/1',
      'Map 0 5 1',
      'map:+0:5:01',
      'map::0:5:1'.replace('::', ':'),
    ]) {
      assert.deepEqual(compiled(rule), compiled('map:0:5:1'), rule);
    }
  });

  test('ranges side by side do not overlap, nor do the two directions', () => {
    const rules = ['map:2000:0:10', 'guest:0:500:1000', 'forbid-guest:1000:1000', 'host:10:7:1'];
    const map = compiled(...rules);
    assert.equal(mapId(map.toHost, 999), 1499);
    assert.equal(mapId(map.toHost, 1000), FORBIDDEN_ID);
    assert.equal(mapId(map.toHost, 2000), 0);
    assert.equal(mapId(map.toClient, 10), 7);
    assert.deepEqual(compiled(...rules.toReversed()), map);
  });

  test('without rules there is no map', () => {
    assert.equal(compileIdMap('translate_uid', []), undefined);
  });

  test('what cannot be is one line: the rule, the reason, the cure', () => {
    const cases: [string[], RegExp][] = [
      [[''], /^translate_uid: rule "": no rule begins so; begin with map, guest, /],
      [['0:1:2'], /"0:1:2": no rule begins so/],
      [['constructor:1:2:3'], /no rule begins so/],
      [['forbid-host:1:2'], /no rule begins so/],
      [['map'], /"map": it has 0 numbers instead of 3; write map:GUEST:HOST:COUNT$/],
      [['map:1:2'], /2 numbers instead of 3/],
      [['map:1:2:3:4'], /4 numbers instead of 3/],
      [['forbid-guest:1:2:3'], /3 numbers instead of 2; write forbid-guest:GUEST:COUNT$/],
      [['map:1:2:x'], /"x" is no id or count; give a whole number from 0 to 4294967295$/],
      [['map:1:2:'], /"" is no id or count/],
      [['map:1:-2:3'], /"-2" is no id or count/],
      [['map:1:2/3:4'], /"2\/3" is no id/],
      [['map:1:2:4294967296'], /"4294967296" is no id/],
      [['map:1:2:4294967295'], /reaches beyond the last id, 4294967294; lower the count/],
      [['map:0:4294967290:10'], /reaches beyond/],
      [['map:4294967290:0:10'], /reaches beyond/],
      [['squash-guest:0:4294967295:1'], /reaches beyond/],
      [['squash-host:4294967295:0:1'], /reaches beyond/],
      [['forbid-guest:4294967295:1'], /reaches beyond/],
      [
        ['forbid-guest:1001:1999', 'map:2000:2000:1'],
        /rule "map:2000:2000:1": it overlaps "forbid-guest:1001:1999" in the guest ids 2000 to 2000; /,
      ],
      [
        ['map:0:10:5', 'host:12:0:9'],
        /overlaps "map:0:10:5" in the host ids 12 to 14; .*a count, not the last id/,
      ],
      [['map:0:10:5', 'map:0:10:5'], /overlaps/],
      [['squash-guest:0:1:100', 'guest:50:3:1'], /in the guest ids 50 to 50/],
    ];
    for (const [rules, expected] of cases)
      assert.match(refusal(...rules), expected, rules.join(' '));
  });

  test('a compiled map finds what going through the rules one by one finds', () => {
    const range = fc.tuple(
      fc.nat(40),
      fc.nat(200),
      fc.nat(6),
      fc.constantFrom('guest', 'squash-guest'),
    );
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), fc.nat(60), (ranges, id) => {
        // Moved apart, so that none overlaps.
        let free = 0;
        const rules = ranges.map(([gap, target, count, kind]) => {
          const first = free + gap;
          free = first + count;
          return { kind, first, target, count };
        });
        const taking = rules.find(({ first, count }) => id >= first && id < first + count);
        const expected =
          taking === undefined
            ? id
            : taking.target + (taking.kind === 'guest' ? id - taking.first : 0);
        const texts = rules.map(
          ({ kind, first, target, count }) => `${kind}:${first}:${target}:${count}`,
        );
        const map = compileIdMap('translate_uid', texts);
        assert.equal(map === undefined ? id : mapId(map.toHost, id), expected);
      }),
      { numRuns: 2_000 },
    );
  });
});

suite('ids in ACLs', () => {
  const acl = (...entries: [tag: number, id: number][]): Buffer => {
    const bytes = Buffer.alloc(4 + entries.length * 8);
    bytes.writeUInt32LE(2);
    for (const [i, [tag, id]] of entries.entries()) {
      bytes.writeUInt16LE(tag, 4 + i * 8);
      bytes.writeUInt16LE(7, 6 + i * 8);
      bytes.writeUInt32LE(id, 8 + i * 8);
    }
    return bytes;
  };
  const users = compiled('map:5:1005:1', 'forbid-guest:6:1').toHost;
  const groups = compiled('map:5:2005:1').toHost;
  const NONE = INVALID;

  test('named users and groups are translated, each by its own map', () => {
    const value = acl([1, NONE], [2, 5], [2, 7], [4, NONE], [8, 5], [16, NONE], [32, NONE]);
    assert.equal(mapAclIds(value, 0, value.length, users, groups), 0);
    const mapped = acl([1, NONE], [2, 1005], [2, 7], [4, NONE], [8, 2005], [16, NONE], [32, NONE]);
    assert.deepEqual(value, mapped);
    const half = acl([2, 5], [8, 5]);
    mapAclIds(half, 0, half.length, undefined, groups);
    assert.deepEqual(half, acl([2, 5], [8, 2005]));
  });

  test('a forbidden id is told', () => {
    const value = acl([1, NONE], [2, 6]);
    assert.equal(mapAclIds(value, 0, value.length, users, groups), FORBIDDEN_ID);
    const group = acl([8, 6]);
    assert.equal(mapAclIds(group, 0, group.length, users, groups), 0);
  });

  test('what is no ACL, or cut off, is left as it is behind the cut', () => {
    for (let length = 0; length < 12; length++) {
      const value = acl([2, 5]);
      assert.equal(mapAclIds(value, 0, length, users, groups), 0);
      assert.deepEqual(value, acl([2, 5]), `${length} bytes`);
    }
    const other = acl([2, 5]);
    other.writeUInt32LE(3);
    const before = Buffer.from(other);
    assert.equal(mapAclIds(other, 0, other.length, users, groups), 0);
    assert.deepEqual(other, before);
  });
});
