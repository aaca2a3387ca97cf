/** The file under test: its descriptors, what it has to hold, and how that is checked. */
import { ERRNO, errnoName } from '../../src/shared/abi/errno.ts';
import {
  AT_EMPTY_PATH,
  FS_MAGIC,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  PAGE_SIZE,
  STATFS,
  STATX,
  STATX_BASIC_STATS,
} from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { copyMemory, map, PROT_READ, PROT_WRITE, unmap } from './mapping.ts';
import { LARGEST_SIZE, Model } from './model.ts';
import type { Random } from './random.ts';

const KINDS = { plain: 0, append: O_APPEND, direct: O_DIRECT, sync: O_SYNC, readonly: O_RDONLY };
export type Kind = keyof typeof KINDS;

export interface Descriptor {
  readonly fd: number;
  readonly kind: Kind;
}

const DESCRIPTORS = 4;

/** Something is not as it has to be. */
export class Finding extends Error {}

/** @throws Finding when a call has failed */
export function must(what: string, result: number): number {
  if (result < 0) throw new Finding(`${what} failed with ${errnoName(result)}`);
  return result;
}

function alignedMemory(sizeBytes: number): Buffer {
  const whole = new Uint8Array(new SharedArrayBuffer(sizeBytes + PAGE_SIZE));
  const start = (PAGE_SIZE - (libc.addressOf(whole) % PAGE_SIZE)) % PAGE_SIZE;
  return Buffer.from(whole.buffer, start, sizeBytes);
}

function isOnXfs(fd: number): boolean {
  const statfs = alignedMemory(STATFS.SIZE);
  must('fstatfs', libc.fstatfs(fd, libc.addressOf(statfs)));
  return statfs.readUInt32LE(STATFS.type) === FS_MAGIC.XFS;
}

export function pageBelow(offset: number): number {
  return offset - (offset % PAGE_SIZE);
}

export function pageAbove(offset: number): number {
  return pageBelow(offset + PAGE_SIZE - 1);
}

export class Subject {
  readonly model = new Model();
  readonly random: Random;
  /** What is read and written; it stands on a page, for O_DIRECT. */
  readonly memory = alignedMemory(LARGEST_SIZE + PAGE_SIZE);
  readonly address = libc.addressOf(this.memory);
  readonly descriptors: Descriptor[] = [];
  /** A mapping of all the file could grow to, which stays while other things happen to the file. */
  held = 0;
  /** Direct reads that xfs has refused, and then not. */
  collisions = 0;
  /** Whether pages may be dirty that have not been sent to the file system. */
  isDirty = false;
  readonly #path: libc.CString;
  readonly #backingFd: number;
  readonly #statx = alignedMemory(STATX.SIZE);
  readonly #statxAddress = libc.addressOf(this.#statx);
  readonly #empty = new libc.CString('');
  readonly #isXfs: boolean;
  #hasDirect = true;

