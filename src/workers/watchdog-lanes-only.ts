/**
 * Which backing mounts are left to the lanes, and for how long: a snapshot that froze a disk for two
 * seconds once should not cost it main's quick answers for years. Only where a deputy receives while
 * main hangs: then the next time costs little.
 */
import { MOUNT_FLAG, type MountTable } from '../shared/memory/mount-table.ts';

/** For so long at first, and twice as long each time main is caught again. */
const FIRST_MS = 5 * 60_000;
const LONGEST_MS = 24 * 60 * 60_000;

interface Leave {
  readonly forMs: number;
  /** Infinity once it is over. */
  endsMs: number;
}

export class LanesOnly {
  readonly #mounts: MountTable;
  /** By place of the mount; another mount that comes to this place inherits the length. */
  readonly #leaves = new Map<number, Leave>();

  constructor(mounts: MountTable) {
    this.#mounts = mounts;
  }

  /** Leaves a mount to the lanes. @returns for how long, milliseconds; Infinity: for good */
  begin(mount: number, nowMs: number, hasDeputy: boolean): number {
    const before = this.#leaves.get(mount)?.forMs ?? FIRST_MS / 2;
    const forMs = hasDeputy ? Math.min(2 * before, LONGEST_MS) : Number.POSITIVE_INFINITY;
    this.#leaves.set(mount, { forMs, endsMs: nowMs + forMs });
    this.#mounts.setFlag(mount, MOUNT_FLAG.LANES_ONLY);
    return forMs;
  }

  /** The call is over in which main was caught: the time counts from now. */
  goesOn(mount: number, nowMs: number): void {
    const leave = this.#leaves.get(mount);
    if (leave !== undefined) leave.endsMs = nowMs + leave.forMs;
  }

  /** Called at intervals, but not while main is caught. @returns the mounts that main serves again */
  end(nowMs: number): number[] {
    const ended: number[] = [];
    for (const [mount, leave] of this.#leaves) {
      if (nowMs < leave.endsMs) continue;
      leave.endsMs = Number.POSITIVE_INFINITY;
      this.#mounts.clearFlag(mount, MOUNT_FLAG.LANES_ONLY);
      ended.push(mount);
    }
    return ended;
  }
}
