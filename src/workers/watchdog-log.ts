/**
 * Log lines written by this thread, of the shape main's have: main may not be able to write any.
 *
 * They are written by a thread of libuv's pool, one after the other, so that a log that does not take
 * them (a full pipe, a disk that hangs) holds up neither the watch nor the metrics.
 */
import { appendFile } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { LogLevel, LogSink } from '../shared/log.ts';
import type { StatsBlock } from '../shared/memory/stats-block.ts';
import { LOG_LEVEL_LABELS } from '../shared/metrics-table.ts';
import { STAT } from '../shared/stats-layout.ts';

export type LogFields = Readonly<Record<string, unknown>>;
/** Writes one line; fields that are undefined are left out. */
export type LogLine = (level: 'warn' | 'error', fields: LogFields, msg: string) => void;

/** Lines that may wait for the log to take them; more are dropped. */
const MAX_WAITING = 256;
/** A pipe that somebody made non-blocking may be full for a moment. */
const TRIES = 5;
const RETRY_MS = 100;

const append = promisify(appendFile);

export class WatchdogLog {
  /** Where lines go, and from which level on. */
  sink: LogSink;
  readonly #stats: StatsBlock;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(sink: LogSink, stats: StatsBlock) {
    this.sink = sink;
    this.#stats = stats;
  }

  line(level: LogLevel, fields: LogFields, msg: string): void {
    const { level: lowest, mountId: mount } = this.sink;
    const rank = LOG_LEVEL_LABELS.indexOf(level);
    if (rank < LOG_LEVEL_LABELS.indexOf(lowest) || this.#waiting >= MAX_WAITING) return;
    this.#stats.add(STAT.LOG_LINES + rank, 1);
    this.#waiting++;
    const time = new Date().toISOString();
    const text = `${JSON.stringify({ level, time, mount, ...fields, msg })}\n`;
    this.#last = this.#last.then(async () => {
      await this.#write(this.sink.isPretty ? await this.#prettify(text) : text);
      this.#waiting--;
    });
  }

  async #write(text: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await append(this.sink.fd, text);
        return;
      } catch (error) {
        // Nobody is left to tell of a log that cannot be written.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || tries === TRIES) return;
        await sleep(RETRY_MS);
      }
    }
  }

  async #prettify(text: string): Promise<string> {
    const { prettyFactory } = await import('pino-pretty');
    return prettyFactory({ colorize: this.sink.isColored, singleLine: true })(text) ?? text;
  }
}
