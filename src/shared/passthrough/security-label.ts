/**
 * Labels of security modules for what a request creates. Where --security-label is negotiated the
 * client's kernel sends the label along, and nobody gets to see the new file without it: the kernel
 * holds the directory until the answer.
 */

import { setxattr } from '../sys/libc.ts';
import type { Context } from './context.ts';
import {
  findSecurityContext,
  securityLabelAt,
  securityLabelBytes,
  securityName,
  securityNameLength,
} from './extensions.ts';
import { procPathFromHere } from './inode-access.ts';
import { hostXattrName } from './xattrs.ts';

/**
 * Gives a new file the label that came with the request, if one did. By path, since it may be
 * anything: opening a device or fifo is no way to reach its attributes.
 * @param fd any descriptor of it
 * @returns 0 or -errno; the file must not stay without its label
 */
export function setSecurityLabel(ctx: Context, fd: number): number {
  if (!ctx.config.securityLabel) return 0;
  const context = findSecurityContext(ctx);
  if (context <= 0) return context;
  const name = hostXattrName(ctx, securityName(context), securityNameLength(ctx, context));
  if (name < 0) return name;
  return setxattr(
    procPathFromHere(ctx, fd),
    ctx.address(name),
    ctx.address(securityLabelAt(ctx, context)),
    securityLabelBytes(ctx, context),
    0,
  );
}
