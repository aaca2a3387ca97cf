/** What the file has to hold: bytes in memory, zero beyond the size. */

/** The file never grows beyond this. */
export const LARGEST_SIZE = 256 * 1024;

export class Model {
  readonly bytes = Buffer.alloc(LARGEST_SIZE);
  size = 0;

  write(offset: number, data: Buffer): void {
    this.bytes.set(data, offset);
    this.size = Math.max(this.size, offset + data.length);
  }

  truncate(size: number): void {
    if (size < this.size) this.bytes.fill(0, size, this.size);
    this.size = size;
  }

  /** Zeros inside the size; `grows` if the size reaches to the end of the range. */
  zero(offset: number, length: number, grows: boolean): void {
    const end = Math.min(offset + length, grows ? LARGEST_SIZE : this.size);
    if (end > offset) this.bytes.fill(0, offset, end);
    if (grows) this.grow(offset + length);
  }

  grow(size: number): void {
    this.size = Math.max(this.size, size);
  }

  /** Takes a range out. */
  collapse(offset: number, length: number): void {
    this.bytes.copyWithin(offset, offset + length, this.size);
    this.truncate(this.size - length);
  }

  /** Puts a range of zeros in. */
  insert(offset: number, length: number): void {
    this.bytes.copyWithin(offset + length, offset, this.size);
    this.bytes.fill(0, offset, offset + length);
    this.size += length;
  }

  copy(source: number, target: number, length: number): void {
    this.bytes.copyWithin(target, source, source + length);
    this.size = Math.max(this.size, target + length);
  }

  /** The first byte that is not zero from here on; the size if there is none. */
  nextData(offset: number): number {
    let at = offset;
    while (at < this.size && this.bytes[at] === 0) at++;
    return Math.min(at, this.size);
  }
}
