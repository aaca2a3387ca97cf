/**
 * V8 interprets a function for thousands of calls before it compiles it, at many times the cost. So
 * before it serves, main answers requests of the frequent kinds about a directory of their own, by the
 * same code from reading them to replying: see Stage.
 */
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Logger } from '../../shared/log.ts';
import type { MountOptions } from '../../shared/options.ts';
import { NEGOTIATED } from '../../shared/passthrough/config.ts';
import { isHidden } from '../session/hidden.ts';
import { Requests } from './requests.ts';
import { type Closers, Stage } from './stage.ts';
import { Work } from './work.ts';

/** The start takes so much longer at the most. */
const LONGEST_MS = 800;
/** So much of main's CPU time is taken for it. */
const LONGEST_CPU_MS = 500;
/** More makes no difference. */
const MOST_ROUNDS = 4000;
/** What a mount has by default. The connection that swallows all takes no files over: NEGOTIATED.PASSTHROUGH fails each time. */
const AGREED =
  NEGOTIATED.KILLPRIV_V2 | NEGOTIATED.SETXATTR_EXT | NEGOTIATED.DONT_MASK | NEGOTIATED.PASSTHROUGH;
/** Where there is memory, and no disk that could be slow or away. */
const MEMORY_DIRECTORY = '/dev/shm';

interface WarmUp {
  readonly rounds: number;
  /** Requests that were answered with an error. */
  readonly errors: number;
}

/**
 * Where a warm-up can make its directory without meeting the mount, which nobody serves yet. To be asked before
 * it is mounted.
 * @param mountpoint its real path
 * @returns undefined if there is no such place
 */
export function warmUpPlace(mountpoint: string): string | undefined {
  const places = [MEMORY_DIRECTORY, resolve(tmpdir())];
  return places.find((place) => !isHidden(mountpoint, place) && isWritable(place));
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Has main's code compiled. What fails here costs speed and nothing else.
 * @param parent see warmUpPlace()
 * @param fdLimit RLIMIT_NOFILE
 */
export function warmUp(
  parent: string,
  options: MountOptions,
  fdLimit: number,
  logger: Logger,
): void {
  const startMs = performance.now();
  let source: string | undefined;
  try {
    source = mkdtempSync(join(parent, 'sluice-warm-up-'));
    const done = warmUpIn(source, options, fdLimit, startMs + LONGEST_MS);
    logger.debug({ ...done, elapsedMs: Math.round(performance.now() - startMs) }, 'warmed up');
  } catch (error) {
    logger.debug({ err: error }, 'no warm-up: the first operations will be slower');
  } finally {
    if (source !== undefined) removeSource(source, logger);
  }
}

function removeSource(source: string, logger: Logger): void {
  try {
    rmSync(source, { recursive: true, force: true });
  } catch (error) {
    logger.warn({ err: error }, `${source} of the warm-up is left behind`);
  }
}

function warmUpIn(source: string, options: MountOptions, fdLimit: number, untilMs: number): WarmUp {
  const closers: Closers = [];
  try {
    const stage = new Stage(source, options, AGREED, fdLimit, closers);
    const requests = new Requests(stage);
    const work = new Work(requests);
    const untilCpuMs = stage.cpuMs() + LONGEST_CPU_MS;
    const isTime = (): boolean => performance.now() < untilMs && stage.cpuMs() < untilCpuMs;
    let rounds = 0;
    for (; rounds < MOST_ROUNDS && !requests.isStuck && isTime(); rounds++) work.round();
    return { rounds, errors: requests.errors };
  } finally {
    for (const close of closers.reverse()) close();
  }
}
