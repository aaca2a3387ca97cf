/** Whether this host, and this user on it, can mount. Nothing is mounted or changed. */
import { accessSync, constants, statSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { errnoName } from '../../shared/abi/errno.ts';
import { EffectiveSet } from '../../shared/sys/capabilities.ts';
import {
  CAP_CHOWN,
  CAP_DAC_OVERRIDE,
  CAP_DAC_READ_SEARCH,
  CAP_FOWNER,
  CAP_FSETID,
  CAP_MKNOD,
  CAP_SETFCAP,
  CAP_SETGID,
  CAP_SETUID,
  CAP_SYS_ADMIN,
  RLIMIT_MEMLOCK,
  RLIMIT_NOFILE,
} from '../../shared/sys/constants.ts';
import { readMountInfo } from '../../shared/sys/mountinfo.ts';
import { hardLimit, softLimit } from '../../shared/sys/rlimit.ts';
import { ownRuntimeDir } from '../control/runtime-dir.ts';
import { findFusermount } from '../session/fusermount.ts';
import { deviceCure, FUSE_DEVICE } from '../session/mount.ts';
import { deviceErrno, MIN_FDS } from '../session/preflight.ts';
import { ENABLE_URING, URING_DISABLED } from '../session/uring.ts';
import { isAtLeast, kernelSetting, readIfThere } from './kernel.ts';
import { type CheckRow, note, ok, problem } from './rows.ts';

/** All questions to the host, in the order they are shown. */
export function checkHost(): CheckRow[] {
  const capabilities = new EffectiveSet();
  const isPrivileged = capabilities.has(CAP_SYS_ADMIN);
  return [
    checkMachine(),
    checkLibc(),
    checkNode(),
    checkKernel(),
    checkDevice(),
    checkRightToMount(isPrivileged),
    checkAllowOther(isPrivileged),
    checkHandleRight(capabilities),
    checkCallerRights(capabilities),
    checkOpenFiles(),
    checkLockedMemory(),
    checkRequestSize(),
    checkPassthrough(),
    checkUring(),
    checkFusectl(),
    checkRuntimeDir(),
  ];
}

function checkMachine(): CheckRow {
  const isServed = process.arch === 'x64' || process.arch === 'arm64';
  return isServed
    ? ok('machine', process.arch)
    : problem('machine', process.arch, 'x64 or arm64 is needed');
}

function checkLibc(): CheckRow {
  // The network part of a report looks up names.
  Object.assign(process.report, { excludeNetwork: true });
  const { header } = process.report.getReport() as { header: Record<string, unknown> };
  const version = header['glibcVersionRuntime'];
  return typeof version === 'string'
    ? ok('C library', `glibc ${version}`)
    : problem('C library', 'not glibc', 'take a system or an image with glibc');
}

function checkNode(): CheckRow {
  const { node } = process.versions;
  return isAtLeast(node, 20, 12)
    ? ok('Node', node)
    : problem('Node', node, 'Node 20.12 or newer is needed');
}

function checkKernel(): CheckRow {
  const version = release();
  if (!isAtLeast(version, 5, 10)) {
    return problem('kernel', version, 'Linux 5.10 or newer is needed');
  }
  return isAtLeast(version, 6, 0)
    ? ok('kernel', version)
    : note('kernel', version, 'Linux 6 lacks fewer features of FUSE');
}

function checkDevice(): CheckRow {
  const errno = deviceErrno();
  return errno === 0
    ? ok(FUSE_DEVICE, 'opens')
    : problem(FUSE_DEVICE, errnoName(errno), deviceCure(errno));
}

const SETUID = 0o4000;

function checkRightToMount(isPrivileged: boolean): CheckRow {
  const what = 'right to mount';
  if (isPrivileged) return ok(what, 'CAP_SYS_ADMIN');
  const helper = findFusermount();
  if (helper === undefined) {
    const change = 'be root, or install the package fuse3';
    return problem(what, 'no CAP_SYS_ADMIN, and no fusermount3 in PATH', change);
  }
  const { mode, uid } = statSync(helper);
  if (uid === 0 && (mode & SETUID) !== 0) return ok(what, `by ${helper}`);
  return note(
    what,
    `by ${helper}, which is not setuid root`,
    `without rights of its own it mounts nothing: chmod u+s ${helper}`,
  );
}

const FUSE_CONF = '/etc/fuse.conf';

function checkAllowOther(isPrivileged: boolean): CheckRow {
  const what = 'allow_other';
  if (isPrivileged) return ok(what, 'may be given');
  const isAllowed = /^\s*user_allow_other\s*$/m.test(readIfThere(FUSE_CONF) ?? '');
  return isAllowed
    ? ok(what, `user_allow_other is in ${FUSE_CONF}`)
    : note(
        what,
        'the mount is for its owner alone',
        `to let others in, put user_allow_other into ${FUSE_CONF}`,
      );
}

function checkHandleRight(capabilities: EffectiveSet): CheckRow {
  const what = 'file handles';
  return capabilities.has(CAP_DAC_READ_SEARCH)
    ? ok(what, 'CAP_DAC_READ_SEARCH')
    : note(
        what,
        'no CAP_DAC_READ_SEARCH: each inode the kernel knows keeps a descriptor',
        'grant it, or raise the limit of open files',
      );
}

const CALLER_RIGHTS: readonly (readonly [string, number])[] = [
  ['CAP_SETUID', CAP_SETUID],
  ['CAP_SETGID', CAP_SETGID],
  ['CAP_CHOWN', CAP_CHOWN],
  ['CAP_DAC_OVERRIDE', CAP_DAC_OVERRIDE],
  ['CAP_FOWNER', CAP_FOWNER],
  ['CAP_FSETID', CAP_FSETID],
  ['CAP_MKNOD', CAP_MKNOD],
  ['CAP_SETFCAP', CAP_SETFCAP],
];

function checkCallerRights(capabilities: EffectiveSet): CheckRow {
  const what = 'serving other users';
  const missing = CALLER_RIGHTS.filter(([, number]) => !capabilities.has(number));
  if (missing.length === 0) return ok(what, 'files belong to whoever makes them');
  const names = missing.map(([name]) => name).join(' ');
  return note(
    what,
    `without ${names}: what they would do for other users fails, or is done as this user`,
    'be root, or grant these capabilities',
  );
}

/** Fewer make the cache of descriptors small. */
const COMFORTABLE_FDS = 4096;

function checkOpenFiles(): CheckRow {
  const what = 'open files';
  const [soft, hard] = [softLimit(RLIMIT_NOFILE), hardLimit(RLIMIT_NOFILE)];
  const found = `${limitText(soft)}, raised to ${limitText(hard)} when mounting`;
  const change = 'raise the hard limit: `ulimit -Hn`, or LimitNOFILE= in a unit';
  if (hard < MIN_FDS) return problem(what, found, change);
  return hard < COMFORTABLE_FDS ? note(what, found, change) : ok(what, found);
}

const COMFORTABLE_MEMLOCK_BYTES = 8 << 20;

function checkLockedMemory(): CheckRow {
  const what = 'locked memory';
  const limit = softLimit(RLIMIT_MEMLOCK);
  const found = `${limitText(limit)} bytes`;
  return limit >= COMFORTABLE_MEMLOCK_BYTES
    ? ok(what, found)
    : note(what, found, 'io_uring may want more: `ulimit -l`, or LimitMEMLOCK= in a unit');
}

function limitText(limit: number): string {
  return limit > Number.MAX_SAFE_INTEGER ? 'unlimited' : String(limit);
}

const MAX_PAGES_LIMIT = '/proc/sys/fs/fuse/max_pages_limit';
/** The pages of the largest request that sluice asks for. */
const WANTED_PAGES = 256;

function checkRequestSize(): CheckRow {
  const what = 'request size';
  const limit = readIfThere(MAX_PAGES_LIMIT)?.trim();
  if (limit === undefined) return ok(what, 'up to 256 pages');
  return Number(limit) >= WANTED_PAGES
    ? ok(what, `up to ${limit} pages`)
    : note(what, `up to ${limit} pages`, `sysctl fs.fuse.max_pages_limit=${WANTED_PAGES}`);
}

function checkPassthrough(): CheckRow {
  const what = 'kernel passthrough';
  const change = 'Linux 6.9 or newer with CONFIG_FUSE_PASSTHROUGH=y offers it';
  if (!isAtLeast(release(), 6, 9)) return note(what, 'not in this kernel', change);
  switch (kernelSetting('CONFIG_FUSE_PASSTHROUGH')) {
    case true:
      return ok(what, 'CONFIG_FUSE_PASSTHROUGH is set');
    case false:
      return note(what, 'CONFIG_FUSE_PASSTHROUGH is not set', change);
    default:
      return note(what, 'this kernel does not show its configuration', change);
  }
}

function checkUring(): CheckRow {
  const what = 'FUSE over io_uring';
  if (readIfThere(ENABLE_URING) === undefined) {
    return note(
      what,
      'not in this kernel',
      'Linux 6.14 or newer with CONFIG_FUSE_IO_URING=y has it, for --engine=uring',
    );
  }
  if (readIfThere(ENABLE_URING)?.trim() !== 'Y') {
    return note(what, 'switched off', `for --engine=uring: echo Y > ${ENABLE_URING}`);
  }
  const forbidden = readIfThere(URING_DISABLED)?.trim() ?? '0';
  return forbidden === '0'
    ? ok(what, 'switched on; --engine=uring or auto takes it')
    : note(what, 'switched on, but io_uring is not', 'sysctl kernel.io_uring_disabled=0');
}

const CONNECTIONS = '/sys/fs/fuse/connections';

function checkFusectl(): CheckRow {
  const what = 'fusectl';
  return readMountInfo().some(({ fsType }) => fsType === 'fusectl')
    ? ok(what, 'mounted')
    : note(
        what,
        'not mounted: the connection of a mount that hangs cannot be aborted',
        `mount -t fusectl none ${CONNECTIONS}`,
      );
}

function checkRuntimeDir(): CheckRow {
  const what = 'runtime directory';
  const path = ownRuntimeDir();
  const errno = whyNotWritable(path);
  return errno === undefined
    ? ok(what, path)
    : note(
        what,
        `${path} cannot be written (${errno}): sluice status, top and umount reach no daemon`,
        'give --runtime-dir a directory that can',
      );
}

/** Where it is not there yet, it has to be made. */
function whyNotWritable(path: string): string | undefined {
  const isThere = statSync(path, { throwIfNoEntry: false }) !== undefined;
  try {
    accessSync(isThere ? path : dirname(path), constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}
