/** Ends a benchmark by Ctrl-C, SIGTERM, or a terminal that is gone so that its clean-up still comes to its end. */

/**
 * Calls `stop` at every such signal, with the reason. Not only once: timeout(1) sends its signal
 * twice, and the second must not end the process before the mounts are gone.
 */
export function onInterrupt(stop: (reason: Error) => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => stop(new Error(`ended by ${signal}`)));
  }
}
