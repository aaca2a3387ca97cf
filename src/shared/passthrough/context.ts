/**
 * What a thread needs to run an operation: the tables, the request it is at, and its scratch memory.
 * One per thread, used for one request after another; nothing here is allocated per request.
 */
import { ERRNO } from '../abi/errno.ts';
import { FUSE_ROOT_ID } from '../abi/flags.ts';
import { IN_HEADER, OUT_HEADER, SETXATTR_IN } from '../abi/structs.ts';
import { MOUNT_CAPACITY, MOUNT_FLAG } from '../memory/mount-table.ts';
import { openTables, type SharedMemory, type ThreadTables } from '../memory/shared-memory.ts';
import type { ThreadJournal } from '../memory/thread-journal.ts';
import { STAT } from '../stats-layout.ts';
import { CapabilitySwitch } from '../sys/capabilities.ts';
import { CAP_FSETID } from '../sys/constants.ts';
import { Credentials } from '../sys/credentials.ts';
import { CString, close, umask } from '../sys/libc.ts';
import { EXTRA, NEGOTIATED, type PassthroughConfig } from './config.ts';
import { extensionBytes } from './extensions.ts';
import { mapId } from './id-map.ts';
import { leaveBacking } from './kernel-passthrough.ts';
import { MountErrorReporter } from './mount-error.ts';
import { Timeouts } from './timeouts.ts';
import type { Tracer } from './trace.ts';
import { UniqueInoGenerator } from './unique-ino.ts';

/** An operation's answer besides the length of its reply body (0 and up) and -errno. */
export const DEFER = -0x10000;
/** Not here: another backing mount's lane permit is needed, see Context.handOverTo. */
export const HAND_OVER = -0x10001;
/** SETLKW met another's lock: to be tried again. */
export const LOCK_WAIT = -0x10002;

/** In the high word of a unique id: the request is no kernel's, whose ids do not get so far. */
export const OWN_UNIQUE_HI = 1 << 30;

/**
 * Takes a whole reply, header and all, in the place of /dev/fuse; the bytes are its own from then on.
 * @returns false if nobody waits for it any more
 */
export type ReplyTaker = (reply: Uint8Array) => boolean;

/** Offsets in a thread's scratch memory. */
export const SCRATCH = {
  STATX: 0,
  STATX2: 256,
  IDENTITY: 512,
  OPEN_HOW: 768,
  IOV: 800,
  TIMES: 832,
  MOUNT_ID: 864,
  OFFSETS: 880,
  /** "/proc/self/fd/", and behind it the digits of a descriptor. */
  PROC_PREFIX: 896,
  PROC_PATH: 910,
  EMPTY: 960,
  DOT: 968,
  CAPABILITIES: 976,
  STATFS: 1024,
  FLOCK: 1152,
  UNIQUE_INO: 1200,
  BACKING_MAP: 1216,
  POLLFD: 1240,
  /** A name of an extended attribute, with its NUL. */
  XATTR_NAME: 1280,
  RUSAGE: 1792,
  NOTIFICATION: 2048,
  DIRENTS: 4096,
} as const;

export type LogLevel = 'debug' | 'warn' | 'error';

/**
 * How an operation tells the operator something; `key` names what is said once and then counted.
 * Never per request: debug messages are for what is rare, too.
 */
export type Report = (level: LogLevel, key: string, message: string) => void;

export interface ContextEnvironment {
  readonly memory: SharedMemory;
  readonly config: PassthroughConfig;
  readonly thread: number;
  /** Whether operations may block: lanes yes, main no; see also Context.isBold. */
  readonly mayBlock: boolean;
  /** Whether this thread's working directory is /proc/self/fd, as in a lane. */
  readonly isInProcSelfFd: boolean;
  readonly report: Report;
  readonly tracer: Tracer | undefined;
  /** Closes a descriptor whose close may wait: the last one of an unlinked file, say. */
  readonly closeHeld: (fd: number, mount: number) => void;
  /** A lock on this inode was given up, while there are lock waits. */
  readonly onUnlocked: (slot: number) => void;
}

/** Device numbers that deviceOf() does not give: majors have 12 bits, and those in use are low. */
const LONE_DEVICE = 1 << 31;
/** What is left for a thread's number is enough for 512. */
const LONE_BITS = 22;
const LONE_MASK = (1 << LONE_BITS) - 1;

