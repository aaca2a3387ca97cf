/**
 * The mounts of this process's mount namespace, from /proc/self/mountinfo (proc_pid_mountinfo(5)).
 * Reading it asks no file system anything, so it is safe while a mount hangs.
 */
import { readFileSync } from 'node:fs';

/** One mount. Paths come as text for people and as the bytes the kernel gave. */
export interface MountRow {
  readonly mountId: number;
  readonly parentId: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly root: string;
  readonly rootBytes: Buffer;
  readonly mountPoint: string;
  readonly mountPointBytes: Buffer;
  readonly options: string;
  readonly fsType: string;
  readonly source: string;
  readonly superOptions: string;
}

/** Undoes the kernel's octal escapes of blank, tab, newline, backslash and `#`. */
function unescapeField(field: string): Buffer {
  const raw = field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(raw, 'latin1');
}

function parseRow(line: string): MountRow | undefined {
  const fields = line.split(' ');
  const separator = fields.indexOf('-', 6);
  if (separator < 0 || fields.length < separator + 3) {
    return undefined;
  }
  const [mountId = '', parentId = '', device = '', root = '', mountPoint = '', options = ''] =
    fields;
  const [devMajor = '', devMinor = ''] = device.split(':');
  const [fsType = '', source = '', superOptions = ''] = fields.slice(separator + 1);
  const rootBytes = unescapeField(root);
  const mountPointBytes = unescapeField(mountPoint);
  return {
    mountId: Number(mountId),
    parentId: Number(parentId),
    devMajor: Number(devMajor),
    devMinor: Number(devMinor),
    root: rootBytes.toString(),
    rootBytes,
    mountPoint: mountPointBytes.toString(),
    mountPointBytes,
    options: unescapeField(options).toString(),
    fsType: unescapeField(fsType).toString(),
    source: unescapeField(source).toString(),
    superOptions: unescapeField(superOptions).toString(),
  };
}

/** The rows of a mountinfo text, in its order. Lines that are no mountinfo rows are left out. */
export function parseMountInfo(text: Buffer): MountRow[] {
  // latin1 keeps every byte as one character, so that names that are not UTF-8 survive.
  const rows = text.toString('latin1').split('\n').map(parseRow);
  return rows.filter((row) => row !== undefined);
}

/** The mounts this process sees now. Throws what reading /proc/self/mountinfo throws. */
export function readMountInfo(): MountRow[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo'));
}

/** The mount with this id. */
export function findMountById(mounts: readonly MountRow[], mountId: number): MountRow | undefined {
  return mounts.find((row) => row.mountId === mountId);
}

/**
 * The mount that is seen at this path: of several on top of each other the topmost, which is the one
 * that is no other's parent there. `point` is a real path, without a trailing slash.
 */
export function findMountByPoint(
  mounts: readonly MountRow[],
  point: string | Buffer,
): MountRow | undefined {
  const bytes = typeof point === 'string' ? Buffer.from(point) : point;
  const stack = mounts.filter((row) => row.mountPointBytes.equals(bytes));
  const covered = new Set(
    stack.filter((row) => row.parentId !== row.mountId).map((row) => row.parentId),
  );
  return stack.findLast((row) => !covered.has(row.mountId));
}
