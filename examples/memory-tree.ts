/**
 * A small file system from scratch: a tree in memory, gone with the process.
 * Usage: node dist/examples/memory-tree.js MOUNTPOINT; Ctrl-C unmounts.
 */
import type { Attr, Entry, FsRequest, OwnFileSystem } from 'sluicefs';
import { Errno, mountFileSystem, newAttr } from 'sluicefs';

interface Node {
  attr: Attr;
  data: Buffer;
  /** By name as latin1, so that every name there is has a place; undefined in files. */
  readonly children: Map<string, Node> | undefined;
}

const DIRECTORY = 0o040000;
const TYPE = 0o170000;
const nodes = new Map<number, Node>();
let lastNodeid = 0;

function newNode(mode: number, uid: number, gid: number): Node {
  const ino = BigInt(++lastNodeid);
  const children = (mode & TYPE) === DIRECTORY ? new Map<string, Node>() : undefined;
  const node = { attr: newAttr({ ino, mode, uid, gid }), data: Buffer.alloc(0), children };
  nodes.set(lastNodeid, node);
  return node;
}

const at = (nodeid: number) => nodes.get(nodeid) as Node;
const text = (name: Uint8Array) => Buffer.from(name).toString('latin1');
const entryOf = (node: Node): Entry => ({ nodeid: Number(node.attr.ino), attr: node.attr });

function make({ nodeid, name, mode, caller }: FsRequest<'mkdir' | 'mknod'>): Entry | Errno {
  const { children } = at(nodeid);
  if (children?.has(text(name))) return Errno.EEXIST;
  const node = newNode(mode, caller.uid, caller.gid);
  children?.set(text(name), node);
  return entryOf(node);
}

function remove({ nodeid, name }: FsRequest<'unlink' | 'rmdir'>): 0 | Errno {
  const node = at(nodeid).children?.get(text(name));
  if (node === undefined) return Errno.ENOENT;
  if ((node.children?.size ?? 0) > 0) return Errno.ENOTEMPTY;
  at(nodeid).children?.delete(text(name));
  node.attr = { ...node.attr, nlink: 0 };
  return 0;
}

function resize(node: Node, sizeBytes: number): void {
  node.data = Buffer.concat([node.data, Buffer.alloc(sizeBytes)], sizeBytes);
  node.attr = { ...node.attr, sizeBytes, blocks: Math.ceil(sizeBytes / 512) };
}

newNode(DIRECTORY | 0o755, process.getuid?.() ?? 0, process.getgid?.() ?? 0);

const tree: OwnFileSystem = {
  name: 'memory-tree',
  lookup({ nodeid, name }) {
    const node = at(nodeid).children?.get(text(name));
    return node === undefined ? Errno.ENOENT : entryOf(node);
  },
  getattr: ({ nodeid }) => ({ attr: at(nodeid).attr }),
  setattr({ nodeid, sizeBytes, mode = at(nodeid).attr.mode }) {
    if (sizeBytes !== undefined) resize(at(nodeid), sizeBytes);
    at(nodeid).attr = { ...at(nodeid).attr, mode };
    return { attr: at(nodeid).attr };
  },
  // Without create, open and release the kernel makes files by mknod, and reads and writes by nodeid.
  mknod: make,
  mkdir: (request) => make({ ...request, mode: request.mode | DIRECTORY }),
  unlink: remove,
  rmdir: remove,
  read: ({ nodeid, offset, sizeBytes }) => at(nodeid).data.subarray(offset, offset + sizeBytes),
  write({ nodeid, offset, data }) {
    const node = at(nodeid);
    if (offset + data.length > node.data.length) resize(node, offset + data.length);
    node.data.set(data, offset);
    return data.length;
  },
  readdir: ({ nodeid, cookie }) =>
    [...(at(nodeid).children ?? [])].slice(Number(cookie)).map(([name, { attr }], i) => ({
      name: Buffer.from(name, 'latin1'),
      ino: attr.ino,
      cookie: cookie + BigInt(i + 1),
      type: (attr.mode & TYPE) >> 12,
    })),
  forget(nodeid) {
    if (nodes.get(nodeid)?.attr.nlink === 0) nodes.delete(nodeid);
  },
};

const [mountpoint = ''] = process.argv.slice(2);
const mounted = await mountFileSystem(tree, { mountpoint });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => mounted.unmount());
console.log(`an empty tree is mounted on ${mountpoint}`);
await mounted.unmounted;
