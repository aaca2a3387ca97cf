/**
 * What calls below a layer have counted and opened for one request. The part that its answer names goes to
 * the kernel with the reply; the rest is given back, so that no layer has to forget or release anything.
 */
import { OP } from '../abi/opcodes.ts';
import { DIRENT, DIRENTPLUS, ENTRY_OUT } from '../abi/structs.ts';
import type { Context } from '../passthrough/context.ts';
import { ENTRY_OPCODES, handleAt } from './replies.ts';
import { LayerMistake, number64 } from './wire.ts';

const EPOCH_UNIT = 0x100000000;

interface Given {
  readonly nodeids: readonly number[];
  readonly handles: readonly number[];
}

function givenBy(opcode: number, body: Buffer): Given {
  if (opcode === OP.READDIRPLUS) return { nodeids: listed(body), handles: [] };
  const nodeid = ENTRY_OPCODES.has(opcode) ? number64(body, ENTRY_OUT.nodeid) : 0;
  const at = handleAt(opcode);
  return {
    nodeids: nodeid === 0 ? [] : [nodeid],
    // Without opens (no_open) there is no handle.
    handles: at < 0 || number64(body, at) === 0 ? [] : [number64(body, at)],
  };
}

function listed(body: Buffer): number[] {
  const nodeids: number[] = [];
  for (let at = 0; at < body.length; ) {
    const nodeid = number64(body, at + ENTRY_OUT.nodeid);
    if (nodeid !== 0) nodeids.push(nodeid);
    const nameBytes = body.readUInt32LE(at + DIRENTPLUS.dirent + DIRENT.namelen);
    at += (DIRENTPLUS.SIZE + nameBytes + 7) & ~7;
  }
  return nodeids;
}

function takeOut(from: number[], value: number): boolean {
  const at = from.indexOf(value);
  if (at >= 0) from.splice(at, 1);
  return at >= 0;
}

export class Owed {
  readonly #nodeids: number[] = [];
  readonly #handles: number[] = [];

  /** A call below was answered so. */
  add(opcode: number, body: Buffer): void {
    const { nodeids, handles } = givenBy(opcode, body);
    this.#nodeids.push(...nodeids);
    this.#handles.push(...handles);
  }

  /**
   * The kernel is answered so.
   * @throws LayerMistake when the answer names what no call below gave: the kernel would give back what
   * nobody has counted
   */
  deliver(opcode: number, body: Buffer): void {
    const { nodeids, handles } = givenBy(opcode, body);
    for (const nodeid of nodeids) {
      if (!takeOut(this.#nodeids, nodeid)) {
        throw new LayerMistake(`nodeid ${nodeid} is of no call to the file system below`);
      }
    }
    for (const fh of handles) {
      if (!takeOut(this.#handles, fh)) {
        throw new LayerMistake(`fh ${fh} is of no call to the file system below`);
      }
    }
  }

  /** Gives back what is left. */
  giveBack(ctx: Context): void {
    for (const nodeid of this.#nodeids.splice(0)) {
      ctx.forget(nodeid | 0, Math.floor(nodeid / EPOCH_UNIT), 1);
    }
    for (const fh of this.#handles.splice(0)) ctx.dropHandle(fh | 0);
  }
}

/** Notes in the thread's journal what a reply hands to the kernel: see replyOrUndo(). */
export function noteDelivered(ctx: Context, opcode: number, body: Buffer): void {
  const { journal } = ctx.tables;
  journal.effectNone();
  if (opcode === OP.READDIRPLUS) {
    journal.effectDirectoryEntries(body.length);
    return;
  }
  const { nodeids, handles } = givenBy(opcode, body);
  for (const nodeid of nodeids) journal.effectLookup(nodeid | 0, Math.floor(nodeid / EPOCH_UNIT));
  for (const fh of handles) journal.effectHandle(fh | 0);
}
