/** A layer that does wrong what the name that is looked up says. */
import { Errno, type Layer, newAttr } from '../../src/main/index.ts';

let releases = 0;
const wrong = (value: unknown) => value as never;

const layer: Layer = {
  name: 'bad',
  lookup(request, next) {
    switch (request.name.toString()) {
      case 'throws':
        throw new Error('boom');
      case 'hangs':
        for (;;);
      case 'text':
        return wrong('text');
      case 'nothing':
        return wrong(undefined);
      case 'promise':
        return wrong(Promise.resolve(Errno.ENOENT));
      case 'errno':
        return wrong(-4000);
      case 'outside':
        return wrong(request.name.readUInt32LE(1000));
      case 'mutates':
        (request as { nodeid: number }).nodeid = 7;
        return next.lookup(request);
      case 'foreign':
        return { nodeid: 0x7654321, attr: newAttr({ ino: 1n, mode: 0o100644 }) };
      case 'badRequest':
        return next.lookup({ ...request, name: wrong('text') });
      default:
        return next.lookup(request);
    }
  },
  /** Throws, or says that it is done and asks nobody below. */
  release() {
    if (++releases % 2 === 0) return 0;
    throw new Error('boom');
  },
  readlink: () => Buffer.alloc(5000, 'x'),
};

export default layer;
