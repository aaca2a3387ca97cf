/**
 * The operations the differential tester knows, as plain JSON: they are generated, sent to an actor,
 * and kept in replay files in the same form.
 *
 * Names are latin1 strings in which every character is one byte, so that names which are not UTF-8
 * survive JSON. Paths are relative to the actor's own directory; those that begin with `@/` lie in
 * the directory all actors share. A `#` in a path stands for the actor's number, so that what actors
 * do in the shared directory meets only there. Users, who take turns, have paths without both.
 */

/** A path, or the number of an open handle. */
export type Target = string | number;

/** Seconds and nanoseconds since 1970, or one of utimensat's special values. */
export type TimeValue = readonly [seconds: number, nanoseconds: number] | 'now' | 'omit';

export type Operation =
  | { op: 'open'; handle: number; path: string; flags: string; mode: number }
  | { op: 'tmpfile'; handle: number; path: string; flags: string; mode: number }
  | { op: 'publish'; handle: number; path: string }
  | { op: 'close'; handle: number }
  | { op: 'read'; handle: number; size: number }
  | { op: 'pread'; handle: number; size: number; offset: number }
  | { op: 'write'; handle: number; size: number; seed: number }
  | { op: 'pwrite'; handle: number; size: number; offset: number; seed: number }
  | { op: 'truncate'; path: string; size: number }
  | { op: 'ftruncate'; handle: number; size: number }
  | { op: 'fallocate'; handle: number; mode: number; offset: number; size: number }
  | { op: 'seek'; handle: number; offset: number; whence: 'SET' | 'CUR' | 'END' | 'DATA' | 'HOLE' }
  | {
      op: 'copy';
      from: number;
      to: number;
      fromOffset: number | null;
      toOffset: number | null;
      size: number;
    }
  | { op: 'fsync'; handle: number; dataOnly: boolean }
  | { op: 'blocks'; handle: number }
  | { op: 'mkdir'; path: string; mode: number }
  | { op: 'mkchain'; name: string; depth: number }
  | { op: 'rmdir'; path: string }
  | { op: 'unlink'; path: string }
  | { op: 'rename'; from: string; to: string; flags: number }
  | { op: 'link'; from: string; to: string; follow: boolean }
  | { op: 'symlink'; target: string; path: string }
  | { op: 'readlink'; path: string; size: number }
  | { op: 'mknod'; path: string; mode: number; rdev: number }
  | { op: 'chmod'; on: Target; mode: number }
  | { op: 'chown'; on: Target; uid: number; gid: number; follow: boolean }
  | { op: 'utimens'; on: Target; atime: TimeValue; mtime: TimeValue; follow: boolean }
  | { op: 'stat'; on: Target; follow: boolean }
  | { op: 'access'; path: string; mode: number }
  | { op: 'list'; on: Target; chunk: number }
  | { op: 'unlinkWhileListing'; path: string; chunk: number; keepEvery: number }
  | { op: 'setxattr'; on: Target; name: string; size: number; seed: number; flags: number }
  | { op: 'getxattr'; on: Target; name: string; size: number }
  | { op: 'listxattr'; on: Target; size: number }
  | { op: 'removexattr'; on: Target; name: string }
  | { op: 'setacl'; on: Target; kind: 'access' | 'default'; acl: Acl }
  | { op: 'setcap'; on: Target }
  | { op: 'flags'; on: Target; set: number | null }
  | { op: 'umask'; mask: number };

/** A POSIX ACL as its extended attribute has it, right or wrong. */
export interface Acl {
  readonly version: number;
  readonly entries: readonly (readonly [tag: number, permissions: number, id: number])[];
  /** Bytes missing at the end. */
  readonly cut: number;
}

/** What one actor does in one go. */
export type Sequence = readonly Operation[];

export interface Turn {
  readonly actor: number;
  readonly sequence: Sequence;
}

/**
 * What is done in one trial. Actors that are all root take one turn each, at the same time and in
 * directories of their own. Actors that are different users work in the same directories, one turn
 * after the other, so that what comes of it depends on nothing but the turns.
 */
export type Trial = readonly Turn[];

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/**
 * What an operation gave: `result` is the return value or the name of the errno; the other fields
 * are what came with it.
 */
export interface Outcome {
  readonly result: number | string;
  readonly [field: string]: Json;
}

/** The directory an actor works in, below the trial's. Paths hold at most one `..` and so do link
 * targets: four levels keep them from climbing out. */
export const ACTOR_DEPTH = 4;
export const SHARED = 'shared';
const COMMON = 'common';

/** Where an actor that is alone in its directory works; without a number, where all users work. */
export function workDirectory(actor?: number): string {
  const top = actor === undefined ? COMMON : `actor${actor}`;
  return [top, ...new Array<string>(ACTOR_DEPTH).fill('w')].join('/');
}

/** A job for an actor process: one line of JSON. The answer is one line of JSON too. */
export type Job =
  | { job: 'prepare'; trial: string; actors: number }
  | { job: 'perform'; trial: string; actor: number; sequence: Sequence }
  | { job: 'finish' }
  | { job: 'snapshot'; root: string; trial: string }
  | { job: 'flush' }
  | { job: 'remove'; trial: string };

/** One object of a tree, by its path below the trial's directory. */
export interface TreeEntry {
  readonly path: string;
  readonly ino: number;
  readonly facts: { readonly [field: string]: Json };
}
