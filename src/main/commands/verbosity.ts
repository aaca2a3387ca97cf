/** How much is logged: as configured, or all of it while an operator looks. */
import type { Logger, LogLevel } from '../../shared/log.ts';

/** What a configured debug level is toggled to. */
const QUIETER: LogLevel = 'info';

export class Verbosity {
  readonly #logger: Logger;
  #configured: LogLevel;
  #isToggled = false;

  constructor(logger: Logger, configured: LogLevel) {
    this.#logger = logger;
    this.#configured = configured;
  }

  /**
   * Takes another configured level. While debug is toggled the toggle stays.
   *
   * @param say logs what is said of it: with the level that shows more, the old or the new one
   */
  configure(level: LogLevel, say: () => void): void {
    this.#configured = level;
    this.#change(say);
  }

  /** Turns debug messages on, or off again. @param say as in configure() */
  toggleDebug(say: (isDebug: boolean) => void): void {
    this.#isToggled = !this.#isToggled;
    this.#change(() => say(isDebug(this.#wanted())));
  }

  #wanted(): LogLevel {
    if (!this.#isToggled) return this.#configured;
    return isDebug(this.#configured) ? QUIETER : 'debug';
  }

  #change(say: () => void): void {
    const { values } = this.#logger.levels;
    const wanted = this.#wanted();
    const isMore = (values[wanted] ?? 0) < this.#logger.levelVal;
    if (isMore) this.#logger.level = wanted;
    say();
    this.#logger.level = wanted;
  }
}

function isDebug(level: LogLevel): boolean {
  return level === 'debug' || level === 'trace';
}
