/**
 * Ids of the calling thread. The raw system calls change one thread; libc's wrappers of the same name
 * change every thread of the process (nptl(7)). Only the effective ids change, so that the way back
 * is open; the kernel empties the effective capabilities with the effective uid 0 and fills them
 * from the permitted ones on return (capabilities(7)).
 */
import { EffectiveSet, hasCapability } from './capabilities.ts';
import { CAP_SETGID, CAP_SETUID, PR_SET_KEEPCAPS } from './constants.ts';
import { addressOf, getgroups, prctl, setgroups, setresgid, setresuid } from './libc.ts';

/** The id that setresuid(2) and setresgid(2) take for "leave it": nobody can act as this one. */
export const INVALID_ID = 0xffffffff;
/** NGROUPS_MAX (include/uapi/linux/limits.h). */
const GROUPS_MAX = 65536;

/**
 * Lets the calling thread act as somebody else for the length of a call, and back. Belongs to the
 * thread that made it.
 */
export class Credentials {
  /** Whether this thread may take other ids at all. */
  readonly canSwitch: boolean;
  readonly uid = process.geteuid?.() ?? 0;
  readonly gid = process.getegid?.() ?? 0;
  #ownGroups: Uint32Array;
  readonly #groups = new Uint32Array(new SharedArrayBuffer(4));
  readonly #groupsAddress = addressOf(this.#groups);
  readonly #capabilities = new EffectiveSet();
  /** What has to be taken back. */
  #hasUid = false;
  #hasGid = false;
  #hasGroups = false;
  #hasCapabilities = false;

  constructor() {
    this.canSwitch = hasCapability(CAP_SETUID) && hasCapability(CAP_SETGID);
    this.#ownGroups = currentGroups();
    // Else the way back from root would take the permitted capabilities as well.
    if (this.canSwitch && this.uid !== 0) prctl(PR_SET_KEEPCAPS, 1);
  }

  /**
   * Gives up the supplementary groups of this thread for good, so that acting as another user needs
   * no switch of them: a set of groups that came with the daemon's own user must not help a caller.
   * @returns 0 or -errno
   */
  dropGroups(): number {
    if (!this.canSwitch) return 0;
    const error = setgroups(0, 0);
    if (error === 0) this.#ownGroups = groupList([]);
    return error;
  }

  /** Whether a switch is needed to act as these. */
  differ(uid: number, gid: number): boolean {
    return this.canSwitch && (uid !== this.uid || gid !== this.gid);
  }

  /**
   * Takes these ids, and one supplementary group or none; gid first, since without uid 0 it could
   * not.
   * @param group a supplementary group, or -1 for none
   * @returns 0 or -errno; restore() is due in both cases
   */
  become(uid: number, gid: number, group: number): number {
    this.#groups[0] = group;
    const count = group < 0 ? 0 : 1;
    return this.#switch(uid, gid, count === 0 && this.#ownGroups.length === 0 ? -1 : count);
  }

  /** The same with any number of supplementary groups. */
  becomeWithGroups(uid: number, gid: number, groups: readonly number[]): number {
    const list = groupList(groups.slice(0, GROUPS_MAX));
    const error = setgroups(list.length, addressOf(list));
    if (error < 0) return error;
    this.#hasGroups = true;
    return this.#switch(uid, gid, -1);
  }

  /** @param groups how many of `#groups` to set, -1 to leave what is */
  #switch(uid: number, gid: number, groups: number): number {
    if (groups >= 0) {
      const error = setgroups(groups, this.#groupsAddress);
      if (error < 0) return error;
      this.#hasGroups = true;
    }
    if (gid !== this.gid) {
      const error = setresgid(INVALID_ID, gid, INVALID_ID);
      if (error < 0) return error;
      this.#hasGid = true;
    }
    if (uid !== this.uid) {
      const error = setresuid(INVALID_ID, uid, INVALID_ID);
      if (error < 0) return error;
      this.#hasUid = true;
    }
    // Between two users that are not root the kernel leaves the capabilities alone.
    return this.uid !== 0 && uid !== 0 && uid !== this.uid ? this.limitCapabilities(0) : 0;
  }

  /** Has the thread act with these of the lower 32 capabilities, as far as it may. @returns 0 or -errno */
  limitCapabilities(capabilities: number): number {
    this.#hasCapabilities = true;
    return this.#capabilities.limitTo(capabilities);
  }

  /**
   * Takes the thread's own ids back, whatever part of a switch has come about.
   * @returns 0 or -errno, after which the thread must not do anything any more
   */
  restore(): number {
    let error = 0;
    if (this.#hasUid) error = setresuid(INVALID_ID, this.uid, INVALID_ID);
    // The way back to root fills them; any other user's have to be put back, or there is no way back
    // for the groups.
    const areGone = this.#hasUid && this.uid !== 0;
    if (error === 0 && (this.#hasCapabilities || areGone)) error = this.#capabilities.restore();
    if (error === 0 && this.#hasGid) error = setresgid(INVALID_ID, this.gid, INVALID_ID);
    if (error === 0 && this.#hasGroups) {
      error = setgroups(this.#ownGroups.length, addressOf(this.#ownGroups));
    }
    if (error < 0) return error;
    this.#hasCapabilities = false;
    this.#hasUid = false;
    this.#hasGid = false;
    this.#hasGroups = false;
    return 0;
  }
}

/** Of this thread; process.getgroups() adds the effective group. */
function currentGroups(): Uint32Array {
  const list = groupList(new Array<number>(Math.max(getgroups(0, 0), 0)).fill(0));
  getgroups(list.length, addressOf(list));
  return list;
}

function groupList(groups: readonly number[]): Uint32Array {
  const list = new Uint32Array(
    new SharedArrayBuffer(4 * Math.max(groups.length, 1)),
    0,
    groups.length,
  );
  list.set(groups);
  return list;
}
