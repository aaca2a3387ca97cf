/** What the programs that this process ran and waited for have cost: Node tells of itself only. */
import { errnoName } from '../../src/shared/abi/errno.ts';
import { addressOf, getrusage } from '../../src/shared/sys/libc.ts';

const RUSAGE_CHILDREN = -1;
/** struct rusage in words of 64 bits: two struct timeval, then 14 numbers. */
const RUSAGE = {
  utimeSeconds: 0,
  utimeUs: 1,
  stimeSeconds: 2,
  stimeUs: 3,
  nvcsw: 16,
  nivcsw: 17,
  words: 18,
} as const;

const words = new BigInt64Array(new SharedArrayBuffer(8 * RUSAGE.words));
const address = addressOf(words);

/** CPU time in microseconds and context switches so far. */
export function childrenUsage(): { readonly cpuUs: number; readonly switches: number } {
  const result = getrusage(RUSAGE_CHILDREN, address);
  if (result < 0) throw new Error(`getrusage: ${errnoName(result)}`);
  const at = (word: number): number => Number(words[word]);
  return {
    cpuUs:
      1e6 * (at(RUSAGE.utimeSeconds) + at(RUSAGE.stimeSeconds)) +
      at(RUSAGE.utimeUs) +
      at(RUSAGE.stimeUs),
    switches: at(RUSAGE.nvcsw) + at(RUSAGE.nivcsw),
  };
}
