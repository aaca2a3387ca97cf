/** Arguments that several of the benchmarks take. */
import { accessSync, constants, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { InvalidArgumentError } from 'commander';

const LARGEST_COUNT = 2 ** 31 - 1;

/** A whole number from 1. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= LARGEST_COUNT) return count;
  throw new InvalidArgumentError(`a number from 1 to ${LARGEST_COUNT}.`);
}

/** A file to be written when all is measured: that it can be is known before. */
export function parseOutputFile(path: string): string {
  try {
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
    return path;
  } catch (error) {
    throw new InvalidArgumentError(`it cannot be written: ${(error as Error).message}.`);
  }
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
