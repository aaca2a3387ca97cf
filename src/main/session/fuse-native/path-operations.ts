/**
 * The operations by path: each finds its inode, runs one or a few requests, and gives back what was
 * counted on the way. Results are values, or -errno.
 */
import { isUtf8 } from 'node:buffer';
import { ERRNO } from '../../../shared/abi/errno.ts';
import {
  FATTR_ATIME,
  FATTR_FH,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_FSYNC_FDATASYNC,
} from '../../../shared/abi/flags.ts';
import { OP } from '../../../shared/abi/opcodes.ts';
import {
  ACCESS_IN,
  CREATE_IN,
  ENTRY_OUT,
  FLUSH_IN,
  FSYNC_IN,
  GETXATTR_IN,
  GETXATTR_OUT,
  LINK_IN,
  MKDIR_IN,
  MKNOD_IN,
  OPEN_IN,
  OPEN_OUT,
  READ_IN,
  RELEASE_IN,
  RENAME_IN,
  SETATTR_IN,
  SETXATTR_IN,
  WRITE_IN,
  WRITE_OUT,
} from '../../../shared/abi/structs.ts';
import { O_CREAT, O_EXCL, O_RDWR } from '../../../shared/sys/constants.ts';
import {
  type DirectoryEntry,
  entriesOf,
  type NativeStat,
  nativeStat,
  nativeStatfs,
} from './attributes.ts';
import { type OpenFile, OpenFiles } from './open-files.ts';
import { bytesOf, entryOf, type Node, PathWalk, type Place } from './path-walk.ts';
import {
  type Reply,
  type RequestChannel,
  readWord,
  type Word,
  writeWord,
} from './request-channel.ts';

/** A chown(2) that leaves the id alone. */
const NO_ID = 0xffff_ffff;
const LISTING_BYTES = 65536;

/** Fields of a structure: offset, value, bytes. */
type Field = readonly [at: number, value: number, sizeBytes: 4 | 8];

function structure(sizeBytes: number, ...fields: readonly Field[]): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (const [at, value, size] of fields) {
    if (size === 8) writeWord(bytes, value, at);
    else bytes.writeUInt32LE(value >>> 0, at);
  }
  return bytes;
}

/** Says something once. */
export type Note = (key: string, message: string) => void;

export class PathOperations {
  readonly #channel: RequestChannel;
  readonly #files = new OpenFiles();
  readonly #walk: PathWalk;
  readonly #note: Note;

  constructor(channel: RequestChannel, note: Note) {
    this.#channel = channel;
    this.#note = note;
    this.#walk = new PathWalk(channel, (name) => this.#files.hidden(name));
  }

  // ---- attributes ----

  getattr(path: string): Promise<NativeStat | number> {
    return this.#at(path, async ({ attr }) => nativeStat(attr));
  }

  async fgetattr(path: string, number: number): Promise<NativeStat | number> {
    const file = this.#files.get(number);
    if (file === undefined) return this.getattr(path);
    const node = await this.#walk.attributes(file.node.id);
    return typeof node === 'number' ? node : nativeStat(node.attr);
  }

  chmod(path: string, mode: number): Promise<number> {
    return this.#set(path, FATTR_MODE, [SETATTR_IN.mode, mode, 4]);
  }

  chown(path: string, uid: number, gid: number): Promise<number> {
    const valid = (uid === NO_ID ? 0 : FATTR_UID) | (gid === NO_ID ? 0 : FATTR_GID);
    return this.#set(path, valid, [SETATTR_IN.uid, uid, 4], [SETATTR_IN.gid, gid, 4]);
  }

  truncate(path: string, sizeBytes: number): Promise<number> {
    return this.#set(path, FATTR_SIZE, [SETATTR_IN.size, sizeBytes, 8]);
  }

  ftruncate(path: string, number: number, sizeBytes: number): Promise<number> {
    const file = this.#files.get(number);
    if (file === undefined) return this.truncate(path, sizeBytes);
    const size: Field = [SETATTR_IN.size, sizeBytes, 8];
    const fh: Field = [SETATTR_IN.fh, file.fh, 8];
    return this.#setNode(file.node.id, FATTR_SIZE | FATTR_FH, size, fh);
  }

