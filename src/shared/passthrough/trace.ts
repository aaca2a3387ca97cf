/**
 * The operation trace: a line when a request arrives and a line when it is answered, for every opcode
 * of the table. Off, it is an undefined field of the context.
 */
import { errnoName } from '../abi/errno.ts';
import { OP, type OpcodeField, type OpcodeRow, ROW_BY_OPCODE } from '../abi/opcodes.ts';
import { IN_HEADER } from '../abi/structs.ts';
import { nowUs } from '../clock.ts';
import { addressOf, write } from '../sys/libc.ts';
import type { Context } from './context.ts';

const LINE_BYTES = 8192;

/** Writes trace lines of one thread, each with one write(2) so that lines of threads do not mix. */
export class Tracer {
  readonly #fd: number;
  readonly #where: string;
  readonly #buffer = Buffer.from(new SharedArrayBuffer(LINE_BYTES));
  readonly #address = addressOf(this.#buffer);

  /** @param where `main`, `deputy`, or the lane's number */
  constructor(fd: number, where: string) {
    this.#fd = fd;
    this.#where = where;
  }

  /** The loaded request has arrived. */
  request(ctx: Context): void {
    const row = ROW_BY_OPCODE[ctx.opcode];
    const header = (ctx.message + IN_HEADER.uid) >> 2;
    const words = [
      requestId(ctx),
      opcodeName(ctx.opcode, row),
      `node=${hex(ctx.nodeHi, ctx.nodeLo)}`,
      `uid=${ctx.u32[header]} gid=${ctx.u32[header + 1]} pid=${ctx.u32[header + 2]}`,
      ...(row === undefined ? [] : argumentWords(ctx, row)),
    ];
    this.#line(words.join(' '));
  }

  /** The loaded request is about to be answered. */
  reply(ctx: Context, result: number): void {
    const row = ROW_BY_OPCODE[ctx.opcode];
    const outcome = result < 0 ? errnoName(result) : `ok ${result} bytes`;
    const us = Math.round(nowUs() - ctx.receivedUs);
    this.#line(
      `${requestId(ctx)} ${opcodeName(ctx.opcode, row)} = ${outcome} ${us}us ${this.#where}`,
    );
  }

  #line(text: string): void {
    const length = this.#buffer.write(`${text}`, 0, LINE_BYTES - 1, 'latin1');
    this.#buffer[length] = 0x0a;
    write(this.#fd, this.#address, length + 1);
  }
}

function requestId(ctx: Context): string {
  return `#${(ctx.uniqueHi() >>> 0) * 0x100000000 + (ctx.uniqueLo() >>> 0)}`;
}

function opcodeName(opcode: number, row: OpcodeRow | undefined): string {
  return row?.name ?? `OPCODE_${opcode}`;
}

function hex(hi: number, lo: number): string {
  const low = (lo >>> 0).toString(16);
  return hi === 0 ? low : `${(hi >>> 0).toString(16)}${low.padStart(8, '0')}`;
}

function argumentWords(ctx: Context, row: OpcodeRow): string[] {
  if (ctx.lengthBytes < IN_HEADER.SIZE + row.inSizeBytes) return ['(short)'];
  const words = row.fields.map((field) => `${field.name}=${fieldText(ctx, field)}`);
  let at = ctx.body + namesAt(ctx, row);
  for (let i = 0; i < row.names; i++) {
    const length = ctx.nameLength(at);
    if (length < 0) break;
    words.push(quote(Buffer.from(ctx.u8.slice(at, at + length))));
    at += length + 1;
  }
  return words;
}

function namesAt(ctx: Context, row: OpcodeRow): number {
  return row.opcode === OP.SETXATTR ? ctx.setxattrInBytes() : row.inSizeBytes;
}

function fieldText(ctx: Context, field: OpcodeField): string {
  switch (field.kind) {
    case 'u32':
      return String(ctx.arg32(field.offset));
    case 'x32':
      return `0x${ctx.arg32(field.offset).toString(16)}`;
    case 'o32':
      return `0${ctx.arg32(field.offset).toString(8)}`;
    case 'u64':
      return String(ctx.arg64(field.offset));
    case 'x64':
      return hex(ctx.argHi(field.offset), ctx.argLo(field.offset));
  }
}

/** Names are bytes: what is not printable ASCII stands as \xNN. */
function quote(bytes: Buffer): string {
  let text = '"';
  for (const byte of bytes) {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return `${text}"`;
}
