/** What the strange file system has in its directory: the server's side and the test's. */

export const ENTRIES = 300;

export function nameOf(index: number): string {
  return `strange-${index}`;
}

/** The cookie behind an entry: beyond 2^63, in no order, no two the same (an odd factor). */
export function cookieOf(index: number): bigint {
  return BigInt.asUintN(63, BigInt(index + 1) * 0x9e3779b97f4a7c15n) | (1n << 63n);
}
