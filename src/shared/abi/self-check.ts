/**
 * The start-up check of the wire format: what no type can say about the tables.
 */
import { OPCODES } from './opcodes.ts';
import * as structs from './structs.ts';

/** Structures made of others: each size follows from its parts. */
const COMPOSED: readonly (readonly [string, number, number])[] = [
  ['entry_out', structs.ENTRY_OUT.SIZE, structs.ENTRY_OUT.attr + structs.ATTR.SIZE],
  ['attr_out', structs.ATTR_OUT.SIZE, structs.ATTR_OUT.attr + structs.ATTR.SIZE],
  ['statx_out', structs.STATX_OUT.SIZE, structs.STATX_OUT.stat + structs.FUSE_STATX.SIZE],
  ['direntplus', structs.DIRENTPLUS.SIZE, structs.ENTRY_OUT.SIZE + structs.DIRENT.SIZE],
];

/** The one structure that the protocol does not pad: the extension around it is. */
const UNPADDED = 'SUPP_GROUPS';

type OffsetTable = Readonly<Record<string, number>>;

/**
 * @throws Error naming the first defect: a host that is not little-endian, a table that contradicts
 * itself
 */
export function checkAbi(): void {
  if (new Uint8Array(new Uint32Array([1]).buffer)[0] !== 1) {
    throw new Error('this build serves little-endian hosts only');
  }
  for (const [name, size, expected] of COMPOSED) {
    if (size !== expected) throw new Error(`fuse_${name} has ${size} bytes, its parts ${expected}`);
  }
  for (const [name, table] of Object.entries(structs as Record<string, OffsetTable>)) {
    checkTable(name, table);
  }
  checkOpcodes();
}

function checkTable(name: string, table: OffsetTable): void {
  const size = table['SIZE'];
  const unit = name === UNPADDED ? 4 : 8;
  if (size === undefined || size % unit !== 0)
    throw new Error(`${name} is not a multiple of ${unit} bytes`);
  for (const [field, offset] of Object.entries(table)) {
    if (offset > size) throw new Error(`${name}.${field} lies behind its end`);
  }
}

function checkOpcodes(): void {
  const seen = new Set<number>();
  for (const row of OPCODES) {
    if (seen.has(row.opcode)) throw new Error(`opcode ${row.opcode} stands twice`);
    seen.add(row.opcode);
    if (row.inSizeBytes % 8 !== 0) throw new Error(`${row.name}: fixed part of ${row.inSizeBytes}`);
    for (const field of row.fields) {
      const width = field.kind.endsWith('64') ? 8 : 4;
      if (field.offset + width > row.inSizeBytes) throw new Error(`${row.name}.${field.name}`);
    }
  }
}
