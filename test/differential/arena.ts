/** Two directories on one file system, the second seen through a mount, and the crews that work there. */
import { existsSync } from 'node:fs';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { compareSides, type SideResult } from './compare.ts';
import { Crew } from './crew.ts';
import type { TreeEntry, Trial } from './operations.ts';
import { type Company, usersOf } from './users.ts';

export interface ArenaPaths {
  /** The plain directory. */
  readonly plain: string;
  /** The mount, or in a self-check a second plain directory. */
  readonly mounted: string;
  /** The directory behind the mount. */
  readonly backing: string;
}

/** All that one trial gave. */
export interface TrialResult {
  readonly plain: SideResult;
  readonly mounted: SideResult;
  readonly backing: readonly TreeEntry[];
  /** What came of removing the trial's directory through the mount. */
  readonly removal: { readonly result: number; readonly isGone: boolean };
}

/** The first difference in words, or nothing. */
export function judge(
  trial: Trial,
  { plain, mounted, backing, removal }: TrialResult,
  flags: readonly string[] = [],
): string | undefined {
  const difference = compareSides(trial, plain, mounted, backing, flags);
  if (difference !== undefined) {
    return difference;
  }
  if (removal.result < 0) {
    return `removing the tree through the mount failed: ${errnoName(removal.result)}`;
  }
  return removal.isGone ? undefined : 'the tree removed through the mount is still in the backing';
}

/** Runs trials on both sides at the same time. */
export class Arena {
  readonly #paths: ArenaPaths;
  readonly #flags: readonly string[];
  readonly #plainCrew: Crew;
  readonly #mountedCrew: Crew;
  #trials = 0;

  /** @param flags - those of the mount, by which some differences are known */
  constructor(paths: ArenaPaths, flags: readonly string[] = [], company: Company = 'alike') {
    this.#paths = paths;
    this.#flags = flags;
    this.#plainCrew = new Crew(paths.plain, usersOf(company));
    this.#mountedCrew = new Crew(paths.mounted, usersOf(company));
  }

  /**
   * One trial in a directory of its own, which is removed afterwards.
   *
   * @throws when an actor dies or hangs
   */
  async run(trial: Trial): Promise<TrialResult> {
    const { plain, mounted, backing } = this.#paths;
    this.#trials += 1;
    const name = `trial${this.#trials}`;
    const crews = [this.#plainCrew, this.#mountedCrew];
    await Promise.all(crews.map((crew) => crew.prepare(name)));
    const [plainOutcomes, mountedOutcomes] = await Promise.all(
      crews.map((crew) => crew.perform(name, trial)),
    );
    await this.#mountedCrew.flush();
    const [plainTree, mountedTree] = await Promise.all([
      this.#plainCrew.snapshot(plain, name),
      this.#mountedCrew.snapshot(mounted, name),
    ]);
    const backingTree = await this.#plainCrew.snapshot(backing, name);
    const [, result] = await Promise.all(crews.map((crew) => crew.remove(name)));
    return {
      plain: { outcomes: plainOutcomes, tree: plainTree },
      mounted: { outcomes: mountedOutcomes, tree: mountedTree },
      backing: backingTree,
      removal: { result, isGone: !existsSync(`${backing}/${name}`) },
    };
  }

  /** Runs a trial and judges it. */
  async trial(trial: Trial): Promise<string | undefined> {
    return judge(trial, await this.run(trial), this.#flags);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#plainCrew.stop(), this.#mountedCrew.stop()]);
  }
}
