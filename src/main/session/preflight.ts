/**
 * What is checked before anything is started. Each check throws a SluiceError whose line names the
 * thing, the reason and the cure.
 */
import {
  accessSync,
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  opendirSync,
  openSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { SluiceError } from '../../shared/errors.ts';
import { hasCapability } from '../../shared/sys/capabilities.ts';
import { CAP_SYS_ADMIN, F_DUPFD_CLOEXEC, RLIMIT_NOFILE } from '../../shared/sys/constants.ts';
import { close, fcntl } from '../../shared/sys/libc.ts';
import { type MountRow, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { mountAt, resolveOffMounts, TooManyLinksError } from '../../shared/sys/off-mounts.ts';
import { raiseSoftLimit } from '../../shared/sys/rlimit.ts';
import { requireFusermount } from './fusermount.ts';
import { deviceCure, FS_TYPE, FUSE_DEVICE, FUSE_RDEV } from './mount.ts';

/** Fewer descriptors than this do not even hold the lanes and a handful of open files. */
export const MIN_FDS = 128;
/** 8 bytes of the kernel's memory for each. */
const MOST_FDS_AT_ONCE = 65_536;

/** A checked mount point: its real path, and what should be said about it. */
export interface CheckedMountpoint {
  readonly path: string;
  readonly warning: string | undefined;
}

/** A checked source: its real path as text and as bytes, which differ when it is not UTF-8. */
export interface CheckedSource {
  readonly path: string;
  readonly pathBytes: Buffer;
}

/** The real path of a source that is a directory this process can list and enter. */
export function checkSource(path: string): CheckedSource {
  try {
    const pathBytes = realpathSync.native(path, 'buffer') as unknown as Buffer;
    if (!statSync(pathBytes).isDirectory()) {
      throw new SluiceError(
        'ERR_SLUICE_SOURCE',
        `source ${path} is not a directory; name a directory`,
      );
    }
    accessSync(pathBytes, constants.R_OK | constants.X_OK);
    return { path: pathBytes.toString(), pathBytes };
  } catch (error) {
    throw sourceError(path, error);
  }
}

function sourceError(path: string, error: unknown): SluiceError {
  if (error instanceof SluiceError) {
    return error;
  }
  switch (systemCode(error)) {
    case 'ENOENT':
      return new SluiceError(
        'ERR_SLUICE_SOURCE',
        `source ${path} does not exist; create it or correct the path`,
      );
    case 'ENOTDIR':
      return new SluiceError(
        'ERR_SLUICE_SOURCE',
        `source ${path}: a part of the path is not a directory; correct the path`,
      );
    case 'EACCES':
    case 'EPERM':
      return new SluiceError(
        'ERR_SLUICE_SOURCE',
        `source ${path} is not readable by uid ${process.geteuid?.()}; give it read and search permission`,
      );
    case 'ENOTCONN':
      return new SluiceError(
        'ERR_SLUICE_SOURCE',
        `source ${path} is a FUSE mount whose daemon is gone; unmount it with \`umount -l\` and mount it anew`,
      );
    default:
      return new SluiceError('ERR_SLUICE_SOURCE', `source ${path}: ${(error as Error).message}`);
  }
}

/**
 * The real path of a directory that can be mounted on. `sourceReal` is the real path of the source.
 * A mount point that mountinfo shows as ours is never touched: if its daemon hangs, so would we.
 */
export function checkMountpoint(path: string, sourceReal: string | Buffer): CheckedMountpoint {
  const mounts = readMountInfo();
  try {
    const real = resolveOffMounts(path, mounts);
    refuseOurMount(path, real, mounts);
    if (!statBytes(real).isDirectory()) {
      throw new SluiceError(
        'ERR_SLUICE_MOUNTPOINT',
        `mount point ${path} is not a directory; a directory can only be mounted on a directory`,
      );
    }
    refuseOverlap(path, real, Buffer.from(sourceReal).toString('latin1'), mounts);
    return { path: asUtf8(path, real), warning: contentWarning(path, real) };
  } catch (error) {
    throw mountpointError(path, error);
  }
}

function mountpointError(path: string, error: unknown): SluiceError {
  if (error instanceof SluiceError) {
    return error;
  }
  if (error instanceof TooManyLinksError) {
    return new SluiceError('ERR_SLUICE_MOUNTPOINT', `mount point ${path}: too many symbolic links`);
  }
  switch (systemCode(error)) {
    case 'ENOENT':
      return new SluiceError(
        'ERR_SLUICE_MOUNTPOINT',
        `mount point ${path} does not exist; create it with \`mkdir\``,
      );
    case 'ENOTDIR':
      return new SluiceError(
        'ERR_SLUICE_MOUNTPOINT',
        `mount point ${path}: a part of the path is not a directory; correct the path`,
      );
    case 'ENOTCONN':
      return new SluiceError(
        'ERR_SLUICE_MOUNTPOINT',
        `mount point ${path} holds a FUSE mount whose daemon is gone; unmount it with \`umount -l ${path}\``,
      );
    case 'EACCES':
    case 'EPERM':
      return new SluiceError(
        'ERR_SLUICE_MOUNTPOINT',
        `mount point ${path} is not accessible to uid ${process.geteuid?.()}; give its path search permission`,
      );
    default:
      return new SluiceError(
        'ERR_SLUICE_MOUNTPOINT',
        `mount point ${path}: ${(error as Error).message}`,
      );
  }
}

function refuseOurMount(path: string, real: string, mounts: readonly MountRow[]): void {
  if (mountAt(mounts, real)?.fsType === FS_TYPE) {
    throw new SluiceError(
      'ERR_SLUICE_MOUNTPOINT',
      `mount point ${path} is already a sluice mount; unmount it with \`umount ${path}\`, or \`umount -l ${path}\` if its daemon is gone`,
    );
  }
}

type Overlap = 'same' | 'inside' | 'around' | 'none';

const OVERLAP_WORDS: Record<Exclude<Overlap, 'none'>, string> = {
  same: 'is the source itself',
  inside: 'lies inside the source',
  around: 'contains the source',
};

function refuseOverlap(
  path: string,
  real: string,
  source: string,
  mounts: readonly MountRow[],
): void {
  const byIdentity = chainOverlap(ancestors(real, mounts), ancestors(source, mounts));
  const overlap =
    byIdentity === 'none' ? placeOverlap(place(real, mounts), place(source, mounts)) : byIdentity;
  if (overlap !== 'none') {
    throw new SluiceError(
      'ERR_SLUICE_MOUNTPOINT',
      `mount point ${path} ${OVERLAP_WORDS[overlap]}: the daemon would serve itself and deadlock; choose a directory apart from the source`,
    );
  }
}

interface Ancestor {
  readonly path: string;
  /** Device and inode; undefined where a sluice mount must not be asked. */
  readonly identity: string | undefined;
}

/** A directory and all above it, the directory first. */
function ancestors(path: string, mounts: readonly MountRow[]): Ancestor[] {
  const chain: Ancestor[] = [];
  for (let at = path; ; at = at.slice(0, Math.max(at.lastIndexOf('/'), 1))) {
    const isOurs = mountAt(mounts, at)?.fsType === FS_TYPE;
    chain.push({ path: at, identity: isOurs ? undefined : identityOf(at) });
    if (at === '/') {
      return chain;
    }
  }
}

function identityOf(path: string): string {
  const { dev, ino } = statBytes(path);
  return `${dev}:${ino}`;
}

function isSame(a: Ancestor, b: Ancestor): boolean {
  return a.path === b.path || (a.identity !== undefined && a.identity === b.identity);
}

/** A bind mount shows a directory under another path, but with its own device and inode. */
function chainOverlap(mountpoint: readonly Ancestor[], source: readonly Ancestor[]): Overlap {
  const [mountpointItself] = mountpoint;
  const [sourceItself] = source;
  if (mountpointItself === undefined || sourceItself === undefined) {
    return 'none';
  }
  if (isSame(mountpointItself, sourceItself)) {
    return 'same';
  }
  if (mountpoint.some((ancestor) => isSame(ancestor, sourceItself))) {
    return 'inside';
  }
  return source.some((ancestor) => isSame(ancestor, mountpointItself)) ? 'around' : 'none';
}

/** Where a directory lies within its file system, whatever path led there. */
interface Place {
  readonly device: string;
  readonly path: string;
}

function place(path: string, mounts: readonly MountRow[]): Place | undefined {
  for (let at = path; ; at = at.slice(0, Math.max(at.lastIndexOf('/'), 1))) {
    const mount = mountAt(mounts, at);
    if (mount !== undefined) {
      const below = at === '/' ? path : path.slice(at.length);
      const whole = `${mount.rootBytes.toString('latin1')}/${below}`.replace(/\/+/g, '/');
      return { device: `${mount.devMajor}:${mount.devMinor}`, path: whole.replace(/\/$/, '') };
    }
    if (at === '/') {
      return undefined;
    }
  }
}

/**
 * A bind mount of a directory below the source has no ancestor in common with it, but a mount on it
 * may propagate to the place below the source.
 */
function placeOverlap(mountpoint: Place | undefined, source: Place | undefined): Overlap {
  if (mountpoint === undefined || source === undefined || mountpoint.device !== source.device) {
    return 'none';
  }
  if (mountpoint.path === source.path) {
    return 'same';
  }
  if (mountpoint.path.startsWith(`${source.path}/`)) {
    return 'inside';
  }
  return source.path.startsWith(`${mountpoint.path}/`) ? 'around' : 'none';
}

/** The rest of the way, from mount(2) to the logs, takes paths as text. */
function asUtf8(path: string, real: string): string {
  const bytes = Buffer.from(real, 'latin1');
  const text = bytes.toString();
  if (!Buffer.from(text).equals(bytes)) {
    throw new SluiceError(
      'ERR_SLUICE_MOUNTPOINT',
      `mount point ${path}: its real path is not UTF-8; choose a directory whose path is`,
    );
  }
  return text;
}

function contentWarning(path: string, real: string): string | undefined {
  return isEmpty(real)
    ? undefined
    : `mount point ${path} is not empty; its content is hidden while the mount lasts`;
}

/** A directory that cannot be listed counts as empty: mounting on it needs no listing. */
function isEmpty(path: string): boolean {
  try {
    const folder = opendirSync(Buffer.from(path, 'latin1') as unknown as string);
    try {
      return folder.readSync() === null;
    } finally {
      folder.closeSync();
    }
  } catch {
    return true;
  }
}

/**
 * That there is a way to mount: CAP_SYS_ADMIN or fusermount3, and a FUSE device that opens. The
 * helper opens it with the rights of its caller, so this process must be allowed to in either case.
 */
export function checkFuse(): void {
  if (!hasCapability(CAP_SYS_ADMIN)) {
    requireFusermount();
  }
  const errno = deviceErrno();
  if (errno !== 0) {
    throw new SluiceError(
      'ERR_SLUICE_NO_DEVICE',
      `cannot open ${FUSE_DEVICE}: ${errnoName(errno)}; ${deviceCure(errno)}`,
    );
  }
}

/** Why /dev/fuse does not open, 0 when it does; ENODEV when something else stands in its place. */
export function deviceErrno(): number {
  try {
    const fd = openSync(FUSE_DEVICE, 'r+');
    const status = fstatSync(fd);
    closeSync(fd);
    return status.isCharacterDevice() && status.rdev === FUSE_RDEV ? 0 : ERRNO.ENODEV;
  } catch (error) {
    return Math.abs((error as NodeJS.ErrnoException).errno ?? ERRNO.EIO);
  }
}

/** Raises the soft limit of open files to the hard one; the limit now in force. */
export function checkFdLimit(): number {
  const limit = raiseSoftLimit(RLIMIT_NOFILE);
  if (limit < MIN_FDS) {
    throw new SluiceError(
      'ERR_SLUICE_LIMIT',
      limit < 0
        ? `cannot read the limit of open files: ${errnoName(limit)}`
        : `the limit of open files is ${limit}, sluice needs ${MIN_FDS}; raise it with \`ulimit -n\` or LimitNOFILE=`,
    );
  }
  makeRoomForFds(Math.min(limit, MOST_FDS_AT_ONCE));
  return limit;
}

/**
 * Has the kernel make the table of descriptors as large as it will be. Where it grows, every thread that
 * opens something waits for a grace period (expand_fdtable() in fs/file.c): 10 to 20 ms, at each doubling.
 */
function makeRoomForFds(count: number): void {
  const fd = fcntl(0, F_DUPFD_CLOEXEC, count - 1);
  if (fd >= 0) close(fd);
}

function statBytes(path: string): BigIntStats {
  return statSync(Buffer.from(path, 'latin1'), { bigint: true });
}

function systemCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
