/** Logs: JSON lines, or text for people at a terminal. Written synchronously, so none are lost. */
import { openSync } from 'node:fs';
import { isatty } from 'node:tty';
import pino from 'pino';
import { PinoPretty } from 'pino-pretty';
import { SluiceError } from './errors.ts';

export type Logger = pino.Logger;
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

const STDERR = 2;

export interface LoggerSettings {
  /** uuid v7 of the mount instance: field `mount` of every line. */
  readonly mountId: string;
  readonly logLevel: LogLevel;
  /** `auto`: pretty on a terminal, else JSON. */
  readonly logFormat: 'auto' | 'json' | 'pretty';
  /** A file to append to; stderr when undefined. */
  readonly logFile: string | undefined;
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
  const stream = isPretty
    ? PinoPretty({ destination: fd, sync: true, colorize: isTerminal, singleLine: true })
    : pino.destination({ dest: fd, sync: true });
  return pino(
    {
      level: settings.logLevel,
      base: { mount: settings.mountId },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
}

/** The mount id a logger of {@link createLogger} writes in every line. */
export function mountIdOf(logger: Logger): string {
  return String(logger.bindings()['mount']);
}

function openLogFile(path: string): number {
  try {
    return openSync(path, 'a', 0o640);
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
