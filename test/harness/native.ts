/**
 * System calls that tests make and the daemon never does. Beside `src/shared/sys/libc.ts` the only
 * file that imports koffi; like there, addresses are numbers and failures are `-errno`.
 */
import koffi from 'koffi';

const lib = koffi.load(null);

type Native = (...args: (number | bigint)[]) => number | bigint;

const rawSyscall = lib.func('syscall', 'long', new Array(7).fill('long')) as unknown as Native;
const memcpy = lib.func('memcpy', 'uintptr_t', [
  'uintptr_t',
  'uintptr_t',
  'size_t',
]) as unknown as Native;

/**
 * syscall(2): on the calling thread alone, also where libc's wrapper would change every thread of
 * the process (setresuid and its sisters).
 */
export function syscall(
  number: number,
  a: number | bigint = 0,
  b: number | bigint = 0,
  c: number | bigint = 0,
  d: number | bigint = 0,
  e: number | bigint = 0,
  f: number | bigint = 0,
): number {
  const result = Number(rawSyscall(number, a, b, c, d, e, f));
  return result < 0 ? -koffi.errno() : result;
}

/** memcpy(3) between addresses: how a memory map is read and written. */
export function copyMemory(to: number, from: number, sizeBytes: number): void {
  memcpy(to, from, sizeBytes);
}
