/**
 * From options to the shape of a mount: configuration of the operations, sizes of the shared memory.
 */
import { openSync } from 'node:fs';
import { SluiceError } from '../shared/errors.ts';
import { MAX_CONNECTIONS } from '../shared/exporter-messages.ts';
import { largeSlotBytes } from '../shared/memory/request-slots.ts';
import { NO_RINGS, type RingGeometry } from '../shared/memory/ring-entries.ts';
import {
  allocateSharedMemory,
  type MemoryGeometry,
  type SharedMemory,
} from '../shared/memory/shared-memory.ts';
import { type MountOptions, TRACE_TO_STDERR } from '../shared/options.ts';
import { EXTRA, inPlaceTable, type PassthroughConfig } from '../shared/passthrough/config.ts';
import { compileIdMap } from '../shared/passthrough/id-map.ts';
import type { SourceFacts } from '../shared/passthrough/probe.ts';
import { TIMEOUT, type Timeouts } from '../shared/passthrough/timeouts.ts';
import { compileXattrMap } from '../shared/passthrough/xattr-map.ts';
import { STAT, STAT_CELLS } from '../shared/stats-layout.ts';
import { MS_DIRSYNC, MS_NOATIME, MS_SYNCHRONOUS } from '../shared/sys/constants.ts';
import { MAX_CONTROL_CONNECTIONS } from './control/runtime-dir.ts';
import { SPARE_LANES } from './dispatch/policy.ts';

/** Descriptors outside the budget: Node's own, the device, and what requests open for themselves. */
const FD_RESERVE_BASE = 40;
const FD_RESERVE_PER_LANE = 4;
/** The loop of main's deputy, and what it is asked to give back by. */
const FD_RESERVE_DEPUTY = 5;
/** A thread of queues: its loop, its ring, its eventfd, and what its requests open for themselves. */
const FD_RESERVE_PER_QUEUE_THREAD = 11;
/** The loop of the exporter, which watches also where nobody wants metrics. */
const FD_RESERVE_EXPORTER = 6;
/** Its two listeners at the most, and all that may connect to them. */
const FD_RESERVE_METRICS = 2 + 2 * MAX_CONNECTIONS;
/** The control socket and its clients. */
const FD_RESERVE_CONTROL = 1 + MAX_CONTROL_CONNECTIONS;
const MIN_FD_BUDGET = 16;
/** Receive buffers: one for main, one for its deputy, the rest for large WRITEs under way. */
const LARGE_SLOTS = 66;
/** A slot whose request was interrupted is in the way until a lane has looked at it; its entry is not. */
const RING_SLOTS_PER_ENTRY = 2;
/** XATTR_SIZE_MAX: the longest reply besides READ and READDIR. */
const MIN_REPLY_BYTES = 65536;
const STDERR = 2;

/**
 * Descriptors that inodes and handles may keep.
 * @param fdLimit RLIMIT_NOFILE
 * @param queueThreads threads that serve queues of io_uring
 * @throws SluiceError when the limit leaves too few
 */
export function fdBudgetOf(options: MountOptions, fdLimit: number, queueThreads = 0): number {
  const reserve =
    FD_RESERVE_BASE +
    FD_RESERVE_DEPUTY +
    FD_RESERVE_CONTROL +
    FD_RESERVE_EXPORTER +
    FD_RESERVE_PER_LANE * options.lanes +
    FD_RESERVE_PER_QUEUE_THREAD * queueThreads +
    (options.metrics ? FD_RESERVE_METRICS : 0);
  const most = Math.min(fdLimit - reserve, 1 << 20);
  if (most < MIN_FD_BUDGET) {
    throw new SluiceError(
      'ERR_SLUICE_LIMIT',
      `RLIMIT_NOFILE of ${fdLimit} is too small for ${options.lanes} lanes; raise it to ${reserve + MIN_FD_BUDGET} or more, or take fewer lanes or no_metrics`,
    );
  }
  if (options.fdBudget > most) {
    throw new SluiceError(
      'ERR_SLUICE_LIMIT',
      `fd_budget ${options.fdBudget} does not fit into RLIMIT_NOFILE ${fdLimit}, which leaves ${most}; raise the limit or leave the option out`,
    );
  }
  return options.fdBudget > 0 ? options.fdBudget : most;
}

