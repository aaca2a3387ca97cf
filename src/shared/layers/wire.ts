/** Values in and out of the bytes of FUSE messages. */

/** A number of a message that JavaScript's numbers do not hold exactly. */
export class InexactNumber extends Error {
  constructor() {
    super('a number of the request is beyond 2^53');
  }
}

/** What a layer did wrong: its request gets EIO, and the log this message. */
export class LayerMistake extends Error {
  /** Of each kind the log has one line by layer and operation; the others are counted. */
  readonly kind: 'answer' | 'deadline' | 'late' | 'twice';

  constructor(message: string, kind: LayerMistake['kind'] = 'answer') {
    super(message);
    this.kind = kind;
  }
}

export type Bytes = Uint8Array<ArrayBuffer>;

/** A copy with a buffer of its own, so that nobody gets at what stands beside it. */
export function copyOf(bytes: Uint8Array, from = 0, to = bytes.length): Buffer<ArrayBuffer> {
  const length = Math.max(Math.min(to, bytes.length) - from, 0);
  const copy = Buffer.from(new ArrayBuffer(length));
  copy.set(bytes.subarray(from, from + length));
  return copy;
}

/** A 64-bit field as a signed number. @throws InexactNumber */
export function number64(from: Buffer, at: number): number {
  const value = from.readInt32LE(at + 4) * 0x100000000 + from.readUInt32LE(at);
  if (!Number.isSafeInteger(value)) throw new InexactNumber();
  return value;
}

/** The values of a layer as bytes, each of them checked. */
export class Writer {
  readonly bytes: Buffer;
  readonly #what: string;

  /** @param what names the values in a mistake: `the request to lookup` */
  constructor(sizeBytes: number, what: string) {
    this.bytes = Buffer.alloc(sizeBytes);
    this.#what = what;
  }

  u32(at: number, value: number, name: string): void {
    if (!Number.isInteger(value) || value < -0x80000000 || value > 0xffffffff) {
      this.fail(name, value, 'a 32-bit integer');
    }
    this.bytes.writeUInt32LE(value >>> 0, at);
  }

  /** @param least smallest value allowed */
  number64(at: number, value: number, name: string, least = 0): void {
    if (!Number.isSafeInteger(value) || value < least) {
      this.fail(name, value, `an integer from ${least} to 2^53 - 1`);
    }
    this.bytes.writeUInt32LE(value >>> 0, at);
    this.bytes.writeInt32LE(Math.floor(value / 0x100000000), at + 4);
  }

  big64(at: number, value: bigint, name: string): void {
    if (typeof value !== 'bigint') this.fail(name, value, 'a bigint');
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  }

  fail(name: string, value: unknown, wanted: string): never {
    throw new LayerMistake(`${this.#what}: ${name} is ${describe(value)}, and has to be ${wanted}`);
  }
}

/** What a value is, in a few words. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return 'a string';
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return Array.isArray(value) ? 'an array' : `an object ${value.constructor?.name ?? ''}`.trim();
}

const NUL = 0;
const SLASH = 0x2f;
const NAME_MAX_BYTES = 255;

/** Checks the bytes of a name. */
export function checkName(
  writer: Writer,
  value: unknown,
  field: string,
  mayBeDot: boolean,
): Uint8Array {
  if (!(value instanceof Uint8Array)) return writer.fail(field, value, 'bytes (Buffer.from(text))');
  const isDot = (value.length === 1 || value.length === 2) && value.every((byte) => byte === 0x2e);
  const isSound =
    value.length > 0 &&
    value.length <= NAME_MAX_BYTES &&
    !value.includes(NUL) &&
    !value.includes(SLASH) &&
    (mayBeDot || !isDot);
  return isSound ? value : writer.fail(field, value, 'a name of 1 to 255 bytes without / and NUL');
}

/** Checks bytes of any content. */
export function checkBytes(
  writer: Writer,
  value: unknown,
  field: string,
  mostBytes: number,
): Uint8Array {
  if (!(value instanceof Uint8Array)) return writer.fail(field, value, 'a Uint8Array');
  return value.length <= mostBytes
    ? value
    : writer.fail(field, value, `${mostBytes} bytes at most`);
}
