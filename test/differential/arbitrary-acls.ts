/** Arbitrary POSIX ACLs: most are right, and the others wrong in one thing. */
import fc from 'fast-check';
import type { Acl } from './operations.ts';

type Entries = Acl['entries'];

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const TAG = { USER_OBJ: 1, USER: 2, GROUP_OBJ: 4, GROUP: 8, MASK: 16, OTHER: 32 } as const;
const NO_ID = -1;

const permissions = fc.constantFrom(7, 7, 6, 5, 4, 0, 3);

function named(id: fc.Arbitrary<number>): fc.Arbitrary<[number, number][]> {
  return fc.array(fc.tuple(id, permissions), { maxLength: 2 });
}

function rightAcl(uid: fc.Arbitrary<number>, gid: fc.Arbitrary<number>): fc.Arbitrary<Acl> {
  return fc
    .record({
      base: fc.tuple(permissions, permissions, permissions),
      users: named(uid),
      groups: named(gid),
      mask: fc.option(permissions),
    })
    .map(({ base: [owner, group, other], users, groups, mask }) => {
      const hasMask = mask !== null || users.length > 0 || groups.length > 0;
      const entries: Entries = [
        [TAG.USER_OBJ, owner, NO_ID],
        ...users.map(([id, bits]) => [TAG.USER, bits, id] as const),
        [TAG.GROUP_OBJ, group, NO_ID],
        ...groups.map(([id, bits]) => [TAG.GROUP, bits, id] as const),
        ...(hasMask ? [[TAG.MASK, mask ?? 7, NO_ID] as const] : []),
        [TAG.OTHER, other, NO_ID],
      ];
      return { version: VERSION, entries, cut: 0 };
    });
}

const DAMAGES: readonly ((acl: Acl) => Acl)[] = [
  (acl) => ({ ...acl, version: 1 }),
  (acl) => ({ ...acl, cut: 1 }),
  (acl) => ({ ...acl, cut: ENTRY_BYTES }),
  // No ACL at all, with a header and without: that is how one is taken away.
  (acl) => ({ ...acl, cut: ENTRY_BYTES * acl.entries.length }),
  (acl) => ({ ...acl, cut: HEADER_BYTES + ENTRY_BYTES * acl.entries.length }),
  (acl) => ({ ...acl, entries: acl.entries.toReversed() }),
  (acl) => ({ ...acl, entries: acl.entries.filter(([tag]) => tag !== TAG.MASK) }),
  (acl) => ({ ...acl, entries: acl.entries.with(0, [TAG.USER_OBJ, 8, NO_ID]) }),
  (acl) => ({ ...acl, entries: acl.entries.with(0, [3, 7, NO_ID]) }),
  (acl) => ({ ...acl, entries: [...acl.entries, [TAG.OTHER, 7, NO_ID]] }),
  (acl) => ({ ...acl, entries: acl.entries.with(0, [TAG.USER, 7, NO_ID]) }),
];

/** @param uid - of named users; @param gid - of named groups */
export function acls(uid: fc.Arbitrary<number>, gid: fc.Arbitrary<number>): fc.Arbitrary<Acl> {
  const right = rightAcl(uid, gid);
  return fc.oneof(
    { weight: 6, arbitrary: right },
    {
      weight: 1,
      arbitrary: fc
        .tuple(right, fc.constantFrom(...DAMAGES))
        .map(([acl, damage]): Acl => damage(acl)),
    },
  );
}
