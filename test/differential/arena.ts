/** Two directories on one file system, the second seen through a mount, and the crews that work there. */
import { existsSync } from 'node:fs';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { compareSides, type SideResult } from './compare.ts';
import { Crew } from './crew.ts';
import type { Sequence, TreeEntry } from './operations.ts';

/** As many as work at the same time on each side. */
export const ACTORS = 4;

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
  sequences: readonly Sequence[],
  { plain, mounted, backing, removal }: TrialResult,
  flags: readonly string[] = [],
): string | undefined {
  const difference = compareSides(sequences, plain, mounted, backing, flags);
  if (difference !== undefined) {
    return difference;
  }
  if (removal.result < 0) {
    return `removing the tree through the mount failed: ${errnoName(removal.result)}`;
  }
  return removal.isGone ? undefined : 'the tree removed through the mount is still in the backing';
}

/** Runs sequences on both sides at the same time. */
export class Arena {
  readonly #paths: ArenaPaths;
  readonly #flags: readonly string[];
  readonly #plainCrew: Crew;
  readonly #mountedCrew: Crew;
  #trials = 0;

  /** @param flags - those of the mount, by which some differences are known */
  constructor(paths: ArenaPaths, flags: readonly string[] = []) {
    this.#paths = paths;
    this.#flags = flags;
    this.#plainCrew = new Crew(paths.plain, ACTORS);
    this.#mountedCrew = new Crew(paths.mounted, ACTORS);
  }

  /**
   * One trial in a directory of its own, which is removed afterwards.
   *
   * @throws when an actor dies or hangs
   */
  async run(sequences: readonly Sequence[]): Promise<TrialResult> {
    const { plain, mounted, backing } = this.#paths;
    this.#trials += 1;
    const trial = `trial${this.#trials}`;
    const crews = [this.#plainCrew, this.#mountedCrew];
    await Promise.all(crews.map((crew) => crew.prepare(trial)));
    const [plainOutcomes, mountedOutcomes] = await Promise.all(
      crews.map((crew) => crew.perform(trial, sequences)),
    );
    await this.#mountedCrew.flush();
    const [plainTree, mountedTree] = await Promise.all([
      this.#plainCrew.snapshot(plain, trial),
      this.#mountedCrew.snapshot(mounted, trial),
    ]);
    const backingTree = await this.#plainCrew.snapshot(backing, trial);
    const [, result] = await Promise.all(crews.map((crew) => crew.remove(trial)));
    return {
      plain: { outcomes: plainOutcomes, tree: plainTree },
      mounted: { outcomes: mountedOutcomes, tree: mountedTree },
      backing: backingTree,
      removal: { result, isGone: !existsSync(`${backing}/${trial}`) },
    };
  }

  /** Runs a trial and judges it. */
  async trial(sequences: readonly Sequence[]): Promise<string | undefined> {
    return judge(sequences, await this.run(sequences), this.#flags);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#plainCrew.stop(), this.#mountedCrew.stop()]);
  }
}
