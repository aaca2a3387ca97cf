/** Logs: JSON lines, or text for people at a terminal. Written synchronously, so none are lost. */
import { fstatSync, openSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { isatty } from 'node:tty';
import pino from 'pino';
import { prettyFactory } from 'pino-pretty';
import { SluiceError } from './errors.ts';

export type Logger = pino.Logger;
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

const STDERR = 2;
/** What a log that cannot be written may keep; the lines behind are lost. */
const MAX_WAITING_CHARS = 1 << 20;

export interface LoggerSettings {
  /** uuid v7 of the mount instance: field `mount` of every line. */
  readonly mountId: string;
  readonly logLevel: LogLevel;
  /** `auto`: pretty on a terminal, else JSON. */
  readonly logFormat: 'auto' | 'json' | 'pretty';
  /** A file to append to; stderr when undefined. */
  readonly logFile: string | undefined;
}

/** Where a logger's lines go, for a thread that writes some itself because main may not be able to. */
export interface LogSink {
  readonly fd: number;
  /** Text for people instead of JSON. */
  readonly isPretty: boolean;
  readonly isColored: boolean;
  /** Lines below it are not written. */
  readonly level: LogLevel;
  readonly mountId: string;
}

/**
 * A logger of one mount instance. In-process and synchronous: a line is out when the call returns.
 *
 * @throws SluiceError ERR_SLUICE_OPTION when the log file cannot be opened
 */
export function createLogger(settings: LoggerSettings): Logger {
  const fd = settings.logFile === undefined ? STDERR : openLogFile(settings.logFile);
  const isTerminal = isatty(fd);
  const isPretty = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && isTerminal);
  const lines = openLines(fd);
  const stream = isPretty ? prettified(lines, isTerminal) : lines;
  const counts = new LogCounts();
  const logger = pino(
    {
      level: settings.logLevel,
      hooks: {
        logMethod(args, method, level) {
          counts.count(level);
          method.apply(this, args);
        },
      },
      base: { mount: settings.mountId },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  countsOf.set(logger, counts);
  const { logLevel: level, mountId } = settings;
  sinkOf.set(logger, { fd, isPretty, isColored: isTerminal, level, mountId });
  return logger;
}

/** Where lines go; one that cannot be written (a full disk) waits for the next, and fails nobody. */
function openLines(fd: number): pino.DestinationStream {
  const lines = pino.destination({ dest: fd, sync: true, maxLength: MAX_WAITING_CHARS });
  // Nobody is left to tell: the mount must not end for it.
  lines.on('error', () => undefined);
  return lines;
}

function prettified(lines: pino.DestinationStream, colorize: boolean): pino.DestinationStream {
  const prettify = prettyFactory({ colorize, singleLine: true });
  return { write: (line) => lines.write(prettify(line) ?? line) };
}

/** Of pino, by which levels are told apart: 10 is trace, 20 debug and so on up to 60. */
const LEVEL_STEP = 10;
const LEVELS = 6;

/** Lines by level: in cells of its own until it is told better. */
class LogCounts {
  #cells: Float64Array = new Float64Array(LEVELS);
  #at = 0;

  count(level: number): void {
    this.#cells[this.#at + level / LEVEL_STEP - 1]++;
  }

  moveTo(cells: Float64Array, at: number): void {
    for (let i = 0; i < LEVELS; i++) cells[at + i] = this.#cells[this.#at + i];
    this.#cells = cells;
    this.#at = at;
  }
}

const countsOf = new WeakMap<Logger, LogCounts>();
const sinkOf = new WeakMap<Logger, LogSink>();

/** Where the lines of a logger of {@link createLogger} go; undefined for a logger from elsewhere. */
export function logSinkOf(logger: Logger): LogSink | undefined {
  return sinkOf.get(logger);
}

/**
 * Has the lines of a logger of {@link createLogger}, and of its children, counted by level in six
 * cells from `at` on, with those it wrote so far. Does nothing for a logger from elsewhere.
 */
export function countLogsIn(logger: Logger, cells: Float64Array, at: number): void {
  countsOf.get(logger)?.moveTo(cells, at);
}

/** The mount id a logger of {@link createLogger} writes in every line. */
export function mountIdOf(logger: Logger): string {
  return String(logger.bindings()['mount']);
}

/**
 * Log files by path. A descriptor is never closed, since threads may write to it after their mount has
 * ended: so all mounts of a process share it.
 */
const logFiles = new Map<string, number>();

/** Whether a path still leads to an open file, or to another one after a rotation. */
function isSameFile(fd: number, path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const { dev, ino } = fstatSync(fd);
  return there?.dev === dev && there.ino === ino;
}

function openLogFile(path: string): number {
  const file = resolve(path);
  try {
    const known = logFiles.get(file);
    if (known !== undefined && isSameFile(known, file)) return known;
    const fd = openSync(file, 'a', 0o640);
    logFiles.set(file, fd);
    return fd;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SluiceError(
      'ERR_SLUICE_OPTION',
      `log_file: ${path} cannot be opened (${reason}); give a file in a writable directory`,
      { cause },
    );
  }
}

/** Says a thing once however often it happens; see {@link logOnce}. */
export interface OnceLogger {
  /**
   * Logs `message` at `level` when `key` is new, else counts it. Debug messages are logged each time:
   * whoever switches them on wants those that come from then on.
   */
  log(level: LogLevel, key: string, fields: object, message: string): void;
  /** How often `key` came again after the line was written. */
  repeats(key: string): number;
  /** One info line with the counts of all keys that were repeated; none if none was. */
  summarise(): void;
}

/**
 * Wraps a logger for events that may come by the million. Keys are a fixed set of names, never
 * made from paths or ids: each is kept for the life of the mount.
 */
export function logOnce(logger: Logger): OnceLogger {
  const repeatsOf = new Map<string, number>();
  return {
    log(level, key, fields, message) {
      if (level === 'debug') {
        logger.debug(fields, message);
        return;
      }
      const repeats = repeatsOf.get(key);
      repeatsOf.set(key, repeats === undefined ? 0 : repeats + 1);
      if (repeats === undefined) {
        logger[level](fields, message);
      }
    },
    repeats: (key) => repeatsOf.get(key) ?? 0,
    summarise() {
      const repeated = [...repeatsOf].filter(([, repeats]) => repeats > 0);
      if (repeated.length > 0) {
        logger.info({ repeats: Object.fromEntries(repeated) }, 'events that were logged once');
      }
    },
  };
}