/** Sizes of the shared memory. @param hasLayers whether layers in lanes make requests of their own */
export function geometryOf(
  options: MountOptions,
  fdBudget: number,
  facts: SourceFacts,
  hasLayers: boolean,
  ringEntries: RingGeometry = NO_RINGS,
): MemoryGeometry {
  return {
    ringEntries,
    inodes: { capacity: options.maxInodes, handleRoomBytes: facts.handleRoomBytes },
    slots: {
      smallSlots: options.requestSlots,
      largeSlots: LARGE_SLOTS,
      largeSlotBytes: largeSlotBytes(options.maxWriteBytes),
      ringThreads: ringEntries.threads,
      ringSlotsPerThread: RING_SLOTS_PER_ENTRY * ringEntries.entriesPerThread,
    },
    handles: fdBudget,
    fdBudget,
    maxLanes: options.lanes + SPARE_LANES,
    maxReplyBytes: Math.max(options.maxWriteBytes, MIN_REPLY_BYTES),
    layerMessageBytes: hasLayers ? largeSlotBytes(options.maxWriteBytes) : 0,
    statCells: STAT_CELLS,
    lookupsStat: STAT.LOOKUPS_OUTSTANDING,
    extraBytes: EXTRA.byteLength,
  };
}

/** Reserves the memory. @throws SluiceError when the host does not give so much address space */
export function reserveMemory(geometry: MemoryGeometry): SharedMemory {
  try {
    return allocateSharedMemory(geometry);
  } catch (cause) {
    throw new SluiceError(
      'ERR_SLUICE_LIMIT',
      `cannot reserve memory for ${geometry.inodes.capacity} inodes; lower max_inodes, or raise the limit of address space`,
      { cause },
    );
  }
}

/** What the operations have to know. */
export function passthroughConfigOf(
  options: MountOptions,
  facts: SourceFacts,
  procSelfFd: number,
  layered: Uint8Array | undefined,
): PassthroughConfig {
  return {
    cache: options.cache,
    noReaddir: options.noReaddir,
    sealSize: options.sealSize,
    useHostIno: options.useHostIno,
    xattr: options.xattr,
    posixAcl: options.posixAcl,
    xattrMap: compileXattrMap(options.xattrmap),
    securityLabel: options.securityLabel,
    uidMap: compileIdMap('translate_uid', options.translateUid),
    gidMap: compileIdMap('translate_gid', options.translateGid),
    allowDirectIo: options.allowDirectIo,
    defaultPermissions: options.defaultPermissions,
    noAtime: (options.mountFlags & MS_NOATIME) !== 0,
    syncDirectories: (options.mountFlags & (MS_SYNCHRONOUS | MS_DIRSYNC)) !== 0,
    doImport: options.doImport,
    inodeFileHandles: options.inodeFileHandles,
    maxWriteBytes: options.maxWriteBytes,
    lanes: options.lanes,
    procSelfFd,
    inPlace: inPlaceTable(layered),
    mountIdMask: facts.mountIdMask,
  };
}

/** Publishes the timeouts for all threads: at the start, and when a reload has changed them. */
export function setTimeouts(timeouts: Timeouts, options: MountOptions): void {
  timeouts.set(TIMEOUT.ENTRY, options.entryTimeoutMs);
  timeouts.set(TIMEOUT.ATTR, options.attrTimeoutMs);
  timeouts.set(TIMEOUT.DIR_ENTRY, options.dirEntryTimeoutMs);
  timeouts.set(TIMEOUT.DIR_ATTR, options.dirAttrTimeoutMs);
  timeouts.set(TIMEOUT.NEGATIVE, options.negativeTimeoutMs);
}

/** Opens where trace lines go. @returns a descriptor, -1 without trace */
export function openTrace(options: MountOptions): number {
  if (options.trace === false) return -1;
  if (options.trace === TRACE_TO_STDERR) return STDERR;
  try {
    return openSync(options.trace, 'a', 0o640);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SluiceError(
      'ERR_SLUICE_OPTION',
      `trace: ${options.trace} cannot be opened (${reason}); give a file in a writable directory`,
      { cause },
    );
  }
}