  /** @param atime milliseconds; negative before 1970 */
  utimens(path: string, atime: number, mtime: number): Promise<number> {
    return this.#at(path, ({ id }) => {
      const bytes = structure(SETATTR_IN.SIZE, [SETATTR_IN.valid, FATTR_ATIME | FATTR_MTIME, 4]);
      putTime(bytes, atime, SETATTR_IN.atime, SETATTR_IN.atimensec);
      putTime(bytes, mtime, SETATTR_IN.mtime, SETATTR_IN.mtimensec);
      return this.#errorOf(OP.SETATTR, id, bytes);
    });
  }

  access(path: string, mask: number): Promise<number> {
    const bytes = structure(ACCESS_IN.SIZE, [ACCESS_IN.mask, mask, 4]);
    return this.#at(path, ({ id }) => this.#errorOf(OP.ACCESS, id, bytes));
  }

  statfs(path: string): Promise<Uint32Array | number> {
    return this.#at(path, async ({ id }) => {
      const { error, body } = await this.#channel.call(OP.STATFS, id);
      return error < 0 ? error : nativeStatfs(body);
    });
  }

  // ---- names ----

  readlink(path: string): Promise<string | number> {
    return this.#at(path, async ({ id }) => {
      const { error, body } = await this.#channel.call(OP.READLINK, id);
      if (error < 0) return error;
      return isUtf8(body) ? body.toString() : -ERRNO.EILSEQ;
    });
  }

  mknod(path: string, mode: number, rdev: number): Promise<number> {
    const bytes = structure(MKNOD_IN.SIZE, [MKNOD_IN.mode, mode, 4], [MKNOD_IN.rdev, rdev, 4]);
    return this.#make(path, OP.MKNOD, bytes);
  }

  mkdir(path: string, mode: number): Promise<number> {
    return this.#make(path, OP.MKDIR, structure(MKDIR_IN.SIZE, [MKDIR_IN.mode, mode, 4]));
  }

  async symlink(target: string, path: string): Promise<number> {
    const bytes = bytesOf(target);
    if (bytes === undefined) return -ERRNO.EILSEQ;
    return this.#in(path, async ({ directory, name }) =>
      this.#forgetMade(await this.#channel.call(OP.SYMLINK, directory, name, bytes)),
    );
  }

  link(path: string, newPath: string): Promise<number> {
    return this.#at(path, ({ id }) =>
      this.#make(newPath, OP.LINK, structure(LINK_IN.SIZE, [LINK_IN.oldnodeid, id, 8])),
    );
  }

  /** A hidden file is gone when it is closed; there is nothing to remove. */
  async unlink(path: string): Promise<number> {
    if (this.#files.hidden(lastName(path)) !== undefined) return 0;
    return this.#in(path, ({ directory, name }) => this.#errorOf(OP.UNLINK, directory, name));
  }

  rmdir(path: string): Promise<number> {
    return this.#in(path, ({ directory, name }) => this.#errorOf(OP.RMDIR, directory, name));
  }

  rename(path: string, newPath: string): Promise<number> {
    return this.#in(path, async (from) => {
      if (this.#files.isHiding(lastName(newPath))) {
        const outcome = await this.#hide(from, lastName(newPath));
        if (outcome !== undefined) return outcome;
      }
      return this.#in(newPath, (to) => {
        const bytes = structure(RENAME_IN.SIZE, [RENAME_IN.newdir, to.directory, 8]);
        return this.#errorOf(OP.RENAME, from.directory, bytes, from.name, to.name);
      });
    });
  }

  /** Removes an open file that libfuse would hide. @returns undefined if it is not open here */
  async #hide(place: Place, hiddenName: string): Promise<number | undefined> {
    const node = await this.#walk.lookup(place);
    if (typeof node === 'number') return node;
    const isOpen = this.#files.isOpen(node.id);
    const error = isOpen ? await this.#errorOf(OP.UNLINK, place.directory, place.name) : 0;
    // It may have been closed meanwhile.
    if (isOpen && error === 0 && this.#files.isOpen(node.id)) this.#files.hide(hiddenName, node);
    else this.#walk.release(node);
    return isOpen ? error : undefined;
  }

  // ---- files ----

  async open(path: string, flags: number): Promise<number> {
    const node = await this.#walk.find(path);
    if (typeof node === 'number') return node;
    const bytes = structure(OPEN_IN.SIZE, [OPEN_IN.flags, flags, 4]);
    const { error, body } = await this.#channel.call(OP.OPEN, node.id, bytes);
    if (error === 0) return this.#files.add({ fh: readWord(body, OPEN_OUT.fh), node });
    this.#walk.release(node);
    return error;
  }

  /**
   * The flags are not told: the file is new, as the kernel has looked, and is opened for reading and
   * writing. If it is there by now, ESTALE has the kernel look again.
   */
  create(path: string, mode: number): Promise<number> {
    const flags: Field = [CREATE_IN.flags, O_CREAT | O_EXCL | O_RDWR, 4];
    const bytes = structure(CREATE_IN.SIZE, flags, [CREATE_IN.mode, mode, 4]);
    return this.#in(path, async ({ directory, name }) => {
      const { error, body } = await this.#channel.call(OP.CREATE, directory, bytes, name);
      if (error < 0) return error === -ERRNO.EEXIST ? -ERRNO.ESTALE : error;
      const node = entryOf(body) as Node;
      return this.#files.add({ fh: readWord(body, ENTRY_OUT.SIZE + OPEN_OUT.fh), node });
    });
  }

  /** @param into has room for `sizeBytes` */
  async read(number: number, into: Buffer, sizeBytes: number, offset: number): Promise<number> {
    const file = this.#files.get(number);
    if (file === undefined) return -ERRNO.EBADF;
    const bytes = structure(
      READ_IN.SIZE,
      [READ_IN.fh, file.fh, 8],
      [READ_IN.offset, offset, 8],
      [READ_IN.size, sizeBytes, 4],
    );
    const { error, body } = await this.#channel.call(OP.READ, file.node.id, bytes);
    return error < 0 ? error : body.copy(into, 0, 0, sizeBytes);
  }

  async write(number: number, data: Buffer, offset: number): Promise<number> {
    const file = this.#files.get(number);
    if (file === undefined) return -ERRNO.EBADF;
    const bytes = structure(
      WRITE_IN.SIZE,
      [WRITE_IN.fh, file.fh, 8],
      [WRITE_IN.offset, offset, 8],
      [WRITE_IN.size, data.length, 4],
    );
    const { error, body } = await this.#channel.call(OP.WRITE, file.node.id, bytes, data);
    return error < 0 ? error : body.readUInt32LE(WRITE_OUT.size);
  }

  flush(number: number): Promise<number> {
    return this.#onFile(number, ({ fh, node }) =>
      this.#errorOf(OP.FLUSH, node.id, structure(FLUSH_IN.SIZE, [FLUSH_IN.fh, fh, 8])),
    );
  }

  fsync(number: number, isDataOnly: boolean): Promise<number> {
    return this.#onFile(number, ({ fh, node }) =>
      this.#errorOf(OP.FSYNC, node.id, fsyncArgument(fh, isDataOnly)),
    );
  }

  async release(number: number): Promise<number> {
    const file = this.#files.get(number);
    if (file === undefined) return -ERRNO.EBADF;
    const bytes = structure(RELEASE_IN.SIZE, [RELEASE_IN.fh, file.fh, 8]);
    const error = await this.#errorOf(OP.RELEASE, file.node.id, bytes);
    for (const node of this.#files.remove(number)) this.#walk.release(node);
    return error;
  }

  // ---- directories ----

  async readdir(path: string): Promise<readonly [string[], NativeStat[]] | number> {
    const names: string[] = [];
    const stats: NativeStat[] = [];
    const error = await this.#onDirectory(path, (node, fh) =>
      this.#list(node, fh, ({ name, stat }) => {
        if (!isUtf8(name)) {
          const hex = name.toString('hex');
          this.#note('no-utf8', `names that are no UTF-8 are not shown, as (in hex) ${hex}`);
          return;
        }
        names.push(name.toString());
        stats.push(stat);
      }),
    );
    return error < 0 ? error : [names, stats];
  }

  fsyncdir(path: string, isDataOnly: boolean): Promise<number> {
    return this.#onDirectory(path, (node, fh) =>
      this.#errorOf(OP.FSYNCDIR, node, fsyncArgument(fh, isDataOnly)),
    );
  }

  async #list(node: Word, fh: Word, each: (entry: DirectoryEntry) => void): Promise<number> {
    const fields: Field[] = [
      [READ_IN.fh, fh, 8],
      [READ_IN.size, LISTING_BYTES, 4],
    ];
    const bytes = structure(READ_IN.SIZE, ...fields);
    for (;;) {
      const { error, body } = await this.#channel.call(OP.READDIR, node, bytes);
      if (error < 0) return error;
      const { entries, next } = entriesOf(body);
      for (const entry of entries) each(entry);
      if (next === undefined) return 0;
      // Cookies of some file systems have all 64 bits.
      next.copy(bytes, READ_IN.offset);
    }
  }

  /** Opens a directory for one operation: what libfuse has open has no number here. */
  #onDirectory(path: string, run: (node: Word, fh: Word) => Promise<number>): Promise<number> {
    return this.#at(path, async ({ id }) => {
      const opened = await this.#channel.call(OP.OPENDIR, id, Buffer.alloc(OPEN_IN.SIZE));
      if (opened.error < 0) return opened.error;
      const fh = readWord(opened.body, OPEN_OUT.fh);
      const outcome = await run(id, fh);
      const bytes = structure(RELEASE_IN.SIZE, [RELEASE_IN.fh, fh, 8]);
      await this.#channel.call(OP.RELEASEDIR, id, bytes);
      return outcome;
    });
  }

  // ---- extended attributes ----

  setxattr(path: string, name: string, value: Buffer, flags: number): Promise<number> {
    const sizes: Field[] = [
      [SETXATTR_IN.size, value.length, 4],
      [SETXATTR_IN.flags, flags, 4],
    ];
    const bytes = structure(SETXATTR_IN.COMPAT_SIZE, ...sizes);
    return this.#named(path, name, ({ id }, nameBytes) =>
      this.#errorOf(OP.SETXATTR, id, bytes, nameBytes, value),
    );
  }

  /** @returns the value's length; it is copied if `into` has any room */
  getxattr(path: string, name: string, into: Buffer): Promise<number> {
    return this.#named(path, name, ({ id }, nameBytes) =>
      this.#sized(OP.GETXATTR, id, into, nameBytes),
    );
  }

  listxattr(path: string, into: Buffer): Promise<number> {
    return this.#at(path, ({ id }) => this.#sized(OP.LISTXATTR, id, into));
  }

  removexattr(path: string, name: string): Promise<number> {
    return this.#named(path, name, ({ id }, nameBytes) =>
      this.#errorOf(OP.REMOVEXATTR, id, nameBytes),
    );
  }

  async #sized(opcode: number, node: Word, into: Buffer, ...names: Buffer[]): Promise<number> {
    const bytes = structure(GETXATTR_IN.SIZE, [GETXATTR_IN.size, into.length, 4]);
    const { error, body } = await this.#channel.call(opcode, node, bytes, ...names);
    if (error < 0) return error;
    return into.length === 0 ? body.readUInt32LE(GETXATTR_OUT.size) : body.copy(into);
  }

  // ---- what all are made of ----

  async #at<T>(path: string, run: (node: Node) => Promise<T | number>): Promise<T | number> {
    const node = await this.#walk.find(path);
    if (typeof node === 'number') return node;
    const outcome = await run(node);
    this.#walk.release(node);
    return outcome;
  }

  async #in(path: string, run: (place: Place) => Promise<number>): Promise<number> {
    const place = await this.#walk.place(path);
    if (typeof place === 'number') return place;
    const outcome = await run(place);
    this.#walk.forget(place.directory);
    return outcome;
  }

  async #named(
    path: string,
    name: string,
    run: (node: Node, name: Buffer) => Promise<number>,
  ): Promise<number> {
    const bytes = bytesOf(name);
    return bytes === undefined ? -ERRNO.EILSEQ : this.#at(path, (node) => run(node, bytes));
  }

  async #onFile(number: number, run: (file: OpenFile) => Promise<number>): Promise<number> {
    const file = this.#files.get(number);
    return file === undefined ? -ERRNO.EBADF : run(file);
  }

  #set(path: string, valid: number, ...fields: readonly Field[]): Promise<number> {
    return this.#at(path, ({ id }) => this.#setNode(id, valid, ...fields));
  }

  #setNode(id: Word, valid: number, ...fields: readonly Field[]): Promise<number> {
    const bytes = structure(SETATTR_IN.SIZE, [SETATTR_IN.valid, valid, 4], ...fields);
    return this.#errorOf(OP.SETATTR, id, bytes);
  }

  #make(path: string, opcode: number, argument: Buffer): Promise<number> {
    return this.#in(path, async ({ directory, name }) =>
      this.#forgetMade(await this.#channel.call(opcode, directory, argument, name)),
    );
  }

  /** What was made was looked up, too: libfuse does that for itself. */
  #forgetMade({ error, body }: Reply): number {
    if (error === 0) this.#walk.release(entryOf(body) as Node);
    return error;
  }

  async #errorOf(opcode: number, node: Word, ...parts: readonly Uint8Array[]): Promise<number> {
    return (await this.#channel.call(opcode, node, ...parts)).error;
  }
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function fsyncArgument(fh: Word, isDataOnly: boolean): Buffer {
  const flags = isDataOnly ? FUSE_FSYNC_FDATASYNC : 0;
  return structure(FSYNC_IN.SIZE, [FSYNC_IN.fh, fh, 8], [FSYNC_IN.fsync_flags, flags, 4]);
}

function putTime(bytes: Buffer, ms: number, secondsAt: number, nanosecondsAt: number): void {
  const seconds = Math.floor(ms / 1000);
  bytes.writeBigInt64LE(BigInt(seconds), secondsAt);
  bytes.writeUInt32LE((ms - seconds * 1000) * 1e6, nanosecondsAt);
}