export class Context {
  readonly tables: ThreadTables;
  readonly config: PassthroughConfig;
  readonly mayBlock: boolean;
  readonly isInProcSelfFd: boolean;
  readonly report: Report;
  readonly tracer: Tracer | undefined;
  readonly uniqueIno: UniqueInoGenerator;
  readonly timeouts: Timeouts;
  readonly credentials = new Credentials();
  readonly mountErrors = new MountErrorReporter();
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  /** Address of offset 0 of the request memory. */
  readonly base: number;
  readonly scratch: number;
  /** Offset of the reply buffer, and of the body in it: this thread's own, or an entry's of io_uring. */
  reply: number;
  out: number;
  /** The identity of the file at hand; see IDENTITY. */
  readonly identity: Int32Array;

  /** Offset of the request, and of what follows its header. */
  message = 0;
  body = 0;
  lengthBytes = 0;
  /** The entry of io_uring that brought the request and takes its reply; -1: it came from /dev/fuse. */
  entry = -1;
  opcode = 0;
  nodeLo = 0;
  nodeHi = 0;
  /** NEGOTIATED bits, as of this request. */
  negotiated = 0;
  /** When main received the request, microseconds of nowUs(). */
  receivedUs = 0;
  /** With HAND_OVER: the mount whose lanes should run this. */
  handOverTo = 0;
  /** The directory a rename takes the name from, while it runs as the caller. */
  fromDirFd = -1;
  /** Set when the request may have changed attributes, or met some, that the kernel does not learn from the reply. */
  isStale = false;

  /** Of the directory listing under way: bytes in the reply, and the cookie behind them. */
  listed = 0;
  lastCookieLo = 0;
  lastCookieHi = 0;
  /**
   * Where mayBlock is false: whether calls may be made that a local disk could delay, since it has been
   * quick so far. What may take any time is left to a lane all the same.
   */
  isBold = false;
  /** The connection to the kernel; -1 while there is none. */
  fuseFd = -1;
  /**
   * Takes the replies to requests that asynchronous layers make, which have OWN_UNIQUE_HI; undefined
   * where none makes any, as it is without layers.
   */
  layerReplies: ReplyTaker | undefined;
  /** Takes all other replies where there is no connection to write them to; undefined where there is. */
  kernelReplies: ReplyTaker | undefined;
  /** Set when this thread may not go on: its privileges could not be restored. */
  isUnsafe = false;

  /** The host's name of security.capability, where the host does not know it by that. */
  readonly capabilityName: CString | undefined;

  readonly #ownReply: number;
  readonly #flags: Int32Array;
  /** The mask this thread has set; -1 if it has set none. Nobody else changes it for good. */
  #umask = -1;
  #isFsetidDropped = false;
  #lone = 0;
  readonly #fsetid = new CapabilitySwitch(CAP_FSETID);
  readonly #closeHeld: (fd: number, mount: number) => void;
  readonly #onUnlocked: (slot: number) => void;

  constructor(environment: ContextEnvironment) {
    const { memory, config, thread } = environment;
    this.config = config;
    this.mayBlock = environment.mayBlock;
    this.isInProcSelfFd = environment.isInProcSelfFd;
    this.report = environment.report;
    this.tracer = environment.tracer;
    this.#closeHeld = environment.closeHeld;
    this.#onUnlocked = environment.onUnlocked;
    this.tables = openTables(memory, thread, {
      onInodeRemoved: () => this.endRemoval(),
      onHandleFree: (fd, backing) => {
        close(fd);
        this.tables.fds.release();
        if (backing > 0) leaveBacking(this, backing);
      },
    });
    this.#flags = new Int32Array(memory.extra, 0, 1);
    const capability = config.xattrMap?.capability;
    this.capabilityName = capability === undefined ? undefined : new CString(capability);
    this.uniqueIno = new UniqueInoGenerator(memory.extra, EXTRA.UNIQUE_INO_AT);
    this.timeouts = new Timeouts(memory.extra, EXTRA.TIMEOUTS_AT);
    const requests = this.tables.requests;
    this.u8 = requests.u8;
    this.u32 = requests.u32;
    this.i32 = requests.i32;
    this.base = requests.address;
    this.scratch = requests.scratchAt;
    this.#ownReply = requests.replyAt;
    this.reply = requests.replyAt;
    this.out = requests.replyAt + OUT_HEADER.SIZE;
    this.identity = this.i32.subarray(
      (this.scratch + SCRATCH.IDENTITY) >> 2,
      (this.scratch + SCRATCH.OPEN_HOW) >> 2,
    );
    this.u8[this.scratch + SCRATCH.DOT] = 0x2e;
    this.u8.set(Buffer.from('/proc/self/fd/'), this.scratch + SCRATCH.PROC_PREFIX);
  }

