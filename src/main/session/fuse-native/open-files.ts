/**
 * The open files of fuse-native, by the small numbers it can carry, and the open files without a name.
 *
 * libfuse keeps the name of a file that is removed while it is open: it renames it to
 * `.fuse_hidden<node><count>` and removes that when the file is closed. Here the file is removed at
 * once, as the caller asked, and the hidden name is one that only libfuse and this table know.
 */

import type { Node } from './path-walk.ts';
import type { Word } from './request-channel.ts';

export interface OpenFile {
  readonly fh: Word;
  readonly node: Node;
}

/** How libfuse 2.9 names them: its number of the node, and a counter. */
const HIDDEN_NAME = /^\.fuse_hidden[0-9a-f]{8}([0-9a-f]{8})$/;
const LARGEST_NUMBER = 0x7fffffff;
/** libfuse's threads may come with their counts in another order than they took them: so far apart. */
const COUNTS_APART = 256;

export class OpenFiles {
  readonly #byNumber = new Map<number, OpenFile>();
  readonly #opensByNode = new Map<Word, number>();
  readonly #hidden = new Map<string, Node>();
  #lastNumber = 0;
  #lastHiddenCount = 0;
  /** Counts that libfuse has used, of those that are not too far behind the last one. */
  readonly #usedCounts = new Set<number>();

  /** Enters an open file. @returns its number: 0 would mean none */
  add(file: OpenFile): number {
    do this.#lastNumber = this.#lastNumber === LARGEST_NUMBER ? 1 : this.#lastNumber + 1;
    while (this.#byNumber.has(this.#lastNumber));
    this.#byNumber.set(this.#lastNumber, file);
    this.#opensByNode.set(file.node.id, (this.#opensByNode.get(file.node.id) ?? 0) + 1);
    return this.#lastNumber;
  }

  get(number: number): OpenFile | undefined {
    return this.#byNumber.get(number);
  }

  isOpen(node: Word): boolean {
    return this.#opensByNode.has(node);
  }

  /**
   * Takes a file out that is being closed.
   * @returns the nodes whose lookups are to be given back
   */
  remove(number: number): readonly Node[] {
    const file = this.#byNumber.get(number);
    if (file === undefined) return [];
    this.#byNumber.delete(number);
    const left = (this.#opensByNode.get(file.node.id) ?? 1) - 1;
    if (left > 0) {
      this.#opensByNode.set(file.node.id, left);
      return [file.node];
    }
    this.#opensByNode.delete(file.node.id);
    const hidden = [...this.#hidden].filter(([, node]) => node.id === file.node.id);
    for (const [name] of hidden) this.#hidden.delete(name);
    return [file.node, ...hidden.map(([, node]) => node)];
  }

  /**
   * Whether libfuse means to hide a file by renaming it so: its counter goes up, so that somebody who
   * calls a file by an earlier name of this form renames it.
   */
  isHiding(name: string): boolean {
    const count = hiddenCount(name);
    const isRecent = count > this.#lastHiddenCount - COUNTS_APART;
    return count > 0 && isRecent && !this.#usedCounts.has(count);
  }

  /** A file has lost its last name here; `node` keeps its lookup until the file is closed. */
  hide(name: string, node: Node): void {
    const count = hiddenCount(name);
    this.#lastHiddenCount = Math.max(this.#lastHiddenCount, count);
    this.#usedCounts.add(count);
    for (const used of this.#usedCounts) {
      if (used <= this.#lastHiddenCount - COUNTS_APART) this.#usedCounts.delete(used);
    }
    this.#hidden.set(name, node);
  }

  /** The node of a hidden name. */
  hidden(name: string): Word | undefined {
    return this.#hidden.get(name)?.id;
  }
}

/** The counter in a name by which libfuse hides a file; 0 in others. */
function hiddenCount(name: string): number {
  return Number.parseInt(HIDDEN_NAME.exec(name)?.[1] ?? '0', 16);
}
