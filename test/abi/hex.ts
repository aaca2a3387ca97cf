/** Requests written as bytes for people to read. */

/**
 * The bytes of a dump: hexadecimal digits with any blanks between them; everything from `|` to the
 * end of a line is a comment.
 */
export function bytesOf(dump: string): DataView {
  const digits = dump.replace(/\|.*$/gm, '').replace(/\s+/g, '');
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error(`not hexadecimal: ${digits}`);
  const bytes = Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  return new DataView(bytes.buffer);
}

/** The NUL-terminated text at an offset. */
export function textAt(view: DataView, offset: number): string {
  const bytes = new Uint8Array(view.buffer, offset);
  const end = bytes.indexOf(0);
  if (end < 0) throw new Error(`no NUL behind offset ${offset}`);
  return Buffer.from(bytes.subarray(0, end)).toString('latin1');
}

/** Reads a 64-bit field as the daemon does: two 32-bit words, the low word first. */
export function u64At(view: DataView, offset: number): bigint {
  const low = BigInt(view.getUint32(offset, true));
  const high = BigInt(view.getUint32(offset + 4, true));
  return (high << 32n) | low;
}

type Fields = Readonly<Record<string, number | bigint>>;

/**
 * Reads the fields that `expected` names from a structure at `base`: a bigint in `expected` stands
 * for a 64-bit field, a number for one of 32 bits.
 */
export function decode(
  view: DataView,
  base: number,
  offsets: Readonly<Record<string, number>>,
  expected: Fields,
): Record<string, number | bigint> {
  return Object.fromEntries(
    Object.entries(expected).map(([name, value]) => {
      const offset = offsets[name];
      if (offset === undefined) throw new Error(`no field ${name}`);
      const at = base + offset;
      return [name, typeof value === 'bigint' ? u64At(view, at) : view.getUint32(at, true)];
    }),
  );
}
