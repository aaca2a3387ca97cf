import type { Behaviour } from './behaviour.ts';
import { acls } from './families/acls.ts';
import { attributes } from './families/attributes.ts';
import { concurrent } from './families/concurrent.ts';
import { data } from './families/data.ts';
import { directories } from './families/directories.ts';
import { names } from './families/names.ts';
import { opening } from './families/opening.ts';
import { ownership } from './families/ownership.ts';
import { paths } from './families/paths.ts';
import { permissions } from './families/permissions.ts';
import { rename } from './families/rename.ts';
import { restricted } from './families/restricted.ts';
import { special } from './families/special.ts';
import { sticky } from './families/sticky.ts';
import { times } from './families/times.ts';
import { xattrs } from './families/xattrs.ts';

/** The behaviours, in the order they are tried. */
export const SETS = {
  /** Each in an empty directory of its own. */
  general: [
    ...ownership,
    ...permissions,
    ...sticky,
    ...paths,
    ...attributes,
    ...names,
    ...rename,
    ...opening,
    ...times,
    ...xattrs,
    ...acls,
    ...data,
    ...directories,
    ...special,
    ...concurrent,
  ],
  /** In a tree that was prepared, below a mount with an option. */
  restricted,
} as const satisfies Record<string, readonly Behaviour[]>;

export type SetName = keyof typeof SETS;
