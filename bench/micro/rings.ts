/** The ring between main and the lanes, both ends on one thread: what it costs without a wake-up. */
import { bench, do_not_optimize as keep } from 'mitata';
import { freshTables } from '../../test/memory/tables.ts';

const RING = 0;
const ITEM = 1;

export function ringBenchmarks(): void {
  const { rings, journal } = freshTables();
  bench('work ring: push and pop', () => {
    rings.push(RING, ITEM);
    return keep(rings.pop(RING, journal));
  });
  bench('work ring: look at an empty one', () => keep(rings.pop(RING, journal)));
}
