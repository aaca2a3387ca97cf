/** A directory as getdents64(2) and lseek(2) show it, cookies included. */
import { errnoName } from '../../src/shared/abi/errno.ts';
import {
  LINUX_DIRENT64,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  SEEK_SET,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';

export interface Entry {
  readonly name: string;
  readonly type: number;
  /** Where the next entry is, for telldir(3) and seekdir(3). */
  readonly cookie: bigint;
}

/** Room for the longest record. */
export const LARGEST_RECORD = 280;

const buffer = Buffer.from(new SharedArrayBuffer(64 * 1024));
const address = libc.addressOf(buffer);

function checked(what: string, result: number | bigint): number {
  if (result < 0) throw new Error(`${what}: ${errnoName(Number(result))}`);
  return Number(result);
}

export class DirectoryReader {
  readonly fd: number;

  constructor(path: string) {
    const flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    this.fd = checked(path, libc.open(new libc.CString(path).address, flags));
  }

  /** What one getdents64(2) gives, or -errno. */
  tryNext(sizeBytes: number): Entry[] | number {
    const filled = libc.getdents64(this.fd, address, Math.min(sizeBytes, buffer.length));
    if (filled < 0) return filled;
    const entries: Entry[] = [];
    for (let at = 0; at < filled; ) {
      const nameAt = at + LINUX_DIRENT64.name;
      entries.push({
        name: buffer.toString('latin1', nameAt, buffer.indexOf(0, nameAt)),
        type: buffer[at + LINUX_DIRENT64.type] as number,
        cookie: buffer.readBigInt64LE(at + LINUX_DIRENT64.off),
      });
      at += buffer.readUInt16LE(at + LINUX_DIRENT64.reclen);
    }
    return entries;
  }

  next(sizeBytes: number): Entry[] {
    const entries = this.tryNext(sizeBytes);
    if (typeof entries === 'number') throw new Error(`getdents64: ${errnoName(entries)}`);
    return entries;
  }

  /** Everything from here to the end. */
  rest(sizeBytes: number): Entry[] {
    const all: Entry[] = [];
    for (let some = this.next(sizeBytes); some.length > 0; some = this.next(sizeBytes)) {
      for (const entry of some) all.push(entry);
    }
    return all;
  }

  seek(cookie: bigint): void {
    checked('lseek', libc.lseek(this.fd, cookie, SEEK_SET));
  }

  close(): void {
    libc.close(this.fd);
  }
}
