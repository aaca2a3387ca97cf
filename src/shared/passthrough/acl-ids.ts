/**
 * User and group ids inside the values of POSIX ACL attributes
 * (include/uapi/linux/posix_acl_xattr.h): a version, then entries of tag, permissions and id,
 * little-endian. What is no such value is left alone; the host refuses it.
 */
import { FORBIDDEN_ID, mapId } from './id-map.ts';

const VERSION_BYTES = 4;
const ENTRY_BYTES = 8;
const ID_AT = 4;
const VERSION = 2;
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

/**
 * Translates the ids of an ACL in place, by one direction of the maps.
 * @param users undefined where users are not translated
 * @returns 0, or FORBIDDEN_ID if it names an id that may not be used
 */
export function mapAclIds(
  u8: Uint8Array,
  at: number,
  sizeBytes: number,
  users: Uint32Array | undefined,
  groups: Uint32Array | undefined,
): number {
  if (sizeBytes < VERSION_BYTES || read32(u8, at) !== VERSION) return 0;
  const end = at + sizeBytes - ENTRY_BYTES;
  for (let entry = at + VERSION_BYTES; entry <= end; entry += ENTRY_BYTES) {
    const tag = u8[entry] | (u8[entry + 1] << 8);
    const table = tag === ACL_USER ? users : tag === ACL_GROUP ? groups : undefined;
    if (table === undefined) continue;
    const id = mapId(table, read32(u8, entry + ID_AT));
    if (id === FORBIDDEN_ID) return FORBIDDEN_ID;
    write32(u8, entry + ID_AT, id);
  }
  return 0;
}

function read32(u8: Uint8Array, at: number): number {
  return (u8[at] | (u8[at + 1] << 8) | (u8[at + 2] << 16) | (u8[at + 3] << 24)) >>> 0;
}

function write32(u8: Uint8Array, at: number, value: number): void {
  u8[at] = value;
  u8[at + 1] = value >>> 8;
  u8[at + 2] = value >>> 16;
  u8[at + 3] = value >>> 24;
}
