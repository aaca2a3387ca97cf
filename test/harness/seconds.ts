/** Milliseconds for people: `1.2 s`. */
export function seconds(elapsedMs: number): string {
  return `${(elapsedMs / 1000).toFixed(1)} s`;
}

/** Whether the long forms of the time-boxed tests were asked for. */
export const isLongRun = process.env['SLUICE_TEST_LONG'] === '1';
