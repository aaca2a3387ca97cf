/**
 * Set-user-id and set-group-id bits, which a file loses when somebody without CAP_FSETID changes it
 * or gives it away. The host takes them as it would for the caller: the change is made without
 * CAP_FSETID. One case depends on the caller's groups: where the group may not execute, members
 * keep the set-group-id bit (setattr_should_drop_sgid, fs/attr.c).
 */
import {
  CAP_FOWNER,
  CAP_FSETID,
  S_IFDIR,
  S_IFMT,
  S_ISGID,
  S_ISUID,
  S_IXGRP,
  STATX,
  STATX_BASIC_STATS,
} from '../sys/constants.ts';
import { INVALID_ID } from '../sys/credentials.ts';
import { statxInto } from './attributes.ts';
import { callerHas, callerKeepsSetGid, takeCallersGroups } from './caller.ts';
import { NEGOTIATED } from './config.ts';
import { type Context, SCRATCH } from './context.ts';

function modeAt(ctx: Context): number {
  return ctx.u32[(ctx.scratch + SCRATCH.STATX2 + STATX.mode) >> 2] & 0xffff;
}

function gidAt(ctx: Context): number {
  return ctx.u32[(ctx.scratch + SCRATCH.STATX2 + STATX.gid) >> 2];
}

/** Whether a file, of any descriptor, has set-id bits to lose. */
export function hasSetIds(ctx: Context, fd: number): boolean {
  const error = statxInto(ctx, fd, SCRATCH.STATX2, STATX_BASIC_STATS);
  // What cannot be seen is taken.
  if (error < 0) ctx.u32[(ctx.scratch + SCRATCH.STATX2 + STATX.mode) >> 2] = S_ISUID;
  const mode = modeAt(ctx);
  return (mode & (S_ISUID | S_ISGID)) !== 0 && (mode & S_IFMT) !== S_IFDIR;
}

/**
 * Whether a change of data takes set-id bits. With HANDLE_KILLPRIV_V2 the kernel says so, where the
 * caller has no CAP_FSETID; without it nobody tells, and nearly always only root has it.
 */
export function killsSetIds(ctx: Context, isToldTo: boolean): boolean {
  return ctx.has(NEGOTIATED.KILLPRIV_V2) ? isToldTo : ctx.callerUid() !== 0;
}

/** The same for changes of which the kernel says nothing, but sends a SETATTR for some of them. */
export function takesSetIds(ctx: Context, fd: number): boolean {
  return hasSetIds(ctx, fd) && !callerHas(ctx, CAP_FSETID);
}

/** Whether a set-group-id bit, which hasSetIds() has just looked at, is left to members of the group. */
function dependsOnGroup(ctx: Context): boolean {
  return (modeAt(ctx) & (S_ISGID | S_IXGRP)) === S_ISGID;
}

/**
 * Begins a change of a file's data or owner that takes its set-id bits. The end must follow.
 * @returns whether there are any
 */
export function beginSetIdKill(ctx: Context, fd: number): boolean {
  if (!hasSetIds(ctx, fd)) return false;
  if (dependsOnGroup(ctx)) takeCallersGroups(ctx);
  else ctx.dropFsetid();
  return true;
}

/** Ends what beginSetIdKill() began. */
export function endSetIdKill(ctx: Context): void {
  ctx.becomeSelf();
  ctx.restoreFsetid();
}

/** The permission bits that a file keeps, or -1 if it has nothing to lose. */
export function modeWithoutSetIds(ctx: Context, fd: number): number {
  if (!hasSetIds(ctx, fd)) return -1;
  const mode = modeAt(ctx) & 0o7777;
  const isKept = dependsOnGroup(ctx) && callerKeepsSetGid(ctx, gidAt(ctx));
  const left = mode & ~(isKept ? S_ISUID : S_ISUID | S_ISGID);
  return left === mode ? -1 : left;
}

/** Whether the file that hasSetIds() has just looked at counts as the caller's. */
export function callerOwns(ctx: Context): boolean {
  const uid = ctx.u32[(ctx.scratch + SCRATCH.STATX2 + STATX.uid) >> 2];
  const caller = ctx.callerUid();
  // An idmapped mount names the caller of creations only.
  return uid === caller || caller === INVALID_ID || callerHas(ctx, CAP_FOWNER);
}
