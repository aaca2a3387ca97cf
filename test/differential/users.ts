/** Who the actors are. */

export interface User {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

/** `alike`: every actor is the user who started the tester. `users`: root and three others. */
export type Company = 'alike' | 'users';

/** As many work on each side. */
export const ACTORS = 4;

/** Groups that several users have. Nobody has these numbers in /etc/group, which is as good. */
export const TEAM = 72_100;
export const CLUB = 72_101;

/** More groups than FUSE or an old NFS would carry. */
const MANY_GROUPS = Array.from({ length: 40 }, (_, index) => 72_200 + index);

const ROOT: User = { uid: 0, gid: 0, groups: [0] };

/** Their primary groups differ, two of them are in TEAM and two in CLUB. */
export const USERS: readonly User[] = [
  ROOT,
  { uid: 71_001, gid: 72_001, groups: [72_001, TEAM] },
  { uid: 71_002, gid: 72_002, groups: [72_002, TEAM, CLUB] },
  { uid: 71_003, gid: 72_003, groups: [...MANY_GROUPS, CLUB] },
];

/** The actors of a company; none stands for the user who runs the tester. */
export function usersOf(company: Company): readonly (User | undefined)[] {
  return company === 'users' ? USERS : new Array<undefined>(ACTORS).fill(undefined);
}
