/**
 * Takes each request main has read to where it is answered: here, or in a lane. Holds back what a
 * backing mount has no room for, so that FORGET, INTERRUPT and the other mounts go on.
 */
import { readFileSync } from 'node:fs';
import { ERRNO } from '../../shared/abi/errno.ts';
import { OP, OPCODE_LIMIT, ROW_BY_OPCODE } from '../../shared/abi/opcodes.ts';
import { IN_HEADER, INTERRUPT_IN } from '../../shared/abi/structs.ts';
import type { CallerTable } from '../../shared/caller-table.ts';
import { nowUs } from '../../shared/clock.ts';
import type { Receiver } from '../../shared/memory/receiver.ts';
import { TO_LOCK_WAITS } from '../../shared/memory/request-slots.ts';
import { NEGOTIATED } from '../../shared/passthrough/config.ts';
import { type Context, OWN_UNIQUE_HI, SCRATCH } from '../../shared/passthrough/context.ts';
import { countCaller } from '../../shared/passthrough/count-caller.ts';
import { answerInPlace, mayTryInPlace } from '../../shared/passthrough/in-place.ts';
import { InPlacePolicy } from '../../shared/passthrough/in-place-policy.ts';
import { releaseLocksAhead } from '../../shared/passthrough/locks.ts';
import { answerException, replyOrUndo, takeForget } from '../../shared/passthrough/operations.ts';
import { RequestQueue } from '../../shared/passthrough/request-queue.ts';
import type { Tracer } from '../../shared/passthrough/trace.ts';
import { beginWork, countRequest, endWork } from '../../shared/request-stats.ts';
import { STAT } from '../../shared/stats-layout.ts';
import { POLLIN } from '../../shared/sys/constants.ts';
import { close, poll } from '../../shared/sys/libc.ts';
import type { AsyncLayers } from '../layers/async-layers.ts';
import type { Lanes } from './lanes.ts';
import { LockWaits } from './lock-waits.ts';
import { OpDeadline } from './op-deadline.ts';
import { type KeptRequest, ParkingLot } from './parking.ts';
import { STARVATION_LOOKS } from './policy.ts';

/** What the dispatcher needs of the session around it. */
export interface SessionControl {
  /** FUSE_INIT is loaded: answers it. */
  onInit(): void;
  /** Main could not take its own ids back after it had acted as somebody else. */
  onUnsafe(): void;
  /** FUSE_DESTROY was answered. */
  onDestroy(): void;
  /** Something waits for a lane: isStarving() is to be asked at intervals, until isQueueEmpty(). */
  onQueued(): void;
}

/** Who receives in main's place while that hangs in a call. */
export interface StandIn {
  readonly receiver: Receiver;
  /** Whether slow calls are left to lanes for a while. */
  readonly keepsAway: boolean;
  /** Has it give back what it took over; returns when it has. */
  takeBack(): void;
}

/** SIGKILL's bit in the pending masks of /proc/<pid>/status. */
const SIGKILL_BIT = 1n << 8n;

export class Dispatcher {
  readonly #ctx: Context;
  readonly #fuseFd: number;
  readonly #lanes: Pick<Lanes, 'wakeOne'>;
  readonly #session: SessionControl;
  readonly #parking = new ParkingLot();
  /** Requests that wait for a lock. */
  readonly lockWaits: LockWaits;
  /** Where requests are counted by their callers, while somebody wants to know. */
  callers: CallerTable | undefined;
  readonly #deadline: OpDeadline;
  readonly #queue: RequestQueue;
  /** By mount: items taken when last looked at, and looks since at which it waited in vain. */
  readonly #lastTaken: number[] = [];
  readonly #waitingLooks: number[] = [];
  /** Descriptors to close for which a mount's ring had no room. */
  #unclosed: { fd: number; mount: number }[] = [];
  /** All undefined where main runs nothing that could wait. */
  readonly #standIn: StandIn | undefined;
  readonly #receiver: Receiver | undefined;
  readonly #inPlace: InPlacePolicy | undefined;
  /** Whether main is in a call in which its deputy may receive: then rings and slots are not main's. */
  #isInCall = false;
  /** Opcodes that asynchronous layers answer, as 1 at their place; all 0 without such layers. */
  #layered: Uint8Array = new Uint8Array(OPCODE_LIMIT);
  #asyncLayers: AsyncLayers | undefined;

