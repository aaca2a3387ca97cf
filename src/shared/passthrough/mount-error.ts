/**
 * Why the root of a mount could not be opened, which is what file handles of that mount need. Such a
 * failure repeats with every lookup, so that it is logged once per mount id.
 */

/** What is known about the mount at the moment of the failure. */
export interface MountRootErrorDetails {
  /** `-errno`, as the system calls give it. */
  readonly errno: number;
  readonly description: string;
  /** The 32-bit mount id of /proc/self/mountinfo. */
  readonly mountId?: number | undefined;
  /** The path of the mount's root, unescaped. */
  readonly mountRoot?: string | undefined;
}

/** A value, not an exception: operations answer with its `errno`. */
export class MountRootError {
  /** `-errno`. */
  readonly errno: number;
  readonly description: string;
  readonly mountId: number | undefined;
  readonly mountRoot: string | undefined;
  /** An error of this mount id was reported before: do not log this one. */
  readonly silent: boolean;

  constructor(details: MountRootErrorDetails, silent: boolean) {
    this.errno = details.errno;
    this.description = details.description;
    this.mountId = details.mountId;
    this.mountRoot = details.mountRoot;
    this.silent = silent;
  }

  toString(): string {
    const { description, mountId, mountRoot } = this;
    if (mountRoot === undefined) {
      return mountId === undefined
        ? description
        : `Filesystem with mount ID ${mountId}: ${description}`;
    }
    return mountId === undefined
      ? `Filesystem mounted on "${mountRoot}": ${description}`
      : `Filesystem mounted on "${mountRoot}" (mount ID: ${mountId}): ${description}`;
  }
}

/** Mount ids that are remembered; a longer list starts over, and repeats are logged once more. */
export const REPORTED_MOUNTS_LIMIT = 4096;

/** Makes the errors, and remembers which mount ids had one. */
export class MountErrorReporter {
  readonly #reported = new Set<number>();

  /**
   * The error for a failure that just happened: `silent` from the second one of a mount id on. A
   * failure without a mount id is never silent.
   */
  report(details: MountRootErrorDetails): MountRootError {
    const { mountId } = details;
    if (mountId === undefined) return new MountRootError(details, false);
    const silent = this.#reported.has(mountId);
    if (!silent && this.#reported.size >= REPORTED_MOUNTS_LIMIT) this.#reported.clear();
    this.#reported.add(mountId);
    return new MountRootError(details, silent);
  }
}
