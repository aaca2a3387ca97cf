/** Resource limits of the process (getrlimit(2)). "No limit" reads as about 1.8e19. */
import { addressOf, getrlimit, setrlimit } from './libc.ts';

/** The hard limit, or `-errno`. */
export function hardLimit(resource: number): number {
  return readCell(resource, 1);
}

/** The soft limit, which is the one in force, or `-errno`. */
export function softLimit(resource: number): number {
  return readCell(resource, 0);
}

/** Raises the soft limit to the hard one; the limit in force afterwards, or `-errno`. */
export function raiseSoftLimit(resource: number): number {
  const cells = new BigUint64Array(new SharedArrayBuffer(16));
  const address = addressOf(cells);
  const got = getrlimit(resource, address);
  if (got < 0) {
    return got;
  }
  if (cells[0] !== cells[1]) {
    cells[0] = cells[1];
    const set = setrlimit(resource, address);
    if (set < 0) {
      return set;
    }
  }
  return Number(cells[0]);
}

function readCell(resource: number, index: number): number {
  const cells = new BigUint64Array(new SharedArrayBuffer(16));
  const got = getrlimit(resource, addressOf(cells));
  return got < 0 ? got : Number(cells[index]);
}
