/**
 * Counts the requests that the kernel sends to a FUSE connection, whoever serves it: by the
 * tracepoint fuse_request_send, in a trace buffer of its own. That slows the kernel down, so it is
 * on only where nothing is measured.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName } from '../../src/shared/abi/errno.ts';
import { ROW_BY_OPCODE } from '../../src/shared/abi/opcodes.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { detach } from './targets.ts';

const BUFFER_KIB = 16 << 10;
const EVENT = join('events', 'fuse', 'fuse_request_send');

export class RequestCounter {
  /** Where tracefs is mounted for this run. */
  readonly #place: string;
  readonly #instance: string;

  /** @throws Error when the kernel has no such tracepoint, or does not let us */
  constructor(workDir: string) {
    this.#place = join(workDir, 'tracing');
    mkdirSync(this.#place);
    const type = new libc.CString('tracefs');
    const place = new libc.CString(this.#place);
    const result = libc.mount(type.address, place.address, type.address, 0, 0);
    if (result < 0) {
      rmdirSync(this.#place);
      throw new Error(`cannot mount tracefs: ${errnoName(result)}`);
    }
    this.#instance = join(this.#place, 'instances', `sluice-bench-${process.pid}`);
    try {
      mkdirSync(this.#instance);
      this.#write('buffer_size_kb', String(BUFFER_KIB));
      this.#write(join(EVENT, 'enable'), '0');
    } catch (error) {
      this.close();
      throw new Error(`cannot trace FUSE requests: ${(error as Error).message}`);
    }
  }

  /** Begins to count the requests of a connection (the minor of the mount's device). */
  start(connection: number): void {
    this.#write('trace', '');
    this.#write(join(EVENT, 'filter'), `connection == ${connection}`);
    this.#write(join(EVENT, 'enable'), '1');
  }

  /** Ends the count. @returns requests by operation; null when there were more than have room */
  stop(): Record<string, number> | null {
    this.#write(join(EVENT, 'enable'), '0');
    for (const cpu of readdirSync(join(this.#instance, 'per_cpu'))) {
      const stats = readFileSync(join(this.#instance, 'per_cpu', cpu, 'stats'), 'latin1');
      if (Number(/^overrun: (\d+)/m.exec(stats)?.[1]) > 0) return null;
    }
    const counts: Record<string, number> = {};
    const lines = readFileSync(join(this.#instance, 'trace'), 'latin1');
    for (const [, opcode] of lines.matchAll(/ opcode (\d+) /g)) {
      const operation = ROW_BY_OPCODE[Number(opcode)]?.name.toLowerCase() ?? `opcode ${opcode}`;
      counts[operation] = (counts[operation] ?? 0) + 1;
    }
    return counts;
  }

  close(): void {
    try {
      rmdirSync(this.#instance);
    } catch {
      // It was never made.
    }
    detach(this.#place);
  }

  #write(file: string, text: string): void {
    writeFileSync(join(this.#instance, file), text);
  }
}