  /** Turns to the request at this offset of the request memory. */
  load(message: number): void {
    const words = message >> 2;
    this.message = message;
    this.body = message + IN_HEADER.SIZE;
    this.lengthBytes = this.u32[words];
    this.entry = -1;
    this.reply = this.#ownReply;
    this.out = this.#ownReply + OUT_HEADER.SIZE;
    this.isStale = false;
    this.opcode = this.u32[words + 1];
    this.nodeLo = this.i32[words + (IN_HEADER.nodeid >> 2)];
    this.nodeHi = this.i32[words + (IN_HEADER.nodeid >> 2) + 1];
    // Pairs with the stores in setNegotiated().
    this.negotiated = Atomics.load(this.#flags, EXTRA.NEGOTIATED);
  }

  /** Turns to the request in a slot. */
  loadSlot(slot: number): void {
    const { slots } = this.tables;
    const entry = slots.entry(slot);
    if (entry < 0) this.load(slots.messageAt(slot));
    else this.loadEntry(entry, slots.messageAt(slot));
    this.receivedUs = slots.receivedUs(slot);
  }

  /**
   * Turns to the request in an entry of io_uring. Its reply goes where the kernel takes it from, unless
   * the request has something there that is still to be read.
   */
  loadEntry(entry: number, message: number): void {
    const payload = this.tables.entries.payloadAt(entry);
    this.load(message);
    this.entry = entry;
    if (message + this.lengthBytes > payload) return;
    this.reply = payload - OUT_HEADER.SIZE;
    this.out = payload;
  }

  has(negotiated: number): boolean {
    return (this.negotiated & negotiated) !== 0;
  }

  /** Publishes the outcome of FUSE_INIT; main only. */
  setNegotiated(bits: number): void {
    Atomics.store(this.#flags, EXTRA.NEGOTIATED, bits | NEGOTIATED.INITIALISED);
  }

  isInitialised(): boolean {
    return (Atomics.load(this.#flags, EXTRA.NEGOTIATED) & NEGOTIATED.INITIALISED) !== 0;
  }

  clearNegotiated(): void {
    Atomics.store(this.#flags, EXTRA.NEGOTIATED, 0);
  }

  // ---- the request ----

  uniqueLo(): number {
    return this.i32[(this.message + IN_HEADER.unique) >> 2];
  }

  uniqueHi(): number {
    return this.i32[((this.message + IN_HEADER.unique) >> 2) + 1];
  }

  /** The user who made the request, as the client knows him; INVALID_ID on an idmapped mount. */
  clientUid(): number {
    return this.u32[(this.message + IN_HEADER.uid) >> 2];
  }

  /** The same, as the host knows him; or FORBIDDEN_ID. */
  callerUid(): number {
    return this.hostUid(this.clientUid());
  }

  callerGid(): number {
    return this.hostGid(this.u32[(this.message + IN_HEADER.gid) >> 2]);
  }

  /** The thread that made the request, 0 if it is not in our pid namespace. */
  callerPid(): number {
    return this.u32[(this.message + IN_HEADER.pid) >> 2];
  }

  /** The backing mount of an inode, by the low half of its nodeid: its bulkhead. 0 if it cannot be. */
  mountOf(nodeLo: number): number {
    const { inodes } = this.tables;
    const mount = nodeLo > 0 && nodeLo <= inodes.capacity ? inodes.mount(nodeLo) : 0;
    return mount >= 0 && mount < MOUNT_CAPACITY ? mount : 0;
  }

  /** In the place of a device number: one that no file has had since this thread began, or for 2^22 files. */
  nextLoneDevice(): number {
    this.#lone = (this.#lone + 1) & LONE_MASK;
    return LONE_DEVICE | (this.tables.thread << LONE_BITS) | this.#lone;
  }

  // ---- ids of users and groups ----

  /** A client's uid as the host has it, or FORBIDDEN_ID. */
  hostUid(uid: number): number {
    const { uidMap } = this.config;
    return uidMap === undefined ? uid : mapId(uidMap.toHost, uid);
  }

  hostGid(gid: number): number {
    const { gidMap } = this.config;
    return gidMap === undefined ? gid : mapId(gidMap.toHost, gid);
  }

  /** A host's uid as the clients see it. */
  shownUid(uid: number): number {
    const { uidMap } = this.config;
    return uidMap === undefined ? uid : mapId(uidMap.toClient, uid);
  }

  shownGid(gid: number): number {
    const { gidMap } = this.config;
    return gidMap === undefined ? gid : mapId(gidMap.toClient, gid);
  }

  // ---- fields of the request ----

  /** A 32-bit field of the fixed part. */
  arg32(offset: number): number {
    return this.u32[(this.body + offset) >> 2];
  }

  /** Low word of a 64-bit field. */
  argLo(offset: number): number {
    return this.i32[(this.body + offset) >> 2];
  }

  argHi(offset: number): number {
    return this.i32[((this.body + offset) >> 2) + 1];
  }

  /** A signed 64-bit field: a Number where that is exact, else a BigInt. */
  arg64(offset: number): number | bigint {
    const at = (this.body + offset) >> 2;
    return int64(this.u32[at], this.i32[at + 1]);
  }

  address(offset: number): number {
    return this.base + offset;
  }

  scratchAddress(offset: number): number {
    return this.base + this.scratch + offset;
  }

  /**
   * Length of the NUL-terminated bytes at this offset of the request memory; -1 if they do not end
   * before the extensions.
   */
  nameLength(at: number): number {
    const end = this.message + this.lengthBytes - extensionBytes(this);
    const u8 = this.u8;
    let i = at;
    while (i < end && u8[i] !== 0) i++;
    return i < end ? i - at : -1;
  }

  /** Bytes of fuse_setxattr_in, which depend on what was negotiated. */
  setxattrInBytes(): number {
    return this.has(NEGOTIATED.SETXATTR_EXT) ? SETXATTR_IN.SIZE : SETXATTR_IN.COMPAT_SIZE;
  }

  // ---- the reply ----

  put32(offset: number, value: number): void {
    this.u32[(this.out + offset) >> 2] = value;
  }

  /** Stores a number below 2^53 as 64 bits. */
  put64(offset: number, value: number): void {
    const at = (this.out + offset) >> 2;
    this.u32[at] = value >>> 0;
    this.u32[at + 1] = Math.floor(value / 0x100000000);
  }

  putWords(offset: number, lo: number, hi: number): void {
    const at = (this.out + offset) >> 2;
    this.i32[at] = lo;
    this.i32[at + 1] = hi;
  }

  zero(offset: number, bytes: number): void {
    this.u32.fill(0, (this.out + offset) >> 2, (this.out + offset + bytes) >> 2);
  }

  // ---- what a request holds ----

  /**
   * Pins the inode of a nodeid for this request.
   * @returns its slot, or -ESTALE: VFS then walks the path again, once
   */
  pinInode(nodeLo: number, nodeHi: number): number {
    const { inodes, journal } = this.tables;
    if (inodes.resolve(nodeLo, nodeHi) < 0) return -ERRNO.ESTALE;
    inodes.pinNoted(nodeLo, journal.cells, journal.freePinAt());
    // Forgotten between the two looks, or not pinned in time: the pin goes back with finish().
    return inodes.resolve(nodeLo, nodeHi) < 0 ? -ERRNO.ESTALE : nodeLo;
  }

  /** Pins the inode the request is about. */
  pinNode(): number {
    return this.pinInode(this.nodeLo, this.nodeHi);
  }

  /**
   * Starts to use an open handle of this inode for this request.
   * @returns its index, or -EBADF
   */
  useHandle(fhLo: number, fhHi: number, slot: number, isDir: boolean): number {
    const index = this.tables.handles.use(fhLo, fhHi, slot, isDir);
    if (index < 0) return -ERRNO.EBADF;
    this.tables.journal.noteUse(index);
    return index;
  }

  /** Gives back all that the request held: pins, handle uses, descriptors of its own. */
  finish(): void {
    this.giveBack(this.tables.journal);
  }

  /** The same for any thread's journal: also for a lane that died. */
  giveBack(journal: ThreadJournal): void {
    const { inodes, handles, fds } = this.tables;
    for (let slot = journal.takePin(); slot > 0; slot = journal.takePin()) {
      if (inodes.unpin(slot)) this.endRemoval();
    }
    this.#endLockUse(journal);
    for (let index = journal.takeUse(); index > 0; index = journal.takeUse()) handles.unuse(index);
    for (let fd = journal.takeFd(); fd >= 0; fd = journal.takeFd()) close(fd);
    this.#leaveBacking(journal);
    for (; journal.reserved() > 0; journal.addReserved(-1)) fds.release();
  }

  #leaveBacking(journal: ThreadJournal): void {
    const backing = journal.backing();
    if (backing === 0) return;
    journal.dropBacking();
    leaveBacking(this, backing);
  }

  /** Ends the use of a lock owner before the request ends. */
  endLockUse(): void {
    this.#endLockUse(this.tables.journal);
  }

  #endLockUse(journal: ThreadJournal): void {
    const fd = this.tables.locks.unuse(journal);
    if (fd < 0) return;
    close(fd);
    this.tables.fds.release();
  }

  /** Tells those who wait for a lock on this inode, if anybody waits for one. */
  unlocked(slot: number): void {
    if (this.tables.locks.waits() > 0) this.#onUnlocked(slot);
  }

  /** Notes a descriptor that lives for this request only. */
  keepFd(fd: number): number {
    this.tables.journal.noteFd(fd);
    return fd;
  }

  /** Closes a noted descriptor before the request ends. */
  dropFd(fd: number): void {
    this.tables.journal.dropFd(fd);
    close(fd);
  }

  // ---- privileges ----

  /** Has the host cut the modes of what this request creates, as it would for the caller. */
  takeUmask(mask: number): void {
    if (!this.has(NEGOTIATED.DONT_MASK) || mask === this.#umask) return;
    umask(mask);
    this.#umask = mask;
  }

  /** Without CAP_FSETID a write clears the set-id bits, as it does for a user's own write. */
  dropFsetid(): void {
    this.#isFsetidDropped = true;
    this.#fsetid.drop();
  }

  restoreFsetid(): void {
    if (!this.#isFsetidDropped) return;
    this.#isFsetidDropped = false;
    if (this.#fsetid.restore() < 0) this.isUnsafe = true;
  }

  /** Ends acting as the caller. A thread that cannot must do nothing more: see isUnsafe. */
  becomeSelf(): void {
    if (this.credentials.restore() < 0) this.isUnsafe = true;
  }

  // ---- lookups given back ----

  /** Gives back lookups of a nodeid. */
  forget(slot: number, epoch: number, count: number): void {
    this.tables.stats.add(STAT.FORGETS, 1);
    if (slot !== FUSE_ROOT_ID && this.tables.inodes.forget(slot, epoch, count)) this.endRemoval();
  }

  /** Ends the removal of an inode: see InodeTable.forget(). */
  endRemoval(): void {
    const { inodes, fds, mounts } = this.tables;
    const fd = inodes.removedFd;
    const mount = inodes.removedMount;
    const held = inodes.removedHeld;
    fds.leave(inodes.removedPlace, inodes.removedSlot);
    if (fd >= 0) {
      fds.release();
      if (held || mounts.hasFlag(mount, MOUNT_FLAG.LANES_ONLY)) this.#closeHeld(fd, mount);
      else close(fd);
    }
    // It may be the last of a mount that was detached: closing it then ends the file system.
    const mountFd = mounts.release(mount);
    if (mountFd >= 0) this.#closeHeld(mountFd, mount);
  }

  /** Undoes an open whose reply was not delivered. */
  dropHandle(index: number): void {
    const { handles } = this.tables;
    const use = handles.use(
      index,
      handles.epoch(index),
      handles.inode(index),
      handles.isDir(index),
    );
    if (use < 0) return;
    handles.release(use);
    handles.unuse(use);
  }

  releaseMount(mount: number): void {
    const mountFd = this.tables.mounts.release(mount);
    if (mountFd >= 0) close(mountFd);
  }
}

/** 64 bits as a Number where that is exact, else as a BigInt. */
export function int64(lo: number, hi: number): number | bigint {
  const high = hi | 0;
  if (high >= -0x200000 && high < 0x200000) return high * 0x100000000 + (lo >>> 0);
  return (BigInt(high) << 32n) | BigInt(lo >>> 0);
}
