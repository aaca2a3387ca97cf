/**
 * A round of what programs do in a mount: a file is made, used, renamed and, some rounds later, removed, a
 * directory is made, listed and removed. What differs from one request to the next in a mount, names,
 * flags, numbers of inodes, does here, too: code that was compiled for one case is thrown away at the other.
 */
import {
  FATTR_ATIME,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_UID,
} from '../../shared/abi/flags.ts';
import { OP } from '../../shared/abi/opcodes.ts';
import {
  BATCH_FORGET_IN,
  CREATE_IN,
  ENTRY_OUT,
  FORGET_IN,
  FORGET_ONE,
  GETATTR_IN,
  GETXATTR_IN,
  MKDIR_IN,
  OPEN_IN,
  READ_IN,
  RELEASE_IN,
  RENAME2_IN,
  SETATTR_IN,
  WRITE_IN,
} from '../../shared/abi/structs.ts';
import { O_RDONLY, O_RDWR, O_WRONLY } from '../../shared/sys/constants.ts';
import { type Requests, ROOT, type Words } from './requests.ts';

/** Files that are there at a time. */
const FILES = 100;
const DATA = new Uint8Array(4096);
const ABSENT = Buffer.from('absent\0');
const DIRECTORY = Buffer.from('d\0');
const CAPABILITY = Buffer.from('security.capability\0');
const MADE = namesOf('');
const RENAMED = namesOf('renamed-');
/** Every other file is made for writing only, and with another mask. */
const ACCESS = [O_RDWR, O_WRONLY];
const UMASKS = [0, 0o22];

function namesOf(prefix: string): Buffer[] {
  return Array.from({ length: FILES }, (_, index) => Buffer.from(`${prefix}${index}\0`));
}

/** Requests of a round that are answered with an error: a name that there is not, twice, and an attribute. */
export const ERRORS_PER_ROUND = 3;

export class Work {
  readonly #requests: Requests;
  /** Of the files that are there. */
  readonly #nodes: (Words | undefined)[] = new Array(FILES);
  #round = 0;

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  round(): void {
    const index = this.#round++ % FILES;
    const old = this.#nodes[index];
    if (old !== undefined) this.#removeFile(index, old);
    const node = this.#createFile(index);
    this.#useFile(index, node);
    this.#nodes[index] = node;
    this.#useDirectory();
  }

  #createFile(index: number): Words {
    const requests = this.#requests;
    const name = MADE[index] as Buffer;
    const flags = ACCESS[this.#round % 2] as number;
    this.#named(OP.LOOKUP, name);
    requests.begin(OP.CREATE, ROOT, CREATE_IN.SIZE);
    requests.set(CREATE_IN.flags, flags);
    requests.set(CREATE_IN.mode, 0o100644);
    requests.set(CREATE_IN.umask, UMASKS[this.#round % 2] as number);
    requests.append(name);
    requests.send();
    const node = requests.node();
    const handle = requests.handle(ENTRY_OUT.SIZE);
    requests.begin(OP.GETXATTR, node, GETXATTR_IN.SIZE);
    requests.append(CAPABILITY);
    requests.send();
    requests.beginOpened(OP.WRITE, node, WRITE_IN.SIZE, handle);
    requests.set(WRITE_IN.size, DATA.length);
    requests.append(DATA);
    requests.send();
    this.#release(OP.RELEASE, node, handle, flags);
    this.#getattr(ROOT);
    return node;
  }

  #useFile(index: number, node: Words): void {
    const requests = this.#requests;
    this.#named(OP.LOOKUP, MADE[index] as Buffer);
    requests.begin(OP.OPEN, node, OPEN_IN.SIZE);
    requests.send();
    const handle = requests.handle();
    requests.beginOpened(OP.READ, node, READ_IN.SIZE, handle);
    requests.set(READ_IN.size, DATA.length);
    requests.send();
    this.#release(OP.RELEASE, node, handle, O_RDONLY);
    requests.begin(OP.SETATTR, node, SETATTR_IN.SIZE);
    requests.set(SETATTR_IN.valid, FATTR_MODE);
    requests.set(SETATTR_IN.mode, 0o100600);
    requests.send();
    requests.begin(OP.SETATTR, node, SETATTR_IN.SIZE);
    requests.set(SETATTR_IN.valid, FATTR_UID | FATTR_GID | FATTR_ATIME | FATTR_MTIME);
    requests.set(SETATTR_IN.uid, requests.uid);
    requests.set(SETATTR_IN.gid, requests.gid);
    requests.send();
    this.#getattr(node);
    this.#rename(MADE[index] as Buffer, RENAMED[index] as Buffer);
  }

  #getattr(node: Words): void {
    this.#requests.begin(OP.GETATTR, node, GETATTR_IN.SIZE);
    this.#requests.send();
  }

  #rename(from: Buffer, to: Buffer): void {
    const requests = this.#requests;
    requests.begin(OP.RENAME2, ROOT, RENAME2_IN.SIZE);
    requests.set(RENAME2_IN.newdir, ROOT.lo);
    requests.append(from);
    requests.append(to);
    requests.send();
  }

  #removeFile(index: number, node: Words): void {
    this.#named(OP.UNLINK, RENAMED[index] as Buffer);
    // Of CREATE and of the second LOOKUP.
    if (this.#round % 2 === 0) this.#forget(node, 2);
    else this.#batchForget(node, 2);
  }

  #useDirectory(): void {
    const requests = this.#requests;
    requests.begin(OP.MKDIR, ROOT, MKDIR_IN.SIZE);
    requests.set(MKDIR_IN.mode, 0o755);
    requests.append(DIRECTORY);
    requests.send();
    const node = requests.node();
    this.#named(OP.LOOKUP, ABSENT, node);
    requests.begin(OP.OPENDIR, node, OPEN_IN.SIZE);
    requests.send();
    const handle = requests.handle();
    requests.beginOpened(OP.READDIRPLUS, node, READ_IN.SIZE, handle);
    requests.set(READ_IN.size, DATA.length);
    requests.send();
    this.#release(OP.RELEASEDIR, node, handle, O_RDONLY);
    this.#named(OP.RMDIR, DIRECTORY);
    this.#forget(node, 1);
  }

  /** A request about a name in a directory. */
  #named(opcode: number, name: Uint8Array, directory = ROOT): void {
    this.#requests.begin(opcode, directory, 0);
    this.#requests.append(name);
    this.#requests.send();
  }

  #release(opcode: number, node: Words, handle: Words, flags: number): void {
    this.#requests.beginOpened(opcode, node, RELEASE_IN.SIZE, handle);
    this.#requests.set(RELEASE_IN.flags, flags);
    this.#requests.send();
  }

  #forget(node: Words, count: number): void {
    this.#requests.begin(OP.FORGET, node, FORGET_IN.SIZE);
    this.#requests.set(FORGET_IN.nlookup, count);
    this.#requests.sendWithoutReply();
  }

  #batchForget(node: Words, count: number): void {
    const requests = this.#requests;
    requests.begin(OP.BATCH_FORGET, ROOT, BATCH_FORGET_IN.SIZE + FORGET_ONE.SIZE);
    requests.set(BATCH_FORGET_IN.count, 1);
    requests.set(BATCH_FORGET_IN.SIZE + FORGET_ONE.nodeid, node.lo);
    requests.set(BATCH_FORGET_IN.SIZE + FORGET_ONE.nodeid + 4, node.hi);
    requests.set(BATCH_FORGET_IN.SIZE + FORGET_ONE.nlookup, count);
    requests.sendWithoutReply();
  }
}
