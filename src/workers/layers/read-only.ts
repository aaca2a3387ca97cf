/** The layer that lets nothing change. */
import { Errno } from '../../shared/layers/errno.ts';
import type { FsRequest, Layer } from '../../shared/layers/types.ts';
import { O_ACCMODE, O_RDONLY, O_TRUNC } from '../../shared/sys/constants.ts';

const W_OK = 2;
const READING: ReadonlySet<string> = new Set([
  'lookup',
  'getattr',
  'readlink',
  'read',
  'statfs',
  'release',
  'fsync',
  'getxattr',
  'listxattr',
  'flush',
  'opendir',
  'readdir',
  'releasedir',
  'fsyncdir',
  'getlk',
  'setlk',
  'lseek',
  'syncfs',
]);

const layer: Layer = {
  name: 'read-only',
  open(request, next) {
    const isWriting = (request.flags & O_ACCMODE) !== O_RDONLY || (request.flags & O_TRUNC) !== 0;
    return isWriting ? Errno.EROFS : next.open(request);
  },
  access(request, next) {
    return (request.mask & W_OK) !== 0 ? Errno.EROFS : next.access(request);
  },
  otherwise(request: FsRequest, next) {
    return READING.has(request.operation) ? next.run(request) : Errno.EROFS;
  },
};

export default layer;
