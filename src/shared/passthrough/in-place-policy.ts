/**
 * What main answers itself although the disk could delay it. A hop to a lane and back costs more than
 * most calls on a local file system do, so main makes them as long as they are quick: calls that wait
 * for the disk send the requests of their backing mount to the lanes for a while.
 *
 * Never here: fsync and whatever may take any time by its nature, cold reads (RWF_NOWAIT says so),
 * opens by file handle, other than local file systems.
 */
import { FATTR_SIZE } from '../abi/flags.ts';
import { OP, OPCODE_LIMIT } from '../abi/opcodes.ts';
import {
  COPY_FILE_RANGE_IN,
  LINK_IN,
  OPEN_IN,
  READ_IN,
  RELEASE_IN,
  RENAME_IN,
  SETATTR_IN,
  WRITE_IN,
} from '../abi/structs.ts';
import { MOUNT_CAPACITY, MOUNT_FLAG } from '../memory/mount-table.ts';
import {
  O_ACCMODE,
  O_RDONLY,
  O_TRUNC,
  RUSAGE,
  RUSAGE_THREAD,
  S_IFMT,
  S_IFREG,
  STATX,
  STATX_BASIC_STATS,
} from '../sys/constants.ts';
import { getrusage } from '../sys/libc.ts';
import { statxInto } from './attributes.ts';
import { IN_PLACE, IN_PLACE_BYTES, NEGOTIATED } from './config.ts';
import { type Context, SCRATCH } from './context.ts';
import { isInMemory } from './mounts.ts';

/** A call that takes longer was delayed by something: a disk, or another program on our CPU. */
const SLOW_CALL_US = 1000;
/** After a slow call so many are watched, to tell one from the other. */
const WATCHED_CALLS = 64;
/** 1 MiB: what a file has at the most, in blocks of 512 bytes, that main removes. */
const SMALL_FILE_BLOCKS = 2048;
/** For so many times its length main keeps away from the mount, within bounds. */
const REST_FACTOR = 20;
const SHORTEST_REST_US = 20_000;
const LONGEST_REST_US = 5_000_000;

/** What only looks. */
const QUICK_LOOKS = [
  OP.LOOKUP,
  OP.GETATTR,
  OP.READLINK,
  OP.OPEN,
  OP.READ,
  OP.RELEASE,
  OP.GETXATTR,
  OP.LISTXATTR,
  OP.OPENDIR,
  OP.READDIR,
  OP.RELEASEDIR,
  OP.READDIRPLUS,
  OP.LSEEK,
  OP.STATX,
];

/** What changes something, for which a file system that is frozen makes it wait. */
const QUICK_CHANGES = [
  OP.SETATTR,
  OP.SYMLINK,
  OP.MKNOD,
  OP.MKDIR,
  OP.UNLINK,
  OP.RMDIR,
  OP.RENAME,
  OP.RENAME2,
  OP.LINK,
  OP.WRITE,
  OP.SETXATTR,
  OP.REMOVEXATTR,
  OP.CREATE,
  OP.COPY_FILE_RANGE,
  OP.COPY_FILE_RANGE_64,
];

const LOOK = 1;
const CHANGE = 2;

/** The thread that answers in place. */
export interface ThreadInPlace {
  /** Whether somebody receives in its place while it hangs in a call. */
  readonly hasDeputy: boolean;
  /** Whether slow calls are left to lanes for a while. */
  readonly keepsAway: boolean;
  /** Whether no other request waits for it. */
  isAlone(): boolean;
}

export class InPlacePolicy {
  /** Off where op_timeout has to end what takes long: of a call that main is in nobody can. */
  isAllowed = true;
  readonly #ctx: Context;
  readonly #thread: ThreadInPlace;
  /** By opcode: LOOK or CHANGE for what is quick, and no layer has to see; else 0. */
  readonly #quick = new Uint8Array(OPCODE_LIMIT);
  /** By backing mount: until when its requests go to the lanes, microseconds of nowUs(). */
  readonly #restsUntilUs = new Float64Array(MOUNT_CAPACITY);
  /** By backing mount: calls to be watched. */
  readonly #watched = new Int32Array(MOUNT_CAPACITY);
  /** Waits of this thread before the call under way, if it is watched. */
  #waitsBefore = 0;

  constructor(ctx: Context, thread: ThreadInPlace) {
    this.#ctx = ctx;
    this.#thread = thread;
    this.#enter(QUICK_LOOKS, LOOK);
    this.#enter(QUICK_CHANGES, CHANGE);
  }

  #enter(opcodes: readonly number[], kind: number): void {
    for (const opcode of opcodes) {
      if (this.#ctx.config.inPlace[opcode] !== IN_PLACE.NEVER) this.#quick[opcode] = kind;
    }
  }

