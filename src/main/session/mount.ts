/**
 * Making the mount: mount(2) with CAP_SYS_ADMIN, fusermount3 without, or nothing at all when a parent
 * hands over a mounted /dev/fuse descriptor as the mount point `/dev/fd/N`.
 */
import { fstatSync, readFileSync, type Stats, statSync, writeFileSync } from 'node:fs';
import { ERRNO, errnoName } from '../../shared/abi/errno.ts';
import { SluiceError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { MountOptions } from '../../shared/options.ts';
import { hasCapability } from '../../shared/sys/capabilities.ts';
import {
  CAP_SYS_ADMIN,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  MNT_DETACH,
  MS_DIRSYNC,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_SYNCHRONOUS,
  O_CLOEXEC,
  O_LARGEFILE,
  O_NONBLOCK,
  O_RDWR,
} from '../../shared/sys/constants.ts';
import { CString, close, fcntl, mount, open, umount2 } from '../../shared/sys/libc.ts';
import { findMountByPoint, readMountInfo } from '../../shared/sys/mountinfo.ts';
import { FS_TYPE } from './fs-type.ts';
import { discardByHelper, escapeOption, mountByHelper, requireFusermount } from './fusermount.ts';

export { FS_TYPE } from './fs-type.ts';
export const FUSE_DEVICE = '/dev/fuse';

const CONNECTIONS = '/sys/fs/fuse/connections';
/** st_rdev of /dev/fuse: major 10, minor 229. */
export const FUSE_RDEV = (10 << 8) | 229;

export type SessionLog = Pick<Logger, 'info' | 'warn'>;

/** What of the options concerns the mount itself. `mountpoint` is a real path, or `/dev/fd/N`. */
export type MountRequest = Pick<
  MountOptions,
  | 'mountpoint'
  | 'fsname'
  | 'allowOther'
  | 'defaultPermissions'
  | 'readOnly'
  | 'mountFlags'
  | 'maxWriteBytes'
>;

/** A mounted /dev/fuse descriptor, non-blocking and close-on-exec. */
export interface MountedDevice {
  readonly fuseFd: number;
  readonly mountpoint: string;
  /** Whether the mount was made here and is to be unmounted here. */
  readonly ownsMount: boolean;
  readonly how: 'mount' | 'fusermount3' | 'given';
  /** The connection's number below /sys/fs/fuse/connections; unknown for some given descriptors. */
  readonly connection: number | undefined;
}

/**
 * Mounts as the options say. The mount answers nobody until FUSE_INIT has been read from `fuseFd` and
 * replied to. Throws SluiceError; then no descriptor is open and nothing is mounted.
 */
export function mountFuse(options: MountRequest, log: SessionLog): MountedDevice {
  const givenFd = givenDescriptor(options.mountpoint);
  const device =
    givenFd !== undefined
      ? adoptDescriptor(givenFd, options.mountpoint)
      : hasCapability(CAP_SYS_ADMIN)
        ? mountDirectly(options)
        : mountWithHelper(options);
  log.info(
    { mountpoint: device.mountpoint, how: device.how, connection: device.connection },
    'mounted',
  );
  if (device.ownsMount) liveMounts.add(device);
  return device;
}

/** What this process has mounted and not unmounted yet. */
const liveMounts = new Set<MountedDevice>();

/** A mount of this process that something else than mountFuse() has made. */
export function rememberMount(device: MountedDevice): void {
  liveMounts.add(device);
}

/** The mount is gone, or somebody else's affair. */
export function forgetMount(device: MountedDevice): void {
  liveMounts.delete(device);
}

/** Takes every mount of this process out of the tree, before an end that cannot wait for a stop. */
export function discardMounts(): void {
  for (const device of [...liveMounts]) discardMount(device);
}

/** Takes a mount of this process out of the tree, where nothing is left that could do it better. */
export function discardMount(device: MountedDevice): void {
  const { mountpoint, how, connection } = device;
  const isOurs = liveMounts.delete(device) && connectionNumber(mountpoint) === connection;
  if (!isOurs) return;
  if (how === 'fusermount3') discardByHelper(requireFusermount(), mountpoint);
  else umount2(new CString(mountpoint).address, MNT_DETACH);
}

/** The N of a mount point `/dev/fd/N`. */
export function givenDescriptor(mountpoint: string): number | undefined {
  const digits = /^\/dev\/fd\/(\d{1,9})$/.exec(mountpoint)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * The connection number of the sluice mount seen at a real path: the minor of its device, from
 * mountinfo, since a stat from the serving process would wait for itself. `-ENOENT` without one.
 */
export function connectionNumber(mountpoint: string): number {
  const row = findMountByPoint(readMountInfo(), mountpoint);
  return row?.fsType === FS_TYPE ? row.devMinor : -ERRNO.ENOENT;
}

let absenceWasLogged = false;

/**
 * Ends a connection at once: every waiting and later request of the mount fails. False when it could
 * not be done, most often because fusectl is not mounted, which is logged once.
 */
export function abortConnection(connection: number, log: SessionLog): boolean {
  try {
    writeFileSync(`${CONNECTIONS}/${connection}/abort`, '1', { flag: 'r+' });
    return true;
  } catch (error) {
    if (!absenceWasLogged) {
      absenceWasLogged = true;
      const reason = hasConnections() ? (error as Error).message : 'fusectl is not mounted there';
      log.warn(
        { connection },
        `cannot abort the connection through ${CONNECTIONS}: ${reason}; closing the descriptor ends it too`,
      );
    }
    return false;
  }
}

function hasConnections(): boolean {
  // A mounted fusectl is another file system than the sysfs directory it lies on.
  const above = statSync('/sys/fs/fuse', { throwIfNoEntry: false });
  const own = statSync(CONNECTIONS, { throwIfNoEntry: false });
  return own !== undefined && own.dev !== above?.dev;
}

function adoptDescriptor(fuseFd: number, mountpoint: string): MountedDevice {
  const status = descriptorStatus(fuseFd);
  if (!status?.isCharacterDevice() || status.rdev !== FUSE_RDEV) {
    throw new SluiceError(
      'ERR_SLUICE_MOUNTPOINT',
      `${mountpoint} is not an open ${FUSE_DEVICE}; the parent must open it, mount with fd=${fuseFd} and keep it open across exec`,
    );
  }
  prepare(fuseFd);
  fcntl(fuseFd, F_SETFD, FD_CLOEXEC);
  return {
    fuseFd,
    mountpoint,
    ownsMount: false,
    how: 'given',
    connection: connectionOfDescriptor(fuseFd),
  };
}

function descriptorStatus(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined;
  }
}

/** Linux 6.18 and later say the connection in fdinfo. */
function connectionOfDescriptor(fd: number): number | undefined {
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
  const digits = /^fuse_connection:\s*(\d+)$/m.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function mountDirectly(options: MountRequest): MountedDevice {
  const fuseFd = open(new CString(FUSE_DEVICE).address, O_RDWR | O_CLOEXEC);
  if (fuseFd < 0) {
    throw new SluiceError(
      'ERR_SLUICE_NO_DEVICE',
      `cannot open ${FUSE_DEVICE}: ${errnoName(fuseFd)}; ${deviceCure(fuseFd)}`,
    );
  }
  const source = new CString(options.fsname);
  const target = new CString(options.mountpoint);
  const type = new CString(FS_TYPE);
  const data = new CString(mountData(fuseFd, options));
  const mounted = mount(
    source.address,
    target.address,
    type.address,
    options.mountFlags | (options.readOnly ? MS_RDONLY : 0),
    data.address,
  );
  if (mounted < 0) {
    close(fuseFd);
    throw new SluiceError(
      'ERR_SLUICE_MOUNT',
      `cannot mount on ${options.mountpoint}: ${errnoName(mounted)}; ${mountCure(mounted)}`,
    );
  }
  try {
    return finish(fuseFd, options.mountpoint, 'mount');
  } catch (error) {
    if (connectionNumber(options.mountpoint) >= 0) {
      umount2(target.address, MNT_DETACH);
    }
    throw error;
  }
}

/** The data text of mount(2) (fs/fuse/inode.c). `rootmode` is octal. */
function mountData(fuseFd: number, options: MountRequest): string {
  const parts = [
    `fd=${fuseFd}`,
    'rootmode=40000',
    `user_id=${process.geteuid?.() ?? 0}`,
    `group_id=${process.getegid?.() ?? 0}`,
  ];
  return [...parts, ...sharedOptions(options)].join(',');
}

/** What mount(2) and the helper spell alike. max_write bounds reads too. */
function sharedOptions(options: MountRequest): string[] {
  return [
    `max_read=${options.maxWriteBytes}`,
    ...(options.defaultPermissions ? ['default_permissions'] : []),
    ...(options.allowOther ? ['allow_other'] : []),
  ];
}

function mountWithHelper(options: MountRequest): MountedDevice {
  const program = requireFusermount();
  const { mountpoint } = options;
  try {
    return finish(
      mountByHelper(program, mountpoint, helperOptions(options)),
      mountpoint,
      'fusermount3',
    );
  } catch (error) {
    if (connectionNumber(mountpoint) >= 0) {
      discardByHelper(program, mountpoint);
    }
    throw error;
  }
}

/** Flags of the helper by name. FUSE leaves atime to the daemon, and newer helpers refuse its flags. */
const HELPER_FLAGS: readonly (readonly [number, string])[] = [
  [MS_NOSUID, 'nosuid'],
  [MS_NODEV, 'nodev'],
  [MS_NOEXEC, 'noexec'],
  [MS_SYNCHRONOUS, 'sync'],
  [MS_DIRSYNC, 'dirsync'],
];

function helperOptions(options: MountRequest): string {
  const flags = HELPER_FLAGS.filter(([flag]) => (options.mountFlags & flag) !== 0);
  return [
    `fsname=${escapeOption(options.fsname)}`,
    'subtype=sluice',
    options.readOnly ? 'ro' : 'rw',
    ...flags.map(([, name]) => name),
    ...sharedOptions(options),
  ].join(',');
}

/** What a mount that was just made still needs. On failure the descriptor is closed. */
function finish(fuseFd: number, mountpoint: string, how: 'mount' | 'fusermount3'): MountedDevice {
  try {
    prepare(fuseFd);
    const connection = connectionNumber(mountpoint);
    if (connection < 0) {
      throw new SluiceError('ERR_SLUICE_MOUNT', `the mount on ${mountpoint} vanished at once`);
    }
    return { fuseFd, mountpoint, ownsMount: true, how, connection };
  } catch (error) {
    // Closing its only descriptor ends the connection: whoever unmounts now waits for nobody.
    close(fuseFd);
    throw error;
  }
}

function prepare(fuseFd: number): void {
  const set = fcntl(fuseFd, F_SETFL, O_RDWR | O_NONBLOCK | O_LARGEFILE);
  if (set < 0) {
    throw new SluiceError(
      'ERR_SLUICE_MOUNT',
      `cannot make ${FUSE_DEVICE} non-blocking: ${errnoName(set)}`,
    );
  }
}

/** What helps when /dev/fuse does not open. */
export function deviceCure(errno: number): string {
  switch (Math.abs(errno)) {
    case ERRNO.ENOENT:
    case ERRNO.ENODEV:
    case ERRNO.ENXIO:
      return 'load the module with `modprobe fuse`, and in a container pass the device in';
    case ERRNO.EPERM:
    case ERRNO.EACCES:
      return 'allow this user or container to open the device for reading and writing';
    case ERRNO.EMFILE:
    case ERRNO.ENFILE:
      return 'raise the limit of open files';
    default:
      return 'see the kernel log';
  }
}

function mountCure(errno: number): string {
  switch (Math.abs(errno)) {
    case ERRNO.EPERM:
    case ERRNO.EACCES:
      return 'a container or security policy forbids mount(2): allow it, or run as a user with fusermount3';
    case ERRNO.ENODEV:
      return 'load the module with `modprobe fuse`';
    case ERRNO.ENOENT:
    case ERRNO.ENOTDIR:
      return 'the mount point must be an existing directory';
    default:
      return 'see the kernel log';
  }
}
