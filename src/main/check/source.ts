/** What the file system behind a source can do. Nothing is left in it. */
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { SluiceError } from '../../shared/errors.ts';
import { MOUNT_FLAG } from '../../shared/memory/mount-table.ts';
import { O_CLOEXEC, O_DIRECT, O_RDWR, O_TMPFILE } from '../../shared/sys/constants.ts';
import { CString, close, getxattr, open } from '../../shared/sys/libc.ts';
import { type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { mountAt } from '../../shared/sys/off-mounts.ts';
import { PassthroughLayer } from '../layer.ts';
import { checkSource } from '../session/preflight.ts';
import { type CheckRow, note, ok, problem } from './rows.ts';

/** Small: it is asked a few questions and thrown away. */
const PROBE_INODES = 1024;
/** The source's own mount is the first one the tables know. */
const SOURCE_MOUNT = 0;

/** All questions to a source, by taking it in as a mount would. */
export function checkBacking(path: string): CheckRow[] {
  const reports: string[] = [];
  let layer: PassthroughLayer | undefined;
  try {
    const source = checkSource(path).path;
    layer = new PassthroughLayer(source, { maxInodes: PROBE_INODES }, (line) => reports.push(line));
    layer.fs.importRoot();
    return backingRows(source, layer, reports);
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    const [found = '', ...change] = error.message.split('; ');
    return [problem('source', found, change.join('; '))];
  } finally {
    layer?.fs.close();
  }
}

function backingRows(source: string, layer: PassthroughLayer, reports: readonly string[]) {
  const { mounts } = layer.fs.ctx.tables;
  return [
    ok('source', source),
    checkFileSystem(source, mounts.hasFlag(SOURCE_MOUNT, MOUNT_FLAG.LOCAL)),
    checkHandles(mounts.hasFlag(SOURCE_MOUNT, MOUNT_FLAG.HANDLES), reports),
    checkXattrs(source),
    checkDirectIo(source),
  ];
}

function checkFileSystem(source: string, isLocal: boolean): CheckRow {
  const what = 'file system';
  const row = mountOf(source);
  const found = row === undefined ? 'unknown' : `${row.fsType}, mounted on ${row.mountPoint}`;
  return isLocal
    ? ok(what, found)
    : note(
        what,
        `${found}: it may wait where it says it does not, so every request goes to a lane`,
        'ext4, xfs, btrfs and tmpfs are served faster; or give more --lanes',
      );
}

function mountOf(path: string): MountRow | undefined {
  const mounts = readMountInfo();
  for (let at = Buffer.from(path).toString('latin1'); ; at = at.slice(0, at.lastIndexOf('/'))) {
    const row = mountAt(mounts, at === '' ? '/' : at);
    if (row !== undefined || at === '' || at === '/') return row;
  }
}

function checkHandles(works: boolean, reports: readonly string[]): CheckRow {
  const what = 'its file handles';
  return works
    ? ok(what, 'open')
    : note(
        what,
        reports.find((line) => line.includes('handle')) ?? 'do not open',
        'raise the limit of open files: each inode the kernel knows keeps a descriptor',
      );
}

function checkXattrs(source: string): CheckRow {
  const what = 'extended attributes';
  const result = getxattr(new CString(source).address, new CString('user.sluice').address, 0, 0);
  if (result >= 0 || result === -ERRNO.ENODATA) return ok(what, 'served');
  return note(what, errnoName(result), 'programs in the mount get the same error');
}

function checkDirectIo(source: string): CheckRow {
  const what = 'O_DIRECT';
  // A file without a name: it goes with its descriptor.
  const fd = open(new CString(source).address, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0o600);
  if (fd >= 0) {
    close(fd);
    return ok(what, 'works');
  }
  return fd === -ERRNO.EINVAL
    ? note(what, 'refused by the file system', '--no-allow-direct-io drops it from opens')
    : note(what, `cannot be tried here (${errnoName(fd)})`, 'none, if no program wants it');
}
