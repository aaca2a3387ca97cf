/** What the log says of a layer that did something wrong. */
import { LayerMistake } from './wire.ts';

/** @param error what it threw, or a LayerMistake that says what its answer lacks */
export function mistakeText(layer: string, operation: string, error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const what = error instanceof LayerMistake ? error.message : `it threw ${stack}`;
  return `layer ${layer}, ${operation}: answered EIO: ${what}`;
}
