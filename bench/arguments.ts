/** Arguments that several of the benchmarks take. */
import { InvalidArgumentError } from 'commander';

/** A whole number from 1. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('a number from 1.');
  return count;
}

/** Names of what is known, separated by commas. */
export function parseList<T extends { readonly name: string }>(known: readonly T[]) {
  return (text: string): T[] =>
    text.split(',').map((name) => {
      const found = known.find((item) => item.name === name);
      if (found !== undefined) return found;
      const names = known.map((item) => item.name).join(', ');
      throw new InvalidArgumentError(`'${name}' is none of ${names}.`);
    });
}
