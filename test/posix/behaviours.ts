import type { Behaviour } from './behaviour.ts';
import { ownership } from './families/ownership.ts';
import { permissions } from './families/permissions.ts';
import { sticky } from './families/sticky.ts';

/** Every behaviour, in the order they are tried. */
export const BEHAVIOURS: readonly Behaviour[] = [...ownership, ...permissions, ...sticky];
