import type { Stage } from './stage.ts';

/** A named property of a directory. The name is `family/what holds: variant`. */
export interface Behaviour {
  readonly name: string;
  run(stage: Stage): void;
}

/** A family's behaviours from their titles. */
export function family(
  name: string,
  behaviours: readonly (readonly [title: string, run: (stage: Stage) => void])[],
): Behaviour[] {
  return behaviours.map(([title, run]) => ({ name: `${name}/${title}`, run }));
}

/** One behaviour per value: its title ends in the value. */
export function each<T>(
  title: string,
  values: readonly T[],
  run: (stage: Stage, value: T) => void,
  show: (value: T) => string = String,
): (readonly [string, (stage: Stage) => void])[] {
  return values.map((value) => [`${title}: ${show(value)}`, (stage) => run(stage, value)]);
}
