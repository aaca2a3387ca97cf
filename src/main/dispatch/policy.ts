/** Limits and times by which requests are dispatched. */

/** Bytes of waiting requests main keeps before it stops reading and leaves the rest to the kernel. */
export const PARKED_BYTES_LIMIT = 256 * 1024 * 1024;
/** As many requests wait in main's memory at the most. */
export const PARKED_REQUESTS_LIMIT = 65536;

/** Requests read per turn of the event loop, so that timers and signals have their turn too. */
export const RECEIVE_BATCH = 64;

/** How often main looks whether a backing mount waits for a lane that all others occupy. */
export const STARVATION_CHECK_MS = 100;
/** After so many looks in vain it gets a lane on top. */
export const STARVATION_LOOKS = 3;

/** How late op_timeout may be noticed: a quarter of it, within these bounds. */
export const MIN_DEADLINE_TICK_MS = 50;
export const MAX_DEADLINE_TICK_MS = 1000;

/** Lanes that may be started on top of the regular ones when those hang. */
export const SPARE_LANES = 16;

/** Lock requests that may wait at once; more get ENOLCK. */
export const LOCK_WAITS_LIMIT = 16_384;
export const LOCK_WAITS_TICK_MS = 20;
/** How long it takes to notice an unlock made behind the mount: this at first, twice as long each time. */
export const MIN_LOCK_POLL_MS = 20;
export const MAX_LOCK_POLL_MS = 320;
/** Inodes of a backing mount whose lock waits are tried at a time. */
export const LOCK_ROUNDS_PER_MOUNT = 8;
/** A try that takes longer is looked after: its lane may have died. */
export const LOCK_TRY_LOST_MS = 1000;