  /**
   * Whether main should run the loaded request to its end, if nothing in it has to wait for more than
   * a local disk.
   * @param mount the backing mount of its inode
   */
  mayBeBold(mount: number): boolean {
    const ctx = this.#ctx;
    if (ctx.opcode >= OPCODE_LIMIT || this.#quick[ctx.opcode] === 0) return false;
    if (!this.#mayCall(mount)) return false;
    if (this.#quick[ctx.opcode] === CHANGE && !this.#mayChange(mount)) return false;
    switch (ctx.opcode) {
      case OP.RELEASE:
        // Unlocking has others try for their locks. The close after writing may be a change (xfs).
        return (
          !ctx.has(NEGOTIATED.POSIX_LOCKS | NEGOTIATED.FLOCK_LOCKS) &&
          ((ctx.arg32(RELEASE_IN.flags) & O_ACCMODE) === O_RDONLY || this.#mayChange(mount))
        );
      case OP.SETATTR:
        return (ctx.arg32(SETATTR_IN.valid) & FATTR_SIZE) === 0;
      case OP.OPEN:
        return (ctx.arg32(OPEN_IN.flags) & O_TRUNC) === 0;
      case OP.READDIR:
      case OP.READDIRPLUS:
        return ctx.arg32(READ_IN.size) <= IN_PLACE_BYTES;
      case OP.READ:
        return this.#isShort(ctx.arg32(READ_IN.size), mount);
      case OP.WRITE:
        return this.#isShort(ctx.arg32(WRITE_IN.size), mount);
      case OP.RENAME:
      case OP.RENAME2:
        return this.#mayChange(ctx.mountOf(ctx.argLo(RENAME_IN.newdir)));
      case OP.LINK:
        return this.#mayChange(ctx.mountOf(ctx.argLo(LINK_IN.oldnodeid)));
      case OP.COPY_FILE_RANGE:
      case OP.COPY_FILE_RANGE_64:
        return this.#mayChange(ctx.mountOf(ctx.argLo(COPY_FILE_RANGE_IN.nodeid_out)));
      default:
        return true;
    }
  }

  /**
   * Whether main should close this descriptor, although it may be the last one of a file without a name:
   * a small file is soon removed. Not the last one of a mount that was detached, which has a name.
   */
  mayClose(fd: number, mount: number): boolean {
    const ctx = this.#ctx;
    if (!this.#mayCall(mount)) return false;
    if (statxInto(ctx, fd, SCRATCH.STATX2, STATX_BASIC_STATS) < 0) return false;
    const at = (ctx.scratch + SCRATCH.STATX2) >> 2;
    const isFile = (ctx.u32[at + (STATX.mode >> 2)] & S_IFMT) === S_IFREG;
    if (!isFile && ctx.u32[at + (STATX.nlink >> 2)] !== 0) return false;
    const blocks = at + (STATX.blocks >> 2);
    return ctx.u32[blocks] <= SMALL_FILE_BLOCKS && ctx.u32[blocks + 1] === 0;
  }

  /** Whether so many bytes are soon copied; in memory also more of them, where nobody waits meanwhile. */
  #isShort(sizeBytes: number, mount: number): boolean {
    if (sizeBytes <= IN_PLACE_BYTES) return true;
    return isInMemory(this.#ctx, mount) && this.#thread.isAlone();
  }

  #mayCall(mount: number): boolean {
    const isResting = this.#ctx.receivedUs < this.#restsUntilUs[mount];
    return this.isAllowed && !isResting && this.#answersSoon(mount);
  }

  /** A call of main's on this mount begins. */
  begins(mount: number): void {
    if (this.#watched[mount] > 0) this.#waitsBefore = this.#waits();
  }

  /**
   * The call has ended. The first slow one proves nothing: main may have waited for its CPU. Where
   * one that is watched waited for something else, main keeps away.
   */
  ended(mount: number, elapsedUs: number): void {
    const isWatched = this.#watched[mount] > 0;
    if (isWatched) this.#watched[mount]--;
    if (elapsedUs < SLOW_CALL_US) return;
    this.#watched[mount] = WATCHED_CALLS;
    if (!isWatched || this.#waits() === this.#waitsBefore || !this.#thread.keepsAway) return;
    const restUs = Math.min(LONGEST_REST_US, Math.max(SHORTEST_REST_US, REST_FACTOR * elapsedUs));
    this.#restsUntilUs[mount] = this.#ctx.receivedUs + elapsedUs + restUs;
  }

  /** How often this thread has waited for anything but its CPU (ru_nvcsw), modulo 2^32. */
  #waits(): number {
    const ctx = this.#ctx;
    getrusage(RUSAGE_THREAD, ctx.scratchAddress(SCRATCH.RUSAGE));
    return ctx.u32[(ctx.scratch + SCRATCH.RUSAGE + RUSAGE.nvcsw) >> 2];
  }

  /** Without a deputy nobody would go on while a frozen disk holds this thread up. */
  #mayChange(mount: number): boolean {
    return (this.#thread.hasDeputy || isInMemory(this.#ctx, mount)) && this.#answersSoon(mount);
  }

  /** Whether calls on this mount should be short; main may have been caught in one that was not. */
  #answersSoon(mount: number): boolean {
    const { mounts } = this.#ctx.tables;
    return mounts.hasFlag(mount, MOUNT_FLAG.LOCAL) && !mounts.hasFlag(mount, MOUNT_FLAG.LANES_ONLY);
  }
}
