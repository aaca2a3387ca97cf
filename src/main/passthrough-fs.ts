/**
 * The passthrough file system of one source on one thread, without a connection to a kernel: the
 * tables, the operations' context, and the life of the whole.
 */
import { closeSync } from 'node:fs';
import { ERRNO, errnoName } from '../shared/abi/errno.ts';
import { SluiceError } from '../shared/errors.ts';
import { ROOT_SLOT } from '../shared/memory/inode-table.ts';
import type { RingGeometry } from '../shared/memory/ring-entries.ts';
import type { SharedMemory } from '../shared/memory/shared-memory.ts';
import { MAIN_THREAD } from '../shared/memory/thread-journal.ts';
import type { MountOptions } from '../shared/options.ts';
import { Context, type Report } from '../shared/passthrough/context.ts';
import { destroyAll, importRoot, readlinkatProcFile } from '../shared/passthrough/import.ts';
import { probeSource, type SourceFacts } from '../shared/passthrough/probe.ts';
import { Tracer } from '../shared/passthrough/trace.ts';
import { FS_MAGIC, O_CLOEXEC, O_DIRECTORY, O_PATH } from '../shared/sys/constants.ts';
import { CString, close, open } from '../shared/sys/libc.ts';
import {
  fdBudgetOf,
  geometryOf,
  openTrace,
  passthroughConfigOf,
  reserveMemory,
  setTimeouts,
} from './assemble.ts';

export interface PassthroughSettings {
  readonly options: MountOptions;
  /** The source's real path. */
  readonly source: string;
  /** Entries of io_uring to make room for, if any. */
  readonly rings?: RingGeometry | undefined;
  /** RLIMIT_NOFILE. */
  readonly fdLimit: number;
  /** Whether operations on this thread may block. */
  readonly mayBlock: boolean;
  readonly report: Report;
  /** Closes a descriptor that may be the last of an unlinked file. */
  readonly closeHeld: (fd: number, mount: number) => void;
  /** A lock was given up while there are lock waits. */
  readonly onUnlocked: (slot: number) => void;
  /** Opcodes that layers in lanes have to see; undefined without such layers. */
  readonly layered?: Uint8Array | undefined;
}

const STDERR = 2;

export class PassthroughFs {
  readonly ctx: Context;
  readonly memory: SharedMemory;
  /** Where trace lines go, -1 for nowhere. */
  readonly traceFd: number;
  readonly #settings: PassthroughSettings;
  readonly #procSelfFd: number;
  #isImported = false;

  /** @throws SluiceError with nothing left open */
  constructor(settings: PassthroughSettings) {
    const { options, source, fdLimit, rings } = settings;
    this.#settings = settings;
    const facts = probe(source);
    const { layered } = settings;
    const fdBudget = fdBudgetOf(options, fdLimit, rings?.threads);
    this.memory = reserveMemory(geometryOf(options, fdBudget, facts, layered !== undefined, rings));
    this.traceFd = openTrace(options);
    this.#procSelfFd = openProcSelfFd();
    this.ctx = new Context({
      memory: this.memory,
      config: passthroughConfigOf(options, facts, this.#procSelfFd, layered),
      thread: MAIN_THREAD,
      mayBlock: settings.mayBlock,
      isInProcSelfFd: false,
      report: settings.report,
      tracer: this.traceFd < 0 ? undefined : new Tracer(this.traceFd, 'main'),
      closeHeld: settings.closeHeld,
      onUnlocked: settings.onUnlocked,
    });
    setTimeouts(this.ctx.timeouts, options);
    this.ctx.tables.inodes.clear();
    this.ctx.tables.slots.initialise();
  }

  /**
   * Makes the source nodeid 1. Once more does nothing: the root in use is not replaced.
   * @throws SluiceError
   */
  importRoot(): void {
    if (this.#isImported) return;
    const error = importRoot(this.ctx, this.#settings.source);
    if (error < 0) throw this.#importError(error);
    this.#isImported = true;
  }

  /** FUSE_INIT came: a second one starts over with nothing known. @throws SluiceError */
  init(negotiatedBits: number): void {
    if (this.ctx.isInitialised()) this.destroy();
    if (this.ctx.config.doImport) this.importRoot();
    this.ctx.setNegotiated(negotiatedBits);
  }

  /**
   * Forgets every handle and inode, and imports the root again, so that another FUSE_INIT can be
   * served. @throws SluiceError
   */
  destroy(): void {
    destroyAll(this.ctx);
    this.#isImported = false;
    this.importRoot();
  }

  /**
   * Whether the source lies on a file system that is stacked on another one. A FUSE mount may be, too,
   * if it passes data through; nobody can tell, and to take it for stacked would cost an overlay above.
   */
  isStackedSource(): boolean {
    const { inodes, mounts } = this.ctx.tables;
    return mounts.fsType(inodes.mount(ROOT_SLOT)) === FS_MAGIC.OVERLAYFS;
  }

  /** Takes over what of the options may change while the mount is served: the timeouts. */
  reconfigure(options: MountOptions): void {
    setTimeouts(this.ctx.timeouts, options);
  }

  /** Descriptors that must survive a live upgrade. */
  keepFds(): number[] {
    return [this.#procSelfFd];
  }

  /** The host's path of an inode as /proc/self/fd tells it; undefined if it is not known. */
  readlinkatProcFile(nodeid: number): Buffer | undefined {
    const path = readlinkatProcFile(this.ctx, nodeid | 0, Math.floor(nodeid / 0x100000000));
    return typeof path === 'number' ? undefined : path;
  }

  /** Closes everything; nothing can be served afterwards. */
  close(): void {
    destroyAll(this.ctx);
    close(this.#procSelfFd);
    if (this.traceFd > STDERR) closeSync(this.traceFd);
  }

  #importError(error: number): SluiceError {
    const { options, source } = this.#settings;
    const isHandles = error === -ERRNO.EOPNOTSUPP && options.inodeFileHandles === 'mandatory';
    const reason = isHandles
      ? 'its file system gives no file handles that can be opened; use --inode-file-handles=prefer'
      : `it cannot be imported: ${errnoName(error)}; check that it is a directory you may open`;
    return new SluiceError('ERR_SLUICE_SOURCE', `source ${source}: ${reason}`);
  }
}

function probe(source: string): SourceFacts {
  const facts = probeSource(source);
  if (facts === -ERRNO.ENOSYS) {
    throw new SluiceError(
      'ERR_SLUICE_KERNEL',
      'this kernel tells no mount ids (statx STATX_MNT_ID); Linux 5.10 or newer is needed',
    );
  }
  if (typeof facts === 'number') {
    throw new SluiceError(
      'ERR_SLUICE_SOURCE',
      `source ${source} cannot be opened: ${errnoName(facts)}; name a directory you may open`,
    );
  }
  return facts;
}

/** Kept for good: descriptors are reopened through it even where /proc is not visible any more. */
function openProcSelfFd(): number {
  const path = new CString('/proc/self/fd');
  const fd = open(path.address, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    throw new SluiceError(
      'ERR_SLUICE_SYSTEM',
      `cannot open /proc/self/fd: ${errnoName(fd)}; mount /proc`,
    );
  }
  return fd;
}
