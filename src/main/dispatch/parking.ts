/**
 * Requests that wait in main's memory because their backing mount has its share of slots in use, or
 * no slot is free. First come, first served within a mount.
 */
import { IN_HEADER } from '../../shared/abi/structs.ts';
import { PARKED_BYTES_LIMIT, PARKED_REQUESTS_LIMIT } from './policy.ts';

/** A request that left the request memory. */
export interface KeptRequest {
  readonly message: Buffer;
  /** When main received it, microseconds of nowUs(). */
  readonly receivedUs: number;
}

export interface ParkedRequest extends KeptRequest {
  /** Since when it waits for a lane. */
  readonly queuedUs: number;
}

export class ParkingLot {
  readonly #byMount = new Map<number, ParkedRequest[]>();
  #bytes = 0;
  #requests = 0;

  /** Whether main should stop reading. */
  isFull(): boolean {
    return this.#bytes >= PARKED_BYTES_LIMIT || this.#requests >= PARKED_REQUESTS_LIMIT;
  }

  count(): number {
    return this.#requests;
  }

  has(mount: number): boolean {
    return this.#byMount.has(mount);
  }

  /** Mounts with requests that wait. */
  mounts(): number[] {
    return [...this.#byMount.keys()];
  }

  add(mount: number, request: ParkedRequest): void {
    const queue = this.#byMount.get(mount);
    if (queue === undefined) this.#byMount.set(mount, [request]);
    else queue.push(request);
    this.#bytes += request.message.length;
    this.#requests++;
  }

  /** The first of a mount's, which stays until take(). */
  first(mount: number): ParkedRequest | undefined {
    return this.#byMount.get(mount)?.[0];
  }

  take(mount: number): void {
    this.#remove(mount, 0);
  }

  /** Takes out the request with this unique id. @returns it, if it was here */
  takeByUnique(uniqueLo: number, uniqueHi: number): ParkedRequest | undefined {
    const found = this.findByUnique(uniqueLo, uniqueHi);
    if (found !== undefined) this.#remove(found.mount, found.index);
    return found?.request;
  }

  /** Takes out all requests for which this holds. */
  takeWhere(isWanted: (request: ParkedRequest) => boolean): ParkedRequest[] {
    const taken: ParkedRequest[] = [];
    for (const mount of this.mounts()) {
      const queue = this.#byMount.get(mount) ?? [];
      for (let index = queue.length - 1; index >= 0; index--) {
        const request = queue[index] as ParkedRequest;
        if (!isWanted(request)) continue;
        taken.push(request);
        this.#remove(mount, index);
      }
    }
    return taken;
  }

  findByUnique(
    uniqueLo: number,
    uniqueHi: number,
  ): { mount: number; index: number; request: ParkedRequest } | undefined {
    for (const [mount, queue] of this.#byMount) {
      const index = queue.findIndex(
        ({ message }) =>
          message.readInt32LE(IN_HEADER.unique) === uniqueLo &&
          message.readInt32LE(IN_HEADER.unique + 4) === uniqueHi,
      );
      const request = queue[index];
      if (request !== undefined) return { mount, index, request };
    }
    return undefined;
  }

  #remove(mount: number, index: number): void {
    const queue = this.#byMount.get(mount);
    const [request] = queue?.splice(index, 1) ?? [];
    if (request === undefined) return;
    this.#bytes -= request.message.length;
    this.#requests--;
    if (queue?.length === 0) this.#byMount.delete(mount);
  }
}