  constructor(path: string, backing: string, random: Random) {
    this.random = random;
    this.#path = new libc.CString(path);
    const flags = O_RDWR | O_CREAT | O_CLOEXEC;
    this.descriptors.push({
      fd: must('open', libc.open(this.#path.address, flags, 0o644)),
      kind: 'plain',
    });
    const backingPath = new libc.CString(backing).address;
    this.#backingFd = must('open behind', libc.open(backingPath, O_RDONLY | O_CLOEXEC));
    this.#isXfs = isOnXfs(this.#backingFd);
    while (this.descriptors.length < DESCRIPTORS) this.descriptors.push(this.#open('plain'));
    this.holdMapping(this.descriptors[0] as Descriptor);
  }

  /** Maps the file anew, by another descriptor. */
  holdMapping({ fd }: Descriptor): void {
    if (this.held !== 0) must('munmap', unmap(this.held, LARGEST_SIZE));
    this.held = must('mmap', map(fd, LARGEST_SIZE, PROT_READ | PROT_WRITE, 0));
  }

  /** The address of the path, for calls that take one. */
  get path(): number {
    return this.#path.address;
  }

  /** Closes one of the descriptors and opens another in its place; the first is always a plain one. */
  reopen(index: number, kind: Kind): void {
    must('close', libc.close((this.descriptors[index] as Descriptor).fd));
    this.descriptors[index] = this.#open(index === 0 ? 'plain' : kind);
  }

  #open(kind: Kind): Descriptor {
    if (kind === 'direct' && !this.#hasDirect) return this.#open('plain');
    const access = kind === 'readonly' ? O_RDONLY : O_RDWR;
    const fd = libc.open(this.path, access | KINDS[kind] | O_CLOEXEC);
    if (kind === 'direct' && fd === -ERRNO.EINVAL) {
      this.#hasDirect = false;
      return this.#open('plain');
    }
    return { fd: must(`open for ${kind}`, fd), kind };
  }

  anyDescriptor(): Descriptor {
    return this.random.pick(this.descriptors);
  }

  writable(): Descriptor {
    const descriptor = this.anyDescriptor();
    return descriptor.kind === 'readonly' ? (this.descriptors[0] as Descriptor) : descriptor;
  }

  #sizeOf(fd: number): number {
    const flags = AT_EMPTY_PATH;
    const error = libc.statx(fd, this.#empty.address, flags, STATX_BASIC_STATS, this.#statxAddress);
    must('statx', error);
    return Number(this.#statx.readBigUInt64LE(STATX.size));
  }

  /** Compares what was read into the memory with the model. */
  compare(how: string, offset: number, length: number): void {
    const { bytes } = this.model;
    if (this.memory.compare(bytes, offset, offset + length, 0, length) === 0) return;
    let at = 0;
    while (this.memory[at] === bytes[offset + at]) at++;
    let end = length;
    while (this.memory[end - 1] === bytes[offset + end - 1]) end--;
    const hex = (from: Buffer, start: number) => from.subarray(start, start + 8).toString('hex');
    throw new Finding(
      `${how} differs from ${offset + at} to ${offset + end} of ${this.model.size}: ` +
        `read ${hex(this.memory, at)}..., wanted ${hex(bytes, offset + at)}...`,
    );
  }

  /** Reads by a descriptor and compares; past the end nothing may come. */
  checkRead(descriptor: Descriptor, offset: number, length: number): void {
    const direct = descriptor.kind === 'direct';
    const from = direct ? pageBelow(offset) : offset;
    const bytes = (direct ? pageAbove(offset + length) : offset + length) - from;
    this.memory.fill(0xee, 0, bytes);
    const result = libc.pread(descriptor.fd, this.address, bytes, from);
    if (direct && result === -ERRNO.EIO && this.#isXfs) {
      // xfs of Linux 6.18, on a plain directory as well: "Direct I/O collision with buffered
      // writes!" in the kernel's log, for blocks behind the former end that have no place yet.
      this.collisions++;
      this.checkRead(this.descriptors[0] as Descriptor, offset, length);
      return;
    }
    const count = must('pread', result);
    const wanted = Math.max(0, Math.min(bytes, this.model.size - from));
    if (count !== wanted) {
      throw new Finding(
        `pread (${descriptor.kind}) of ${bytes} at ${from} gave ${count}, wanted ${wanted}`,
      );
    }
    this.compare(`pread (${descriptor.kind})`, from, count);
  }

  /** Reads through a mapping and compares; what lies behind the end in the last page has to be zero. */
  checkMapping(descriptor: Descriptor, offset: number, length: number): void {
    const from = pageBelow(offset);
    const bytes = pageAbove(Math.min(offset + length, this.model.size)) - from;
    if (bytes <= 0) return;
    const address = must('mmap', map(descriptor.fd, bytes, PROT_READ, from));
    copyMemory(this.address, address, bytes);
    must('munmap', unmap(address, bytes));
    this.compare(`a mapping (${descriptor.kind})`, from, bytes);
  }

  /** The same through the mapping that stays. */
  checkHeld(offset: number, length: number): void {
    const from = pageBelow(offset);
    const bytes = pageAbove(Math.min(offset + length, this.model.size)) - from;
    if (bytes <= 0) return;
    copyMemory(this.address, this.held + from, bytes);
    this.compare('the mapping that stays', from, bytes);
  }

  checkSize(): void {
    const size = this.#sizeOf(this.anyDescriptor().fd);
    if (size !== this.model.size) {
      throw new Finding(`the size is ${size}, wanted ${this.model.size}`);
    }
  }

  /** Checks a part of the file through the mount. */
  checkPart(from: number, to: number): void {
    this.checkSize();
    const start = Math.max(0, from - this.random.below(PAGE_SIZE));
    const end = Math.min(LARGEST_SIZE, to + this.random.below(PAGE_SIZE));
    if (end <= start) return;
    if (this.random.oneIn(8)) this.checkMapping(this.anyDescriptor(), start, end - start);
    else if (this.random.oneIn(6)) this.checkHeld(start, end - start);
    else this.checkRead(this.anyDescriptor(), start, end - start);
  }

  /** Checks all of the file through the mount. */
  checkWhole(): void {
    this.checkSize();
    this.checkRead(this.anyDescriptor(), 0, LARGEST_SIZE);
  }

  sync(): void {
    must('fsync', libc.fsync((this.descriptors[0] as Descriptor).fd));
    this.isDirty = false;
  }

  /** Checks all of the file behind the mount, after everything dirty was written. */
  checkBacking(): void {
    if (this.isDirty || this.random.oneIn(2)) this.sync();
    const size = this.#sizeOf(this.#backingFd);
    if (size !== this.model.size) {
      throw new Finding(`behind the mount the size is ${size}, wanted ${this.model.size}`);
    }
    const count = must('pread behind', libc.pread(this.#backingFd, this.address, LARGEST_SIZE, 0));
    if (count !== size) throw new Finding(`behind the mount ${count} of ${size} bytes are read`);
    this.compare('the file behind the mount', 0, count);
  }

  close(): void {
    unmap(this.held, LARGEST_SIZE);
    for (const { fd } of this.descriptors) libc.close(fd);
    libc.close(this.#backingFd);
  }
}
