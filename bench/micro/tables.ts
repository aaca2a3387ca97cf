/** The tables that all threads share, used by one. */
import { bench, do_not_optimize as keep } from 'mitata';
import { freshTables, identityOf } from '../../test/memory/tables.ts';

const FILES = 10_000;
const MOUNT = 1;
/** A prime: visits every file once, far from the one before. */
const STRIDE = 7919;

export function tableBenchmarks(): void {
  const { inodes, handles, slots, mounts, journal } = freshTables({ inodes: 2 * FILES });
  inodes.setRoot(identityOf({ mount: MOUNT, ino: 1, handle: 1 }));
  const identities = Array.from({ length: FILES }, (_, file) =>
    identityOf({ mount: MOUNT, ino: file + 2, handle: 1 }),
  );
  const entries = identities.map((identity) => inodes.lookup(identity));
  let file = 0;
  const next = (): number => {
    file = (file + STRIDE) % FILES;
    return file;
  };
  bench(`inode table: lookup and forget, ${FILES} inodes`, () => {
    const slot = inodes.lookup(identities[next()]);
    return keep(inodes.forget(slot, inodes.epoch(slot), 1));
  });
  bench(`inode table: resolve a nodeid, ${FILES} inodes`, () => {
    const slot = entries[next()];
    return keep(inodes.resolve(slot, 0));
  });
  const extra = identityOf({ mount: MOUNT, ino: FILES + 2, handle: 1 });
  bench('inode table: insert and remove', () => {
    const slot = inodes.lookup(extra);
    return keep(inodes.forget(slot, inodes.epoch(slot), 1));
  });
  const handle = handles.allocate(0, entries[0], false);
  bench('handle table: use and unuse', () => {
    const index = handles.use(handle, handles.epoch(handle), entries[0], false);
    handles.unuse(index);
    return keep(index);
  });
  bench('request slots: take and free', () => {
    const slot = slots.takeSmall();
    slots.free(slot, mounts, journal);
    return keep(slot);
  });
}