  /** @param standIn with one main may make calls that a disk could delay, and act as a caller */
  constructor(
    ctx: Context,
    fuseFd: number,
    lanes: Pick<Lanes, 'wakeOne'>,
    session: SessionControl,
    standIn: StandIn | undefined,
  ) {
    this.#ctx = ctx;
    this.#standIn = standIn;
    this.#receiver = standIn?.receiver;
    if (standIn !== undefined) this.#inPlace = this.#makePolicy(standIn);
    this.#fuseFd = fuseFd;
    this.#lanes = lanes;
    this.#session = session;
    this.#queue = new RequestQueue(ctx, ctx.tables.slots.takeToReceive(), () => {
      lanes.wakeOne();
      session.onQueued();
    });
    this.#deadline = new OpDeadline(ctx, fuseFd, this.#parking, (request, error) =>
      this.answerKept(request.message, request.receivedUs, error),
    );
    this.lockWaits = new LockWaits({
      tryAgain: (wait) => this.#place(wait.mount, wait, nowUs()),
      isUnderWay: (lo, hi) => this.#isUnderWay(lo, hi),
      onCount: (count) => ctx.tables.locks.setWaits(count),
    });
  }

  #makePolicy({ keepsAway }: StandIn): InPlacePolicy {
    return new InPlacePolicy(this.#ctx, {
      hasDeputy: true,
      keepsAway,
      isAlone: () => this.#isAlone(),
    });
  }

  /** Whether nobody waits for main. A lane that has just answered may not have freed its slot yet. */
  #isAlone(): boolean {
    const ctx = this.#ctx;
    if (ctx.tables.slots.inUse() > 1) return false;
    const at = (ctx.scratch + SCRATCH.POLLFD) >> 2;
    ctx.i32[at] = this.#fuseFd;
    ctx.i32[at + 1] = POLLIN;
    return poll(ctx.scratchAddress(SCRATCH.POLLFD), 1, 0) === 0;
  }

  /** Offset in the request memory where the next request is read to. */
  receiveAt(): number {
    return this.#queue.receiveAt();
  }

  /** Asynchronous layers get what they have methods for; before the first request. */
  setAsyncLayers(layers: AsyncLayers): void {
    this.#asyncLayers = layers;
    this.#layered = layers.layered;
  }

  /** Takes a request that an asynchronous layer makes: its reply goes to Context.layerReplies. */
  submit(message: Uint8Array): void {
    this.#loadBytes(message, nowUs());
    this.#toPassthrough();
  }

  /**
   * Answers a request that is not in request memory, but kept by asynchronous layers or by us.
   * @param message its header at least
   * @param result length of the body in the reply buffer, or -errno
   */
  answerKept(message: Uint8Array, receivedUs: number, result: number): void {
    this.#loadBytes(message.subarray(0, IN_HEADER.SIZE), receivedUs);
    replyOrUndo(this.#ctx, this.#fuseFd, result);
  }

  /** Whether main keeps so much that it has to stop reading. */
  isFull(): boolean {
    return this.#parking.isFull() || this.#asyncLayers?.isFull() === true;
  }

  /** Whether others have requests: what they want of main comes through the event loop. */
  needsLoop(): boolean {
    return this.inFlight() > 0;
  }

  parked(): number {
    return this.#parking.count();
  }

  /** Requests that lanes have or are about to get. */
  inFlight(): number {
    const withLayers = this.#asyncLayers?.inFlight() ?? 0;
    return this.#ctx.tables.slots.inUse() + this.#parking.count() + withLayers;
  }

  /** Takes a request that the deputy has kept, and traced. */
  handleKept(message: Uint8Array, receivedUs: number): void {
    this.#loadBytes(message, receivedUs);
    this.#handleLoaded(undefined);
  }

  /** Takes a request that did not come from the device; main alone receives those. */
  take(message: Uint8Array): void {
    this.#loadBytes(message, nowUs());
    this.#handleLoaded(this.#ctx.tracer);
  }

  /** Takes the request that was read to receiveAt(). A throw is a defect: EIO, and life goes on. */
  handle(): void {
    const ctx = this.#ctx;
    ctx.load(this.receiveAt());
    ctx.receivedUs = nowUs();
    this.#handleLoaded(ctx.tracer);
  }

  /** Turns to a request that is elsewhere: it goes where main receives. */
  #loadBytes(message: Uint8Array, receivedUs: number): void {
    const ctx = this.#ctx;
    ctx.u8.set(message, this.receiveAt());
    ctx.load(this.receiveAt());
    ctx.receivedUs = receivedUs;
  }

  #handleLoaded(tracer: Tracer | undefined): void {
    const ctx = this.#ctx;
    const { stats } = ctx.tables;
    beginWork(stats, ctx.receivedUs, ctx.opcode, ctx.nodeLo, ctx.nodeHi);
    try {
      tracer?.request(ctx);
      this.#dispatch();
    } catch (error) {
      answerException(ctx, 'dispatch', error);
    }
    // How busy main is its event loop tells.
    endWork(stats, 0);
  }

  #dispatch(): void {
    const ctx = this.#ctx;
    if (this.callers !== undefined) countCaller(this.callers, ctx);
    const row = ROW_BY_OPCODE[ctx.opcode];
    if (row?.class === 'control') this.#control();
    else if (!ctx.has(NEGOTIATED.INITIALISED)) replyOrUndo(ctx, this.#fuseFd, -ERRNO.EIO);
    else if (row === undefined || row.class === 'absent')
      replyOrUndo(ctx, this.#fuseFd, -ERRNO.ENOSYS);
    else if (this.#layered[ctx.opcode] === 1) this.#asyncLayers?.take();
    else this.#toPassthrough();
  }

  #toPassthrough(): void {
    const mount = this.#ctx.mountOf(this.#ctx.nodeLo);
    if (!this.#tryInPlace(mount)) this.#toLane(mount);
  }

  /** @returns whether the request is answered */
  #tryInPlace(mount: number): boolean {
    const ctx = this.#ctx;
    const isBold = this.#inPlace?.mayBeBold(mount) === true;
    if (!isBold && !mayTryInPlace(ctx, mount)) return false;
    // RWF_NOWAIT keeps a write from waiting for pages, and not for a file system that is frozen.
    return isBold || ctx.opcode === OP.WRITE ? this.#tryInCall(mount, isBold) : answerInPlace(ctx);
  }

  /** Requests main keeps get their slots, as far as there are any; see RequestSlots.takeWake(). */
  pump(): void {
    // First the question, then the look: a slot freed in between wakes us again.
    if (this.#parking.count() > 0) this.#ctx.tables.slots.askForWake();
    for (const mount of this.#parking.mounts()) {
      for (
        let next = this.#parking.first(mount);
        next !== undefined;
        next = this.#parking.first(mount)
      ) {
        if (!this.#place(mount, next, next.queuedUs)) break;
        this.#parking.take(mount);
      }
    }
    this.#countParked();
    this.#retryCloses();
  }

  /** A lane gives a request back: it belongs to the bulkhead of another mount. */
  handOver(slot: number, mount: number): void {
    const { slots, mounts } = this.#ctx.tables;
    // A lane that died may have been spoken for already.
    if (!slots.requeue(slot)) return;
    if (mount === TO_LOCK_WAITS) {
      this.#waitForLock(slot);
      return;
    }
    // Else lookups of a mount point would fill all slots when the mount hangs. A ring slot's request
    // has nowhere else to wait, and takes no room from others.
    if (slots.entry(slot) < 0 && !this.#queue.hasRoom(mount)) {
      this.#parkHanded(slot, mount);
      return;
    }
    mounts.dropSlot(slots.group(slot));
    mounts.addSlot(mount);
    slots.setGroup(slot, mount);
    slots.setTimes(slot, slots.receivedUs(slot), nowUs());
    this.#queue.push(slot, mount);
  }

  /** A lane met another's lock: the request leaves its slot and waits. */
  #waitForLock(slot: number): void {
    const ctx = this.#ctx;
    const { slots, mounts, journal } = ctx.tables;
    const mount = slots.group(slot);
    ctx.loadSlot(slot);
    const message = Buffer.from(ctx.u8.slice(ctx.message, ctx.message + ctx.lengthBytes));
    const outcome = this.lockWaits.add(message, ctx.receivedUs, mount);
    if (outcome !== 'waits') {
      ctx.loadSlot(slot);
      const error = outcome === 'interrupted' ? ERRNO.EINTR : ERRNO.ENOLCK;
      replyOrUndo(ctx, this.#fuseFd, -error);
    }
    slots.free(slot, mounts, journal);
    this.pump();
  }

  /** Whether a SETLKW is in a slot or parked. */
  #isUnderWay(uniqueLo: number, uniqueHi: number): boolean {
    const ctx = this.#ctx;
    const { slots } = ctx.tables;
    const slot = slots.find(uniqueLo, uniqueHi);
    if (slot >= 0) return ctx.u32[(slots.messageAt(slot) + IN_HEADER.opcode) >> 2] === OP.SETLKW;
    const parked = this.#parking.findByUnique(uniqueLo, uniqueHi);
    return parked?.request.message.readUInt32LE(IN_HEADER.opcode) === OP.SETLKW;
  }

  #parkHanded(slot: number, mount: number): void {
    const ctx = this.#ctx;
    const { slots, mounts, journal } = ctx.tables;
    ctx.loadSlot(slot);
    this.#park(mount, nowUs());
    slots.free(slot, mounts, journal);
    this.pump();
  }

  /** Keeps the loaded request until its mount has room. */
  #park(mount: number, queuedUs: number): void {
    const ctx = this.#ctx;
    const message = Buffer.from(ctx.u8.slice(ctx.message, ctx.message + ctx.lengthBytes));
    this.#parking.add(mount, { message, receivedUs: ctx.receivedUs, queuedUs });
    ctx.tables.stats.add(STAT.PARKED, 1);
    this.#countParked();
  }

  #countParked(): void {
    this.#ctx.tables.stats.set(STAT.PARKED_NOW, this.#parking.count());
  }

  /** Closes a descriptor that may be the last of an unlinked file. */
  closeHeld(fd: number, mount: number): void {
    if (this.#isInCall || this.#inPlace?.mayClose(fd, mount) !== true) {
      this.#closeInLane(fd, mount);
      return;
    }
    const startUs = nowUs();
    this.#beginCall(mount, true);
    close(fd);
    this.#endCall(mount, startUs);
  }

  #closeInLane(fd: number, mount: number): void {
    const { rings } = this.#ctx.tables;
    // The other half of the ring is kept for slots.
    const mustWait = this.#isInCall || rings.ownDepth(mount) >= rings.capacity >> 1;
    if (mustWait) this.#unclosed.push({ fd, mount });
    else if (rings.push(mount, ~fd)) this.#lanes.wakeOne();
    this.#session.onQueued();
  }

  /** Whether nothing waits for a lane. */
  isQueueEmpty(): boolean {
    const { rings, mounts } = this.#ctx.tables;
    for (let mount = 0; mount < mounts.limit(); mount++) if (rings.depth(mount) > 0) return false;
    return this.#unclosed.length === 0;
  }

  /**
   * Whether some mount waits for a lane while all lanes are held up by others: no lane works for it
   * and nothing of its ring was taken for several looks. Called at intervals.
   */
  isStarving(): boolean {
    this.#retryCloses();
    const { rings, mounts } = this.#ctx.tables;
    let isStarving = false;
    for (let mount = 0; mount < mounts.limit(); mount++) {
      const taken = rings.taken(mount);
      const isWaiting = rings.depth(mount) > 0 && mounts.activeLanes(mount) === 0;
      const looks =
        isWaiting && this.#lastTaken[mount] === taken ? (this.#waitingLooks[mount] ?? 0) + 1 : 0;
      this.#lastTaken[mount] = taken;
      this.#waitingLooks[mount] = looks;
      if (looks >= STARVATION_LOOKS && !this.#lanes.wakeOne()) isStarving = true;
    }
    return isStarving;
  }

  /** Whether expire() will be called. */
  setDeadline(isSet: boolean): void {
    if (this.#inPlace !== undefined) this.#inPlace.isAllowed = !isSet;
  }

  /** Answers ETIMEDOUT to what only reads and has taken longer than this. Called at intervals. */
  expire(timeoutMs: number): void {
    this.#deadline.expire(timeoutMs);
    this.#countParked();
  }

  #control(): void {
    const ctx = this.#ctx;
    if (takeForget(ctx, this.#asyncLayers)) return;
    const row = ROW_BY_OPCODE[ctx.opcode];
    if (row?.hasReply === false || ctx.opcode === OP.INTERRUPT) countRequest(ctx.tables.stats, row);
    switch (ctx.opcode) {
      case OP.INTERRUPT:
        this.#interrupt();
        break;
      case OP.INIT:
        this.#session.onInit();
        break;
      case OP.DESTROY:
        replyOrUndo(ctx, this.#fuseFd, 0);
        this.#session.onDestroy();
        break;
      default:
        // NOTIFY_REPLY answers a question we never ask; it has no reply.
        break;
    }
  }

  /**
   * Answers with calls that a disk could delay: then the deputy receives. What main would put on a ring
   * meanwhile waits, as a ring has one who fills it.
   */
  #tryInCall(mount: number, isBold: boolean): boolean {
    const ctx = this.#ctx;
    this.#beginCall(mount, isBold);
    try {
      return answerInPlace(ctx);
    } finally {
      this.#endCall(mount, ctx.receivedUs);
      if (ctx.isUnsafe) this.#session.onUnsafe();
    }
  }

  #beginCall(mount: number, isBold: boolean): void {
    this.#ctx.isBold = isBold;
    this.#isInCall = true;
    this.#inPlace?.begins(mount);
    this.#receiver?.beginCall();
  }

  #endCall(mount: number, startUs: number): void {
    if (this.#receiver?.endCall() === false) {
      this.#standIn?.takeBack();
      this.#session.onQueued();
    }
    this.#isInCall = false;
    this.#ctx.isBold = false;
    if (this.#unclosed.length > 0) this.#retryCloses();
    this.#inPlace?.ended(mount, nowUs() - startUs);
  }

  #toLane(mount: number): void {
    if (this.#ctx.opcode === OP.RELEASE) releaseLocksAhead(this.#ctx);
    if (!this.#parking.has(mount) && this.#queue.placeReceived(mount)) return;
    this.#park(mount, this.#ctx.receivedUs);
    // A slot may have been freed before the lanes could know that we wait.
    this.pump();
  }

  /** Gives a kept request a slot. */
  #place(mount: number, request: KeptRequest, queuedUs: number): boolean {
    return this.#queue.placeKept(mount, request.message, request.receivedUs, queuedUs);
  }

  #retryCloses(): void {
    const waiting = this.#unclosed;
    if (waiting.length === 0) return;
    this.#unclosed = [];
    for (const { fd, mount } of waiting) this.#closeInLane(fd, mount);
  }

  /**
   * INTERRUPT: a request no lane has begun is answered EINTR, if its caller is being killed. For any
   * other signal it goes on: on the file system behind us such a call is not interrupted either.
   */
  #interrupt(): void {
    const ctx = this.#ctx;
    ctx.tables.stats.add(STAT.INTERRUPTS, 1);
    const lo = ctx.argLo(INTERRUPT_IN.unique);
    const hi = ctx.argHi(INTERRUPT_IN.unique);
    for (const id of this.#asyncLayers?.callsFor(lo, hi) ?? []) {
      this.#interruptOne(id, OWN_UNIQUE_HI);
    }
    this.#asyncLayers?.interrupt(lo, hi, isBeingKilled);
    this.#interruptOne(lo, hi);
  }

  #interruptOne(lo: number, hi: number): void {
    const ctx = this.#ctx;
    const { slots } = ctx.tables;
    if (this.#interruptLock(lo, hi)) return;
    const slot = slots.findQueued(lo, hi);
    if (slot >= 0) {
      const pid = ctx.u32[(slots.messageAt(slot) + IN_HEADER.pid) >> 2];
      if (!isBeingKilled(pid) || !slots.cancel(slot)) return;
      // The lane that pops the slot frees it; until then its message is ours to answer.
      ctx.loadSlot(slot);
      replyOrUndo(ctx, this.#fuseFd, -ERRNO.EINTR);
      if (ctx.opcode === OP.SETLKW) this.lockWaits.answered(lo, hi, false);
      return;
    }
    const parked = this.#parking.findByUnique(lo, hi);
    if (parked === undefined) return;
    if (!isBeingKilled(parked.request.message.readUInt32LE(IN_HEADER.pid))) return;
    this.#parking.takeByUnique(lo, hi);
    this.#countParked();
    this.answerKept(parked.request.message, parked.request.receivedUs, -ERRNO.EINTR);
  }

  /** Ends a wait for a lock. @returns whether there was one; else any lane still has its try */
  #interruptLock(lo: number, hi: number): boolean {
    if (!this.#ctx.has(NEGOTIATED.POSIX_LOCKS | NEGOTIATED.FLOCK_LOCKS)) return false;
    const wait = this.lockWaits.interrupt(lo, hi);
    if (wait !== undefined) this.answerKept(wait.message, wait.receivedUs, -ERRNO.EINTR);
    return wait !== undefined;
  }
}

/** Whether SIGKILL is pending for a thread: also the kernel's form of every deadly signal. */
function isBeingKilled(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    for (const [, mask] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)) {
      if ((BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n) return true;
    }
    return false;
  } catch {
    // Not in our pid namespace: go on with the request.
    return false;
  }
}
