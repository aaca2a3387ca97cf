/** POSIX ACLs in the form of the xattrs system.posix_acl_access and system.posix_acl_default. */

const VERSION = 2;
const ENTRY_BYTES = 8;
const NO_ID = 0xffffffff;
const TAGS = { u: 1, U: 2, g: 4, G: 8, m: 16, o: 32 } as const;

export const ACCESS_ACL = 'system.posix_acl_access';
export const DEFAULT_ACL = 'system.posix_acl_default';

/**
 * Of `u:7 U:65531:6 g:5 G:65541:4 m:7 o:0`: owner, named user, owning group, named group, mask,
 * others. The order is the one given, right or wrong.
 */
export function acl(text: string): Buffer {
  const entries = text.split(' ').filter((entry) => entry !== '');
  const value = Buffer.alloc(4 + entries.length * ENTRY_BYTES);
  value.writeUInt32LE(VERSION);
  for (const [index, entry] of entries.entries()) {
    const parts = entry.split(':');
    const at = 4 + index * ENTRY_BYTES;
    value.writeUInt16LE(TAGS[parts[0] as keyof typeof TAGS], at);
    value.writeUInt16LE(Number(parts.at(-1)), at + 2);
    value.writeUInt32LE(parts.length === 3 ? Number(parts[1]) : NO_ID, at + 4);
  }
  return value;
}

/** The text of a value. */
export function aclText(value: Uint8Array): string {
  const bytes = Buffer.from(value);
  const names = Object.entries(TAGS);
  const entries: string[] = [];
  for (let at = 4; at < bytes.length; at += ENTRY_BYTES) {
    const tag = names.find(([, number]) => number === bytes.readUInt16LE(at))?.[0] ?? '?';
    const id = bytes.readUInt32LE(at + 4);
    entries.push(`${tag}:${id === NO_ID ? '' : `${id}:`}${bytes.readUInt16LE(at + 2)}`);
  }
  return entries.join(' ');
}
