/**
 * From paths to inodes: a walk of LOOKUPs from the root. Each lookup that is counted is given back: of
 * the directories on the way at once, of the last one by who asked.
 */
import { ERRNO } from '../../../shared/abi/errno.ts';
import { FUSE_ROOT_ID } from '../../../shared/abi/flags.ts';
import { OP } from '../../../shared/abi/opcodes.ts';
import { ATTR_OUT, ENTRY_OUT, FORGET_IN, GETATTR_IN } from '../../../shared/abi/structs.ts';
import { type RequestChannel, readWord, type Word, writeWord } from './request-channel.ts';

/** An inode, as a walk found it. */
export interface Node {
  readonly id: Word;
  /** Whether a lookup was counted, which is given back with release(). */
  readonly isCounted: boolean;
  /** fuse_attr, as of the walk. */
  readonly attr: Buffer;
}

/** A directory, with one lookup counted, and a name in it. */
export interface Place {
  readonly directory: Word;
  readonly name: Buffer;
}

/** What fuse-native makes of bytes that are no UTF-8: the name behind cannot be told any more. */
const REPLACEMENT = '\uFFFD';

/** A name or target as bytes; undefined where it cannot be told what it was. */
export function bytesOf(text: string): Buffer | undefined {
  return text.includes(REPLACEMENT) ? undefined : Buffer.from(`${text}\0`);
}

export class PathWalk {
  readonly #channel: RequestChannel;
  /** Finds the nodes of files that have no name any more. */
  readonly #hidden: (name: string) => Word | undefined;

  constructor(channel: RequestChannel, hidden: (name: string) => Word | undefined) {
    this.#channel = channel;
    this.#hidden = hidden;
  }

  /** Gives back what a walk counted. */
  release({ id, isCounted }: Node): void {
    if (isCounted) this.forget(id);
  }

  /** Gives back one lookup. */
  forget(node: Word): void {
    if (node === FUSE_ROOT_ID) return;
    const count = Buffer.alloc(FORGET_IN.SIZE);
    writeWord(count, 1, FORGET_IN.nlookup);
    this.#channel.tell(OP.FORGET, node, count);
  }

  /** @returns the node, to be given back with release(); or -errno */
  async find(path: string): Promise<Node | number> {
    const at = path.lastIndexOf('/');
    const hidden = this.#hidden(path.slice(at + 1));
    if (hidden !== undefined) return this.attributes(hidden);
    if (path === '/') return this.attributes(FUSE_ROOT_ID);
    const place = await this.place(path);
    if (typeof place === 'number') return place;
    const node = await this.lookup(place);
    this.forget(place.directory);
    return node;
  }

  /** Where a path's last name lies, which need not exist. @returns -errno where it cannot */
  async place(path: string): Promise<Place | number> {
    const names = path.split('/').filter((name) => name.length > 0);
    const last = names.pop();
    const name = last === undefined ? undefined : bytesOf(last);
    if (name === undefined) return last === undefined ? -ERRNO.EBUSY : -ERRNO.EILSEQ;
    let directory: Word = FUSE_ROOT_ID;
    for (const each of names) {
      const bytes = bytesOf(each);
      const node =
        bytes === undefined ? -ERRNO.EILSEQ : await this.lookup({ directory, name: bytes });
      this.forget(directory);
      if (typeof node === 'number') return node;
      directory = node.id;
    }
    return { directory, name };
  }

  /** One LOOKUP. */
  async lookup({ directory, name }: Place): Promise<Node | number> {
    const { error, body } = await this.#channel.call(OP.LOOKUP, directory, name);
    return error < 0 ? error : entryOf(body);
  }

  /** GETATTR; it counts no lookup. */
  async attributes(id: Word): Promise<Node | number> {
    const { error, body } = await this.#channel.call(OP.GETATTR, id, Buffer.alloc(GETATTR_IN.SIZE));
    return error < 0 ? error : { id, isCounted: false, attr: body.subarray(ATTR_OUT.attr) };
  }
}

/** The node of a fuse_entry_out; a name that is known not to exist has none. */
export function entryOf(body: Buffer): Node | number {
  const id = readWord(body, ENTRY_OUT.nodeid);
  return id === 0 ? -ERRNO.ENOENT : { id, isCounted: true, attr: body.subarray(ENTRY_OUT.attr) };
}
