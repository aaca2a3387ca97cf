/**
 * The way of a request as it is in a mount, from the device to the reply, over tables of its own: requests
 * come by a socket, replies go to /dev/null, and there are no lanes.
 */

import { Receiver } from '../../shared/memory/receiver.ts';
import type { MountOptions } from '../../shared/options.ts';
import { type Context, SCRATCH } from '../../shared/passthrough/context.ts';
import {
  AF_UNIX,
  EFD_CLOEXEC,
  O_CLOEXEC,
  O_RDWR,
  RUSAGE,
  RUSAGE_THREAD,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../shared/sys/constants.ts';
import {
  addressOf,
  CString,
  close,
  eventfd,
  getrusage,
  open,
  socketpair,
  umask,
  write,
} from '../../shared/sys/libc.ts';
import { Dispatcher } from '../dispatch/dispatcher.ts';
import { RECEIVE_BATCH } from '../dispatch/policy.ts';
import { requestSinkOf } from '../dispatch/request-sink.ts';
import { PassthroughFs } from '../passthrough-fs.ts';
import { DeviceReader } from '../session/device-reader.ts';

const INODES = 1024;
/** What the work takes, and more than it may: its tables are made for no more. */
const NEEDED_DESCRIPTORS = 128;
const MOST_DESCRIPTORS = 1024;

/** What to do at the end, the last first. */
export type Closers = (() => void)[];

export class Stage {
  readonly ctx: Context;
  readonly #fs: PassthroughFs;
  readonly #dispatcher: Dispatcher;
  readonly #reader: DeviceReader;
  readonly #device: number;
  readonly #kernel: number;
  readonly #closers: Closers;

  /**
   * @param negotiated bits of NEGOTIATED
   * @param fdLimit RLIMIT_NOFILE: the exporter starts at the same time, and takes what is reserved for it
   * @param closers end what was begun, also where this throws
   * @throws Error when there is no descriptor for it
   */
  constructor(
    source: string,
    options: MountOptions,
    negotiated: number,
    fdLimit: number,
    closers: Closers,
  ) {
    this.#closers = closers;
    // Requests set it. Where the kernel applies the callers' the mount needs the one that was there.
    const mask = umask(0);
    closers.push(() => umask(mask));
    this.#fs = this.#makeFs(source, options, Math.min(fdLimit, MOST_DESCRIPTORS));
    closers.push(() => this.#fs.close());
    this.ctx = this.#fs.ctx;
    const { budget } = this.ctx.tables.fds;
    if (budget < NEEDED_DESCRIPTORS) throw new Error(`only ${budget} descriptors are left for it`);
    [this.#device, this.#kernel] = this.#socketPair();
    this.#dispatcher = this.#makeDispatcher();
    this.#reader = this.#makeReader();
    closers.push(() => this.#reader.close());
    this.#fs.importRoot();
    this.#fs.init(negotiated);
  }

  #makeFs(source: string, options: MountOptions, fdLimit: number): PassthroughFs {
    return new PassthroughFs({
      options: { ...options, source, maxInodes: INODES, fdBudget: 0, trace: false },
      source,
      fdLimit,
      mayBlock: false,
      report: () => undefined,
      closeHeld: (fd, mount) => this.#dispatcher.closeHeld(fd, mount),
      onUnlocked: () => undefined,
    });
  }

  #makeDispatcher(): Dispatcher {
    const { ctx } = this;
    ctx.fuseFd = this.#keep(open(new CString('/dev/null').address, O_RDWR | O_CLOEXEC));
    const lanes = { wakeOne: () => false };
    const session = { onInit() {}, onUnsafe() {}, onDestroy() {}, onQueued() {} };
    return new Dispatcher(ctx, ctx.fuseFd, lanes, session, {
      receiver: new Receiver(this.#fs.memory.receiver),
      // There is no lane. Code that is not compiled is slow.
      keepsAway: false,
      takeBack: () => undefined,
    });
  }

  #makeReader(): DeviceReader {
    // Always readable, so that nothing waits.
    const wakeFd = this.#keep(eventfd(1, EFD_CLOEXEC));
    const sink = requestSinkOf(this.ctx, this.#dispatcher);
    const fds = { fuseFd: this.#device, wakeFd };
    return new DeviceReader(fds, sink, RECEIVE_BATCH, undefined, () => undefined);
  }

  #keep(fd: number): number {
    if (fd < 0) throw new Error(`no descriptor: ${fd}`);
    this.#closers.push(() => close(fd));
    return fd;
  }

  #socketPair(): [number, number] {
    const ends = new Int32Array(new SharedArrayBuffer(8));
    const type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
    const error = socketpair(AF_UNIX, type, 0, addressOf(ends));
    if (error < 0) throw new Error(`no socket: ${error}`);
    return [this.#keep(ends[0] as number), this.#keep(ends[1] as number)];
  }

  /** Has a request taken as the kernel's are. @returns whether it was answered here */
  take(address: number, sizeBytes: number): boolean {
    write(this.#kernel, address, sizeBytes);
    this.#reader.turn();
    return this.#dispatcher.inFlight() === 0;
  }

  /** CPU time of this thread so far, milliseconds. */
  cpuMs(): number {
    const { ctx } = this;
    getrusage(RUSAGE_THREAD, ctx.scratchAddress(SCRATCH.RUSAGE));
    const at = (ctx.scratch + SCRATCH.RUSAGE) >> 2;
    const ms = (offset: number): number =>
      ctx.u32[at + (offset >> 2)] * 1000 + ctx.u32[at + (offset >> 2) + 2] / 1000;
    return ms(RUSAGE.utime) + ms(RUSAGE.stime);
  }
}
