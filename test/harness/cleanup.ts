/**
 * Clean-up that runs whatever a test does: ends well, throws, times out, or has its process stopped.
 */
import { after } from 'node:test';

interface Step {
  readonly asynchronous: () => Promise<void>;
  readonly synchronous: (() => void) | undefined;
}

/** Last in, first out: a mount goes before the directory it is mounted on. */
const stack: Step[] = [];

async function unwindTo(depth: number): Promise<void> {
  const errors: unknown[] = [];
  while (stack.length > depth) {
    try {
      await stack.pop()?.asynchronous();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, `clean-up failed: ${errors.join('; ')}`);
}

function unwindNow(): void {
  for (let step = stack.pop(); step !== undefined; step = stack.pop()) step.synchronous?.();
}

process.on('exit', unwindNow);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1));
}

/**
 * Runs `asynchronous` when the current test ends, after everything that was deferred later. Call it
 * inside a running test.
 *
 * @param synchronous what is done instead when the test process has to end before the test does
 */
export function defer(asynchronous: () => Promise<void>, synchronous?: () => void): void {
  const depth = stack.length;
  stack.push({ asynchronous, synchronous });
  after(() => unwindTo(depth));
}
