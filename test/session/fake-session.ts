/** The least daemon that lets the kernel open the root of a mount, and helpers of the session tests. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { MountRequest, SessionLog } from '../../src/main/session/mount.ts';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import {
  ATTR,
  ATTR_OUT,
  IN_HEADER,
  INIT_OUT,
  OPEN_OUT,
  OUT_HEADER,
} from '../../src/shared/abi/structs.ts';
import { hasCapability } from '../../src/shared/sys/capabilities.ts';
import { CAP_SYS_ADMIN, S_IFDIR } from '../../src/shared/sys/constants.ts';
import { addressOf, read, watchReadable, write } from '../../src/shared/sys/libc.ts';
import { readMountInfo } from '../../src/shared/sys/mountinfo.ts';

const FUSE_ABORT_ERROR = 1 << 21;
const REQUEST_BYTES = 1 << 18;
const OPCODE = {
  FORGET: 2,
  GETATTR: 3,
  INIT: 26,
  OPENDIR: 27,
  RELEASEDIR: 29,
  FLUSH: 25,
  INTERRUPT: 36,
  BATCH_FORGET: 42,
};

/** Why tests that mount cannot run here; false when they can. */
export const mountSkip: false | string = hasCapability(CAP_SYS_ADMIN)
  ? false
  : 'needs CAP_SYS_ADMIN';

/** Answers a mount whose only content is its root, on the calling thread. Returns how to stop. */
export function serve(fuseFd: number, onInit: () => void = () => {}): () => void {
  const request = new DataView(new SharedArrayBuffer(REQUEST_BYTES));
  const address = addressOf(request);
  let isStopped = false;
  const stop = (): void => {
    if (!isStopped) {
      isStopped = true;
      watcher.stop();
    }
  };
  const watcher = watchReadable(fuseFd, () => {
    for (;;) {
      const size = read(fuseFd, address, REQUEST_BYTES);
      if (size === -ERRNO.ENODEV) {
        stop();
        return;
      }
      if (size < 0) {
        return;
      }
      answer(fuseFd, request);
      if (request.getUint32(IN_HEADER.opcode, true) === OPCODE.INIT) {
        onInit();
      }
    }
  });
  return stop;
}

function answer(fuseFd: number, request: DataView): void {
  const opcode = request.getUint32(IN_HEADER.opcode, true);
  if (opcode === OPCODE.FORGET || opcode === OPCODE.BATCH_FORGET || opcode === OPCODE.INTERRUPT) {
    return;
  }
  const body = bodyOf(opcode);
  const reply = new DataView(new SharedArrayBuffer(OUT_HEADER.SIZE + (body?.byteLength ?? 0)));
  reply.setUint32(OUT_HEADER.len, reply.byteLength, true);
  reply.setInt32(OUT_HEADER.error, body === undefined ? -ERRNO.ENOSYS : 0, true);
  reply.setBigUint64(OUT_HEADER.unique, request.getBigUint64(IN_HEADER.unique, true), true);
  if (body !== undefined) {
    new Uint8Array(reply.buffer).set(new Uint8Array(body.buffer), OUT_HEADER.SIZE);
  }
  write(fuseFd, addressOf(reply), reply.byteLength);
}

/** The reply's body; undefined for what is not supported. */
function bodyOf(opcode: number): DataView | undefined {
  switch (opcode) {
    case OPCODE.INIT: {
      const body = new DataView(new ArrayBuffer(INIT_OUT.SIZE));
      body.setUint32(INIT_OUT.major, 7, true);
      body.setUint32(INIT_OUT.minor, 31, true);
      body.setUint32(INIT_OUT.flags, FUSE_ABORT_ERROR, true);
      body.setUint32(INIT_OUT.max_write, 65536, true);
      return body;
    }
    case OPCODE.GETATTR: {
      const body = new DataView(new ArrayBuffer(ATTR_OUT.SIZE));
      body.setBigUint64(ATTR_OUT.attr + ATTR.ino, 1n, true);
      body.setUint32(ATTR_OUT.attr + ATTR.mode, S_IFDIR | 0o755, true);
      body.setUint32(ATTR_OUT.attr + ATTR.nlink, 2, true);
      return body;
    }
    case OPCODE.OPENDIR:
      return new DataView(new ArrayBuffer(OPEN_OUT.SIZE));
    case OPCODE.RELEASEDIR:
    case OPCODE.FLUSH:
      return new DataView(new ArrayBuffer(0));
    default:
      return undefined;
  }
}

/** A log that keeps its lines. */
export function keepingLog(): { log: SessionLog; infos: string[]; warnings: string[] } {
  const infos: string[] = [];
  const warnings: string[] = [];
  const log = {
    info: (_fields: object, message: string) => infos.push(message),
    warn: (_fields: object, message: string) => warnings.push(message),
  };
  return { log: log as unknown as SessionLog, infos, warnings };
}

export function request(mountpoint: string, more: Partial<MountRequest> = {}): MountRequest {
  return {
    mountpoint,
    fsname: '/some/source',
    allowOther: false,
    defaultPermissions: true,
    readOnly: false,
    mountFlags: 0,
    maxWriteBytes: 1 << 20,
    ...more,
  };
}

/** A directory of its own with a directory `mnt` in it. `remove` takes off whatever is mounted there. */
export function makeScratch(): { folder: string; mountpoint: string; remove: () => void } {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'sluice-session-')));
  const mountpoint = path.join(folder, 'mnt');
  mkdirSync(mountpoint);
  return {
    folder,
    mountpoint,
    remove() {
      for (const row of readMountInfo().toReversed()) {
        if (row.mountPoint.startsWith(`${folder}/`)) {
          spawnSync('umount', ['-l', row.mountPoint], { timeout: 10_000 });
        }
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A process that keeps a mount busy without asking it anything, once the promise settles. */
export async function holdOpen(mountpoint: string): Promise<ChildProcess> {
  const program = `require('fs').openSync(${JSON.stringify(mountpoint)}, 0o10000000); console.log('held'); setInterval(() => {}, 1000)`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', () => reject(new Error('the holder ended')));
  });
  return child;
}

/** How many mounts lie on top of each other there. */
export function countRows(mountpoint: string): number {
  return readMountInfo().filter((row) => row.mountPoint === mountpoint).length;
}
