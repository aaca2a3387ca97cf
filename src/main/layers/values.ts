/** What programs need to write layers and file systems. */
export { Errno, errnoOf } from '../../shared/layers/errno.ts';
export { newAttr, OPEN_FLAG } from '../../shared/layers/new-attr.ts';
export type * from '../../shared/layers/types.ts';
