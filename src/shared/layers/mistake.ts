/** What the log says of a layer that did something wrong. */
import { LayerMistake } from './wire.ts';

/** What is logged once, and counted from then on. */
export function mistakeKey(layer: string, operation: string, error: unknown): string {
  return `layer-${layer}-${operation}-${error instanceof LayerMistake ? error.kind : 'throw'}`;
}

/** @param error what it threw, or a LayerMistake that says what its answer lacks */
export function mistakeText(layer: string, operation: string, error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const what = error instanceof LayerMistake ? error.message : `it threw ${stack}`;
  const isAfter =
    error instanceof LayerMistake && (error.kind === 'late' || error.kind === 'twice');
  return `layer ${layer}, ${operation}: ${isAfter ? '' : 'answered EIO: '}${what}`;
}
