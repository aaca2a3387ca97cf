/** Hides names that match a pattern: nobody finds, makes or lists them. */
import { Errno, type FsRequest, type Layer, type LayerFactory } from 'sluicefs';

/** Operations that make a name; of the others a rejected name is not there. */
const MAKING = new Set(['create', 'mkdir', 'mknod', 'symlink', 'link', 'tmpfile']);
/** Their `name` is one of an attribute. */
const XATTRS = new Set(['getxattr', 'setxattr', 'removexattr']);

const makeRejectNames: LayerFactory<{ pattern: RegExp }> = ({ pattern }): Layer => {
  const isRejected = (name: Uint8Array) => pattern.test(Buffer.from(name).toString());
  return {
    name: 'reject-names',
    readdir(request, next) {
      // A part of the directory may have rejected names only: an empty answer would be its end.
      for (let at = request; ; ) {
        const entries = next.readdir(at);
        if (typeof entries === 'number' || entries.length === 0) return entries;
        const shown = entries.filter(({ name }) => !isRejected(name));
        if (shown.length > 0) return shown;
        at = { ...request, cookie: entries.at(-1)?.cookie ?? 0n };
      }
    },
    rename(request, next) {
      if (isRejected(request.name)) return Errno.ENOENT;
      return isRejected(request.newName) ? Errno.EPERM : next.rename(request);
    },
    otherwise(request: FsRequest, next) {
      const isName = 'name' in request && !XATTRS.has(request.operation);
      if (!isName || !isRejected(request.name)) return next.run(request);
      return MAKING.has(request.operation) ? Errno.EPERM : Errno.ENOENT;
    },
  };
};

export default makeRejectNames;
