/** Errors as answers. */
import { ERRNO } from '../abi/errno.ts';

type Negative = {
  readonly [N in keyof typeof ERRNO]: `-${(typeof ERRNO)[N]}` extends `${infer M extends number}`
    ? M
    : never;
};

/** Errors by name, negative as an operation answers them: `return Errno.ENOENT`. */
export const Errno = Object.freeze(
  Object.fromEntries(Object.entries(ERRNO).map(([name, number]) => [name, -number])),
) as Negative;

/** An error as an operation answers it. */
export type Errno = Negative[keyof Negative];

/** The kernel takes no reply with an error beyond this (fs/fuse/dev.c). */
const LAST_ERRNO = 511;

/** Whether a number is an error a reply may carry. */
export function isErrno(value: unknown): value is Errno {
  return Number.isInteger(value) && (value as number) < 0 && (value as number) >= -LAST_ERRNO;
}

/**
 * The error in what a function of Node threw, such as those of node:fs: EIO where there is none.
 * For `catch (error) { return errnoOf(error); }`.
 */
export function errnoOf(error: unknown): Errno {
  const errno: unknown = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return isErrno(errno) ? errno : Errno.EIO;
}
